"""Layers to a plan: what each becomes in the program (`plan.py`), and where its weights and its state lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends import plan as p
from fastlstm.backends.narrow import FULL, INT8, levels_size, pack_narrow, packed_size
from fastlstm.backends.packing import pack, padded, side_by_side
from fastlstm.backends.plan import NONE, Plan, StateSlot, aligned
from fastlstm.backends.tables import multiplied_fits
from fastlstm.layers import GRU, LSTM, Activation, Dense, Embedding, Highway, Layer, Masking, OneHot, Recurrent
from fastlstm.layers.masking import StepMask

Array = NDArray[np.floating]


class _Space:
    """Hands out aligned stretches of a buffer."""

    def __init__(self, dtype: np.dtype) -> None:
        self.step = p.ALIGNMENT // dtype.itemsize
        self.size = 0

    def take(self, size: int) -> int:
        start = self.size
        self.size += padded(size, self.step)
        return start


def lower(layers: Sequence[Layer | StepMask], dtype: np.dtype, lanes: int, storage: int = FULL) -> Plan:
    """The plan of a chain of layers that is known to fit together (`Model` checks it).

    lanes    elements of a vector register
    storage  of the matrices: FULL is as dtype, and the only one for float64
    Of a model that has a Bidirectional or Reverse, `sequence.py` lowers the stretches between them.
    """
    return _Lowering(layers, dtype, lanes, storage).plan()


class _Lowering:
    def __init__(self, layers: Sequence[Layer | StepMask], dtype: np.dtype, lanes: int, storage: int) -> None:
        self.dtype = dtype
        self.lanes = lanes
        self.storage = storage
        self.levels = 0
        self.layers = list(layers)
        self.space = _Space(dtype)
        self.arena = _Space(dtype)
        self.pieces: list[tuple[slice, Callable[[Array], None]]] = []
        self.rows: list[NDArray[np.int64]] = []
        self.states: list[StateSlot] = []
        self.mask = NONE

    def plan(self) -> Plan:
        first, *rest = self.layers
        source, size, entry = NONE, 0, None
        if isinstance(first, Embedding | OneHot):
            if isinstance(first, Embedding) and first.mask_zero:
                self.mask = self.arena.take(1)
                self._emit(OP=p.MASK_ID, MASK=self.mask)
            if multiplied_fits(self.layers, self.dtype):
                source, size = self._recurrent(rest.pop(0), source, ids=first)
            else:
                source, size = self._lookup(first)
        elif isinstance(first, LSTM):
            size = first.input_size
            h = self._place_of_x_and_h(first)
            entry = slice(h - size, h)
            source, size = self._recurrent(first, h - size, h=h)
        else:
            size = first.input_size
            source = self.arena.take(size)
            entry = slice(source, source + size)
            rest = self.layers
        for layer in rest:
            source, size = self._layer(layer, source)
        program = np.stack(self.rows)
        program[:, p.STORAGE] = self.storage
        if self.storage == INT8:
            program[:, p.ROUNDED] = self.arena.take(self.levels)
        weights = aligned(self.space.size, self.dtype)
        for stretch, write in self.pieces:
            write(weights[stretch])
        return Plan(program, weights, self.arena.size, entry, slice(source, source + size), tuple(self.states))

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

    # Weights.

    def _weight(self, array: Array | None) -> int:
        """As it is, in C order."""
        if array is None:
            return NONE
        return self._piece(array.size, lambda out: np.copyto(out.reshape(array.shape), array, casting="same_kind"))

    def _number(self, value: float | None) -> int:
        return NONE if value is None else self._weight(np.array([value]))

    def _gates(self, array: Array, gates: int) -> int:
        """(..., gates * H) as (..., gates * H')."""
        return self._weight(side_by_side(array, gates, self.lanes))

    def _matrix(self, matrix: Array | None, gates: int = 1) -> int:
        """(K, gates * H) as the packed (K, gates * H')."""
        return NONE if matrix is None else self._matrices([matrix], gates)

    def _matrices(self, matrices: list[Array], gates: int) -> int:
        """The same of matrices below each other."""
        depths = [len(matrix) for matrix in matrices]
        columns = gates * padded(matrices[0].shape[1] // gates, self.lanes)
        self.levels = max(self.levels, levels_size(depths))

        def write(out: Array) -> None:  # what this makes on the way is held no longer than it takes
            if self.storage == FULL:
                pack(out, side_by_side(np.vstack(matrices), gates, self.lanes), self.lanes)
            else:
                pack_narrow(out, [side_by_side(matrix, gates, self.lanes) for matrix in matrices], self.storage)

        size = sum(depths) * columns if self.storage == FULL else packed_size(self.storage, depths, columns)
        return self._piece(size, write)

    def _piece(self, size: int, write: Callable[[Array], None]) -> int:
        start = self.space.take(size)
        self.pieces.append((slice(start, start + size), write))
        return start

    def _room(self, size: int, gates: int = 1) -> int:
        """A stretch of the arena for so many gates, each padded."""
        return self.arena.take(gates * padded(size, self.lanes))

    # Operations.

    def _emit(self, **columns: int) -> None:
        row = np.full(p.COLUMNS, NONE, np.int64)
        for name, value in columns.items():
            row[getattr(p, name)] = value
        self.rows.append(row)

    def _lookup(self, layer: Embedding | OneHot) -> tuple[int, int]:
        size = layer.output_size
        target = self.arena.take(size)
        if isinstance(layer, Embedding):
            self._emit(OP=p.GATHER, TARGET=target, OUT=size, TABLE=self._weight(layer.table))
        else:
            self._emit(OP=p.ONE_HOT, TARGET=target, OUT=size)
        return target, size

    def _masking(self, layer: Masking, source: int) -> tuple[int, int]:
        target = self.arena.take(layer.size)
        self.mask = self.arena.take(1)
        self._emit(
            OP=p.MASK_VALUE, SOURCE=source, TARGET=target, OUT=layer.size,
            VALUE=self._number(layer.mask_value), MASK=self.mask,
        )  # fmt: skip
        return target, layer.size

    def _dense(self, layer: Dense, source: int) -> tuple[int, int]:
        size = layer.output_size
        target = self._room(size)
        self._emit(
            OP=p.DENSE, SOURCE=source, TARGET=target, IN=layer.input_size, OUT=size, WIDTH=padded(size, self.lanes),
            KERNEL=self._matrix(layer.kernel), BIAS=self._gates(layer.bias, 1), ACTIVATION=layer.activation,
            PLAIN=1,
        )  # fmt: skip
        return target, size

    def _recurrent(
        self, layer: Recurrent, source: int, ids: Embedding | OneHot | None = None, h: int | None = None
    ) -> tuple[int, int]:
        """An LSTM or GRU and what stands around it. With `ids` its gates are looked up; `h` is where it lies."""
        h = self._lstm(layer, source, ids, h) if isinstance(layer, LSTM) else self._gru(layer, source, ids)
        size, zero = layer.output_size, self.mask if layer.zero_output_for_mask else NONE
        if not layer.residual and layer.highway is None and zero == NONE:
            return h, size
        target = self._room(size)
        self._emit(
            OP=p.AROUND, SOURCE=source if layer.residual or layer.highway else NONE, H=h, TARGET=target, OUT=size,
            MASK=zero, **self._highway(layer.highway),
        )  # fmt: skip
        return target, size

    def _highway(self, highway: Highway | None) -> dict[str, int]:
        if highway is None:
            return {}
        return {
            "KERNEL": self._matrix(highway.carry_kernel),
            "BIAS": self._gates(highway.carry_bias, 1),
            "TRANSFORM": self._matrix(highway.transform_kernel),
            "TRANSFORM_BIAS": NONE if highway.transform_bias is None else self._gates(highway.transform_bias, 1),
            "GATES": self._room(highway.size),
            "SCRATCH": self._room(highway.size),
            "WIDTH": padded(highway.size, self.lanes),
            "RECURRENT_ACTIVATION": Activation.SIGMOID,
        }

    def _place_of_x_and_h(self, layer: LSTM) -> int:
        """Where h lies, aligned, with room for x right before it."""
        x = self.arena.take(layer.input_size)
        h = self._room(layer.output_size)
        assert h - x >= layer.input_size
        return h

    def _state(self, layer: Recurrent, h: int) -> int:
        """Where c lies."""
        c_size, h_size = layer.state_size
        c = self._room(c_size)
        self.states.append(StateSlot(slice(c, c + c_size), slice(h, h + h_size)))
        return c

    def _lstm(self, layer: LSTM, source: int, ids: Embedding | OneHot | None, h: int | None) -> int:
        """Gates i f g o. With a layer norm the sums begin at 0, and what they begin with else is in NORM."""
        hidden, norm, inputs = layer.hidden_size, layer.layer_norm, 0 if ids is not None else layer.input_size
        if h is None:
            h = self._room(layer.output_size) if ids is not None else self._place_of_x_and_h(layer)
        if ids is None and source != h - inputs:
            self._emit(OP=p.COPY, SOURCE=source, TARGET=h - inputs, OUT=inputs)
        c = self._state(layer, h)
        begin = np.zeros(4 * hidden) if norm is not None else layer.bias
        optioned = (layer.activation, layer.recurrent_activation) != (Activation.TANH, Activation.SIGMOID)
        optioned |= any(option is not None for option in (layer.peepholes, layer.cell_clip, norm))
        if ids is None:
            entry = {"BIAS": self._gates(begin, 4)}
            of_x = [layer.kernel]
        else:
            entry = {"TABLE": self._gates(_multiplied(ids, layer.kernel, begin), 4)}
            of_x = []
        entry["KERNEL"] = self._matrices([*of_x, layer.recurrent_kernel], 4)
        block = None
        if norm is not None:
            parts = norm.gamma, layer.bias, norm.state_gamma, norm.state_beta
            each = [side_by_side(a, a.size // hidden, self.lanes) for a in parts]
            block = np.concatenate([*each, [norm.epsilon]], dtype=np.float64)
        width, of_h = 4 * padded(hidden, self.lanes), padded(layer.output_size, self.lanes)
        plain = not optioned and layer.projection is None and self.mask == NONE
        self._emit(
            OP=p.LSTM_CELL, IN=inputs, OUT=layer.output_size, HIDDEN=hidden, WIDTH=width,
            **entry,
            PEEPHOLES=NONE if layer.peepholes is None else self._gates(np.concatenate(layer.peepholes), 3),
            PROJECTION=self._matrix(layer.projection), NORM=self._weight(block),
            CELL_CLIP=self._number(layer.cell_clip), PROJ_CLIP=self._number(layer.proj_clip),
            C=c, H=h, GATES=self.arena.take(max(width, of_h)), SCRATCH=self._room(hidden), MASK=self.mask,
            ACTIVATION=layer.activation, RECURRENT_ACTIVATION=layer.recurrent_activation, OPTIONS=int(optioned),
            PLAIN=int(plain),
        )  # fmt: skip
        return h

    def _gru(self, layer: GRU, source: int, ids: Embedding | OneHot | None) -> int:
        """GATES are four stretches: candidate, z, r, and with reset_after the candidate's part that r multiplies.

        So the products of x and of h each go to three of them that lie side by side.
        """
        hidden, after = layer.hidden_size, layer.recurrent_bias
        h = self._room(hidden)
        self._state(layer, h)
        zr, candidate = slice(0, 2 * hidden), slice(2 * hidden, None)
        bias, own = layer.bias.astype(np.float64), np.zeros(3 * hidden) if after is None else after
        begin = np.concatenate([bias[candidate], bias[zr] + own[zr], own[candidate]])
        kernel = np.hstack([layer.kernel[:, candidate], layer.kernel[:, zr]])
        if ids is None:
            entry = {"KERNEL": self._matrix(kernel, 3), "BIAS": self._gates(begin, 4)}
        else:
            entry = {"TABLE": self._gates(_multiplied(ids, kernel, begin), 4)}
        recurrent = layer.recurrent_kernel
        self._emit(
            OP=p.GRU_CELL, SOURCE=source, IN=layer.input_size, OUT=hidden, HIDDEN=hidden,
            WIDTH=padded(hidden, self.lanes), **entry,
            RECURRENT=self._matrix(recurrent[:, zr], 2) if after is None else self._matrix(recurrent, 3),
            CANDIDATE=self._matrix(recurrent[:, candidate] if after is None else None),
            H=h, GATES=self._room(hidden, 4), MASK=self.mask,
            ACTIVATION=layer.activation, RECURRENT_ACTIVATION=layer.recurrent_activation,
        )  # fmt: skip
        return h


def _multiplied(ids: Embedding | OneHot, kernel: Array, begin: Array) -> Array:
    """(V, N): what the gates' sums are for each id before h is added; in float64, so that it is rounded once.

    kernel  (D, up to N)  its columns are the first of the sums
    """
    product = kernel.astype(np.float64)
    if isinstance(ids, Embedding):
        product = ids.table.astype(np.float64) @ product
    table = np.tile(begin.astype(np.float64), (len(product), 1))
    table[:, : product.shape[1]] += product
    return table
