"""An independent writer of V1 checkpoints, to make files that TensorFlow would not write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from bundle_writer import message, number, shape_proto, slice_name, table, varint

CODES = {
    "f4": 1,
    "f8": 2,
    "i4": 3,
    "u1": 4,
    "i2": 5,
    "i1": 6,
    "S": 7,
    "c8": 8,
    "i8": 9,
    "?": 10,
    "u2": 17,
    "c16": 18,
    "f2": 19,
}
FIELDS = {1: 5, 2: 6, 3: 7, 4: 7, 5: 7, 6: 7, 7: 8, 8: 9, 9: 10, 10: 11, 17: 7, 18: 12, 19: 13}


def code_of(array: np.ndarray) -> int:
    return CODES.get(array.dtype.str[1:]) or CODES[{"b": "?", "S": "S", "O": "S"}[array.dtype.kind]]


def slice_proto(extents) -> bytes:
    parts = [number(1, start) + (number(2, length) if length != -1 else b"") for start, length in extents]
    return b"".join(message(1, part) for part in parts)


def values(array: np.ndarray) -> bytes:
    """The elements in the packed field of their type, as TensorFlow fills it."""
    code = code_of(array)
    if code == 7:
        return b"".join(message(8, value) for value in array.ravel().tolist())
    if code in (1, 2, 8, 18):
        packed = array.tobytes()
    else:
        whole = array.view("u2") if code == 19 else array
        packed = b"".join(varint(int(value)) for value in whole.ravel())
    return message(FIELDS[code], packed) if packed else b""


def meta(name: bytes, shape, code: int, slices) -> bytes:
    parts = b"".join(message(4, slice_proto(extents)) for extents in slices)
    return message(1, message(1, name) + message(2, shape_proto(shape)) + number(3, code) + parts)


def data(name: bytes, extents, tensor: bytes) -> tuple[bytes, bytes]:
    saved = message(1, name) + message(2, slice_proto(extents)) + message(3, tensor)
    return slice_name(name, extents), message(2, saved)


def header(metas: bytes, versions: bytes = message(2, number(1, 1))) -> tuple[bytes, bytes]:
    return b"", message(1, metas + versions)


class V1Writer:
    """Collects slices; writes one table.  Wrong ones go straight into `metas` and `rows`."""

    def __init__(self) -> None:
        self.metas = b""
        self.rows: dict[bytes, bytes] = {}

    def add(self, name: bytes, array: np.ndarray, slices=None) -> None:
        slices = [[(0, -1)] * array.ndim] if slices is None else slices
        self.metas += meta(name, array.shape, code_of(array), slices)
        for extents in slices:
            region = tuple(slice(start, None if length == -1 else start + length) for start, length in extents)
            self.rows.update([data(name, extents, values(np.ascontiguousarray(array[region])))])

    def bytes(self, per_block: int = 1000, compress: bool = False) -> bytes:
        return table([header(self.metas), *sorted(self.rows.items())], per_block, compress)

    def write(self, path: Path, **options) -> None:
        path.write_bytes(self.bytes(**options))
