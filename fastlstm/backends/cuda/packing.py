"""How layers become a program for CUDA (`program.py`): what is emitted for each kind, and how its weights lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends.cuda import program as p
from fastlstm.backends.cuda.program import Product, Program, Sizes
from fastlstm.backends.narrow import BFLOAT16, FULL, bfloat16_words, rounded_bfloat16
from fastlstm.backends.packing import padded
from fastlstm.backends.plan import StateSlot
from fastlstm.backends.tables import multiplied_fits
from fastlstm.errors import DeviceError
from fastlstm.layers import GRU, LSTM, Activation, Dense, Embedding, Layer, Masking, OneHot, Recurrent
from fastlstm.layers.masking import StepMask

Array = NDArray[np.floating]

_ACROSS = (Activation.SOFTMAX, Activation.LOG_SOFTMAX)


def lower(layers: Sequence[Layer | StepMask], dtype: np.dtype, storage: int = FULL, *, ahead: bool = False) -> Program:
    """The program of layers that are known to fit together.

    ahead  the first layer's product with the inputs is computed before, and looked up (see `takes_products`)
    Raises DeviceError for what there is no kernel for.
    """
    return _Lowering(layers, dtype, storage).program(ahead)


def takes_products(layers: Sequence[Layer | StepMask]) -> bool:
    """Whether the first layer's product with all inputs can be computed before the others run."""
    first = layers[0]
    return isinstance(first, Recurrent) and not first.residual and first.highway is None


class _Lowering:
    def __init__(self, layers: Sequence[Layer | StepMask], dtype: np.dtype, storage: int) -> None:
        self.layers, self.dtype, self.storage = list(layers), dtype, storage
        self.rows: list[NDArray[np.int32]] = []
        self.matrices: list[NDArray[np.generic]] = []
        self.numbers: list[Array] = []
        self.products: list[Product] = []
        self.own: list[int] = []
        self.states: list[StateSlot] = []
        self.lookup = np.zeros((1, 1), dtype)
        self.first: tuple[Array, Array] | None = None
        self.weights_size = self.numbers_size = self.row_size = self.words = 0
        self.mask = p.NONE

    def program(self, ahead: bool) -> Program:
        first, *rest = self.layers
        source, size, entry = p.NONE, 0, None
        if isinstance(first, Embedding | OneHot):
            if isinstance(first, Embedding) and first.mask_zero:
                self.mask = self._room(1)
                self._emit(OP=p.MASK_ID, MASK=self.mask)
            if multiplied_fits(self.layers, self.dtype):
                source, size = self._recurrent(rest.pop(0), p.NONE, ids=first)
            else:
                source, size = self._gather(first)
        elif ahead:
            source, size = self._recurrent(first, p.NONE, ahead=True)
        else:
            size, rest = first.input_size, self.layers
            source = self._room(size)
            entry = slice(source, source + size)
        for layer in rest:
            source, size = self._layer(layer, source)
        empty = np.zeros(4, np.uint32 if self.storage == BFLOAT16 else self.dtype)
        sizes = Sizes(self.dtype.itemsize, self.row_size, len(self.rows), tuple(self.products), tuple(self.own))
        return Program(
            np.stack(self.rows), np.concatenate([*self.matrices, empty]), np.concatenate([*self.numbers, empty[:1]],
            dtype=self.dtype), self.lookup, entry, slice(source, source + size), self.words,
            tuple(self.states), sizes, self.first,
        )  # fmt: skip

    def _layer(self, layer: Layer | StepMask, source: int) -> tuple[int, int]:
        if isinstance(layer, Recurrent):
            return self._recurrent(layer, source)
        if isinstance(layer, Dense):
            kernel, size = layer.kernel, layer.output_size
            return self._dense(layer.name, kernel, layer.bias, source, self._room(size), layer.activation), size
        if isinstance(layer, Masking):
            return self._masking(layer, source)
        assert isinstance(layer, StepMask)
        self.mask = source + layer.size
        return source, layer.size

    # Rooms and buffers.

    def _room(self, size: int) -> int:
        """A stretch of the arena, of whole 16-byte loads."""
        start = self.row_size
        self.row_size += padded(size, 4)
        return start

    def _number(self, *values: Array | float | None) -> int:
        """Where `values` begin in `table`; NONE of None."""
        if values[0] is None:
            return p.NONE
        start = self.numbers_size
        for value in values:
            flat = np.asarray(value, self.dtype).ravel()
            self.numbers.append(flat)
            self.numbers_size += flat.size
        return start

    def _matrix(self, parts: Sequence[Array | None], columns: int) -> dict[str, int]:
        """Pack parts (K, columns * units), gates in blocks, below each other -> the program's columns."""
        depths = [0 if part is None else padded(len(part), 4) for part in parts]
        units = next(part.shape[1] for part in parts if part is not None) // columns
        stride = padded(sum(depths), 8 if self.storage == BFLOAT16 else 4)
        packed = np.zeros((units, columns, stride), self.dtype)
        if self.storage == BFLOAT16:
            packed = packed.view(np.uint32)[..., : stride // 2]
        start = 0
        for part, depth in zip(parts, depths, strict=True):
            if part is not None:
                rows = part.astype(self.dtype) if self.storage == FULL else bfloat16_words(part)
                of_unit = rows.reshape(len(rows), columns, units).transpose(2, 1, 0)
                packed[..., start : start + len(rows)] = of_unit
            start += depth if self.storage == FULL else depth // 2
        place = self.weights_size
        self.matrices.append(np.ascontiguousarray(packed).ravel())
        self.weights_size += units * columns * stride
        return {
            "UNITS": units, "COLUMNS_OF_UNIT": columns, "WEIGHTS": place, "STRIDE": stride,
            "A_DEPTH": depths[0], "B_DEPTH": depths[1],
        }  # fmt: skip

    def _emit(self, **columns: int) -> None:
        row = np.full(p.COLUMNS, p.NONE, np.int32)
        row[p.BY_TOKEN] = row[p.KEPT] = 0
        for name, value in columns.items():
            row[getattr(p, name)] = value
        self.rows.append(row)

    def _product(self, name: str, op: int, parts: Sequence[Array | None], columns: int, **more: int) -> None:
        packed = self._matrix(parts, columns)
        bytes_each = packed["STRIDE"] * (2 if self.storage == BFLOAT16 else self.dtype.itemsize)
        self.products.append(Product(name, packed["UNITS"], columns, bytes_each))
        self._emit(OP=op, WORDS=self.words, **packed, **more)
        self.words += packed["UNITS"]

    # Layers.

    def _gather(self, layer: Embedding | OneHot) -> tuple[int, int]:
        size = layer.output_size
        target = self._room(size)
        if isinstance(layer, Embedding):
            self.lookup = layer.table.astype(self.dtype)
        self._emit(OP=p.GATHER if isinstance(layer, Embedding) else p.ONE_HOT, TARGET=target, UNITS=size)
        return target, size

    def _masking(self, layer: Masking, source: int) -> tuple[int, int]:
        target = self._room(layer.size)
        self.mask = self._room(1)
        value = self._number(layer.mask_value)
        self._emit(OP=p.MASK_VALUE, A=source, TARGET=target, UNITS=layer.size, VALUE=value, MASK=self.mask)
        return target, layer.size

    def _dense(self, name: str, kernel: Array, bias: Array | None, source: int, target: int, activation: int,
               clip: float | None = None, mask: int = p.NONE) -> int:  # fmt: skip
        """target = clip(activation(source @ kernel + bias)), as it was where masked -> target."""
        across = activation in _ACROSS
        self._product(
            name, p.DENSE, [kernel, None], 1, A=source, TARGET=target, BEGIN=self._number(bias),
            CLIP=self._number(clip), ACTIVATION=Activation.LINEAR if across else activation, MASK=mask,
        )  # fmt: skip
        if across:
            self._emit(OP=p.SOFTMAX, TARGET=target, UNITS=kernel.shape[1], ACTIVATION=activation)
        return target

    def _recurrent(
        self, layer: Recurrent, source: int, ids: Embedding | OneHot | None = None, ahead: bool = False
    ) -> tuple[int, int]:
        """An LSTM or GRU and what stands around it. With `ids`, or `ahead`, its products with x are looked up."""
        size = layer.output_size
        h = self._room(size)
        c_size, _ = layer.state_size
        apart = isinstance(layer, LSTM) and _is_apart(layer)
        if apart:
            c = {"C": self._room(layer.hidden_size)}
        else:
            c = {"OWN": len(self.own)}
            self.own.append(layer.hidden_size)
        self.states.append(StateSlot(slice(0, c_size), slice(h, h + size)))
        state = sum(slot.c.stop - slot.c.start + slot.h.stop - slot.h.start for slot in self.states[:-1])
        self._emit(OP=p.STATE, A_DEPTH=c_size, B=h, B_DEPTH=size, TARGET=state, UNITS=0 if apart else c_size, **c)
        if isinstance(layer, LSTM):
            self._lstm(layer, source, h, c, ids, ahead, apart)
        else:
            self._gru(layer, source, h, c, ids, ahead)
        zero = self.mask if layer.zero_output_for_mask else p.NONE
        if not layer.residual and layer.highway is None and zero == p.NONE:
            return h, size
        carry = transform = p.NONE
        way = layer.highway
        if way is not None:
            sigmoid = Activation.SIGMOID
            carry = self._dense("carry gate", way.carry_kernel, way.carry_bias, source, self._room(size), sigmoid)
            if way.transform_kernel is not None:
                transform = self._dense(
                    "transform gate", way.transform_kernel, way.transform_bias, source, self._room(size), sigmoid
                )
        target = self._room(size)
        x = source if layer.residual or way is not None else p.NONE
        self._emit(OP=p.AROUND, A=x, B=carry, C=transform, H=h, TARGET=target, UNITS=size, MASK=zero)
        return target, size

    def _begin(
        self, blocks: Sequence[tuple[Array, Array, int]], ids: Embedding | OneHot | None, ahead: bool
    ) -> list[dict[str, int]]:
        """What each product's sums begin with: of (columns (D, N), bias (N,), how many gates N is of)."""
        if ids is None and not ahead:
            return [{"BEGIN": self._number(_by_unit(bias, gates))} for _, bias, gates in blocks]
        kernel = np.hstack([_by_unit(columns, gates) for columns, _, gates in blocks])
        bias = np.concatenate([_by_unit(bias, gates) for _, bias, gates in blocks])
        if ahead:
            kernel = kernel if self.storage == FULL else rounded_bfloat16(kernel)
            columns = np.zeros((bias.size, padded(len(kernel), 4)), self.dtype)
            columns[:, : len(kernel)] = kernel.T
            self.first = columns, bias.astype(self.dtype)
        else:
            product = kernel.astype(np.float64)
            if isinstance(ids, Embedding):
                product = ids.table.astype(np.float64) @ product
            self.lookup = (product + bias).astype(self.dtype)
        starts = np.cumsum([0, *(bias.size for _, bias, _ in blocks)])
        return [{"BEGIN": int(start), "BY_TOKEN": 1} for start in starts[:-1]]

    def _lstm(self, layer: LSTM, source: int, h: int, c: dict[str, int], ids: Embedding | OneHot | None, ahead: bool,
              apart: bool) -> None:  # fmt: skip
        hidden, norm = layer.hidden_size, layer.layer_norm
        parts = [None if ids is not None or ahead else layer.kernel, layer.recurrent_kernel]
        m = h if layer.projection is None else self._room(hidden)
        cell = {
            "PEEPHOLES": self._number(*(layer.peepholes or [None])),
            "CLIP": self._number(layer.cell_clip), "MASK": self.mask, **c,
            "ACTIVATION": layer.activation, "RECURRENT_ACTIVATION": layer.recurrent_activation,
        }  # fmt: skip
        if not apart:
            (begin,) = self._begin([(layer.kernel, layer.bias, 4)], ids, ahead)
            self._product(layer.name, p.LSTM_CELL, parts, 4, A=source, B=h, TARGET=m, **begin, **cell)
        else:
            z, bias = self._room(4 * hidden), np.zeros(4 * hidden) if norm is not None else layer.bias
            (begin,) = self._begin([(layer.kernel, bias, 1)], ids, ahead)
            self._product(layer.name, p.DENSE, parts, 1, A=source, B=h, TARGET=z, ACTIVATION=Activation.LINEAR, **begin)
            block = p.NONE
            if norm is not None:
                block = self._number(norm.gamma, layer.bias, norm.state_gamma, norm.state_beta, norm.epsilon)
            self._emit(OP=p.NORM_CELL, A=z, TARGET=m, UNITS=hidden, NORM=block, **cell)
        if layer.projection is not None:
            name = f"{layer.name} projection"
            self._dense(name, layer.projection, None, m, h, Activation.LINEAR, layer.proj_clip, self.mask)

    def _gru(self, layer: GRU, source: int, h: int, kept: dict[str, int], ids: Embedding | OneHot | None,
             ahead: bool) -> None:  # fmt: skip
        """With reset_after four columns a unit: z, r, the candidate's part of x, and that of h, which r multiplies.

        Without it two products: z, which stays in `kept`, and r, which gives r * h; then the candidate.
        """
        if layer.activation in _ACROSS or layer.recurrent_activation in _ACROSS:
            raise DeviceError(f"{layer.name}: a GRU with a softmax for activation has no CUDA kernel; use device='cpu'")
        kernel, recurrent, bias, own = layer.kernel, layer.recurrent_kernel, layer.bias, layer.recurrent_bias
        zr, candidate = slice(0, 2 * layer.hidden_size), slice(2 * layer.hidden_size, None)
        cell = {
            "H": h, "MASK": self.mask,
            "ACTIVATION": layer.activation, "RECURRENT_ACTIVATION": layer.recurrent_activation,
        }  # fmt: skip
        looked_up = ids is not None or ahead
        if own is not None:
            of_x = np.hstack([kernel, np.zeros_like(kernel[:, candidate])])
            of_h = np.hstack([recurrent[:, zr], np.zeros_like(recurrent[:, candidate]), recurrent[:, candidate]])
            sums = np.concatenate([bias[zr] + own[zr], bias[candidate], own[candidate]])
            (begin,) = self._begin([(of_x, sums, 4)], ids, ahead)
            parts = [None if looked_up else of_x, of_h]
            self._product(layer.name, p.GRU_AFTER, parts, 4, A=source, B=h, TARGET=h, **begin, **cell)
            return
        first, second = self._begin(
            [(kernel[:, zr], bias[zr], 2), (kernel[:, candidate], bias[candidate], 1)], ids, ahead
        )
        scaled = self._room(layer.hidden_size)
        parts = [None if looked_up else kernel[:, zr], recurrent[:, zr]]
        self._product(layer.name, p.GRU_GATES, parts, 2, A=source, B=h, TARGET=scaled, **kept, **first, **cell)
        parts = [None if looked_up else kernel[:, candidate], recurrent[:, candidate]]
        self._product(
            f"{layer.name} candidate", p.GRU_CANDIDATE, parts, 1, A=source, B=scaled, TARGET=h, **kept, **second, **cell
        )


def _by_unit(a: Array, gates: int) -> Array:
    """(..., gates * H), gates in blocks -> (..., H * gates), the gates of a unit side by side."""
    return a.reshape(*a.shape[:-1], gates, -1).swapaxes(-1, -2).reshape(a.shape)


def _is_apart(layer: LSTM) -> bool:
    """Whether a unit needs the others' sums: then these are exchanged, and each block computes all cells."""
    functions = (layer.activation, layer.recurrent_activation)
    return layer.layer_norm is not None or any(function in _ACROSS for function in functions)
