"""The checks of what callers pass to `Model` and `Stream`: each gives back a clean array or says what is wrong."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastlstm.errors import ArgumentError, ShapeError


def vectors(
    value: ArrayLike, axes: str, size: int, dtype: np.dtype, *, name: str, copy: bool = True
) -> tuple[NDArray[np.floating], bool]:
    """Input vectors as an array in C order, with a batch axis, and whether they came without one.

    axes  the leading axes by their letters, "B" or "BT"; the last axis is D = size
    copy  whether the elements are always our own; the shape is, which compiled code relies on
    """
    if type(value) is np.ndarray and value.dtype is dtype:
        own = value.copy() if copy or not value.flags.carray else value.view()
        if own.shape[-1:] == (size,):
            if own.ndim == len(axes):
                return own[None], True
            if own.ndim == len(axes) + 1 and len(own):
                return own, False
    a = _array(value, name)
    single = a.ndim == len(axes)
    shape = (1, *a.shape) if single else a.shape
    if a.dtype.kind not in "fiub":
        raise ShapeError(f"{name}: elements of type {a.dtype}; expected numbers, of shape {_shape(axes, size)}")
    if len(shape) != len(axes) + 1 or shape[-1] != size or shape[0] == 0:
        raise ShapeError(
            f"{name}: shape {a.shape}; expected {_shape(axes, size)}, "
            f"or {_shape(axes[1:], size)} for a batch of one: the model's input has {size} elements"
        )
    return _own(a.reshape(shape), dtype), single


def _own(a: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """A copy in C order. Its dtype is NumPy's own object, by which compiled code knows an array.

    `np.array` would keep the object of an equal dtype, as arrays have that were pickled, or `np.longlong` is.
    """
    return a.astype(dtype, order="C")


def _array(value: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError:
        raise ShapeError(f"{name}: rows that have not the same length; pad them, and pass lengths=") from None


def on_a_gpu(name: str, device: str) -> ArgumentError:
    """What to say of an array there that has to be here."""
    return ArgumentError(
        f"{name}: an array on a GPU, and the model is on {device!r}; pass a NumPy array (x.get() of CuPy, x.cpu() of "
        f"PyTorch), or load the model with device='cuda'"
    )


def _shape(axes: str, size: int) -> str:
    return f"({', '.join([*axes, str(size)])})" if axes else f"({size},)"


def token_ids(value: Any, axes: str, vocabulary_size: int, *, name: str) -> tuple[NDArray[np.int64], bool]:
    """Ids (B,) or (B, T) as int64 with a batch axis, and whether they came without one."""
    if type(value) is int and axes == "B" and 0 <= value < vocabulary_size:
        return np.array([value], np.int64), True
    a = _array(value, name)
    expected = f"integer ids of shape ({', '.join(axes)}{',' if len(axes) == 1 else ''})"
    if a.dtype.kind not in "iu" and a.size:
        raise ShapeError(
            f"{name}: elements of type {a.dtype}; expected {expected}: the model begins with a table of tokens"
        )
    single = a.ndim == len(axes) - 1
    shape = (1, *a.shape) if single else a.shape
    if len(shape) != len(axes) or shape[0] == 0:
        raise ShapeError(f"{name}: shape {a.shape}; expected {expected}, or without the axis B for a batch of one")
    ids = _own(a, np.int64)  # the check is of our own copy: compiled code takes the ids unchecked
    if ids.view(np.uint64).max(initial=0) >= vocabulary_size:  # as such a negative id is a very large one
        bad = np.flatnonzero((ids < 0) | (ids >= vocabulary_size))
        place = tuple(int(i) for i in np.unravel_index(bad[0], ids.shape))
        raise ArgumentError(
            f"{name}: id {a.flat[bad[0]]}{f' at position {place}' if place else ''}; "
            f"expected 0 to {vocabulary_size - 1}: the model's vocabulary has {vocabulary_size} ids"
        )
    return ids.reshape(shape), single


def row_lengths(value: ArrayLike | None, batch: int, steps: int, *, least: int = 0) -> NDArray[np.int64]:
    """Valid steps of each row, (B,) int64; all of them where None."""
    if value is None:
        lengths = np.empty(batch, np.int64)  # np.full takes three times as long
        lengths.fill(steps)
        return lengths
    a = np.array(np.atleast_1d(_array(value, "lengths")))
    if a.dtype.kind not in "iu" or a.shape != (batch,):
        raise ShapeError(
            f"lengths: {a.dtype} of shape {a.shape}; expected {batch} integers, one for each row of the batch"
        )
    if a.min() < least or a.max() > steps:
        row = int(np.flatnonzero((a < least) | (a > steps))[0])
        raise ArgumentError(
            f"lengths: row {row} has {a[row]}; expected {least} to {steps}, the sequence's number of steps"
        )
    return _own(a, np.int64)


def count(value: Any, *, name: str, least: int = 1) -> int:
    """An integer of at least `least`."""
    try:
        n = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name} is {value!r}; expected an integer of at least {least}") from None
    if n < least:
        raise ArgumentError(f"{name} is {n}; expected at least {least}")
    return n
