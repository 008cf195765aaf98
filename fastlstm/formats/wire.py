"""Protocol buffers' wire format, for messages too large to be turned into objects.

protobuf itself copies a V1 checkpoint's numbers once more and takes ten times as long (25 MB: 0.16 s, here 0.014 s).
Here a field is a place in the bytes that are there already.
Source: protobuf's documentation, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlstm.errors import FormatError
from fastlstm.formats.varint import read_varint

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
_CHUNK = 1 << 18  # bytes of varints decoded at a time, which bounds what that takes beside the result


class Field(NamedTuple):
    """Where the value of a field lies: bytes start .. stop; of a delimited one what follows its length."""

    number: int
    wire: int
    start: int
    stop: int


def fields(data: bytes, start: int, stop: int, where: str) -> Iterator[Field]:
    """The fields of the message in data[start:stop].  Raises FormatError."""
    at = start
    while at < stop:
        key, value = read_varint(data, at, stop, where)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            _, end = read_varint(data, value, stop, where)
        elif wire == DELIMITED:
            size, value = read_varint(data, value, stop, where)
            end = value + size
        elif wire in (FIXED32, FIXED64):
            end = value + (4 if wire == FIXED32 else 8)
        else:
            raise FormatError(f"{where}: wire type {wire} at byte {at}, expected 0, 1, 2 or 5; the file is damaged")
        if end > stop or not number:
            raise FormatError(
                f"{where}: field {number} at byte {at} ends at {end} of {stop}; the file is damaged or truncated"
            )
        yield Field(number, wire, value, end)
        at = end


def parts(data: bytes, whole: Field, number: int, where: str) -> list[Field]:
    """The messages in field `number` of the message `whole`; several are one message, cut in pieces."""
    return [f for f in fields(data, whole.start, whole.stop, where) if f.number == number and f.wire == DELIMITED]


def read_varints(data: bytes, place: Field, count: int, dtype: DTypeLike, where: str) -> NDArray:
    """The packed varints at `place` -> (count,) of an integer type; a negative number has ten bytes.

    Raises FormatError if there are more or fewer, or one does not fit `dtype`.
    """
    raw = np.frombuffer(data, np.uint8, place.stop - place.start, place.start)
    if not count <= raw.size <= 10 * count:
        raise FormatError(f"{where}: {raw.size} bytes of varints, expected {count} numbers; the file is damaged")
    result = np.empty(count, dtype)
    at = done = 0
    while at < raw.size:
        piece = raw[at : at + _CHUNK]
        ends = np.flatnonzero(piece < 128) + 1
        sizes = np.diff(ends, prepend=0)
        if not ends.size or sizes.max() > 10 or done + ends.size > count:
            raise FormatError(f"{where}: no {count} varints at byte {place.start + at}; the file is damaged")
        values = np.zeros(ends.size, np.uint64)
        for k in range(sizes.max()):
            longer = np.flatnonzero(sizes > k)
            values[longer] |= (piece[ends[longer] - sizes[longer] + k] & 127).astype(np.uint64) << np.uint64(7 * k)
        wide = values if result.dtype == np.uint64 else values.view(np.int64)
        result[done : done + ends.size] = wide != 0 if result.dtype == bool else wide
        if result.dtype != bool and (result[done : done + ends.size] != wide).any():
            raise FormatError(f"{where}: a value does not fit {result.dtype.name}; the file is damaged")
        done += ends.size
        at += int(ends[-1])
    if done != count:
        raise FormatError(f"{where}: {done} numbers, expected {count}; the file is damaged")
    return result
