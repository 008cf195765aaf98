"""safetensors files: what `fastlstm.save` writes, and anybody else's.

The format has no checksums. A file by `fastlstm.save` has its own, in the metadata under CHECKSUMS: JSON
{name: CRC32C in hexadecimal}, each of a tensor's type, shape and bytes, and under METADATA that of the architecture.
Source: github.com/huggingface/safetensors, README.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError, WriteError
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.atomic import replacing
from fastlstm.formats.checksum import extend_crc32c
from fastlstm.formats.dtypes import DTYPES, DType, decode
from fastlstm.formats.json_text import parse_object
from fastlstm.formats.source import Source, read_start
from fastlstm.formats.tensors import Tensors, TensorSpec

ARCHITECTURE = "fastlstm"  # the metadata key under which `fastlstm.save` describes the layers
CHECKSUMS = "fastlstm_crc32c"
METADATA = "__metadata__"
NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
DTYPES_BY_NAME = {dtype.name: dtype for dtype in DTYPES.values()}


def detect(path: Path) -> bool:
    """Eight bytes of length, then the JSON object of that length."""
    start = read_start(path, 9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") + 8 <= path.stat().st_size


def read(path: Path) -> Artefact:
    """The tensors, and the architecture if `fastlstm.save` wrote one.

    The library checks the header (its length, that the tensors fill the file without gap or overlap); the elements are
    read here, because for NumPy it has no bfloat16.  Raises FormatError.
    """
    try:
        import safetensors
    except ImportError as error:
        raise FormatError(
            f"{path.name}: the package safetensors, which reads it, is not installed: pip install safetensors"
        ) from error
    try:
        with safetensors.safe_open(path, framework="np"):
            pass
    except (safetensors.SafetensorError, OSError) as error:
        raise FormatError(f"{path.name}: not safetensors: {error}; the file is damaged or truncated") from error
    with Source(path) as source:
        start = 8 + int.from_bytes(source.read(0, 8, "length of the header"), "little")
        header = parse_object(source.read(8, start - 8, "header"), f"{path.name}: header")
    metadata = header.pop(METADATA, None) or {}
    checksums = _checksums(path, header, metadata)
    architecture = None
    if ARCHITECTURE in metadata:
        architecture = parse_object(metadata[ARCHITECTURE], f"{path.name}: metadata {ARCHITECTURE!r}")

    def fetch(name: str) -> NDArray[Any]:
        where = f"{path.name}: tensor {name!r}"
        dtype = _dtype(header[name]["dtype"])
        begin, end = header[name]["data_offsets"]
        with Source(path) as source:
            data = source.read(start + begin, end - begin, where)
        if checksums is not None:
            _check(_of_tensor(header[name], data), checksums[name], where)
        return decode(data, dtype, tuple(header[name]["shape"]), where)

    specs = {name: TensorSpec(tuple(entry["shape"]), _dtype(entry["dtype"]).name) for name, entry in header.items()}
    return Artefact(path, "safetensors", Tensors(specs, fetch), architecture=architecture)


def _dtype(name: str) -> DType:
    return DTYPES_BY_NAME[NAMES[name]] if name in NAMES else DType(name)


def _checksums(path: Path, header: Mapping[str, Any], metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """The checksum of each tensor, that of the architecture being compared here; None in a file of others.

    Raises FormatError.
    """
    if CHECKSUMS not in metadata:
        if ARCHITECTURE in metadata:
            raise FormatError(
                f"{path.name}: written by fastlstm.save, but without its checksums, metadata {CHECKSUMS!r}; the file "
                "is damaged, or an earlier version of fastlstm wrote it: save the model again"
            )
        return None
    checksums = parse_object(metadata[CHECKSUMS], f"{path.name}: metadata {CHECKSUMS!r}")
    architecture = [METADATA] if ARCHITECTURE in metadata else []
    for name in sorted({*header, *architecture} ^ {*checksums}):
        got, expected = ("a checksum", "that is not there") if name in checksums else ("no checksum", "expected one")
        what = f"metadata {ARCHITECTURE!r}" if name == METADATA else f"tensor {name!r}"
        raise FormatError(f"{path.name}: {got} of {what}, {expected}; the file is damaged")
    if architecture:
        checksum = _of_text(metadata[ARCHITECTURE])
        _check(checksum, checksums[METADATA], f"{path.name}: metadata {ARCHITECTURE!r}")
    return checksums


def _of_text(text: str) -> int:
    return extend_crc32c(0, text.encode("utf-8", "surrogatepass"))


def _of_tensor(entry: Mapping[str, Any], data: bytes) -> int:
    """The checksum of a tensor; `entry` is what the header says of it."""
    return extend_crc32c(extend_crc32c(0, f"{entry['dtype']} {entry['shape']}".encode()), data)


def _check(checksum: int, stored: object, where: str) -> None:
    """Raises FormatError unless `stored` is `checksum` in hexadecimal."""
    if stored != f"{checksum:08x}":
        raise FormatError(f"{where}: checksum {checksum:08x}, expected {stored}; the file is damaged")


def write_safetensors(
    path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays of numbers; a file that is already there is replaced at once or not at all.

    Raises WriteError.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import save
    except ImportError as error:
        raise WriteError(
            f"{path}: the package safetensors, which writes it, is not installed: pip install safetensors"
        ) from error
    try:
        data = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WriteError(f"{path}: safetensors cannot hold these arrays: {error}") from error
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        header = _with_checksums(json.loads(data[8:start]), data, start, dict(metadata or {}))
    except FormatError as error:  # the package for it is not installed
        raise WriteError(f"{path}: cannot be written: {error}") from error
    with replacing(path) as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.write(memoryview(data)[start:])


def _with_checksums(tensors: Mapping[str, Any], data: bytes, start: int, metadata: dict[str, str]) -> bytes:
    """The header of a file whose elements are `data` from `start`: equal arguments give equal bytes."""
    checksums = {}
    for name, entry in tensors.items():
        begin, end = entry["data_offsets"]
        checksums[name] = f"{_of_tensor(entry, data[start + begin : start + end]):08x}"
    if ARCHITECTURE in metadata:
        checksums[METADATA] = f"{_of_text(metadata[ARCHITECTURE]):08x}"
    metadata[CHECKSUMS] = json.dumps(checksums)
    text = json.dumps({METADATA: metadata, **tensors}, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)  # the elements begin at a multiple of 8
