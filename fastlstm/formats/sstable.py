"""LevelDB's sorted table: blocks of prefix-compressed entries, an index of blocks, a footer.

A V2 checkpoint's `.index` and a V1 checkpoint are such tables.
Source: tensorflow/core/lib/io/{format,block,table,table_builder}.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fastlstm.errors import FormatError
from fastlstm.formats.checksum import check_crc32c, extend_crc32c
from fastlstm.formats.snappy import decompress
from fastlstm.formats.source import Source
from fastlstm.formats.varint import read_varint

MAGIC = bytes.fromhex("57fb808b247547db")  # the last bytes of a table
FOOTER = 48  # two block handles padded to 40 bytes, then the magic
TRAILER = 5  # after each block: its type, its masked CRC32C
ENTRY = 600  # bytes that an entry takes beside its key when it is read


class Block(NamedTuple):
    """A block before it is read.

    last          a key that no key in it is above, and that all keys in the next block are above
    offset, size  its contents in the file, without the trailer
    """

    last: bytes
    offset: int
    size: int


class Entry(NamedTuple):
    """A key, and where its value lies in a block's contents."""

    key: bytes
    start: int
    stop: int


class Table:
    """A table's footer and index, read and checked; `source` must stay open.

    Raises FormatError, which names the file and the byte, for whatever is not a table.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
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
        self._index = Block(b"", offset, size)
        self._contents, _ = self.read(self._index)

    def where(self, block: Block) -> str:
        return f"{self.source.name}: block at byte {block.offset}"

    def blocks(self) -> Iterator[Block]:
        """The blocks of data, which lie one behind the other, so that each is read once."""
        expected = 0
        for key, start, stop in self.entries(self._index, self._contents):
            offset, size, _ = _read_handle(self._contents[start:stop], 0, f"{self.source.name}: index block")
            block = Block(key, offset, size)
            if offset < expected:
                raise FormatError(
                    f"{self.where(block)}: the block before it ends at byte {expected}; the file is damaged"
                )
            expected = offset + size + TRAILER
            yield block

    def read(self, block: Block) -> tuple[bytes, bool]:
        """Check a block -> its contents, and whether the file holds them as they are, or compressed."""
        where, what = self.where(block), f"block at byte {block.offset}"
        self.source.check(block.offset, block.size + TRAILER, what)
        contents = self.source.read(block.offset, block.size, what)
        trailer = self.source.read(block.offset + block.size, TRAILER, what)
        checksum = extend_crc32c(extend_crc32c(0, contents), trailer[:1])
        check_crc32c(checksum, int.from_bytes(trailer[1:], "little"), where)
        if trailer[0] not in (0, 1):
            raise FormatError(f"{where}: compression {trailer[0]}, expected 0 (none) or 1 (Snappy)")
        return (decompress(contents, where), False) if trailer[0] else (contents, True)

    def entries(self, block: Block, contents: bytes) -> Iterator[Entry]:
        """The entries in a block's contents.

        An entry is varint32 shared, unshared, value size; then the key's bytes after the `shared` first ones of the key
        before it; then the value.  Behind the entries come the restart offsets, which reading in order does not need.
        """
        where = self.where(block)
        end = len(contents) - 4
        restarts = int.from_bytes(contents[max(end, 0) :], "little")
        end -= 4 * restarts
        if end < 0:
            raise FormatError(
                f"{where}: {len(contents)} bytes cannot hold {restarts} restart offsets; the file is damaged"
            )
        at = 0
        key = b""
        while at < end:
            entry = at
            shared, at = read_varint(contents, at, end, where, bits=32)
            unshared, at = read_varint(contents, at, end, where, bits=32)
            length, at = read_varint(contents, at, end, where, bits=32)
            if shared > len(key) or unshared + length > end - at:
                raise FormatError(
                    f"{where}: entry at byte {entry} shares {shared} of {len(key)} key bytes and has {unshared} + "
                    f"{length} of its own, {end - at} are left; the file is damaged"
                )
            key = key[:shared] + contents[at : at + unshared]
            at += unshared
            yield Entry(key, at, at + length)
            at += length


def read_table(source: Source) -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) pairs of a table, in ascending order of keys, one block in memory at a time.

    Raises FormatError as `Table` does.
    """
    table = Table(source)
    previous: bytes | None = None
    budget = memory_for(source)
    for block in table.blocks():
        contents, _ = table.read(block)
        for key, start, stop in table.entries(block, contents):
            where = table.where(block)
            if previous is not None and key <= previous:
                raise FormatError(
                    f"{where}: key {key!r} follows {previous!r}, expected ascending keys; the file is damaged"
                )
            budget -= len(key) + ENTRY
            if budget < 0:
                raise FormatError(
                    f"{where}: more keys, or longer ones, than a file of {source.size} bytes has; the file is damaged"
                )
            yield key, contents[start:stop]
            previous = key


def memory_for(source: Source) -> int:
    """Bytes that a file's names may take: a small file could have many, or long ones that share their beginning."""
    return 4 * source.size + (48 << 20)


def _read_handle(data: bytes, at: int, where: str) -> tuple[int, int, int]:
    """A block handle -> offset, size without trailer, position after the handle."""
    offset, at = read_varint(data, at, len(data), where)
    size, at = read_varint(data, at, len(data), where)
    return offset, size, at
