"""Base-128 varints, as LevelDB tables, Snappy and TensorFlow's string tensors use them."""

from __future__ import annotations

from fastlstm.errors import FormatError


def read_varint(data: bytes, at: int, end: int, where: str, bits: int = 64) -> tuple[int, int]:
    """Decode the varint at `data[at]`.

    end    the first position that must not be read
    where  what an error calls `data`
    bits   the largest width allowed
    ->     value, position after it
    Raises FormatError if it does not end in time or does not fit.  Source: tensorflow/core/lib/core/coding.cc.
    """
    value = 0
    for position in range(at, min(end, at + (bits + 6) // 7)):
        byte = data[position]
        value |= (byte & 0x7F) << 7 * (position - at)
        if byte < 0x80:
            if value >> bits:
                break
            return value, position + 1
    got = data[at : min(end, at + 10)].hex(" ")
    raise FormatError(
        f"{where}: {got!r} at byte {at} of {end} is no varint of at most {bits} bits; the file is damaged or truncated"
    )
