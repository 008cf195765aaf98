"""A launch of the compiled loop kernel in `emulator.py`: what `rooms.py` hands a device, as NumPy arrays."""

import numpy as np

from fastlstm.backends.cuda import program as p
from fastlstm.backends.cuda import settings as c
from fastlstm.backends.cuda.rooms import placed, state_width
from tests.cuda import emulator


def launch(text, program, fitted, steps, outputs, *, xs=None, ids=None, lengths=None, batch=1, free=1,
           draws=0, meeting=c.STAMPS):  # fmt: skip
    """From a state of zeros -> (ys or drawn, state, instructions of each warp).

    text  PTX of `loop`, or of `loop_spilled` where the arena is not resident
    """
    dtype, entry = program.table.dtype, program.input
    row, width = program.sizes.own_places(fitted.unit_groups)[1], program.output.stop - program.output.start
    call = dict.fromkeys(range(c.COUNT), 0) | {
        c.UNIT_GROUPS: fitted.unit_groups, c.ROWS: fitted.rows, c.ROW_SIZE: row, c.LAST: program.operations.size,
        c.WORDS: program.words + 1, c.SOURCE: p.NONE if entry is None else entry.start,
        c.INPUTS: 0 if entry is None else entry.stop - entry.start, c.TARGET: program.output.start, c.OUTPUTS: width,
        c.PENDING: row - program.sizes.pending, c.STEPS: steps, c.OUTPUT_STEPS: outputs, c.FREE: free,
        c.MEETING: meeting, c.DRAWS: draws, c.TOP_K: width, c.BATCH: batch,
        c.PACKED: 2 if program.weights.dtype == np.uint32 else 1,
    }  # fmt: skip
    words = 2 * fitted.row_groups * fitted.rows * (program.words + 1) * dtype.itemsize // 4
    spill = [] if fitted.arena_resident else [np.full((fitted.blocks, fitted.rows * row), np.nan, dtype)]
    state, ys = np.zeros((batch, state_width(program)), dtype), np.full((batch, outputs, width), np.nan, dtype)
    drawn = np.full((batch, outputs), -9, np.int64)
    given = [
        placed(program, fitted).ravel(), program.weights, program.table, program.lookup, np.zeros(words, np.uint64),
        np.zeros(c.COUNTERS * fitted.row_groups, np.uint64), *spill, state,
        np.zeros((1, 1, 1), dtype) if xs is None else xs, np.zeros((1, 1), np.int64) if ids is None else ids,
        np.full(batch, steps) if lengths is None else np.asarray(lengths), ys, drawn, np.array([-1]),
        np.zeros((fitted.blocks, 64), np.int32), np.zeros((fitted.blocks, 64)), 1.0, 1.0,
        tuple(int(call[k]) for k in range(c.COUNT)),
    ]  # fmt: skip
    counts = emulator.run(text, given, fitted.blocks, fitted.threads, fitted.shared_bytes)
    return drawn if draws else ys, state, counts
