"""How blocks hand each other their results, with blocks that run at the same time and some that are late."""

import os
import random
import time
from unittest import mock

import numpy as np
import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1" or os.environ.get("NUMBA_DISABLE_JIT") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 and NUMBA_DISABLE_JIT=1", allow_module_level=True)

from numba import cuda, types
from numba.cuda.simulator import kernelapi

from fastlstm.backends.cuda import exchange, settings, simulated
from tests.cuda.simulator import all_blocks

BLOCKS, UNITS, ROWS, STEPS = 3, 7, 2, 30


def call_of(meeting):
    call = dict.fromkeys(range(settings.COUNT), 0)
    call |= {settings.UNIT_GROUPS: BLOCKS, settings.ROWS: ROWS, settings.ROW_SIZE: UNITS, settings.WORDS: UNITS}
    return tuple({**call, settings.MEETING: meeting}.values())


def value_of(step, row, unit):
    return np.float32(1000 * step + 10 * row + unit)


def late(block, step):
    """Each block is the last one at times, by more than the others take for a step."""
    if (step * 7 + block) % 5 == 0:
        time.sleep(random.Random(step * 3 + block).random() * 0.01)


@cuda.jit
def steps(call, words, counters, stamps, seen):
    """Every block hands out its units at each step, and keeps what it then has of all; seen (block, step, .)."""
    arena, places = cuda.shared.array(0, types.float32), np.arange(ROWS)
    block = cuda.blockIdx.x
    first, end = block * UNITS // BLOCKS, (block + 1) * UNITS // BLOCKS
    for step in range(STEPS):
        late(block, step)
        for row in range(ROWS):
            for unit in range(first + cuda.threadIdx.x, end, cuda.blockDim.x):
                exchange.give(call, words, 0, stamps[step], arena, row, 0, unit, value_of(step, row, unit))
        if call[settings.MEETING] == settings.BARRIER:
            exchange.meet(call, counters, 0, step + 1)
        else:
            cuda.syncthreads()
        late(block, step + 1)
        exchange.take(call, words, 0, stamps[step], arena, 0, 0, UNITS, places, ROWS)
        cuda.syncthreads()
        if cuda.threadIdx.x == 0:
            for k in range(ROWS * UNITS):
                seen[block, step, k] = arena[k]
        cuda.syncthreads()


def run(meeting=settings.STAMPS, first=1):
    """What each block had at each step, and what it should have had."""
    seen = np.full((BLOCKS, STEPS, ROWS * UNITS), np.nan, np.float32)
    words, counters = np.zeros(2 * ROWS * UNITS, np.uint64), np.zeros(settings.COUNTERS, np.uint64)
    stamps = ((first + np.arange(STEPS)) & 0x7FFFFFFF).astype(np.int32)
    with all_blocks(steps):
        steps[BLOCKS, 2, 0, ROWS * UNITS * 4](call_of(meeting), words, counters, stamps, seen)
    expected = [[value_of(step, row, unit) for row in range(ROWS) for unit in range(UNITS)] for step in range(STEPS)]
    return seen, np.broadcast_to(np.array(expected), seen.shape)


@pytest.mark.parametrize("meeting", [settings.STAMPS, settings.BARRIER], ids=["stamps", "barrier"])
@pytest.mark.parametrize("first", [1, 2**31 - 5], ids=["first", "over the end of stamps"])
def test_every_block_has_every_step(meeting, first):
    np.testing.assert_array_equal(*run(meeting, first))


def test_a_reader_that_takes_what_is_there_has_a_wrong_step():
    """That the test above would see it."""

    def hasty(words, index, stamp, like):
        return True, simulated.peek(words, index, stamp, like)[1]

    with mock.patch.object(exchange, "peek", hasty):
        seen, expected = run()
    assert (seen != expected).any()


def test_one_word_for_both_parities_is_overwritten():
    """While a late block still waits for it: then it would wait for ever."""

    def place(call, group, stamp, row, word):
        return row * UNITS + word

    with (
        mock.patch.object(exchange, "place_of", place),
        mock.patch.object(simulated, "PATIENCE", 0.5),
        pytest.raises(TimeoutError, match="was not written"),
    ):
        run()


@cuda.jit
def met(counts, seen):
    """Each thread counts itself, and behind the barrier of the grid those that have."""
    grid = cuda.cg.this_grid()
    for k in range(STEPS):
        late(cuda.blockIdx.x, k)
        counts[k, cuda.blockIdx.x, cuda.threadIdx.x] = 1
        grid.sync()
        seen[k, cuda.blockIdx.x, cuda.threadIdx.x] = counts[k].sum()


@pytest.mark.parametrize("waiting", [True, False])
def test_the_barrier_of_the_grid_is_one_of_all_blocks(waiting):
    """As the benchmark measures it; where nobody waits it would be seen."""
    seen = np.zeros((STEPS, BLOCKS, 2), np.int32)
    with all_blocks(met):
        if not waiting:
            kernelapi.GridGroup.sync = lambda group: None
        met[BLOCKS, 2](np.zeros_like(seen), seen)
    assert (seen == BLOCKS * 2).all() == waiting
