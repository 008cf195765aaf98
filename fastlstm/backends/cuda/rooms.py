"""Buffers on the device: a program's, which are only read, and those that a call or stream writes; and the launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from fastlstm.backends.base import Drawing, Pair
from fastlstm.backends.cuda import calls
from fastlstm.backends.cuda import packing as p
from fastlstm.backends.cuda import settings as c
from fastlstm.backends.cuda.fit import Fit
from fastlstm.backends.cuda.kernels import argument_types, loop, loop_spilled
from fastlstm.backends.cuda.packing import Program
from fastlstm.backends.cuda.primitives import LANES

MEETING = c.STAMPS  # how blocks exchange results; `python -m benchmarks.cuda` measures it against c.BARRIER


@dataclass(frozen=True)
class Loaded:
    """A program and its buffers on the device."""

    program: Program
    weights: Any
    table: Any
    lookup: Any

    @classmethod
    def of(cls, program: Program) -> Loaded:
        return cls(program, *map(cuda.to_device, (program.weights, program.table, program.lookup)))


@dataclass(frozen=True)
class Data:
    """What a launch reads and writes, on the device; None where it does not.

    xs (B, T, D) or ids (B, T), lengths (B,);  ys (B, n, V) or drawn (B, n);  lookup in place of the program's
    """

    lengths: Any
    xs: Any = None
    ids: Any = None
    ys: Any = None
    drawn: Any = None
    lookup: Any = None


def placed(program: Program, fitted: Fit) -> NDArray[np.int32]:
    """The operations, with where the block's slices lie in its shared memory."""
    sizes, operations = program.sizes, program.operations.copy()
    at = p.SCRATCH_BYTES
    arena = fitted.rows * sizes.row_size * sizes.itemsize * fitted.arena_resident
    for size in (fitted.rows * p.ROW_BYTES, sizes.operations * p.COLUMNS * 4, arena):
        at += p.padded(size, 16)
    rows = [row for row in operations if row[p.OP] < p.STATE]
    for row, product, resident in zip(rows, sizes.products, fitted.resident, strict=True):
        if resident:
            row[p.SLICE] = at // (product.column_bytes // row[p.STRIDE])
            at += p.padded(-(-product.units // fitted.unit_groups) * product.columns * product.column_bytes, 16)
    assert at == fitted.shared_bytes, (at, fitted)
    assert fitted.threads // LANES * 4 * c.MANY * sizes.itemsize <= p.SCRATCH_BYTES, fitted
    return operations


class Room:
    """What launches of `batch` rows write: state, exchanged words, arenas that do not fit into shared memory.

    Not for two calls at a time.
    """

    def __init__(self, loaded: Loaded, fitted: Fit, batch: int) -> None:
        program = loaded.program
        self.loaded, self.fitted, self.batch = loaded, fitted, batch
        self.dtype = program.table.dtype
        self._sizes = [part.stop - part.start for slot in program.states for part in (slot.c, slot.h)]
        self._operations = cuda.to_device(placed(program, fitted).ravel())
        self._operations_of_one = cuda.to_device(program.operations.ravel())
        words = 2 * fitted.row_groups * fitted.rows * (program.words + 1) * (self.dtype.itemsize // 4)
        self._words = cuda.to_device(np.zeros(words if fitted.unit_groups > 1 else 1, np.uint64))
        self._counters = cuda.to_device(np.zeros(c.COUNTERS * fitted.row_groups, np.uint64))
        self._state = cuda.to_device(np.zeros((batch, max(1, sum(self._sizes))), self.dtype))
        self._spill = None
        if not fitted.arena_resident:
            self._spill = cuda.device_array((fitted.blocks, fitted.rows * program.sizes.row_size), self.dtype)
        self._scratch = cuda.device_array((1, 1), np.int32), cuda.device_array((1, 1), np.float64)
        self._none = {
            "xs": cuda.device_array((1, 1, 1), self.dtype), "ids": cuda.device_array((1, 1), np.int64),
            "ys": cuda.device_array((1, 1, 1), self.dtype), "drawn": cuda.device_array((1, 1), np.int64),
            "lookup": loaded.lookup,
        }  # fmt: skip
        entry = program.input
        self._width = program.output.stop - program.output.start
        self._fixed = {
            c.UNIT_GROUPS: fitted.unit_groups, c.ROWS: fitted.rows, c.ROW_SIZE: program.sizes.row_size,
            c.LAST: program.operations.size, c.WORDS: program.words + 1,
            c.SOURCE: p.NONE if entry is None else entry.start,
            c.INPUTS: 0 if entry is None else entry.stop - entry.start,
            c.TARGET: program.output.start, c.OUTPUTS: self._width, c.PENDING: program.pending,
            c.BATCH: batch, c.PACKED: 2 if program.weights.dtype == np.uint32 else 1,
        }  # fmt: skip
        self._no_stop = cuda.to_device(np.array([-1], np.int64))

    def set_state(self, state: Sequence[Pair]) -> None:
        if state:
            self._state.copy_to_device(np.concatenate([a for pair in state for a in pair], axis=1))

    def state(self) -> list[Pair]:
        """A copy."""
        if not self._sizes:
            return []
        parts = np.split(self._state.copy_to_host(), np.cumsum(self._sizes)[:-1], axis=1)
        parts = [np.ascontiguousarray(part) for part in parts]
        return list(zip(parts[::2], parts[1::2], strict=True))

    def launch(self, data: Data, steps: int, outputs: int = 1, **more: Any) -> None:
        """Launch `launcher`'s kernel once."""
        self.launcher(data, steps, outputs, **more)()

    def launcher(
        self, data: Data, steps: int, outputs: int = 1, drawing: Drawing | None = None, first: int = 0,
        free: bool = False,
    ) -> Callable[[], None]:  # fmt: skip
        """A call that launches `kernels.loop` over all rows of the room, on data that may change from call to call.

        steps    T;  outputs  n, where `free` runs on after the prime. A single step reads each weight where it lies:
                 to copy it into shared memory first would only take time
        first    the call's row that is row 0 here
        """
        program, fitted, chosen = self.loaded.program, self.fitted, drawing or Drawing()
        if drawing is not None and drawing.temperature:
            self._make_scratch(1 << (self._width - 1).bit_length())
        call = self._fixed | {
            c.STEPS: steps, c.OUTPUT_STEPS: outputs, c.FREE: int(free), c.MEETING: MEETING,
            c.DRAWS: 0 if drawing is None else 2 if drawing.temperature else 1,
            c.TOP_K: min(chosen.top_k or self._width, self._width), c.PROBABILITIES: int(chosen.probabilities),
            c.SEED_LOW: chosen.seed & 0xFFFFFFFF, c.SEED_HIGH: chosen.seed >> 32, c.POSITION: chosen.position,
            c.FIRST_ROW: first,
        }  # fmt: skip
        stop = cuda.to_device(chosen.stop) if chosen.stop.size else self._no_stop
        given = {name: self._none[name] if getattr(data, name) is None else getattr(data, name) for name in self._none}
        spill = () if self._spill is None else (self._spill,)
        operations = self._operations if steps + outputs > 2 else self._operations_of_one
        return calls.launcher(
            loop_spilled if spill else loop,
            argument_types(self.dtype, program.weights.dtype, bool(spill)),
            fitted.blocks, fitted.threads, fitted.shared_bytes,
            (
                operations, self.loaded.weights, self.loaded.table, given["lookup"], self._words, self._counters,
                *spill, self._state, given["xs"], given["ids"], data.lengths, given["ys"], given["drawn"], stop,
                *self._scratch, float(chosen.temperature), float(chosen.top_p or 1.0),
                tuple(int(call[k]) for k in range(c.COUNT)),
            ),
        )  # fmt: skip

    def _make_scratch(self, size: int) -> None:
        if self._scratch[0].shape[1] < size:
            shape = (self.fitted.blocks, size)
            self._scratch = cuda.device_array(shape, np.int32), cuda.device_array(shape, np.float64)
