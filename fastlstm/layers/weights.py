"""Checks that every layer makes of the arrays it is given."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm.errors import ArgumentError, WeightError


def weight(
    array: ArrayLike, shape: tuple[int | None, ...], *, name: str, layout: str, role: str | None = None
) -> NDArray[np.floating]:
    """`array` as a C-contiguous float32 or float64 array that is known to be finite.

    shape   the expected shape, None for an axis that may have any size above 0
    name    the weight's name, for the error
    layout  the expected shape in letters, for the error, e.g. "(D, 4H)"
    float16 becomes float32; integers become float64. The result is read-only and never the caller's own memory.
    Raises WeightError.
    """
    got = np.asarray(array)
    label = name if role is None else f"{name} ({role})"
    if got.dtype.kind not in "fiu":
        raise WeightError(f"{label}: elements of type {got.dtype}; expected floating-point numbers")
    fits = got.ndim == len(shape) and all(
        size > 0 if want is None else size == want for size, want in zip(got.shape, shape, strict=True)
    )
    if not fits:
        want = tuple("any" if n is None else n for n in shape)
        raise WeightError(f"{label}: shape {got.shape}; expected {layout} = {want}")
    dtype = np.float32 if got.dtype.itemsize <= 4 and got.dtype.kind == "f" else np.float64
    result = np.array(got, dtype=dtype, order="C")
    bad = np.count_nonzero(~np.isfinite(result))
    if bad:
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
        raise WeightError(
            f"{label}: {bad} of {result.size} elements are NaN or infinite, the first at {first}; "
            f"the training diverged or the file is damaged: load an earlier checkpoint"
        )
    result.flags.writeable = False
    return result


def size_of(value: object, what: str) -> int:
    """`value` as a number of elements, at least 1.  Raises ArgumentError."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{what} is {value!r}; expected an integer of at least 1")
    return int(value)
