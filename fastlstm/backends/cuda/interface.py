"""Arrays on a GPU, others' and our own, by `__cuda_array_interface__` (version 3, of Numba's documentation).

Reading it touches no driver; what does is in `memory.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlstm.errors import ArgumentError, ShapeError

LEGACY = 1  # the default stream, as the interface numbers it; 0 could be this or each thread's own, 2


class DeviceArray:
    """An array on the GPU, which CuPy, PyTorch and Numba take without a copy (`cupy.asarray`, `torch.as_tensor`).

    address     of its first element
    strides     in bytes
    contiguous  whether it is in C order, without gaps
    stream      the CUDA stream whose work has to be waited for; None: nothing
    owner       keeps the memory
    """

    __slots__ = ("_interface", "address", "contiguous", "dtype", "owner", "shape", "size", "stream", "strides")

    def __init__(
        self, owner: Any, address: int, shape: tuple[int, ...], dtype: DTypeLike,
        strides: tuple[int, ...] | None = None, stream: int | None = LEGACY,
    ) -> None:  # fmt: skip
        self.owner, self.address, self.shape, self.dtype = owner, address, shape, np.dtype(dtype)
        self.stream, self.size = stream, math.prod(shape)
        whole = _strides(shape, self.dtype.itemsize)
        self.strides = whole if strides is None else strides
        self.contiguous = self.strides == whole or self._without_gaps(whole)
        self._interface: dict[str, Any] | None = None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self._interface is None:
            self._interface = {
                "shape": self.shape, "typestr": self.dtype.str, "data": (self.address if self.size else 0, False),
                "strides": None if self.contiguous else self.strides, "stream": self.stream, "version": 3,
            }  # fmt: skip
        return self._interface

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def _without_gaps(self, whole: tuple[int, ...]) -> bool:
        """The stride of an axis of one says nothing."""
        return not self.size or all(
            mine == its for mine, its, n in zip(self.strides, whole, self.shape, strict=True) if n > 1
        )

    def copy_to_host(self) -> NDArray[Any]:
        """A NumPy array, when the GPU is done with it.  Raises DeviceError."""
        from fastlstm.backends.cuda.device import errors
        from fastlstm.backends.cuda.memory import fetched

        with errors("copying from the GPU"):
            return fetched(self)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array on the GPU cannot become one of NumPy without a copy")
        return np.asarray(self.copy_to_host(), dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as a NumPy array: the address means nothing elsewhere."""
        return np.array, (self.copy_to_host(),)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype.name})"

    def reshape(self, *shape: int) -> DeviceArray:
        """The same memory in another shape, which has to have as many elements. Only in C order."""
        if math.prod(shape) != self.size or not self.contiguous:
            raise ShapeError(f"{self!r} cannot become one of shape {shape}")
        return DeviceArray(self.owner, self.address, shape, self.dtype, None, self.stream)

    def at(self, *index: int) -> DeviceArray:
        """Of the first axes one place each."""
        address = self.address + sum(k * stride for k, stride in zip(index, self.strides, strict=False))
        n = len(index)
        return DeviceArray(self.owner, address, self.shape[n:], self.dtype, self.strides[n:], self.stream)

    def part(self, begin: int, end: int, axis: int = 0) -> DeviceArray:
        """Rows, or along another axis."""
        shape = (*self.shape[:axis], end - begin, *self.shape[axis + 1 :])
        address = self.address + begin * self.strides[axis]
        return DeviceArray(self.owner, address, shape, self.dtype, self.strides, self.stream)


def device_array(x: Any, name: str) -> DeviceArray | None:
    """x as what its interface tells of it, or None where it has none.  Raises ArgumentError."""
    if type(x) is DeviceArray:
        return x
    try:
        found = getattr(x, "__cuda_array_interface__", None)
    except Exception as error:  # PyTorch's, of a tensor that requires grad
        raise ArgumentError(f"{name}: {type(x).__name__} cannot be read as an array on the GPU: {error}") from error
    return None if found is None else read(found, x, name)


def read(found: dict[str, Any], x: Any, name: str) -> DeviceArray:
    """x of which the interface is `found`."""
    try:
        shape, dtype, address = tuple(map(int, found["shape"])), np.dtype(found["typestr"]), int(found["data"][0])
        strides, stream = found.get("strides"), found.get("stream")
        strides = None if strides is None else tuple(map(int, strides))
        stream = None if stream is None else int(stream)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ArgumentError(f"{name}: its __cuda_array_interface__ cannot be read ({error!r}): {found}") from None
    if found.get("mask") is not None:
        raise ArgumentError(f"{name}: an array with a mask; expected one without")
    if stream == 0:
        raise ArgumentError(f"{name}: its __cuda_array_interface__ names stream 0, which may be either default one")
    if strides is not None and len(strides) != len(shape):
        raise ArgumentError(f"{name}: its __cuda_array_interface__ has shape {shape} and strides {strides}")
    return DeviceArray(x, address, shape, dtype, strides, stream)


def fitting(array: DeviceArray, shape: tuple[int | None, ...], dtype: np.dtype, *, name: str, said: str) -> DeviceArray:
    """`array`, if it has this shape (None: any size), dtype and C order.  Raises ShapeError.

    said  the shape for people
    """
    wanted = len(shape) == array.ndim and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    if wanted and array.dtype == dtype and array.contiguous and array.address % dtype.itemsize == 0:
        return array
    raise wrong(array, said, dtype, name)


def wrong(array: DeviceArray, said: str, dtype: np.dtype, name: str) -> ShapeError:
    """What to say of an array that is not one of shape `said`, of this dtype and in C order."""
    laid = "" if array.contiguous else f", strides {array.strides}"
    do = f"; convert it to {dtype} on the GPU" if array.dtype != dtype else ""
    do += "" if array.contiguous else "; pass it in C order (x.contiguous() of PyTorch, cupy.ascontiguousarray(x))"
    return ShapeError(
        f"{name}: a device array of shape {array.shape}, {array.dtype}{laid}; expected one of shape {said}, {dtype}, "
        f"in C order{do}"
    )


def rows_of(array: DeviceArray) -> bool:
    """Whether its last axis has no gaps, so that it can be copied row by row."""
    return array.ndim == 0 or array.shape[-1] <= 1 or array.strides[-1] == array.dtype.itemsize


def _strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    if len(shape) == 2:  # most
        return shape[1] * itemsize, itemsize
    found, step = [], itemsize
    for n in reversed(shape):
        found.append(step)
        step *= n
    return tuple(reversed(found))
