"""A model as a short integer program over two flat buffers, made once when the model is built.

weights  never written again, shared by every stream and thread; each matrix starts on a 64-byte boundary
arena    state and scratch: one row of `row_size` elements for each row of the batch, one arena a stream or call

The program has one row an operation; the columns are named below. Offsets count elements, from the start of `weights`
or of an arena row. One compiled function walks any program, so that no model compiles anything of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import ArgumentError
from fastlstm.layers import LSTM, Dense, Embedding, Layer, OneHot

# Operations: what stands in column OP.
GATHER, ONE_HOT, LSTM_CELL, DENSE = range(4)

# Columns. In `weights`: TABLE (V, OUT) or (V, 4H), KERNEL (IN, 4H) or (IN, OUT), RECURRENT (OUT, 4H), BIAS,
# PEEPHOLES (3, H), PROJECTION (H, OUT), CELL_CLIP and PROJ_CLIP (one number).
# In the arena: SOURCE (IN), TARGET (OUT), C (H), H (OUT), GATES (4H), SCRATCH (H).
# NONE stands for "not there".
(
    OP, SOURCE, TARGET, IN, OUT, HIDDEN,
    TABLE, KERNEL, RECURRENT, BIAS, PEEPHOLES, PROJECTION, CELL_CLIP, PROJ_CLIP,
    C, H, GATES, SCRATCH,
    ACTIVATION, RECURRENT_ACTIVATION, RESIDUAL,
    COLUMNS,
) = range(22)  # fmt: skip
NONE = -1

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector register

# A table of id -> gates, (V, 4H), replaces embedding and kernel while it stays below this many bytes.
_MULTIPLIED_TABLE_BYTES = 16 << 20


@dataclass(frozen=True)
class StateSlot:
    """Where one LSTM layer's state lies in an arena row: c (H) and h (P)."""

    c: slice
    h: slice


@dataclass(frozen=True)
class Plan:
    """The program and what surrounds it.

    program          (operations, COLUMNS) int64
    weights          (N,) the model's dtype, 64-byte aligned, never written again
    row_size         elements of an arena row, a multiple of 64 bytes
    input            where a step's input vector goes in an arena row; None where the model takes ids
    output           where a step's output lies in an arena row
    states           one a LSTM layer
    """

    program: NDArray[np.int64]
    weights: NDArray[np.floating]
    row_size: int
    input: slice | None
    output: slice
    states: tuple[StateSlot, ...]

    def arena(self, batch_size: int) -> NDArray[np.floating]:
        """(batch_size, row_size) zeros of the model's dtype, aligned."""
        return aligned(batch_size * self.row_size, self.weights.dtype).reshape(batch_size, self.row_size)


def aligned(size: int, dtype: np.dtype) -> NDArray[np.floating]:
    """An array of `size` zeros that starts on a 64-byte boundary."""
    raw = np.zeros(size * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size * dtype.itemsize].view(dtype)


class _Space:
    """Hands out aligned stretches of a buffer."""

    def __init__(self, dtype: np.dtype) -> None:
        self.step = _ALIGNMENT // dtype.itemsize
        self.size = 0

    def take(self, size: int) -> int:
        start = self.size
        self.size += -(-size // self.step) * self.step
        return start


def lower(layers: Sequence[Layer], dtype: np.dtype) -> Plan:
    """The plan of a chain of layers that is known to fit together (`Model` checks it)."""
    later = [type(layer).__name__ for layer in layers if not isinstance(layer, LSTM | Dense | Embedding | OneHot)]
    later += [layer.name for layer in layers if isinstance(layer, LSTM) and (layer.layer_norm or layer.highway)]
    if later:
        raise ArgumentError(f"this version does not run {', '.join(later)}")
    return _Lowering(layers, dtype).plan()


class _Lowering:
    def __init__(self, layers: Sequence[Layer], dtype: np.dtype) -> None:
        self.dtype = dtype
        self.layers = list(layers)
        self.space = _Space(dtype)
        self.arena = _Space(dtype)
        self.pieces: list[tuple[int, NDArray[np.floating]]] = []
        self.rows: list[NDArray[np.int64]] = []
        self.states: list[StateSlot] = []

    def plan(self) -> Plan:
        first, *rest = self.layers
        source, size, entry = NONE, 0, None
        if isinstance(first, Embedding | OneHot):
            if rest and isinstance(rest[0], LSTM) and self._multiplied_fits(first, rest[0]):
                source, size = self._lstm(rest.pop(0), source, ids=first)
            else:
                source, size = self._lookup(first)
        else:
            size = first.input_size
            source = self.arena.take(size)
            entry = slice(source, source + size)
            rest = self.layers
        for layer in rest:
            source, size = self._lstm(layer, source) if isinstance(layer, LSTM) else self._dense(layer, source)
        weights = aligned(self.space.size, self.dtype)
        for start, piece in self.pieces:
            weights[start : start + piece.size] = piece.ravel()
        return Plan(
            np.stack(self.rows), weights, self.arena.size, entry, slice(source, source + size), tuple(self.states)
        )

    def _multiplied_fits(self, ids: Embedding | OneHot, layer: LSTM) -> bool:
        """Whether looking the gates up by id is possible (a residual needs x itself) and small enough."""
        size = ids.vocabulary_size * 4 * layer.hidden_size * self.dtype.itemsize
        return not layer.residual and (isinstance(ids, OneHot) or size <= _MULTIPLIED_TABLE_BYTES)

    def _weight(self, array: NDArray[np.floating]) -> int:
        start = self.space.take(array.size)
        self.pieces.append((start, array))
        return start

    def _number(self, value: float | None) -> int:
        return NONE if value is None else self._weight(np.array([value]))

    def _emit(self, **columns: int) -> None:
        row = np.full(COLUMNS, NONE, np.int64)
        for name, value in columns.items():
            row[globals()[name]] = value
        self.rows.append(row)

    def _lookup(self, layer: Embedding | OneHot) -> tuple[int, int]:
        size = layer.output_size
        target = self.arena.take(size)
        if isinstance(layer, Embedding):
            self._emit(OP=GATHER, TARGET=target, OUT=size, TABLE=self._weight(layer.table))
        else:
            self._emit(OP=ONE_HOT, TARGET=target, OUT=size)
        return target, size

    def _dense(self, layer: Dense, source: int) -> tuple[int, int]:
        size = layer.output_size
        target = self.arena.take(size)
        self._emit(
            OP=DENSE, SOURCE=source, TARGET=target, IN=layer.input_size, OUT=size,
            KERNEL=self._weight(layer.kernel), BIAS=self._weight(layer.bias), ACTIVATION=layer.activation,
        )  # fmt: skip
        return target, size

    def _lstm(self, layer: LSTM, source: int, ids: Embedding | OneHot | None = None) -> tuple[int, int]:
        hidden, size = layer.hidden_size, layer.output_size
        c, h = self.arena.take(hidden), self.arena.take(size)
        self.states.append(StateSlot(slice(c, c + hidden), slice(h, h + size)))
        target = self.arena.take(size) if layer.residual else h
        if ids is None:
            start = {"KERNEL": self._weight(layer.kernel), "BIAS": self._weight(layer.bias)}
        else:
            start = {"TABLE": self._weight(_multiplied(ids, layer))}
        self._emit(
            OP=LSTM_CELL, SOURCE=source, TARGET=target, IN=layer.input_size, OUT=size, HIDDEN=hidden, **start,
            RECURRENT=self._weight(layer.recurrent_kernel),
            PEEPHOLES=NONE if layer.peepholes is None else self._weight(np.stack(layer.peepholes)),
            PROJECTION=NONE if layer.projection is None else self._weight(layer.projection),
            CELL_CLIP=self._number(layer.cell_clip), PROJ_CLIP=self._number(layer.proj_clip),
            C=c, H=h, GATES=self.arena.take(4 * hidden), SCRATCH=self.arena.take(hidden),
            ACTIVATION=layer.activation, RECURRENT_ACTIVATION=layer.recurrent_activation,
            RESIDUAL=int(layer.residual),
        )  # fmt: skip
        return target, size


def _multiplied(ids: Embedding | OneHot, layer: LSTM) -> NDArray[np.floating]:
    """(V, 4H): what each id adds to the gates, the bias included; in float64, so that it is rounded once."""
    kernel, bias = layer.kernel.astype(np.float64), layer.bias.astype(np.float64)
    return (kernel if isinstance(ids, OneHot) else ids.table.astype(np.float64) @ kernel) + bias
