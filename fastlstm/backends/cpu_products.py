"""Products of packed matrices and vectors of the arena: of one row of the batch, or of several at once.

The sums of a row are made in the same order either way, so a row's bits do not depend on its batch. (The columns after
the last whole tile always go row by row, in the order of `simd.add_tile_4` and its like.)

A team shares the larger ones (`cpu_jobs.py`), if the operation has one.
"""

from __future__ import annotations

from fastlstm.backends import plan as p
from fastlstm.backends.cpu_jobs import BLOCKS, LATER, PRODUCTS, shared
from fastlstm.backends.jit import inner, scalar
from fastlstm.backends.memory import address, at
from fastlstm.backends.narrow import FULL
from fastlstm.backends.narrow_products import OF_H, add_narrow_products
from fastlstm.backends.simd import (
    add_block_1,
    add_block_2,
    add_block_3,
    add_block_4,
    add_block_5,
    add_block_6,
    add_tile_1,
    add_tile_2,
    add_tile_4,
    add_tile_8,
    lanes_of,
)


@scalar
def add_product(y, begin, width, x, depth, kernel, back):
    """y (width,) = begin (width,) + x (depth,) @ the packed kernel (depth, width); y may be begin."""
    add_whole_tiles(y, begin, width, x, depth, kernel, depth, 0, back)
    add_the_rest(y, begin, width, x, depth, kernel)


@scalar
def add_whole_tiles(y, begin, width, x, count, kernel, depth, first, back):
    """The columns in tiles of four panels: y = begin + x (count,) @ rows first to first + count of the packed kernel.

    back  whether the last tile comes first. A step that goes the other way than the one before it finds in the cache
          what that one left there (tried: 13 % less time at 64 units, where it is L1 that is too small, 6 % at 256)
    """
    tile, column = 8 * lanes_of(y), 0
    last = (width & -tile) - tile
    while column + tile <= width:
        z = last - column if back else column
        add_tile_8(at(y, z), at(begin, z), x, count, at(kernel, z * depth + first * (tile // 4)), depth)
        column += tile


@scalar
def add_the_rest(y, begin, width, x, depth, kernel):
    """The columns after the last whole tile."""
    lanes = lanes_of(y)
    z = width & -(8 * lanes)
    if width & 4 * lanes:
        add_tile_4(at(y, z), at(begin, z), x, depth, at(kernel, z * depth), depth)
        z += 4 * lanes
    if width & 2 * lanes:
        add_tile_2(at(y, z), at(begin, z), x, depth, at(kernel, z * depth), depth)
        z += 2 * lanes
    if width & lanes:
        add_tile_1(at(y, z), at(begin, z), x, depth, at(kernel, z * depth), depth)


@scalar
def add_full_products(arena, row_size, rows, batch, y, begin, moves, width, x, depth, kernel, back):
    """`full_products` by this thread."""
    if batch == 1:
        place = rows[0] * row_size
        row = at(arena, place)
        add_product(at(row, y), at(begin, place * moves), width, at(row, x), depth, kernel, back)
        return
    add_full_blocks(arena, row_size, rows, batch, y, begin, moves, width, x, depth, kernel, depth, back)
    if width % (8 * lanes_of(arena)):
        for r in range(batch):
            place = rows[r] * row_size
            row = at(arena, place)
            add_the_rest(at(row, y), at(begin, place * moves), width, at(row, x), depth, kernel)


@inner
def add_products(op, arena, row_size, rows, batch, y, width, x, depth, kernel):
    """For each of `rows` (batch,): the arena's y (width,) += x (depth,) @ the packed kernel, stored as op says."""
    if op[p.STORAGE] != FULL:
        add_narrow_products(op, arena, row_size, rows, batch, y, width, x, 0, depth, kernel, OF_H)
    else:
        full_products(op, arena, row_size, rows, batch, y, at(arena, y), 1, width, x, depth, kernel)


@inner
def full_products(op, arena, row_size, rows, batch, y, begin, moves, width, x, depth, kernel):
    """For each of `rows` (batch,): the arena's y (width,) = begin + x (depth,) @ the packed kernel.

    begin  (width,) anywhere where moves is 0; where it is 1, what the sums of a row 0 of the arena would begin with
    """
    first = 0 if moves else address(begin)
    if op[p.TEAM] > 0 and shared(op, PRODUCTS, arena, row_size, rows, batch, y, first, width, x, depth, kernel, depth):
        return
    add_full_products(arena, row_size, rows, batch, y, begin, moves, width, x, depth, kernel, op[p.BACK])


@inner
def add_full_blocks(arena, row_size, rows, batch, y, begin, moves, width, x, count, kernel, depth, back):
    """The columns in whole tiles, the first `count` rows of the kernel; a panel for six rows of the batch at once.

    So each weight that is loaded serves six rows, each element of x two vectors, and the panel stays in L1. Where six
    do not divide the batch some blocks have fewer, all about as many: one of a single row takes half as long as six.
    """
    panel_width, whole = 2 * lanes_of(arena), width & -(8 * lanes_of(arena))
    for start in range(0, whole, panel_width):
        column = whole - panel_width - start if back else start
        panel, z, first, r = at(kernel, column * depth), y + column, at(begin, column), 0
        for left in range((batch + 5) // 6, 0, -1):
            size, a = (batch - r + left - 1) // left, rows[r] * row_size
            b, c = rows[r + min(1, size - 1)] * row_size, rows[r + min(2, size - 1)] * row_size
            d, e = rows[r + min(3, size - 1)] * row_size, rows[r + min(4, size - 1)] * row_size
            if size == 6:
                add_block_6(arena, (a, b, c, d, e, rows[r + 5] * row_size), z, first, moves, x, count, panel)
            elif size == 5:
                add_block_5(arena, (a, b, c, d, e), z, first, moves, x, count, panel)
            elif size == 4:
                add_block_4(arena, (a, b, c, d), z, first, moves, x, count, panel)
            elif size == 3:
                add_block_3(arena, (a, b, c), z, first, moves, x, count, panel)
            elif size == 2:
                add_block_2(arena, (a, b), z, first, moves, x, count, panel)
            else:
                add_block_1(arena, (a,), z, first, moves, x, count, panel)
            r += size


@inner
def add_blocks(op, arena, row_size, rows, batch, y, width, x, count, kernel, depth):
    """For each of `rows`, of the columns in whole tiles: what the first `count` rows of the kernel add."""
    if op[p.TEAM] > 0 and shared(op, BLOCKS, arena, row_size, rows, batch, y, 0, width, x, count, kernel, depth):
        return
    add_full_blocks(arena, row_size, rows, batch, y, at(arena, y), 1, width, x, count, kernel, depth, op[p.BACK])


@inner
def add_later(op, arena, row_size, rows, y, width, x, count, kernel, depth):
    """For the first of `rows`, what `add_blocks` left: rows of the kernel from `count` on, and the last columns."""
    if op[p.TEAM] > 0 and shared(op, LATER, arena, row_size, rows, 1, y, 0, width, x, count, kernel, depth):
        return
    add_full_later(at(arena, rows[0] * row_size), y, width, x, count, kernel, depth, op[p.BACK])


@scalar
def add_full_later(row, y, width, x, count, kernel, depth, back):
    """`add_later` by this thread."""
    z = at(row, y)
    add_whole_tiles(z, z, width, at(row, x + count), depth - count, kernel, depth, count, back)
    add_the_rest(z, z, width, at(row, x), depth, kernel)
