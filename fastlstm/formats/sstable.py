"""LevelDB's sorted table: blocks of prefix-compressed entries, an index of blocks, a footer.

A V2 checkpoint's `.index` and a V1 checkpoint are such tables.
Source: tensorflow/core/lib/io/{format,block,table,table_builder}.cc.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastlstm.errors import FormatError
from fastlstm.formats.checksum import check_crc32c, extend_crc32c
from fastlstm.formats.snappy import decompress
from fastlstm.formats.source import Source
from fastlstm.formats.varint import read_varint

MAGIC = bytes.fromhex("57fb808b247547db")  # the last bytes of a table
FOOTER = 48  # two block handles padded to 40 bytes, then the magic
TRAILER = 5  # after each block: its type, its masked CRC32C
KEY_GROWTH = 64  # all keys together are at most this many times the file: shared prefixes must not exhaust memory


def read_table(source: Source) -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) pairs of a table, in ascending order of keys, one block in memory at a time.

    Raises FormatError, which names the file and the byte, for whatever is not a table.
    """
    if source.size < FOOTER:
        raise FormatError(
            f"{source.name}: {source.size} bytes, expected the {FOOTER}-byte footer of a table at least; "
            "the file is truncated"
        )
    start = source.size - FOOTER
    footer = source.read(start, FOOTER, "the footer")
    where = f"{source.name}: footer at byte {start}"
    if footer[-len(MAGIC) :] != MAGIC:
        raise FormatError(
            f"{where}: ends in {footer[-len(MAGIC) :].hex(' ')}, expected {MAGIC.hex(' ')}; "
            "the file is damaged, truncated, or not a TensorFlow table"
        )
    _, _, at = _read_handle(footer, 0, where)
    offset, size, _ = _read_handle(footer, at, where)

    previous: bytes | None = None
    expected = 0  # blocks lie one behind the other, so each is read once
    budget = KEY_GROWTH * source.size
    for _, value in _read_block(source, offset, size):
        offset, size, _ = _read_handle(value, 0, f"{source.name}: index block")
        where = f"{source.name}: block at byte {offset}"
        if offset < expected:
            raise FormatError(f"{where}: the block before it ends at byte {expected}; the file is damaged")
        expected = offset + size + TRAILER
        for key, entry in _read_block(source, offset, size):
            if previous is not None and key <= previous:
                raise FormatError(
                    f"{where}: key {key!r} follows {previous!r}, expected ascending keys; the file is damaged"
                )
            budget -= len(key)
            if budget < 0:
                raise FormatError(f"{where}: keys of more than {KEY_GROWTH} times the file's size; the file is damaged")
            yield key, entry
            previous = key


def _read_handle(data: bytes, at: int, where: str) -> tuple[int, int, int]:
    """A block handle -> offset, size without trailer, position after the handle."""
    offset, at = read_varint(data, at, len(data), where)
    size, at = read_varint(data, at, len(data), where)
    return offset, size, at


def _read_block(source: Source, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Check a block, expand it, and yield its entries.

    An entry is varint32 shared, unshared, value size; then the key's bytes after the `shared` first ones of the key
    before it; then the value.  Behind the entries come the restart offsets, which reading in order does not need.
    """
    where = f"{source.name}: block at byte {offset}"
    data = source.read(offset, size + TRAILER, f"block at byte {offset}")
    contents, kind = data[:size], data[size]
    check_crc32c(extend_crc32c(0, data[: size + 1]), int.from_bytes(data[size + 1 :], "little"), where)
    if kind == 1:
        contents = decompress(contents, where)
    elif kind != 0:
        raise FormatError(f"{where}: compression {kind}, expected 0 (none) or 1 (Snappy)")

    end = len(contents) - 4
    restarts = int.from_bytes(contents[max(end, 0) :], "little")
    end -= 4 * restarts
    if end < 0:
        raise FormatError(f"{where}: {len(contents)} bytes cannot hold {restarts} restart offsets; the file is damaged")
    at = 0
    key = b""
    while at < end:
        entry = at
        shared, at = read_varint(contents, at, end, where, bits=32)
        unshared, at = read_varint(contents, at, end, where, bits=32)
        length, at = read_varint(contents, at, end, where, bits=32)
        if shared > len(key) or unshared + length > end - at:
            raise FormatError(
                f"{where}: entry at byte {entry} shares {shared} of {len(key)} key bytes and has {unshared} + {length} "
                f"of its own, {end - at} are left; the file is damaged"
            )
        key = key[:shared] + contents[at : at + unshared]
        at += unshared
        yield key, contents[at : at + length]
        at += length
