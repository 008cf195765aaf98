"""TensorFlow's data types: codes, names, and bytes or a TensorProto -> NumPy arrays.

Source: tensorflow/core/framework/types.proto, tensor.cc, tensorflow/python/framework/tensor_util.py.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError

REFERENCE = 100  # code + 100 is a reference to a value of type `code`
LARGEST = 16  # bytes of an element, of complex128
MAX_RANK = 32  # NumPy's limit before 2.0
MAX_REPEATED = 16 << 20  # bytes that a short list of values may be extended to


class DType(NamedTuple):
    """storage  the NumPy type of an element in a file, None where it cannot be an array of numbers
    values   the field of a TensorProto that holds such elements
    """

    name: str
    storage: str | None = None
    values: str = ""


DTYPES: dict[int, DType] = {
    1: DType("float32", "f4", "float_val"),
    2: DType("float64", "f8", "double_val"),
    3: DType("int32", "i4", "int_val"),
    4: DType("uint8", "u1", "int_val"),
    5: DType("int16", "i2", "int_val"),
    6: DType("int8", "i1", "int_val"),
    7: DType("string", None, "string_val"),
    8: DType("complex64", "c8", "scomplex_val"),
    9: DType("int64", "i8", "int64_val"),
    10: DType("bool", "?", "bool_val"),
    11: DType("qint8", "i1", "int_val"),
    12: DType("quint8", "u1", "int_val"),
    13: DType("qint32", "i4", "int_val"),
    14: DType("bfloat16", "u2", "half_val"),
    15: DType("qint16", "i2", "int_val"),
    16: DType("quint16", "u2", "int_val"),
    17: DType("uint16", "u2", "int_val"),
    18: DType("complex128", "c16", "dcomplex_val"),
    19: DType("float16", "f2", "half_val"),
    20: DType("resource"),
    21: DType("variant"),
    22: DType("uint32", "u4", "uint32_val"),
    23: DType("uint64", "u8", "uint64_val"),
    24: DType("float8_e5m2"),
    25: DType("float8_e4m3fn"),
    26: DType("float8_e4m3fnuz"),
    27: DType("float8_e4m3b11fnuz"),
    28: DType("float8_e5m2fnuz"),
    29: DType("int4", "i1", "int_val"),
    30: DType("uint4", "u1", "int_val"),
    31: DType("int2", "i1", "int_val"),
    32: DType("uint2", "u1", "int_val"),
    33: DType("float4_e2m1fn"),
}


def dtype_of(code: int) -> DType:
    """The data type of a code; one that is not known has a name and nothing else."""
    return DTYPES.get(code, DType(f"unknown type {code}"))


def dtype_name(code: int) -> str:
    """What TensorFlow calls the type: "float32", "float32_ref" ..."""
    if code > REFERENCE:
        return f"{dtype_of(code - REFERENCE).name}_ref"
    return dtype_of(code).name


def item_size(dtype: DType, where: str) -> int:
    """Bytes of one element in a file.  Raises FormatError where elements are not numbers."""
    if dtype.storage is None:
        raise FormatError(f"{where}: elements of type {dtype.name}, which fastlstm cannot turn into an array")
    return np.dtype(dtype.storage).itemsize


def byte_count(shape: tuple[int, ...], item: int, where: str) -> int:
    """Bytes of an array of `shape`.  Raises FormatError for a shape that no array can have."""
    if len(shape) > MAX_RANK:
        raise FormatError(f"{where}: {len(shape)} dimensions, expected at most {MAX_RANK}; the file is damaged")
    if any(size < 0 for size in shape) or math.prod(max(size, 1) for size in shape) * LARGEST >= 1 << 63:
        raise FormatError(f"{where}: no array can have the shape {shape}; the file is damaged")
    return math.prod(shape) * item


def decode(
    raw: bytes | NDArray[np.uint8], dtype: DType, shape: tuple[int, ...], where: str, big_endian: bool = False
) -> NDArray[Any]:
    """The bytes of a tensor in C order -> a new array.

    raw  exactly the tensor's bytes, of which an array becomes the result; bool, int4 and the like take a byte an
         element
    ->   `shape`; bfloat16 becomes float32, the other types stay what they are
    Raises FormatError if the sizes do not fit.
    """
    expected = byte_count(shape, item_size(dtype, where), where)
    if len(raw) != expected:
        raise FormatError(
            f"{where}: {len(raw)} bytes, expected {expected} for {dtype.name} {shape}; the file is damaged"
        )
    if dtype.name == "bool":
        return (np.frombuffer(raw, np.uint8) != 0).reshape(shape)
    stored = np.frombuffer(raw, np.dtype(dtype.storage).newbyteorder(">" if big_endian else "<"))
    native = stored.astype(stored.dtype.newbyteorder("="), copy=isinstance(raw, bytes))
    return widen(native, dtype).reshape(shape)


def widen(stored: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """Stored elements -> the type that NumPy has for them: bfloat16 -> float32, the low bits of a byte -> int4 ..."""
    if dtype.name == "bfloat16":
        wide = stored.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    if dtype.name in ("uint4", "uint2"):
        return stored & (15 if dtype.name == "uint4" else 3)
    if dtype.name in ("int4", "int2"):
        sign = np.int8(8 if dtype.name == "int4" else 2)
        return ((stored & np.int8(2 * sign - 1)) ^ sign) - sign
    return stored


def shape_of(proto: Any, where: str) -> tuple[int, ...]:
    """A TensorShapeProto that must be fully known -> shape.  Raises FormatError."""
    shape = tuple(dim.size for dim in proto.dim)
    if proto.unknown_rank or any(size < 0 for size in shape):
        raise FormatError(f"{where}: shape {shape} is not fully known; the file is damaged")
    return shape


def tensor_from_proto(proto: Any, where: str) -> NDArray[Any]:
    """A TensorProto -> array; strings as an object array of bytes.

    `tensor_content` holds all elements' bytes; otherwise a list holds the elements, the last of which is repeated where
    the list is short, and an empty list means zeros.  An array that repeats one value is a read-only view of it.
    Raises FormatError.  Source: tensorflow/core/framework/tensor.cc, FromProtoField.
    """
    dtype = dtype_of(proto.dtype)
    shape = shape_of(proto.tensor_shape, where)
    if proto.tensor_content and dtype.name != "string":
        return decode(proto.tensor_content, dtype, shape, where)
    if not dtype.values:
        raise FormatError(f"{where}: elements of type {dtype.name}, which fastlstm cannot turn into an array")
    values = values_of(proto, dtype, where)
    size = byte_count(shape, values.itemsize, where)
    count = math.prod(shape)
    if len(values) > count:
        raise FormatError(f"{where}: {len(values)} values for the shape {shape}; the file is damaged")
    if len(values) == count:
        return values.reshape(shape)
    if len(values) < 2:
        zero = b"" if dtype.name == "string" else 0
        return np.broadcast_to(values[0] if len(values) else np.array(zero, values.dtype), shape)
    if size > MAX_REPEATED:
        raise FormatError(
            f"{where}: {len(values)} values for the shape {shape}, too many to repeat; the file is damaged"
        )
    return np.concatenate([values, np.broadcast_to(values[-1:], (count - len(values),))]).reshape(shape)


def values_of(proto: Any, dtype: DType, where: str) -> NDArray[Any]:
    """The list of values of a TensorProto, (n,)."""
    values = getattr(proto, dtype.values)
    if dtype.name == "string":
        result = np.empty(len(values), object)
        result[:] = list(values)
        return result
    if dtype.name == "float16":
        return _integers(values, np.dtype(np.uint16), where).view(np.float16)
    if dtype.name in ("complex64", "complex128"):
        if len(values) % 2:
            raise FormatError(f"{where}: {len(values)} parts of complex numbers, expected pairs; the file is damaged")
        return np.array(values, np.float32 if dtype.name == "complex64" else np.float64).view(dtype.storage)
    storage = np.dtype(dtype.storage)
    if storage.kind in "iu":
        return widen(_integers(values, storage, where), dtype)
    return np.array(values, storage)


def _integers(values: Any, dtype: np.dtype[Any], where: str) -> NDArray[Any]:
    """Integers of a list -> `dtype`.  Raises FormatError for one that does not fit."""
    wide = np.array(values, np.uint64 if dtype == np.uint64 else np.int64)
    narrow = wide.astype(dtype)
    if (narrow != wide).any():
        raise FormatError(f"{where}: a value does not fit {dtype.name}; the file is damaged")
    return narrow
