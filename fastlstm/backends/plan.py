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

from fastlstm.layers import GRU, LSTM, Activation, Dense, Embedding, Highway, Layer, Masking, OneHot, Recurrent
from fastlstm.layers.masking import StepMask

# Operations: what stands in column OP.
GATHER, ONE_HOT, LSTM_CELL, DENSE, GRU_CELL, MASK_VALUE, MASK_ID, AROUND = range(8)

# Columns. In `weights`: TABLE (V, OUT) or (V, 4H), KERNEL (IN, 4H), (IN, 3H) or (IN, OUT), RECURRENT (OUT, 4H),
# (H, 3H) or (H, 2H), CANDIDATE (H, H), BIAS (4H) or (OUT), PEEPHOLES (3, H), PROJECTION (H, OUT), NORM (10H + 1),
# TRANSFORM (OUT, OUT) and TRANSFORM_BIAS (OUT), CELL_CLIP, PROJ_CLIP and VALUE (one number).
# In the arena: SOURCE (IN), TARGET (OUT), C (H), H (OUT), GATES (4H), SCRATCH (H), MASK (one number, not 0 at a step
# that is masked). NONE stands for "not there".
(
    OP, SOURCE, TARGET, IN, OUT, HIDDEN,
    TABLE, KERNEL, RECURRENT, CANDIDATE, BIAS, PEEPHOLES, PROJECTION, NORM, TRANSFORM, TRANSFORM_BIAS,
    CELL_CLIP, PROJ_CLIP, VALUE,
    C, H, GATES, SCRATCH, MASK,
    ACTIVATION, RECURRENT_ACTIVATION, OPTIONS,
    COLUMNS,
) = range(28)  # fmt: skip
NONE = -1

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector register

# A table of id -> gates, (V, 4H), replaces embedding and kernel while it stays below this many bytes.
_MULTIPLIED_TABLE_BYTES = 16 << 20


@dataclass(frozen=True)
class StateSlot:
    """Where one layer's state lies in an arena row: c (H), empty of a GRU, and h (P)."""

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
    states           one a LSTM or GRU layer
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


def lower(layers: Sequence[Layer | StepMask], dtype: np.dtype) -> Plan:
    """The plan of a chain of layers that is known to fit together (`Model` checks it).

    Of a model that has a Bidirectional or Reverse, `sequence.py` lowers the stretches between them.
    """
    return _Lowering(layers, dtype).plan()


class _Lowering:
    def __init__(self, layers: Sequence[Layer | StepMask], dtype: np.dtype) -> None:
        self.dtype = dtype
        self.layers = list(layers)
        self.space = _Space(dtype)
        self.arena = _Space(dtype)
        self.pieces: list[tuple[int, NDArray[np.floating]]] = []
        self.rows: list[NDArray[np.int64]] = []
        self.states: list[StateSlot] = []
        self.mask = NONE

    def plan(self) -> Plan:
        first, *rest = self.layers
        source, size, entry = NONE, 0, None
        if isinstance(first, Embedding | OneHot):
            if isinstance(first, Embedding) and first.mask_zero:
                self.mask = self.arena.take(1)
                self._emit(OP=MASK_ID, MASK=self.mask)
            if rest and isinstance(rest[0], Recurrent) and self._multiplied_fits(first, rest[0]):
                source, size = self._recurrent(rest.pop(0), source, ids=first)
            else:
                source, size = self._lookup(first)
        else:
            size = first.input_size
            source = self.arena.take(size)
            entry = slice(source, source + size)
            rest = self.layers
        for layer in rest:
            source, size = self._layer(layer, source)
        weights = aligned(self.space.size, self.dtype)
        for start, piece in self.pieces:
            weights[start : start + piece.size] = piece.ravel()
        return Plan(
            np.stack(self.rows), weights, self.arena.size, entry, slice(source, source + size), tuple(self.states)
        )

    def _layer(self, layer: Layer | StepMask, source: int) -> tuple[int, int]:
        """Emit a layer that reads `source`; where its output lies and its size."""
        if isinstance(layer, Recurrent):
            return self._recurrent(layer, source)
        if isinstance(layer, Dense):
            return self._dense(layer, source)
        if isinstance(layer, Masking):
            return self._masking(layer, source)
        assert isinstance(layer, StepMask)
        self.mask = source + layer.size
        return source, layer.size

    def _multiplied_fits(self, ids: Embedding | OneHot, layer: Recurrent) -> bool:
        """Whether looking the gates up by id is possible (what stands around needs x itself) and small enough."""
        size = ids.vocabulary_size * 4 * layer.hidden_size * self.dtype.itemsize
        needs_x = layer.residual or layer.highway is not None
        return not needs_x and (isinstance(ids, OneHot) or size <= _MULTIPLIED_TABLE_BYTES)

    def _weight(self, array: NDArray[np.floating] | None) -> int:
        if array is None:
            return NONE
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

    def _masking(self, layer: Masking, source: int) -> tuple[int, int]:
        target = self.arena.take(layer.size)
        self.mask = self.arena.take(1)
        self._emit(
            OP=MASK_VALUE, SOURCE=source, TARGET=target, OUT=layer.size,
            VALUE=self._number(layer.mask_value), MASK=self.mask,
        )  # fmt: skip
        return target, layer.size

    def _dense(self, layer: Dense, source: int) -> tuple[int, int]:
        size = layer.output_size
        target = self.arena.take(size)
        self._emit(
            OP=DENSE, SOURCE=source, TARGET=target, IN=layer.input_size, OUT=size,
            KERNEL=self._weight(layer.kernel), BIAS=self._weight(layer.bias), ACTIVATION=layer.activation,
        )  # fmt: skip
        return target, size

    def _recurrent(self, layer: Recurrent, source: int, ids: Embedding | OneHot | None = None) -> tuple[int, int]:
        """An LSTM or GRU and what stands around it; with `ids` its gates are looked up."""
        h = self._lstm(layer, source, ids) if isinstance(layer, LSTM) else self._gru(layer, source, ids)
        size, zero = layer.output_size, self.mask if layer.zero_output_for_mask else NONE
        if not layer.residual and layer.highway is None and zero == NONE:
            return h, size
        target = self.arena.take(size)
        self._emit(
            OP=AROUND, SOURCE=source if layer.residual or layer.highway else NONE, H=h, TARGET=target, OUT=size,
            MASK=zero, **self._highway(layer.highway),
        )  # fmt: skip
        return target, size

    def _highway(self, highway: Highway | None) -> dict[str, int]:
        if highway is None:
            return {}
        return {
            "KERNEL": self._weight(highway.carry_kernel),
            "BIAS": self._weight(highway.carry_bias),
            "TRANSFORM": self._weight(highway.transform_kernel),
            "TRANSFORM_BIAS": self._weight(highway.transform_bias),
            "GATES": self.arena.take(highway.size),
            "SCRATCH": self.arena.take(highway.size),
            "RECURRENT_ACTIVATION": Activation.SIGMOID,
        }

    def _state(self, layer: Recurrent) -> tuple[int, int]:
        """Where c and h lie."""
        c, h = (self.arena.take(size) for size in layer.state_size)
        self.states.append(StateSlot(*[slice(a, a + n) for a, n in zip((c, h), layer.state_size, strict=True)]))
        return c, h

    def _lstm(self, layer: LSTM, source: int, ids: Embedding | OneHot | None) -> int:
        """Gates i f g o. With a layer norm the sums begin at 0, and what they begin with else is in NORM."""
        hidden, norm = layer.hidden_size, layer.layer_norm
        c, h = self._state(layer)
        begin = np.zeros(4 * hidden) if norm is not None else layer.bias
        optioned = (layer.activation, layer.recurrent_activation) != (Activation.TANH, Activation.SIGMOID)
        optioned |= any(option is not None for option in (layer.peepholes, layer.cell_clip, norm))
        block = None
        if norm is not None:
            block = np.concatenate(
                [norm.gamma, layer.bias, norm.state_gamma, norm.state_beta, [norm.epsilon]], dtype=np.float64
            )
        self._emit(
            OP=LSTM_CELL, SOURCE=source, IN=layer.input_size, OUT=layer.output_size, HIDDEN=hidden,
            **self._entry(ids, layer.kernel, begin),
            RECURRENT=self._weight(layer.recurrent_kernel),
            PEEPHOLES=self._weight(None if layer.peepholes is None else np.stack(layer.peepholes)),
            PROJECTION=self._weight(layer.projection), NORM=self._weight(block),
            CELL_CLIP=self._number(layer.cell_clip), PROJ_CLIP=self._number(layer.proj_clip),
            C=c, H=h, GATES=self.arena.take(4 * hidden), SCRATCH=self.arena.take(hidden), MASK=self.mask,
            ACTIVATION=layer.activation, RECURRENT_ACTIVATION=layer.recurrent_activation, OPTIONS=int(optioned),
        )  # fmt: skip
        return h

    def _gru(self, layer: GRU, source: int, ids: Embedding | OneHot | None) -> int:
        """GATES are four stretches: candidate, z, r, and with reset_after the candidate's part that r multiplies.

        So the products of x and of h each go to three of them that lie side by side.
        """
        hidden, after = layer.hidden_size, layer.recurrent_bias
        _, h = self._state(layer)
        zr, candidate = slice(0, 2 * hidden), slice(2 * hidden, None)
        bias, own = layer.bias.astype(np.float64), np.zeros(3 * hidden) if after is None else after
        begin = np.concatenate([bias[candidate], bias[zr] + own[zr], own[candidate]])
        recurrent = layer.recurrent_kernel
        self._emit(
            OP=GRU_CELL, SOURCE=source, IN=layer.input_size, OUT=hidden, HIDDEN=hidden,
            **self._entry(ids, np.hstack([layer.kernel[:, candidate], layer.kernel[:, zr]]), begin),
            RECURRENT=self._weight(recurrent[:, zr] if after is None else recurrent),
            CANDIDATE=self._weight(recurrent[:, candidate] if after is None else None),
            H=h, GATES=self.arena.take(4 * hidden), MASK=self.mask,
            ACTIVATION=layer.activation, RECURRENT_ACTIVATION=layer.recurrent_activation,
        )  # fmt: skip
        return h

    def _entry(
        self, ids: Embedding | OneHot | None, kernel: NDArray[np.floating], begin: NDArray[np.floating]
    ) -> dict[str, int]:
        """What the gates' sums begin with and what x adds to them: in two pieces, or looked up by id."""
        if ids is None:
            return {"KERNEL": self._weight(kernel), "BIAS": self._weight(begin)}
        return {"TABLE": self._weight(_multiplied(ids, kernel, begin))}


def _multiplied(
    ids: Embedding | OneHot, kernel: NDArray[np.floating], begin: NDArray[np.floating]
) -> NDArray[np.floating]:
    """(V, N): what the gates' sums are for each id before h is added; in float64, so that it is rounded once.

    kernel  (D, up to N)  its columns are the first of the sums
    """
    product = kernel.astype(np.float64)
    if isinstance(ids, Embedding):
        product = ids.table.astype(np.float64) @ product
    table = np.tile(begin.astype(np.float64), (len(product), 1))
    table[:, : product.shape[1]] += product
    return table
