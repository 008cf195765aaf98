"""safetensors files: what `fastlstm.save` writes, and anybody else's.

Source: github.com/huggingface/safetensors, README.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError, WriteError
from fastlstm.formats.artefact import Artefact, Tensors, TensorSpec
from fastlstm.formats.atomic import replacing
from fastlstm.formats.dtypes import DTYPES, DType, decode
from fastlstm.formats.json_text import parse_object
from fastlstm.formats.source import Source, read_start

ARCHITECTURE = "fastlstm"  # the metadata key under which `fastlstm.save` describes the layers
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
    architecture = None
    if ARCHITECTURE in metadata:
        architecture = parse_object(metadata[ARCHITECTURE], f"{path.name}: metadata {ARCHITECTURE!r}")

    def fetch(name: str) -> NDArray[Any]:
        where = f"{path.name}: tensor {name!r}"
        dtype = _dtype(header[name]["dtype"])
        begin, end = header[name]["data_offsets"]
        with Source(path) as source:
            data = source.read(start + begin, end - begin, where)
        return decode(data, dtype, tuple(header[name]["shape"]), where)

    specs = {name: TensorSpec(tuple(entry["shape"]), _dtype(entry["dtype"]).name) for name, entry in header.items()}
    return Artefact(path, "safetensors", Tensors(specs, fetch), architecture=architecture)


def _dtype(name: str) -> DType:
    return DTYPES_BY_NAME[NAMES[name]] if name in NAMES else DType(name)


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
        data = save({name: np.asarray(array, order="C") for name, array in arrays.items()}, dict(metadata or {}))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WriteError(f"{path}: safetensors cannot hold these arrays: {error}") from error
    with replacing(path) as file:
        file.write(data)
