"""The keys under which TensorFlow stores the slices of a partitioned variable: integers and strings that sort as bytes.

Source: tensorflow/core/lib/strings/ordered_code.cc, tensorflow/core/util/saved_tensor_slice_util.cc.
"""

from __future__ import annotations

from collections.abc import Sequence


def slice_key(name: bytes, extents: Sequence[tuple[int, int]]) -> bytes:
    """The key of one slice.

    extents  (start, length) of each dimension; (0, -1) is all of it
    """
    bounds = [encode_signed(bound) for extent in extents for bound in extent]
    return encode_unsigned(0) + encode_string(name) + encode_unsigned(len(extents)) + b"".join(bounds)


def encode_unsigned(value: int) -> bytes:
    """The number of bytes, then the bytes, big endian without leading zeros."""
    size = (value.bit_length() + 7) // 8
    return bytes([size]) + value.to_bytes(size, "big")


def encode_string(value: bytes) -> bytes:
    """The bytes with 00 and ff escaped, then a terminator."""
    return b"\x00\xff".join(part.replace(b"\xff", b"\xff\x00") for part in value.split(b"\x00")) + b"\x00\x01"


def encode_signed(value: int) -> bytes:
    """Big-endian two's complement in n bytes, as few as leave 7n - 1 bits to the magnitude, the top n bits flipped:
    a value >= 0 starts with n ones and a zero, a negative one with n zeros and a one.
    """
    magnitude = ~value if value < 0 else value
    size = magnitude.bit_length() // 7 + 1
    header = (1 << size) - 1 << 7 * size  # `size` ones at the top of 8 * size bits
    return (value & (1 << 8 * size) - 1 ^ header).to_bytes(size, "big")
