"""A product described in words: how the loops ask a team for it.

Numba compiles a function anew into each that calls it. So what only teams need is not called but reached by an address,
with the product's description in memory, and is compiled for those who have a team (`cpu_team.py`).
"""

from __future__ import annotations

import numpy as np

from fastlstm.backends import plan as p
from fastlstm.backends.atomics import call, clock, load
from fastlstm.backends.jit import inner, scalar
from fastlstm.backends.memory import address, pointer
from fastlstm.backends.simd import lanes_of
from fastlstm.backends.team import JOB, LEADER, LEAST, NOBODY, WORK

# `full_products`, `add_blocks`, `add_later` of `cpu_products.py`; and from NARROW on, that plus the storage,
# `add_narrow_products` of `narrow_products.py`.
PRODUCTS, BLOCKS, LATER, NARROW = range(4)

# Words of a job: what the leader is asked for, in how many parts at the most, and what it asks a helper for. BEGIN is
# where the sums of each row begin, 0 where they begin with what stands at Y. Of a narrow product COUNT is the depth of
# the matrix of x, OF_H that of the matrix of h, and BACK all that is asked for.
KIND, ARENA, ROW_SIZE, ROWS, BATCH, Y, BEGIN, WIDTH, X, COUNT, KERNEL, DEPTH, BACK, OF_H, SPAN, MOST = range(16)


@inner
def shared(op, kind, arena, row_size, rows, batch, y, begin, width, x, count, kernel, depth):
    """Have op's team compute it -> False where nothing is done: it is too small, another leads, or none is there."""
    most = _parts(op[p.TEAM], arena, batch, width, depth - count if kind == LATER else count)
    back = op[p.BACK]
    return most >= 2 and _ask(
        op[p.TEAM], most, kind, arena, row_size, rows, batch, y, begin, width, x, count, kernel, depth, back, 0
    )


@inner
def narrow_shared(op, arena, row_size, rows, batch, y, width, vectors, inputs, depth, panels, total, how):
    """The same of a narrow product, whose panels have `total` rows of words."""
    most, kind = _parts(op[p.TEAM], arena, batch, width, total), NARROW + op[p.STORAGE]
    return most >= 2 and _ask(
        op[p.TEAM], most, kind, arena, row_size, rows, batch, y, 0, width, vectors, inputs, panels, total, how, depth
    )


@inner
def _ask(team, most, kind, arena, row_size, rows, batch, y, begin, width, x, count, kernel, depth, back, of_h):
    """Have the leader hand out a job, whose words these are -> whether it was done."""
    job = pointer(team + JOB, np.int64)
    job[KIND], job[ARENA], job[ROW_SIZE], job[ROWS], job[BATCH] = kind, address(arena), row_size, address(rows), batch
    job[Y], job[BEGIN], job[WIDTH], job[X], job[COUNT] = y, begin, width, x, count
    job[KERNEL], job[DEPTH] = address(kernel), depth
    job[BACK], job[OF_H], job[MOST] = back, of_h, most
    return call(load(team + WORK), team, 0, 0) != 0


@scalar
def _parts(team, arena, batch, width, rows):
    """Among how many to share it; fewer than 2 where nobody is there."""
    lanes = lanes_of(arena)
    most = min(width // (8 * lanes), width // lanes * rows * batch // LEAST)
    alone = load(team + LEADER) != address(arena) or clock() < load(team + NOBODY)
    return 0 if most < 2 or alone else most
