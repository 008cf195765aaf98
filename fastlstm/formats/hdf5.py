"""HDF5 files at arm's length: h5py's errors become FormatErrors, and no size is believed before it is checked.

Source: the HDF5 file format specification, h5py.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FastLSTMError, FormatError
from fastlstm.formats.dtypes import DTYPES, byte_count, widen
from fastlstm.formats.hdf5_text import Strings
from fastlstm.formats.source import Source
from fastlstm.formats.tensors import TensorSpec

MAGIC = b"\x89HDF\r\n\x1a\n"
EXPANSION = 2  # all datasets together may be that many times the file, if they are compressed,
SLACK = 24 << 20  # and this many bytes
BFLOAT16 = DTYPES[14]
DAMAGE = (  # what h5py has been seen to raise for damaged files
    OSError,
    LookupError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    SystemError,
)


class Hdf5:
    """An HDF5 file on disk or in memory.

    name  what the messages call it
    """

    def __init__(self, name: str, size: int, place: Path | bytes) -> None:
        self.name = name
        self.size = size
        self._place = place

    @classmethod
    def of_path(cls, path: Path) -> Hdf5:
        """Raises FormatError if there is no file."""
        with Source(path) as source:
            return cls(source.name, source.size, path)

    @classmethod
    def of_bytes(cls, data: bytes, name: str) -> Hdf5:
        return cls(name, len(data), data)

    @contextmanager
    def open(self) -> Iterator[Any]:
        """An h5py.File, open for reading.  Raises FormatError for whatever h5py raises inside the block."""
        try:
            import h5py
        except ImportError as error:
            raise FormatError(
                f"{self.name}: the package h5py, which reads it, is not installed: pip install h5py"
            ) from error
        try:
            with h5py.File(io.BytesIO(self._place) if isinstance(self._place, bytes) else self._place, "r") as file:
                yield file
        except FastLSTMError:
            raise
        except DAMAGE as error:
            raise FormatError(f"{self.name}: HDF5 cannot read it: {error}; the file is damaged or truncated") from error

    def child(self, group: Any, path: str) -> Any:
        """The object at `path` below `group`, each step of which is a plain link.  Raises FormatError."""
        import h5py

        for name in path.split("/"):
            if not isinstance(group, h5py.Group) or name not in group:
                raise FormatError(f"{self.name}: no {path!r} in {group.name!r}; the file is damaged or incomplete")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise FormatError(
                    f"{self.name}: {name!r} in {group.name!r} is a link to elsewhere, which is not followed"
                )
            group = group[name]
        return group

    def text(self, holder: Any, name: str) -> str | None:
        """The value of a string attribute, None if there is none.  Raises FormatError."""
        values = self._strings(holder, name)
        if values is not None and len(values) != 1:
            raise FormatError(
                f"{self.name}: attribute {name!r} of {holder.name!r} has {len(values)} strings, expected one"
            )
        return values[0] if values else None

    def texts(self, holder: Any, name: str) -> list[str] | None:
        """The values of a string array attribute, which Keras splits into name0, name1 ... when it is long.

        None if there is no such attribute.  Raises FormatError.
        """
        values = self._strings(holder, name)
        if values is not None:
            return values
        chunks: list[str] = []
        for number in itertools.count():
            values = self._strings(holder, f"{name}{number}")
            if values is None:
                return chunks if number else None
            chunks += values

    def _strings(self, holder: Any, name: str) -> list[str] | None:
        """The elements of an attribute; an empty one may be of any type, for Keras writes floats then."""
        import h5py

        if name not in holder.attrs:
            return None
        stored = holder.attrs.get_id(name)
        where = f"{self.name}: attribute {name!r} of {holder.name!r}"
        count = 0 if stored.shape is None else math.prod(stored.shape)
        if not count:
            return []
        kind = h5py.check_string_dtype(stored.dtype)
        if kind is None or count * stored.dtype.itemsize > self.size:
            raise FormatError(f"{where}: {count} elements of type {stored.dtype}, expected text; the file is damaged")
        if kind.length is None:
            values = self._strings_in_heap(holder, name, count)
        else:
            values = np.ravel(np.asarray(holder.attrs[name], object)).tolist()
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values]

    def _strings_in_heap(self, holder: Any, name: str, count: int) -> list[bytes]:
        """The elements of an attribute of variable length, which libhdf5 is not asked for."""
        import h5py

        header, place = h5py.h5o.get_info(holder.id).addr, self._place
        if isinstance(place, bytes):
            return Strings(self.name, self.size, lambda at, n: place[at : at + n]).attribute(header, name, count)
        with Source(place) as source:
            strings = Strings(self.name, source.size, lambda at, n: source.read(at, n, "text"))
            return strings.attribute(header, name, count)

    def spec(self, dataset: Any) -> TensorSpec:
        """What a dataset holds.  Raises FormatError unless it can be read as numbers from this file alone."""
        import h5py

        if not isinstance(dataset, h5py.Dataset):
            raise FormatError(f"{self.name}: {dataset.name!r} is not a dataset; the file is damaged")
        where = f"{self.name}: dataset {dataset.name!r}"
        if dataset.is_virtual or dataset.external:
            raise FormatError(
                f"{where}: its data are in another file, which is not followed; save the model in one file"
            )
        if dataset.shape is None or not (dataset.dtype.kind in "fiubc" or dataset.dtype == "V2"):
            raise FormatError(f"{where}: elements of type {dataset.dtype}, expected numbers")
        size = byte_count(dataset.shape, dataset.dtype.itemsize, where)
        if dataset.chunks is None:
            if dataset.id.get_storage_size() != size or size > self.size:
                raise FormatError(
                    f"{where}: {dataset.id.get_storage_size()} bytes, expected {size} for {dataset.dtype} "
                    f"{dataset.shape} in a file of {self.size}; the file is damaged or truncated"
                )
        elif max(size, math.prod(dataset.chunks) * dataset.dtype.itemsize) > self.limit:
            raise FormatError(
                f"{where}: {dataset.shape} does not fit a file of {self.size} bytes; the file is damaged, or too well "
                "compressed: save the model without compression"
            )
        return TensorSpec(dataset.shape, "bfloat16" if dataset.dtype == "V2" else dataset.dtype.name)

    @property
    def limit(self) -> int:
        """Bytes that compressed datasets may have."""
        return EXPANSION * self.size + SLACK

    def check_total(self, specs: Iterable[TensorSpec]) -> None:
        """Raises FormatError if the tensors together are larger than the file can be: one may be linked many times."""
        items = ((4 if spec.dtype == "bfloat16" else np.dtype(spec.dtype).itemsize, spec.shape) for spec in specs)
        total = sum(item * math.prod(shape) for item, shape in items)
        if total > self.limit:
            raise FormatError(
                f"{self.name}: tensors of {total} bytes in a file of {self.size}, expected at most {self.limit}; the "
                "file is damaged, or too well compressed: save the model without compression"
            )

    def fetch(self, path: str) -> NDArray[Any]:
        """The elements of the dataset at `path`.  Raises FormatError."""
        with self.open() as file:
            dataset = self.child(file, path)
            spec = self.spec(dataset)
            data = dataset[()]
        if spec.dtype == "bfloat16":  # NumPy has no such type, h5py gives two opaque bytes
            return widen(np.frombuffer(data.tobytes(), "<u2").astype(np.uint16), BFLOAT16).reshape(spec.shape)
        return np.asarray(data, data.dtype.newbyteorder("="))
