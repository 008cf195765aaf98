"""A product described in words: how the loops ask a team for it.

Numba compiles a function anew into each that calls it. So what only teams need is not called but reached by an address,
with the product's description in memory, and is compiled for those who have a team (`cpu_team.py`).
"""

from __future__ import annotations

import numpy as np

from fastlstm.backends import plan as p
from fastlstm.backends.atomics import call, clock, load
from fastlstm.backends.jit import inner
from fastlstm.backends.memory import address, pointer
from fastlstm.backends.simd import lanes_of
from fastlstm.backends.team import JOB, LEADER, NOBODY, WORK

# What a part must have to do at least, in multiply-adds of whole vectors: below, handing it over is not worth it.
LEAST = 2048

# `add_products`, `add_blocks`, `add_later` of `cpu_products.py`.
PRODUCTS, BLOCKS, LATER = range(3)

# Words of a job: what the leader is asked for, in how many parts at the most, and what it asks a helper for.
KIND, ARENA, ROW_SIZE, ROWS, BATCH, Y, WIDTH, X, COUNT, KERNEL, DEPTH, BACK, MOST, SPAN = range(14)


@inner
def shared(op, kind, arena, row_size, rows, batch, y, width, x, count, kernel, depth):
    """Have op's team compute it -> False where nothing is done: it is too small, another leads, or none is there."""
    team = op[p.TEAM]
    lanes = lanes_of(arena)
    work = width // lanes * (depth - count if kind == LATER else count) * batch
    most = min(width // (8 * lanes), work // LEAST)
    if most < 2 or load(team + LEADER) != address(arena) or clock() < load(team + NOBODY):
        return False
    job = pointer(team + JOB, np.int64)
    job[KIND], job[ARENA], job[ROW_SIZE], job[ROWS], job[BATCH] = kind, address(arena), row_size, address(rows), batch
    job[Y], job[WIDTH], job[X], job[COUNT], job[KERNEL], job[DEPTH] = y, width, x, count, address(kernel), depth
    job[BACK], job[MOST] = op[p.BACK], most
    return call(load(team + WORK), team, 0, 0) != 0
