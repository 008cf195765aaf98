"""HDF5 files at arm's length: h5py's errors become FormatErrors, and no size is believed before it is checked.

Source: the HDF5 file format specification, h5py.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FastLSTMError, FormatError
from fastlstm.formats.artefact import TensorSpec
from fastlstm.formats.dtypes import DTYPES, byte_count, widen
from fastlstm.formats.hdf5_heap import check_heaps
from fastlstm.formats.source import Source

MAGIC = b"\x89HDF\r\n\x1a\n"
EXPANSION = 64  # a compressed dataset may be that many times the file,
SLACK = 64 << 20  # and this many bytes
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

    def __init__(self, name: str, size: int, make: Callable[[], Path | io.BytesIO]) -> None:
        self.name = name
        self.size = size
        self._make = make

    @classmethod
    def of_path(cls, path: Path) -> Hdf5:
        """Raises FormatError if there is no file, or if it is damaged so that libhdf5 would hang."""
        with Source(path) as source, source.map() as data:
            check_heaps(data, source.name)
            return cls(source.name, source.size, lambda: path)

    @classmethod
    def of_bytes(cls, data: bytes, name: str) -> Hdf5:
        """Raises FormatError if the data are damaged so that libhdf5 would hang."""
        check_heaps(data, name)
        return cls(name, len(data), lambda: io.BytesIO(data))

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
            with h5py.File(self._make(), "r") as file:
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
        if h5py.check_string_dtype(stored.dtype) is None or count * stored.dtype.itemsize > self.size:
            raise FormatError(f"{where}: {count} elements of type {stored.dtype}, expected text; the file is damaged")
        values = np.ravel(np.asarray(holder.attrs[name], object))
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values]

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
        elif max(size, math.prod(dataset.chunks) * dataset.dtype.itemsize) > EXPANSION * self.size + SLACK:
            raise FormatError(f"{where}: {dataset.shape} does not fit a file of {self.size} bytes; the file is damaged")
        return TensorSpec(dataset.shape, "bfloat16" if dataset.dtype == "V2" else dataset.dtype.name)

    def fetch(self, path: str) -> NDArray[Any]:
        """The elements of the dataset at `path`.  Raises FormatError."""
        with self.open() as file:
            dataset = self.child(file, path)
            spec = self.spec(dataset)
            data = dataset[()]
        if spec.dtype == "bfloat16":  # NumPy has no such type, h5py gives two opaque bytes
            return widen(np.frombuffer(data.tobytes(), "<u2").astype(np.uint16), BFLOAT16).reshape(spec.shape)
        return np.asarray(data, data.dtype.newbyteorder("="))
