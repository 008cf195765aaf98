"""What a team does together: a product, of which each thread computes some tiles as one alone would, to the last bit.

A helper's sums lie in an arena of its own, which follows the leader's in memory; what is in a row is at the same place.
It reads x in the leader's arena, and there or among the weights what the sums begin with.
"""

from __future__ import annotations

import numpy as np

from fastlstm.backends import cpu_jobs as j
from fastlstm.backends.atomics import clock, load
from fastlstm.backends.cpu_products import add_full_blocks, add_full_later, add_full_products
from fastlstm.backends.jit import compiled, inlined, inner, scalar
from fastlstm.backends.meeting import (
    await_job,
    came,
    enter,
    gather,
    give,
    helper,
    helpers,
    leave,
    report,
    take,
    taken,
    tell,
)
from fastlstm.backends.memory import address, at, pointer
from fastlstm.backends.narrow_products import BACK, add_narrow_columns
from fastlstm.backends.simd import copy_lanes, lanes_of
from fastlstm.backends.team import JOB, LEADER, PART, SPAN


@inner
def _add(job, arena, y, begin, width, x, kernel):
    """The job's product, of columns and in an arena that need not be its own."""
    row_size, rows, batch = job[j.ROW_SIZE], pointer(job[j.ROWS], np.int64), job[j.BATCH]
    if job[j.KIND] == j.PRODUCTS:
        moves, depth, back = job[j.BEGIN] == 0, job[j.DEPTH], job[j.BACK]
        add_full_products(arena, row_size, rows, batch, y, begin, moves, width, x, depth, kernel, back)
    elif job[j.KIND] == j.BLOCKS:
        depth, back = job[j.DEPTH], job[j.BACK]
        add_full_blocks(arena, row_size, rows, batch, y, begin, 1, width, x, job[j.COUNT], kernel, depth, back)
    elif job[j.KIND] >= j.NARROW:
        storage, depth, how = job[j.KIND] - j.NARROW, job[j.OF_H], job[j.BACK]
        add_narrow_columns(storage, arena, row_size, rows, batch, y, width, x, job[j.COUNT], depth, kernel, how)
    else:
        add_full_later(at(arena, rows[0] * row_size), y, width, x, job[j.COUNT], kernel, job[j.DEPTH], job[j.BACK])


@scalar
def _lead(team, dtype):
    """Hand out parts of the job that stands in the team's own words, do one, and collect the others -> 1, or 0."""
    job = pointer(team + JOB, np.int64)
    arena, kernel = pointer(job[j.ARENA], dtype), pointer(job[j.KERNEL], dtype)
    y, width, x = job[j.Y], job[j.WIDTH], job[j.X]
    begin = pointer(job[j.BEGIN], dtype) if job[j.BEGIN] else at(arena, y)
    lanes = lanes_of(arena)
    tile = 8 * lanes
    tiles = width // tile
    parts = gather(team, job[j.MOST])
    if parts == 1:
        return 0
    span, depth, began = load(team + SPAN), job[j.DEPTH], clock()
    for k in range(helpers(team)):
        block = helper(team, k)
        part = load(block + PART)
        if part > 0:
            first, size = _columns(part, parts, tiles, tile, width)
            copy = pointer(block, np.int64)
            for word in range(j.KIND, j.SPAN):
                copy[word] = job[word]
            copy[j.Y], copy[j.WIDTH], copy[j.KERNEL] = y + first, size, address(at(kernel, first * depth))
            copy[j.BEGIN] = address(at(begin, first)) if job[j.BEGIN] else 0
            copy[j.SPAN] = (k + 1) * span
            give(block)
    _, size = _columns(0, parts, tiles, tile, width)
    _add(job, arena, y, begin, size, x, kernel)
    patience = (clock() - began) * tile // size
    for k in range(helpers(team)):
        block = helper(team, k)
        part = load(block + PART)
        if part > 0:
            first, size = _columns(part, parts, tiles, tile, width)
            # Nobody is waited for: what has not come is computed here, from the other end, tile after tile. Both may
            # compute the one where they meet, as each writes to an arena of its own. What is written here a late helper
            # may take for what its sums begin with: in tiles that are not taken over from it.
            count = size // tile
            wanted = count
            while came(block, wanted, count, patience) < wanted:
                wanted -= 1
                take(block, count - wanted)
                z, columns = _tile(job, wanted, count, tile, size)
                place = first + z
                _add(job, arena, y + place, at(begin, place), columns, x, at(kernel, place * depth))
            if wanted:
                z = (count - wanted) * tile if _backwards(job) else 0
                columns = size - z if z or wanted == count else wanted * tile
                _copy(job, arena, at(arena, (k + 1) * span), y + first + z, columns)
    return 1


@scalar
def _backwards(job):
    return job[j.BACK] & (BACK if job[j.KIND] >= j.NARROW else 1)


@scalar
def _tile(job, number, count, tile, width):
    """Where the tile begins that comes as number so and so of a part, and its columns: the last has the rest too."""
    k = count - 1 - number if _backwards(job) else number
    return k * tile, (width if k == count - 1 else (k + 1) * tile) - k * tile


@scalar
def _columns(part, parts, tiles, tile, width):
    """Where a part's columns begin, and how many they are: whole tiles, and what is left over in the last part."""
    first, end = part * tiles // parts * tile, (part + 1) * tiles // parts * tile
    return first, (width if part == parts - 1 else end) - first


@scalar
def _copy(job, to, source, y, width):
    rows = pointer(job[j.ROWS], np.int64)
    for r in range(job[j.BATCH]):
        place = rows[r] * job[j.ROW_SIZE] + y
        copy_lanes(at(to, place), at(source, place), width)


@scalar
def _help(team, block, dtype):
    """A helper's life: see `Team`."""
    job = pointer(block, np.int64)
    report(block, 0)
    ticket = await_job(team, block)
    while ticket >= 0:
        arena, kernel, span = pointer(job[j.ARENA], dtype), pointer(job[j.KERNEL], dtype), job[j.SPAN]
        own, begin = at(arena, span), pointer(job[j.BEGIN], dtype)
        if not job[j.BEGIN]:  # they lie in the leader's arena, and are not to be written to
            _copy(job, own, arena, job[j.Y], job[j.WIDTH])
            begin = at(own, job[j.Y])
        y, width, x, tile = job[j.Y], job[j.WIDTH], job[j.X] - span, 8 * lanes_of(arena)
        count, depth, number = width // tile, job[j.DEPTH], 0
        while number < count - taken(block):
            z, columns = _tile(job, number, count, tile, width)
            _add(job, own, y + z, at(begin, z), columns, x, at(kernel, z * depth))
            number += 1
            tell(block, number)
        report(block, ticket)
        ticket = await_job(team, block)


@inlined
def _work(team, block, dtype):
    if team == 0:
        return clock()
    if block == 0:
        return _lead(team, dtype)
    _help(team, block, dtype)
    return 0


@compiled
def work_32(team, block):
    """The leader's part of a product; with a block a helper's life; without a team the clock, for who measures it."""
    return _work(team, block, np.float32)


@compiled
def work_64(team, block):
    return _work(team, block, np.float64)


@compiled
def lead(team, leader, span):
    """`enter` for a call from Python -> whether it leads; or `leave`, with minus the leader, if that leads."""
    if leader < 0:
        if load(team + LEADER) == -leader:
            leave(team)
        return 0
    return enter(team, leader, span)
