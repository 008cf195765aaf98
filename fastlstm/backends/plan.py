"""A model as a short integer program over two flat buffers, made once when the model is built (`lowering.py`).

weights  never written again, shared by every stream and thread; each matrix starts on a 64-byte boundary, packed in
         tiles (`packing.py`)
arena    state and scratch: one row of `row_size` elements for each row of the batch, one arena a stream or call

The program has one row an operation; the columns are named below. Offsets count elements, from the start of `weights`
or of an arena row. One compiled function walks any program, so that no model compiles anything of its own.
"""

from __future__ import annotations

import contextlib
import mmap
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends.packing import padded

# Operations: what stands in column OP.
GATHER, ONE_HOT, LSTM_CELL, DENSE, GRU_CELL, MASK_VALUE, MASK_ID, AROUND, COPY = range(9)

# Columns. A size with an apostrophe is padded to whole vector registers; WIDTH is H' of a GRU, 4H' of an LSTM, and OUT'
# of a dense layer and of a highway, whose KERNEL, BIAS, GATES and SCRATCH are its carry gate's and of that width.
# In `weights`: TABLE (V, OUT), or (V, WIDTH) and (V, 4H'); KERNEL (IN, WIDTH) of a dense layer, (IN + OUT, WIDTH) of an
# LSTM, first the rows for x and then those for h, and (IN, 3H') of a GRU; RECURRENT (H, 3H') or (H, 2H'),
# CANDIDATE (H, H'), BIAS (WIDTH) or (4H'), PEEPHOLES (3, H'), PROJECTION (H, OUT'), NORM (10, H') and one number,
# TRANSFORM (OUT, OUT') and TRANSFORM_BIAS (OUT'), CELL_CLIP, PROJ_CLIP and VALUE (one number).
# In the arena: SOURCE (IN), TARGET and H (OUT'), C and SCRATCH (H'), GATES (4H', or more for a projection), MASK (one
# number, not 0 at a step that is masked). An LSTM's x ends where its H begins, so that one pass multiplies both.
# STORAGE is how the matrices are stored, as in `narrow.py`; ROUNDED is room for the scales and levels of vectors.
# PLAIN is 1 where `cpu_plain.py` can compute it.
# TEAM and BACK are of a call's own copy of the program. TEAM is the address of what shares the products (`team.py`),
# 0 without one; BACK changes between 0 and 1 from step to step, as `cpu_products.py` says.
# NONE stands for "not there".
(
    OP, SOURCE, TARGET, IN, OUT, HIDDEN, WIDTH,
    TABLE, KERNEL, RECURRENT, CANDIDATE, BIAS, PEEPHOLES, PROJECTION, NORM, TRANSFORM, TRANSFORM_BIAS,
    CELL_CLIP, PROJ_CLIP, VALUE,
    C, H, GATES, SCRATCH, MASK,
    ACTIVATION, RECURRENT_ACTIVATION, OPTIONS, STORAGE, ROUNDED, PLAIN, TEAM, BACK,
    COLUMNS,
) = range(34)  # fmt: skip
NONE = -1

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
_HUGE_PAGE = 2 << 20


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

    @cached_property
    def slots(self) -> NDArray[np.int64]:
        """(K, 2) where the parts of the state lie in an arena row, and their sizes: c and h of each layer in turn."""
        parts = [part for slot in self.states for part in (slot.c, slot.h)]
        return np.array([(part.start, part.stop - part.start) for part in parts], np.int64).reshape(-1, 2)

    @cached_property
    def state_sizes(self) -> list[tuple[int, int]]:
        """(H, P) of each layer."""
        return [(of_c, of_h) for of_c, of_h in self.slots[:, 1].reshape(-1, 2).tolist()]

    @cached_property
    def state_size(self) -> int:
        """Elements of the state of one row."""
        return int(self.slots[:, 1].sum())

    def arena(self, batch_size: int) -> NDArray[np.floating]:
        """(batch_size, row_size) zeros of the model's dtype, aligned."""
        return aligned(batch_size * self.row_size, self.weights.dtype).reshape(batch_size, self.row_size)


def aligned(size: int, dtype: np.dtype) -> NDArray[np.floating]:
    """An array of `size` zeros that starts on a 64-byte boundary; a large one in huge pages where the system has them.

    A CPU remembers where some hundred pages lie: of 4 KiB they hold less than a large model, and a step would have to
    look most of them up.
    """
    count = size * dtype.itemsize
    huge = count >= _HUGE_PAGE // 2 and hasattr(mmap, "MADV_HUGEPAGE")
    alignment = _HUGE_PAGE if huge else ALIGNMENT
    if huge:
        # Private: a shared one would stay the parent's after a fork, and gets no huge pages.
        memory = mmap.mmap(-1, padded(count, alignment) + alignment, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
        raw = np.frombuffer(memory, np.uint8)
    else:
        raw = np.zeros(count + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + count].view(dtype)
