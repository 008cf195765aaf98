"""Buffers on the device: a program's, which are only read, and those that launches write; and the launch."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlstm.backends.base import Drawing, Pair
from fastlstm.backends.cuda import calls, memory
from fastlstm.backends.cuda import program as p
from fastlstm.backends.cuda import settings as c
from fastlstm.backends.cuda.fit import Fit
from fastlstm.backends.cuda.interface import LEGACY, DeviceArray
from fastlstm.backends.cuda.kernels import argument_types, loop, loop_spilled
from fastlstm.backends.cuda.primitives import LANES
from fastlstm.backends.cuda.program import Program
from fastlstm.backends.packing import padded

MEETING = c.STAMPS  # how blocks exchange results; `python -m benchmarks.cuda` measures it against c.BARRIER


@dataclass(frozen=True)
class Loaded:
    """A program and its buffers on the device."""

    program: Program
    weights: DeviceArray
    table: DeviceArray
    lookup: DeviceArray

    @classmethod
    def of(cls, program: Program) -> Loaded:
        return cls(program, *map(memory.put, (program.weights, program.table, program.lookup)))


def placed(program: Program, fitted: Fit) -> NDArray[np.int32]:
    """The operations, with where the block's own vectors lie in its arena, and its slices in its shared memory."""
    sizes, operations = program.sizes, program.operations.copy()
    places, row_size = sizes.own_places(fitted.unit_groups)
    for row in operations:
        if row[p.OWN] != p.NONE:
            row[p.C] = places[row[p.OWN]]
    at = p.SCRATCH_BYTES
    arena = fitted.rows * row_size * sizes.itemsize * fitted.arena_resident
    for size in (fitted.rows * p.ROW_BYTES, sizes.operations * p.COLUMNS * 4, arena):
        at += padded(size, 16)
    rows = [row for row in operations if row[p.OP] < p.STATE]
    for row, product, kept in zip(rows, sizes.products, fitted.kept, strict=True):
        element = product.column_bytes // row[p.STRIDE]
        row[p.SLICE], row[p.KEPT] = at // element, kept // element
        at += -(-product.units // fitted.unit_groups) * product.columns * kept
    assert at == fitted.shared_bytes, (at, fitted)
    assert fitted.threads // LANES * (4 << c.MANY) * sizes.itemsize <= p.SCRATCH_BYTES, fitted
    return operations


class Room:
    """What launches of `batch` rows write besides their answers: exchanged words, arenas that do not fit into shared
    memory; and the launch itself, which is prepared once.

    stream  the CUDA stream that launches are in
    Not for two calls at a time.
    """

    def __init__(self, loaded: Loaded, fitted: Fit, batch: int, stream: int = LEGACY) -> None:
        program = loaded.program
        _, row_size = program.sizes.own_places(fitted.unit_groups)
        self.loaded, self.fitted, self.batch, self.stream = loaded, fitted, batch, stream
        self.dtype = program.table.dtype
        operations = placed(program, fitted)
        self._operations = memory.put(operations.ravel())
        operations[:, p.KEPT] = 0
        self._operations_of_one = memory.put(operations.ravel())
        words = 2 * fitted.row_groups * fitted.rows * (program.words + 1) * (self.dtype.itemsize // 4)
        self._words = memory.put(np.zeros(words if fitted.unit_groups > 1 else 1, np.uint64))
        self._counters = memory.put(np.zeros(c.COUNTERS * fitted.row_groups, np.uint64))
        self._spill = None
        if not fitted.arena_resident:
            shape = fitted.blocks, fitted.rows * row_size
            self._spill = memory.allocated(shape, self.dtype)
        self._scratch = memory.allocated((1, 1), np.int32), memory.allocated((1, 1), np.float64)
        entry = program.input
        self._width = program.output.stop - program.output.start
        self._fixed = {
            c.UNIT_GROUPS: fitted.unit_groups, c.ROWS: fitted.rows, c.ROW_SIZE: row_size,
            c.LAST: program.operations.size, c.WORDS: program.words + 1,
            c.SOURCE: p.NONE if entry is None else entry.start,
            c.INPUTS: 0 if entry is None else entry.stop - entry.start,
            c.TARGET: program.output.start, c.OUTPUTS: self._width, c.PENDING: row_size - program.sizes.pending,
            c.BATCH: batch, c.PACKED: 2 if program.weights.dtype == np.uint32 else 1,
        }  # fmt: skip
        self._nothing = memory.put(np.full(4, -1, np.int64))
        self.launcher = self.another_launcher()

    def another_launcher(self) -> calls.Launcher:
        """Of the room's kernel, with what does not change from call to call."""
        spilled, loaded = self._spill is not None, self.loaded
        kernel = loop_spilled if spilled else loop
        kinds = argument_types(self.dtype, loaded.program.weights.dtype, spilled)
        nothing = {
            "xs": self._empty((1, 1, 1), self.dtype), "ids": self._empty((1, 1), np.int64),
            "lengths": self._empty((1,), np.int64), "ys": self._empty((1, 1, 1), self.dtype),
            "drawn": self._empty((1, 1), np.int64), "stop": self._empty((1,), np.int64),
            "state": self._empty((1, 1), self.dtype), "lookup": loaded.lookup,
        }  # fmt: skip
        given = nothing | {
            "operations": self._operations, "weights": loaded.weights, "table": loaded.table, "words": self._words,
            "counters": self._counters, "spill": self._spill, "order": self._scratch[0], "mass": self._scratch[1],
            "temperature": 0.0, "top_p": 1.0, "call": (0,) * c.COUNT,
        }  # fmt: skip
        fitted, names = self.fitted, _parameters(kernel)
        self._nothing_of = {name: nothing[name] for name in ("xs", "ids", "ys", "drawn", "stop", "lookup")}
        return calls.Launcher(
            kernel, kinds, fitted.blocks, fitted.threads, fitted.shared_bytes, [given[name] for name in names],
            self.stream,
        )  # fmt: skip

    def place(self, name: str) -> int:
        """Of an argument of the kernel, by its name."""
        return _parameters(loop_spilled if self._spill is not None else loop)[name]

    def write(
        self, launcher: calls.Launcher, steps: int, outputs: int = 1, drawing: Drawing | None = None, first: int = 0,
        free: bool = False, **arrays: DeviceArray,
    ) -> None:  # fmt: skip
        """What the next launch of all rows of the room is to do.

        steps    T;  outputs  n, where `free` runs on after the prime. A single step reads each weight where it lies:
                 to copy it into shared memory first would only take time
        first    the call's row that is row 0 here
        arrays   state (B, .) as `packed`, which the launch replaces, and lengths (B,); xs (B, T, D) or ids (B, T);
                 ys (B, n, V) or drawn (B, n); stop (S,); lookup in place of the program's
        """
        chosen = drawing or Drawing()
        if drawing is not None and drawing.temperature:
            self._make_scratch(1 << (self._width - 1).bit_length(), launcher)
        call = self._fixed | {
            c.STEPS: steps, c.OUTPUT_STEPS: outputs, c.FREE: int(free), c.MEETING: MEETING,
            c.DRAWS: 0 if drawing is None else 2 if drawing.temperature else 1,
            c.TOP_K: min(chosen.top_k or self._width, self._width), c.PROBABILITIES: int(chosen.probabilities),
            c.SEED_LOW: chosen.seed & 0xFFFFFFFF, c.SEED_HIGH: chosen.seed >> 32, c.POSITION: chosen.position,
            c.FIRST_ROW: first,
        }  # fmt: skip
        operations = self._operations if steps + outputs > 2 else self._operations_of_one
        given = self._nothing_of | arrays | {
            "operations": operations, "temperature": float(chosen.temperature), "top_p": float(chosen.top_p or 1.0),
            "call": tuple(int(call[k]) for k in range(c.COUNT)),
        }  # fmt: skip
        for name, value in given.items():
            launcher.set(self.place(name), value)

    def launch(self, steps: int, outputs: int = 1, **more: Any) -> None:
        """`write` and launch."""
        self.write(self.launcher, steps, outputs, **more)
        self.launcher.launch()

    def _empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """What stands for an array that a launch has none of; as `stop` an id that there is not."""
        return DeviceArray(self._nothing.owner, self._nothing.address, shape, dtype)

    def _make_scratch(self, size: int, launcher: calls.Launcher) -> None:
        if self._scratch[0].shape[1] < size:
            shape = (self.fitted.blocks, size)
            self._scratch = memory.allocated(shape, np.int32), memory.allocated(shape, np.float64)
            for name, array in zip(("order", "mass"), self._scratch, strict=True):
                launcher.set(self.place(name), array)


@lru_cache
def _parameters(kernel: Any) -> dict[str, int]:
    names = inspect.signature(getattr(kernel, "py_func", None) or kernel.fn).parameters
    return {name: k for k, name in enumerate(names)}


# The state of a batch as a launch takes it: (B, .), of each row every layer's c and h side by side.


def state_width(program: Program) -> int:
    """Elements of a row; one at least, as the kernel's arrays are not empty."""
    return max(1, sum(_sizes(program)))


def packed(program: Program, state: Sequence[Pair], batch: int) -> NDArray[np.floating]:
    """(B, .) in C order."""
    if not state:
        return np.zeros((batch, 1), program.table.dtype)
    return np.concatenate([a for pair in state for a in pair], axis=1)


def unpacked(program: Program, state: NDArray[np.floating]) -> list[Pair]:
    """(B, .) -> the (c, h) of each layer, copies."""
    parts = np.split(state, np.cumsum(_sizes(program))[:-1], axis=1) if program.states else []
    parts = [np.ascontiguousarray(part) for part in parts]
    return list(zip(parts[::2], parts[1::2], strict=True))


def parts_of(program: Program, state: DeviceArray) -> list[tuple[DeviceArray, DeviceArray]]:
    """The same on the GPU, of its memory: their owner is the whole."""
    found, at = [], 0
    for size in _sizes(program):
        part = state.part(at, at + size, axis=1)
        part.owner = state
        found.append(part)
        at += size
    return list(zip(found[::2], found[1::2], strict=True))


def whole_of(program: Program, parts: Sequence[Any]) -> DeviceArray | None:
    """What `parts_of` has given these parts of, c and h of each layer in turn; None where it has not."""
    whole = getattr(parts[0], "owner", None)
    if type(whole) is not DeviceArray or whole.shape[1] != sum(_sizes(program)):
        return None
    at = whole.address
    for part, size in zip(parts, _sizes(program), strict=True):
        if getattr(part, "owner", None) is not whole or part.address != at or part.shape != (whole.shape[0], size):
            return None
        at += size * whole.dtype.itemsize
    return whole


def _sizes(program: Program) -> list[int]:
    return [part.stop - part.start for slot in program.states for part in (slot.c, slot.h)]
