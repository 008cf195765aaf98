"""An independent writer of tables and tensor bundles, to make files that TensorFlow would not write.

It shares no code with fastlstm: tables from format.cc and table_builder.cc, messages by hand, its own CRC32C.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

CODES = {"f4": 1, "f8": 2, "i4": 3, "u1": 4, "i8": 9, "?": 10, "f2": 19, "c8": 8}


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = _table()


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % (1 << 32))


def varint(value: int) -> bytes:
    value %= 1 << 64
    result = b""
    while value > 127:
        result += bytes([value & 127 | 128])
        value >>= 7
    return result + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value) if value else b""


def message(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def snappy(data: bytes) -> bytes:
    """Literals of up to 60 bytes, and runs of one byte as copies that overlap themselves."""
    result = varint(len(data))
    at = 0
    while at < len(data):
        run = 1
        while run < 65 and at + run < len(data) and data[at + run] == data[at]:
            run += 1
        if run > 8:
            result += bytes([0, data[at], (run - 2) << 2 | 2, 1, 0])
            at += run
        else:
            piece = data[at : at + 5]
            result += bytes([(len(piece) - 1) << 2]) + piece
            at += len(piece)
    return result


def block(entries: list[tuple[bytes, bytes]], interval: int = 16) -> bytes:
    body, restarts, previous = b"", [], b""
    for position, (key, value) in enumerate(entries):
        shared = 0
        if position % interval == 0:
            restarts.append(len(body))
        else:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        body += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    restarts = restarts or [0]
    return body + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(entries: list[tuple[bytes, bytes]], per_block: int = 1000, compress: bool = False) -> bytes:
    """Entries as given, sorted or not."""
    parts = [entries[start : start + per_block] for start in range(0, len(entries), per_block)]
    return table_of_blocks([(part[-1][0], block(part)) for part in parts], compress)


def table_of_blocks(blocks: list[tuple[bytes, bytes]], compress: bool = False) -> bytes:
    """Blocks as (last key, contents)."""
    file = b""

    def add(contents: bytes) -> bytes:
        nonlocal file
        data = snappy(contents) + b"\1" if compress else contents + b"\0"
        handle = varint(len(file)) + varint(len(data) - 1)
        file += data + masked(data)
        return handle

    index = [(key, add(contents)) for key, contents in blocks]
    handles = add(block([])) + add(block(index, 1))
    return file + handles.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def header(shards: int = 1, big_endian: bool = False, min_consumer: int = 0) -> bytes:
    return number(1, shards) + number(2, big_endian) + message(3, number(1, 1) + number(2, min_consumer))


def shape_proto(shape: tuple[int, ...]) -> bytes:
    return b"".join(message(2, number(1, size)) for size in shape)


def entry(
    dtype: int,
    shape: tuple[int, ...],
    data: bytes = b"",
    *,
    shard: int = 0,
    offset: int = 0,
    size: int | None = None,
    crc: bytes | None = None,
    slices: list[list[tuple[int, int]]] | None = None,
) -> bytes:
    result = number(1, dtype) + message(2, shape_proto(shape)) + number(3, shard) + number(4, offset)
    if slices is None:
        return (
            result + number(5, len(data) if size is None else size) + b"\x35" + (masked(data) if crc is None else crc)
        )
    for extents in slices:
        parts = [number(1, start) + (number(2, length) if length != -1 else b"") for start, length in extents]
        result += message(7, b"".join(message(1, part) for part in parts))
    return result


def ordered(value: int) -> bytes:
    """SNum of OrderedCode for -64 <= value < 8192."""
    return bytes([value & 0xFF ^ 0x80]) if value < 64 else struct.pack(">H", value | 0xC000)


def slice_name(name: bytes, extents: list[tuple[int, int]]) -> bytes:
    count = bytes([1, len(extents)]) if extents else b"\0"
    return b"\0" + name + b"\0\1" + count + b"".join(ordered(x) for extent in extents for x in extent)


class BundleWriter:
    """Collects tensors, writes `<prefix>.index` and the shards."""

    def __init__(self, shards: int = 1, big_endian: bool = False) -> None:
        self.data = [b""] * shards
        self.big_endian = big_endian
        self.entries: dict[bytes, bytes] = {}

    def _place(self, data: bytes, shard: int) -> dict[str, int]:
        place = {"shard": shard, "offset": len(self.data[shard])}
        self.data[shard] += data
        return place

    def add(self, name: bytes, array: np.ndarray, shard: int = 0) -> None:
        data = array.astype(array.dtype.newbyteorder(">" if self.big_endian else "<")).tobytes()
        code = CODES[array.dtype.str[1:] if array.dtype != bool else "?"]
        self.entries[name] = entry(code, array.shape, data, **self._place(data, shard))

    def add_strings(self, name: bytes, values: list[bytes], shape: tuple[int, ...]) -> None:
        order = ">" if self.big_endian else "<"
        words = b"".join(struct.pack(f"{order}I", len(value)) for value in values)
        check = masked(words)[:: -1 if self.big_endian else 1]
        data = b"".join(varint(len(value)) for value in values) + check + b"".join(values)
        crc = masked(words + check + b"".join(values))
        self.entries[name] = entry(7, shape, data, crc=crc, **self._place(data, 0))

    def add_slices(
        self, name: bytes, array: np.ndarray, slices: list[list[tuple[int, int]]], shape: tuple[int, ...] | None = None
    ) -> None:
        """`shape` may claim more or less than the array has."""
        for position, extents in enumerate(slices):
            region = tuple(slice(start, None if length == -1 else start + length) for start, length in extents)
            self.add(slice_name(name, extents), array[region], position % len(self.data))
        code = CODES[array.dtype.str[1:]]
        self.entries[name] = entry(code, array.shape if shape is None else shape, slices=slices)

    def write(self, prefix: Path, per_block: int = 1000, compress: bool = False) -> None:
        entries = [(b"", header(len(self.data), self.big_endian)), *sorted(self.entries.items())]
        write_files(prefix, table(entries, per_block, compress), self.data)


def write_files(prefix: Path, index: bytes, shards: list[bytes]) -> None:
    prefix.with_name(f"{prefix.name}.index").write_bytes(index)
    for position, data in enumerate(shards):
        prefix.with_name(f"{prefix.name}.data-{position:05d}-of-{len(shards):05d}").write_bytes(data)
