"""Snappy's raw format, decoded.  Source: github.com/google/snappy, format_description.txt."""

from __future__ import annotations

from fastlstm.errors import FormatError
from fastlstm.formats.varint import read_varint

EXPANSION = 64 / 3  # the best that an element can do: a copy of 64 bytes, written in 3


def decompress(data: bytes, where: str) -> bytes:
    """Expand one raw Snappy stream: the length as a varint, then literals and copies.

    where  what an error calls `data`
    Raises FormatError; holds at most the declared length, which at most `EXPANSION` times the input may be.
    """
    length, at = read_varint(data, 0, len(data), where, bits=32)
    if length > EXPANSION * len(data):
        raise FormatError(f"{where}: {len(data)} compressed bytes cannot expand to {length}; the file is damaged")
    result = bytearray()
    while at < len(data):
        tag = data[at]
        element = at
        kind = tag & 3
        size = (tag >> 2) + 1
        width = (0, 1, 2, 4)[kind]  # bytes that follow the tag: a copy's offset, or a literal's length if that is long
        if kind == 0 and size > 60:
            width = size - 60
        number = int.from_bytes(data[at + 1 : at + 1 + width], "little")
        at += 1 + width
        if at > len(data):
            raise FormatError(
                f"{where}: element at byte {element} ends past the compressed data; the file is truncated"
            )
        if kind == 1:
            size, number = (tag >> 2 & 7) + 4, (tag >> 5 << 8) + number
        if kind == 0 and width:
            size = number + 1
        if size > length - len(result):
            raise FormatError(
                f"{where}: element at byte {element} exceeds the declared {length} bytes; the file is damaged"
            )
        if kind == 0:
            if size > len(data) - at:
                raise FormatError(f"{where}: literal at byte {element} has {size} bytes, {len(data) - at} are left")
            result += data[at : at + size]
            at += size
        else:
            if not 0 < number <= len(result):
                raise FormatError(f"{where}: copy at byte {element} reaches back {number} of {len(result)} bytes")
            pattern = bytes(result[len(result) - number :][:size])
            result += (pattern * (size // len(pattern) + 1))[:size]  # a copy may overlap what it writes
    if len(result) != length:
        raise FormatError(
            f"{where}: expanded to {len(result)} bytes, expected {length}; the file is damaged or truncated"
        )
    return bytes(result)
