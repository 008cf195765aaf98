"""Weights of two bytes and of one: how they are rounded, and the same arithmetic in plain NumPy.

bfloat16  the upper half of a float32. Rows k and k + 1 of a matrix share one 32-bit word: row k is the word itself, as
          a float32, with the bits of row k + 1 below its own, which are chosen so that the whole word is the nearest
          to the weight; row k + 1 is the word shifted up. Activations and sums are float32.
int8      weight[k, n] = rows[k] * columns[n] * q[k, n] with q in -127 to 127, symmetric and rounded to the nearest.
          rows[k] is 1, or the power of two that a row needs whose weights are all small beside the others', as those
          of an input in large units are: with one scale a column alone they would be rounded to nothing.
          The vector that meets the matrix is rounded to 129 levels, -64 to 64 times its scale, at each step; its
          products with q are summed in integers, so the bits are the same on every CPU. Why no more levels: two
          products of 128 * 127 fit into 16 bits, which makes it half the instructions of 16-bit activations (measured
          on AVX2: 73 against 62 GB/s of weights); the weights' rounding is the larger error either way.

Embedding tables, biases, peepholes, norms and the cell state are float32 always.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends.packing import padded
from fastlstm.layers import GRU, LSTM, Bidirectional, Dense, Layer
from fastlstm.layers.masking import StepMask

#: What `Model` takes as weights; the place is the code in a plan.
STORAGES = ("float32", "bfloat16", "int8")
FULL, BFLOAT16, INT8 = range(3)

LEVELS = 64  # of an activation, on either side of zero
DEEPEST = 131072  # rows of a matrix of int8: 2 * 64 * 127 times this is below 2^31
_LARGEST = 127  # of a weight
_SMALL_ROW = 3  # powers of two below the largest row before a row gets a factor of its own
NOTHING = np.float32(1e-30)  # a vector with no element above this is zero

Array = NDArray[np.float32]


def bfloat16_words(matrix: NDArray[np.floating]) -> NDArray[np.uint32]:
    """(K, N) -> (ceil(K / 2), N): two rows in one word, the first in the upper half."""
    bits = np.zeros((padded(len(matrix), 2), matrix.shape[1]), np.float32)
    bits[: len(matrix)] = matrix
    upper, lower = bits[::2].view(np.uint32), bits[1::2].view(np.uint32)
    below = _rounded_half(lower)
    sign, size = upper & 0x80000000, (upper & 0x7FFFFFFF).astype(np.int64)
    half = np.clip((size - below + 0x8000) >> 16, 0, 0x7F7F).astype(np.uint32)  # never infinite
    nearest, next_down = half << 16 | below, np.maximum(half, 1) - 1 << 16 | below
    far = [np.abs(word.view(np.float32) - np.abs(bits[::2])) for word in (nearest, next_down)]
    # Below a power of two the words lie twice as close as above it, so the nearest number may be the next word down.
    return sign | np.where(far[1] < far[0], next_down, nearest)


def _rounded_half(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The bits of a float32 -> the 16 of the nearest bfloat16, to even where two are, never infinite."""
    size = bits & 0x7FFFFFFF
    half = np.minimum((size + 0x7FFF + ((size >> 16) & 1)) >> 16, 0x7F7F)
    return (bits >> 31 << 15) | half


def rounded_bfloat16(matrix: NDArray[np.floating]) -> Array:
    """(K, N) as the products see it."""
    words = bfloat16_words(matrix)
    rows = np.empty((2 * len(words), matrix.shape[1]), np.float32)
    rows[::2], rows[1::2] = words.view(np.float32), (words << 16).view(np.float32)
    return rows[: len(matrix)]


@dataclass(frozen=True)
class Int8:
    """q (K, N) int8, rows (K,) and columns (N,) float32: the matrix is rows[:, None] * q * columns."""

    q: NDArray[np.int8]
    rows: Array
    columns: Array


def rounded_int8(matrix: NDArray[np.floating]) -> Int8:
    """(K, N), finite. A column of zeros, or below 1e-36, has the scale 1."""
    matrix = np.asarray(matrix, np.float32)
    sizes = np.abs(matrix).max(axis=1).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = np.floor(np.log2(sizes.max() / sizes))
    below = np.where((below >= _SMALL_ROW) & (sizes > 0), np.minimum(below, 60), 0)
    rows = np.exp2(-below)
    scaled = matrix / rows[:, None]
    columns = (np.abs(scaled).max(axis=0) / _LARGEST).astype(np.float32)
    none = columns < np.finfo(np.float32).tiny
    columns[none] = 1
    scaled[:, none] = 0
    q = np.clip(np.rint(scaled / columns), -_LARGEST, _LARGEST).astype(np.int8)
    return Int8(q, rows.astype(np.float32), columns)


def rounded_activations(x: Array, rows: Array) -> tuple[NDArray[np.int32], Array]:
    """x (B, K) -> levels (B, K) in -64 to 64, and their scale (B, 1), NaN where x is not finite.

    Halves are rounded away from zero.
    """
    scaled = x * rows
    top = np.abs(scaled).max(axis=1, keepdims=True)
    usable = np.isfinite(top) & (top >= NOTHING)
    twice = (np.where(usable, scaled, 0) * (np.float32(2 * LEVELS) / np.where(usable, top, 1))).astype(np.int32)
    scale = np.where(usable, top / np.float32(LEVELS), np.where(top < NOTHING, 0, np.nan))
    return (twice + (twice >= 0)) >> 1, scale.astype(np.float32)


class Int8Matrix:
    """A matrix that `x @ matrix` multiplies as the compiled code does; its columns can be sliced, and are rounded anew.

    float64 holds the integer sums exactly.
    """

    __array_ufunc__ = None  # so that NumPy leaves `x @ self` to this class

    def __init__(self, matrix: NDArray[np.floating]) -> None:
        self.matrix = matrix
        self.shape = matrix.shape
        self.narrow = rounded_int8(matrix)
        self._parts: dict[str, Int8Matrix] = {}

    def __rmatmul__(self, x: Array) -> Array:
        levels, scale = rounded_activations(x, self.narrow.rows)
        sums = levels.astype(np.float64) @ self.narrow.q.astype(np.float64)
        return sums.astype(np.float32) * (self.narrow.columns * scale)

    def __getitem__(self, where: tuple[slice, slice]) -> Int8Matrix:
        if str(where) not in self._parts:
            self._parts[str(where)] = Int8Matrix(self.matrix[where])
        return self._parts[str(where)]


def matrices(layers: Iterable[Layer]) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """The name and value of each matrix that is stored narrow."""
    for layer in layers:
        if isinstance(layer, LSTM | GRU | Dense | Bidirectional):
            for name, array in layer.arrays().items():
                if array.ndim == 2:
                    yield f"{layer.name}: {name}", array


def narrowed(layer: Layer | StepMask, storage: int, *, looked_up: bool = False) -> Layer | StepMask:
    """The layer with its matrices rounded, for NumPy; `looked_up`: the input kernel is in a table, and is not."""
    if storage == FULL or not isinstance(layer, LSTM | GRU | Dense):
        return layer
    narrow: Any = rounded_bfloat16 if storage == BFLOAT16 else Int8Matrix
    copied = copy.copy(layer)
    for name in ("kernel", "recurrent_kernel", "projection"):
        if getattr(layer, name, None) is not None and not (looked_up and name == "kernel"):
            setattr(copied, name, narrow(getattr(layer, name)))
    if getattr(layer, "highway", None) is not None:
        copied.highway = copy.copy(layer.highway)
        for name in ("carry_kernel", "transform_kernel"):
            if getattr(layer.highway, name) is not None:
                setattr(copied.highway, name, narrow(getattr(layer.highway, name)))
    return copied


# In a plan's weights: words of 32 bits, whose bits lie in float32 elements. Matrices that are multiplied in one pass,
# as an LSTM's of x and of h, lie below each other in panels as in `packing.py`, which are PANEL columns wide on every
# CPU: two cache lines, which are fetched together. One of fewer columns may be left over. A word of int8 holds q of
# four rows; before them stand, as rows, columns (N) and minus LEVELS times the sum of each column of q (N), an int32:
# activations are stored as unsigned bytes, level + LEVELS, and this takes the surplus away. Before all panels stand
# rows (K) of each matrix.
PANEL = 32
BEFORE = 2  # rows of a panel before those of the words of int8


def words(storage: int, depth: int) -> int:
    """How many rows of words `depth` rows of weights take."""
    return -(-depth // (2 if storage == BFLOAT16 else 4))


def levels_size(depths: Sequence[int]) -> int:
    """Elements of the arena for what meets matrices of int8: scales and levels, each in lines of its own."""
    return sum(16 + padded(words(INT8, depth), 16) for depth in depths)


def packed_size(storage: int, depths: Sequence[int], columns: int) -> int:
    """Elements in all."""
    if storage == BFLOAT16:
        return sum(words(storage, depth) for depth in depths) * columns
    head, rows = sum(padded(depth, 16) for depth in depths), sum(BEFORE + words(storage, depth) for depth in depths)
    return head + rows * columns


def pack_narrow(out: Array, matrices: Sequence[NDArray[np.floating]], storage: int) -> None:
    """Write matrices (K, N), N the same multiple of lanes in each, into out (packed_size,)."""
    if storage == BFLOAT16:
        _pack(out, [bfloat16_words(matrix) for matrix in matrices])
        return
    start, rows = 0, []
    for matrix in matrices:
        depth, size = matrix.shape
        narrow = rounded_int8(matrix)
        out[start : start + depth] = narrow.rows
        start += padded(depth, 16)
        surplus = -LEVELS * narrow.q.sum(axis=0, dtype=np.int32)
        fours = np.zeros((words(INT8, depth) * 4, size), np.int8)
        fours[:depth] = narrow.q
        fours = np.ascontiguousarray(fours.reshape(-1, 4, size).transpose(0, 2, 1))
        rows += [narrow.columns.view(np.uint32)[None], surplus.view(np.uint32)[None], fours.view(np.uint32)[..., 0]]
    _pack(out[start:], rows)


def _pack(out: Array, stacked: Sequence[NDArray[np.uint32]]) -> None:
    """Write what is to lie below each other panel after panel."""
    table = np.concatenate(stacked)
    depth, columns = table.shape
    for start in range(0, columns, PANEL):
        stop = min(start + PANEL, columns)
        out[depth * start : depth * stop].view(np.uint32).reshape(depth, -1)[:] = table[:, start:stop]
