"""V1 checkpoints: one table, or several as shards, each with the names and slices that it holds and their numbers.

The key "" holds SavedTensorSlices.meta; every other key is that of a slice and holds SavedTensorSlices.data.
Source: tensorflow/core/util/{tensor_slice_reader.cc, tensor_slice_set.cc, saved_tensor_slice.proto}.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError
from fastlstm.formats import proto
from fastlstm.formats.dtypes import DType, byte_count, dtype_of, item_size, shape_of, values_of, widen
from fastlstm.formats.ordered_code import slice_key
from fastlstm.formats.slices import Extents, assemble, boxes_of, extents_of, shape_in
from fastlstm.formats.source import Source
from fastlstm.formats.sstable import ENTRY, Block, Table, memory_for
from fastlstm.formats.tensors import Tensors, TensorSpec
from fastlstm.formats.wire import DELIMITED, Field, fields, parts, read_varints

VERSION = 1  # TF_CHECKPOINT_VERSION
MAX_UNPACKED = 1 << 22  # bytes of numbers written one by one, which no TensorFlow does
MAX_EXPANDED = 1 << 25  # bytes of compressed blocks, which no TensorFlow writes
META, DATA, SAVED_SLICE_DATA = 1, 2, 3  # field numbers: of SavedTensorSlices, of SavedSlice
_VALUES = {kind.split()[1]: (number, kind.split("*")[0]) for number, kind in proto.MESSAGES["TensorProto"].items()}
PACKED_AS_THEY_ARE = {"float", "double"}  # little endian, one behind the other


class Variable(NamedTuple):
    """slices  the extents of each, and the shard that has it"""

    dtype: DType
    shape: tuple[int, ...]
    slices: list[tuple[Extents, int]]


def read_v1(paths: Sequence[Path]) -> Tensors:
    """The tensors of a V1 checkpoint, whose shards are `paths`; strings are object arrays of bytes.

    Raises FormatError if the names in a shard are damaged; what else is damaged is reported when it is read.
    """
    variables: dict[str, Variable] = {}
    shards = [Shard(path, number, variables) for number, path in enumerate(paths)]
    for number, shard in enumerate(shards):
        own = (slice_key(n.encode(), e) for n, v in variables.items() for e, k in v.slices if k == number)
        shard.find_blocks(own)

    def fetch(name: str) -> NDArray[Any]:
        dtype, shape, slices = variables[name]
        where = f"{paths[0].name}: tensor {name!r}"
        boxes = boxes_of([extents for extents, _ in slices], shape, where)
        pieces = [
            shards[number].read(name, extents, dtype, shape_in(box))
            for (extents, number), box in zip(slices, boxes, strict=True)
        ]
        return assemble(boxes, pieces, shape, where)

    return Tensors({name: TensorSpec(v.shape, v.dtype.name) for name, v in variables.items()}, fetch)


class Shard:
    """One file.  A block is checked when it is first read, and never read again whole."""

    def __init__(self, path: Path, number: int, variables: dict[str, Variable]) -> None:
        """Adds what the file says it holds to `variables`."""
        self.path = path
        self.number = number
        self._blocks: dict[bytes, Block] = {}  # key of a slice -> where it is
        self._places: dict[bytes, tuple[int, int]] = {}  # of those in blocks that were checked: bytes of the file
        self._checked: set[int] = set()  # offsets of blocks
        self._expanded: dict[int, bytes] = {}  # contents of compressed ones
        with Source(path) as source:
            table = Table(source)
            first = next(table.blocks(), None)
            contents = table.read(first)[0] if first else b""
            entry = next(table.entries(first, contents), None) if first else None
            if entry is None or entry.key != b"":
                raise FormatError(f"{path.name}: no empty key at its start; the file is damaged, or no V1 checkpoint")
            self._budget = memory_for(source)
            self._read_meta(contents, entry.start, entry.stop, variables)

    def _read_meta(self, data: bytes, start: int, stop: int, variables: dict[str, Variable]) -> None:
        where = f"{self.path.name}: list of tensors"
        metas = parts(data, Field(0, DELIMITED, start, stop), META, where)
        if not metas:
            raise FormatError(
                f"{where}: is not there; the file is damaged, or the index of a V2 checkpoint, whose name must be "
                f"<prefix>.index"
            )
        for field in (f for meta in metas for f in fields(data, meta.start, meta.stop, where)):
            if field.number == 1 and field.wire == DELIMITED:
                self._add(proto.parse("SavedSliceMeta", data[field.start : field.stop], where), variables)
            elif field.number == 2 and field.wire == DELIMITED:
                version = proto.parse("VersionDef", data[field.start : field.stop], where)
                if version.min_consumer > VERSION or VERSION in version.bad_consumers:
                    raise FormatError(
                        f"{where}: needs a reader of version {version.min_consumer}, this one has version {VERSION}; "
                        "load it with the TensorFlow that wrote it and save it in today's format"
                    )

    def _add(self, meta: Any, variables: dict[str, Variable]) -> None:
        """A tensor may be in several shards, with the same shape and type, in slices that do not overlap."""
        where = f"{self.path.name}: list of tensors"
        name = proto.text(meta.name, where)
        where = f"{where}: {name!r}"
        shape, dtype = shape_of(meta.shape, where), dtype_of(meta.type)
        byte_count(shape, 1, where)
        self._budget -= (ENTRY + len(meta.name)) * (1 + len(meta.slice))
        if self._budget < 0:
            raise FormatError(f"{where}: more tensors than a file of this size has; the file is damaged")
        for part in meta.slice:  # a tensor without any is not in this shard
            known = variables.setdefault(name, Variable(dtype, shape, []))
            if (known.dtype, known.shape) != (dtype, shape):
                raise FormatError(
                    f"{where}: {dtype.name} {shape}, and {known.dtype.name} {known.shape} before; the shards are of "
                    "different checkpoints, or the file is damaged"
                )
            known.slices.append((extents_of(part), self.number))

    def find_blocks(self, keys: Iterable[bytes]) -> None:
        """Note which block each key is in.  Raises FormatError if the index is damaged."""
        wanted = sorted(keys, reverse=True)
        with Source(self.path) as source:
            for block in Table(source).blocks():
                while wanted and wanted[-1] <= block.last:
                    self._blocks[wanted.pop()] = block

    def read(self, name: str, extents: Extents, dtype: DType, shape: tuple[int, ...]) -> NDArray[Any]:
        """A slice of `shape`.  Raises FormatError."""
        where = f"{self.path.name}: tensor {name!r}"
        key = slice_key(name.encode(), extents)
        with Source(self.path) as source:
            data, start, stop = self._value(source, key)
        if data is None:
            raise FormatError(f"{where}: slice {extents} is not there; the checkpoint is incomplete or damaged")
        return _numbers(data, Field(0, DELIMITED, start, stop), dtype, shape, where)

    def _value(self, source: Source, key: bytes) -> tuple[bytes | None, int, int]:
        """Bytes, and where among them the value of `key` is; None where the file does not have it."""
        block = self._blocks.get(key)
        if block is None:
            return None, 0, 0
        if block.offset not in self._checked:
            contents = self._check(Table(source), block)
        else:
            contents = self._expanded.get(block.offset)
        if key not in self._places:
            return None, 0, 0
        start, stop = self._places[key]
        if contents is not None:
            return contents, start, stop
        return source.read(block.offset + start, stop - start, f"block at byte {block.offset}"), 0, stop - start

    def _check(self, table: Table, block: Block) -> bytes:
        """Read a block whole, and note where the values of its slices are."""
        contents, plain = table.read(block)
        for key, start, stop in table.entries(block, contents):
            if self._blocks.get(key) == block:
                if key in self._places:
                    raise FormatError(f"{table.where(block)}: key {key!r} is there twice; the file is damaged")
                self._places[key] = start, stop
        if not plain:
            self._expanded[block.offset] = contents
            if sum(map(len, self._expanded.values())) > MAX_EXPANDED:
                raise FormatError(
                    f"{table.where(block)}: more than {MAX_EXPANDED} bytes are compressed, which TensorFlow never does "
                    "with numbers; save the checkpoint again with tf.compat.v1.train.Saver()"
                )
        self._checked.add(block.offset)
        return contents


def _numbers(data: bytes, whole: Field, dtype: DType, shape: tuple[int, ...], where: str) -> NDArray[Any]:
    """The elements in a SavedTensorSlices, which are as many as `shape` has: no list is short, none is repeated.

    The TensorProto in it tells neither type nor shape, and may be in pieces, which protobuf would join.
    """
    slices = [part for saved in parts(data, whole, DATA, where) for part in parts(data, saved, SAVED_SLICE_DATA, where)]
    if not dtype.values:
        item_size(dtype, where)
    number, kind = _VALUES[dtype.values]
    found = (f for part in slices for f in fields(data, part.start, part.stop, where) if f.number == number)
    count = math.prod(shape)
    if dtype.name == "string":
        return _strings(data, found, count, where).reshape(shape)
    pieces = []
    for field in found:
        if field.wire != DELIMITED:
            values = _one_by_one(data, slices, dtype, where)
            if len(values) != count:
                raise _miscounted(where, len(values), count)
            return values.reshape(shape)
        pieces.append(field)
    if len(pieces) != 1:
        data = b"".join([data[piece.start : piece.stop] for piece in pieces])
        pieces = [Field(number, DELIMITED, 0, len(data))]
    (piece,) = pieces
    if kind in PACKED_AS_THEY_ARE:
        item = item_size(dtype, where)
        if piece.stop - piece.start != count * item:
            raise _miscounted(where, (piece.stop - piece.start) / item, count)
        stored = np.frombuffer(data, np.dtype(dtype.storage).newbyteorder("<"), count, piece.start)
        return stored.astype(dtype.storage).reshape(shape)
    if dtype.name == "float16":
        return read_varints(data, piece, count, np.uint16, where).view(np.float16).reshape(shape)
    return widen(read_varints(data, piece, count, np.dtype(dtype.storage), where), dtype).reshape(shape)


def _strings(data: bytes, found: Iterator[Field], count: int, where: str) -> NDArray[Any]:
    strings = [data[f.start : f.stop] for f in islice(found, count + 1) if f.wire == DELIMITED]
    if len(strings) != count:
        raise _miscounted(where, len(strings), count)
    result = np.empty(count, object)
    result[:] = strings
    return result


def _one_by_one(data: bytes, slices: Sequence[Field], dtype: DType, where: str) -> NDArray[Any]:
    """Elements of which some have a key of their own, as protobuf allows."""
    if sum(part.stop - part.start for part in slices) > MAX_UNPACKED:
        raise FormatError(
            f"{where}: its numbers are not packed, which no TensorFlow writes, and they are too many; "
            "save the checkpoint again with TensorFlow"
        )
    joined = b"".join([data[part.start : part.stop] for part in slices])
    return values_of(proto.parse("TensorProto", joined, where), dtype, where)


def _miscounted(where: str, got: float, expected: int) -> FormatError:
    return FormatError(f"{where}: {got:g} elements, expected {expected}; the file is damaged")
