"""V2 checkpoints: TensorFlow's tensor bundle, an index of names beside shards of raw bytes.

`<prefix>.index` is a table of BundleEntryProto by name; `<prefix>.data-00000-of-00002` ... hold the elements.
Source: tensorflow/core/util/tensor_bundle/tensor_bundle.cc, naming.cc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError, MissingFileError
from fastlstm.formats import proto
from fastlstm.formats.checksum import check_crc32c, extend_crc32c
from fastlstm.formats.dtypes import DType, byte_count, decode, dtype_of, item_size, shape_of
from fastlstm.formats.ordered_code import slice_key
from fastlstm.formats.slices import Extents, assemble, boxes_of, extents_of, shape_in
from fastlstm.formats.source import Source, is_file
from fastlstm.formats.sstable import read_table
from fastlstm.formats.tensors import Tensors, TensorSpec
from fastlstm.formats.varint import read_varint

VERSION = 1  # kTensorBundleVersion
SLICE = b"\0"  # the keys of slices start so, those of tensors never do


class Entry(NamedTuple):
    """Where a tensor, or a slice of one, lies.

    slices  of a partitioned tensor, which then has no bytes of its own
    """

    dtype: DType
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc32c: int
    slices: tuple[Extents, ...]


def read_bundle(*prefixes: Path) -> Tensors:
    """The tensors of the bundle `<prefix>.index`, or of several that were to be merged; strings are arrays of bytes.

    Raises MissingFileError if one of the files is not there, FormatError if an index is damaged, or two bundles hold
    the same tensor.  Source of the merging: tensor_bundle.cc, MergeOneBundle.
    """
    entries: dict[bytes, Entry] = {}
    shards: list[tuple[Path, int]] = []
    total, orders = 0, set()
    for prefix in prefixes:
        index = prefix.with_name(f"{prefix.name}.index")
        with Source(index) as source:
            table = read_table(source)
            key, value = next(table, (None, b""))
            if key != b"":
                raise FormatError(
                    f"{index.name}: first key {key!r}, expected the empty key of a header; the file is damaged"
                )
            count, big_endian = _read_header(value, index.name)
            orders.add(big_endian)
            for key, value in table:
                where = f"{index.name}: entry {key!r}"
                entry = _read_entry(value, count, where)
                entry = entry._replace(shard=entry.shard + total)
                entries[key] = _merged(entries[key], entry, where) if key in entries else entry
        shards.append((prefix, count))
        total += count
    if len(orders) > 1:
        raise FormatError(f"{prefixes[0]}: its parts were written on machines of different byte orders")
    bundle = Bundle(f"{prefixes[0].name}.index", entries, shards, *orders)
    bundle.check_shards()
    names = {proto.text(key, f"{bundle.index}: key"): key for key in entries if not key.startswith(SLICE)}
    specs = {name: TensorSpec(entries[key].shape, entries[key].dtype.name) for name, key in names.items()}
    return Tensors(specs, bundle.fetch)


def _merged(before: Entry, entry: Entry, where: str) -> Entry:
    """What two bundles say of one tensor: the slices that each has."""
    if not before.slices or not entry.slices or before[:2] != entry[:2]:
        raise FormatError(f"{where}: is in another part too; the parts are not of one checkpoint")
    return before._replace(slices=before.slices + entry.slices)


def _read_header(value: bytes, index: str) -> tuple[int, bool]:
    """BundleHeaderProto -> number of shards, whether the data are big endian."""
    header = proto.parse("BundleHeaderProto", value, f"{index}: header")
    if header.version.min_consumer > VERSION or VERSION in header.version.bad_consumers:
        raise FormatError(
            f"{index}: needs a reader of version {header.version.min_consumer}, this one has version {VERSION}; "
            "load it with the TensorFlow that wrote it and save it in today's format"
        )
    if header.num_shards < 1 or header.endianness not in (0, 1):
        raise FormatError(
            f"{index}: header with {header.num_shards} shards and byte order {header.endianness}, expected one shard "
            "or more, and 0 or 1; the file is damaged"
        )
    return header.num_shards, header.endianness == 1


def _read_entry(value: bytes, shards: int, where: str) -> Entry:
    """BundleEntryProto -> Entry, all of whose numbers make sense by themselves."""
    entry = proto.parse("BundleEntryProto", value, where)
    shape = shape_of(entry.shape, where)
    byte_count(shape, 1, where)
    if entry.offset < 0 or entry.size < 0 or not 0 <= entry.shard_id < shards:
        raise FormatError(
            f"{where}: {entry.size} bytes at byte {entry.offset} of shard {entry.shard_id}, expected numbers >= 0 and "
            f"a shard below {shards}; the file is damaged"
        )
    slices = tuple(map(extents_of, entry.slices))
    return Entry(dtype_of(entry.dtype), shape, entry.shard_id, entry.offset, entry.size, entry.crc32c, slices)


@dataclass(frozen=True)
class Bundle:
    """The entries of an index, by key, and the shards they point into."""

    index: str  # what the messages call the index
    entries: dict[bytes, Entry]
    shards: list[tuple[Path, int]]  # prefix, number of its shards
    big_endian: bool

    def shard(self, number: int) -> Path:
        k = 0
        while number >= self.shards[k][1]:
            number -= self.shards[k][1]
            k += 1
        prefix, count = self.shards[k]
        return prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{count:05d}")

    def check_shards(self) -> None:
        """Raises MissingFileError if a shard is not there, FormatError if two tensors claim the same bytes."""
        places = sorted((entry.shard, entry.offset, entry.size) for entry in self.entries.values() if not entry.slices)
        for number in sorted({place[0] for place in places}):
            if not is_file(self.shard(number)):
                raise MissingFileError(
                    f"{self.shard(number)}: no such file, but {self.index} says that it holds tensors; "
                    "put all files of the checkpoint in one folder, without renaming them"
                )
        end = (0, 0)
        for number, offset, size in places:
            if size and (number, offset) < end:
                raise FormatError(f"{self.index}: two tensors at byte {offset} of shard {number}; the file is damaged")
            end = max(end, (number, offset + size))

    def fetch(self, name: str) -> NDArray[Any]:
        """Read, check and decode a tensor.  Raises FormatError."""
        entry = self.entries[name.encode()]
        where = f"tensor {name!r}"
        if entry.slices:
            return self._assemble(name, entry, where)
        return self._read(entry, where)

    def _read(self, entry: Entry, where: str) -> NDArray[Any]:
        """The array of an entry without slices."""
        path = self.shard(entry.shard)
        where = f"{path.name}: {where}"
        strings = entry.dtype.name == "string"
        expected = math.prod(entry.shape) if strings else byte_count(entry.shape, item_size(entry.dtype, where), where)
        if entry.size < expected if strings else entry.size != expected:
            raise FormatError(
                f"{where}: {entry.size} bytes, expected {'at least ' * strings}{expected} for {entry.dtype.name} "
                f"{entry.shape}; {self.index} is damaged"
            )
        with Source(path) as source:
            data = source.read_array(entry.offset, entry.size, where)
        if strings:
            return _decode_strings(data.tobytes(), entry, self.big_endian, f"{where} at byte {entry.offset}")
        check_crc32c(extend_crc32c(0, data), entry.crc32c, f"{where} at byte {entry.offset}")
        return decode(data, entry.dtype, entry.shape, where, self.big_endian)

    def _assemble(self, name: str, entry: Entry, where: str) -> NDArray[Any]:
        """The array of a partitioned tensor, whose slices must cover it once."""
        where = f"{self.index}: {where}"
        boxes = boxes_of(entry.slices, entry.shape, where)
        parts = []
        for extents, box in zip(entry.slices, boxes, strict=True):
            part = self.entries.get(slice_key(name.encode(), extents))
            shape = shape_in(box)
            if part is None or part.slices or part.dtype != entry.dtype or part.shape != shape:
                got = "is not there" if part is None else f"is {part.dtype.name} {part.shape}"
                raise FormatError(
                    f"{where}: slice {list(box)} {got}, expected {entry.dtype.name} {shape}; "
                    "the checkpoint is incomplete or damaged"
                )
            parts.append(self._read(part, f"{where}, slice {list(box)}"))
        return assemble(boxes, parts, entry.shape, where)


def _decode_strings(data: bytes, entry: Entry, big_endian: bool, where: str) -> NDArray[Any]:
    """Varint lengths, a masked checksum of the lengths as integers, the strings -> object array of bytes.

    The entry's checksum covers the lengths as integers, the four bytes of their checksum and the strings.
    Source: tensor_bundle.cc, ReadStringTensor.
    """
    order = "big" if big_endian else "little"
    result = np.empty(entry.shape, object)
    if not data and not result.size:
        return result
    lengths = []
    at = checksum = 0
    for _ in range(result.size):
        length, at = read_varint(data, at, len(data), where)
        checksum = extend_crc32c(checksum, length.to_bytes(4 if length < 1 << 32 else 8, order))
        lengths.append(length)
    stored = data[at : at + 4]
    at += 4
    if at + sum(lengths) != len(data):
        raise FormatError(f"{where}: strings of {sum(lengths)} bytes at {at} of {len(data)}; the file is damaged")
    check_crc32c(checksum, int.from_bytes(stored, order), f"{where}: lengths of the strings")
    check_crc32c(extend_crc32c(checksum, data[at - 4 :]), entry.crc32c, where)
    strings = []
    for length in lengths:
        strings.append(data[at : at + length])
        at += length
    result.ravel()[:] = strings
    return result
