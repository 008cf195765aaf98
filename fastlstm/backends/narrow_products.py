"""Products of narrow matrices (`narrow.py`) and vectors of the arena, of one row of the batch or of several.

What a row gets does not depend on the others. A team shares the larger ones.
"""

from __future__ import annotations

import numpy as np

from fastlstm.backends import plan as p
from fastlstm.backends.cpu_jobs import narrow_shared
from fastlstm.backends.jit import inner, scalar
from fastlstm.backends.memory import at
from fastlstm.backends.narrow import BEFORE, BFLOAT16, LEVELS, NOTHING, PANEL
from fastlstm.backends.narrow_simd import (
    apart,
    as_bytes,
    bfloat16_block_1,
    bfloat16_block_2,
    bfloat16_block_4,
    bfloat16_block_6,
    bfloat16_tile_1,
    bfloat16_tile_8,
    int8_tile_1,
    int8_tile_8,
)
from fastlstm.backends.simd import lanes_of

_INFINITE = np.int32(0x7F800000)

# What is asked for: of an LSTM's two matrices that of x, that of h, or both; BACK comes by turns (`cpu_products.py`).
OF_X, OF_H, BACK = 1, 2, 4


@inner
def add_narrow_products(op, arena, row_size, rows, batch, y, width, h, inputs, depth, kernel, how):
    """For each of `rows` (batch,): the arena's y (width,) += x (inputs,) @ a matrix + h (depth,) @ the one below it.

    x ends where h begins. Of a matrix that stands alone `inputs` is 0, and it is OF_H.
    """
    how += BACK * op[p.BACK]
    vectors = _rounded(op, arena, row_size, rows, batch, h, inputs, depth, kernel, how)
    panels, total = _panels(op, inputs, depth, kernel)
    if op[p.TEAM] > 0 and narrow_shared(
        op, arena, row_size, rows, batch, y, width, vectors, inputs, depth, panels, total, how
    ):
        return
    add_narrow_columns(op[p.STORAGE], arena, row_size, rows, batch, y, width, vectors, inputs, depth, panels, how)


@inner
def narrow_product(op, row, y, begin, width, h, inputs, depth, kernel):
    """The same of one row, by this thread: y = begin (width,) + ...; begin is anywhere."""
    how = OF_X + OF_H + BACK * op[p.BACK]
    vectors = _rounded(op, row, 0, op, 1, h, inputs, depth, kernel, how)  # rows of size 0: whatever its number is
    panels, _ = _panels(op, inputs, depth, kernel)
    if op[p.STORAGE] == BFLOAT16:
        _bfloat16(row, 0, op, 1, y, begin, 0, width, vectors, inputs, depth, panels, how)
    else:
        _int8(row, 0, op, 1, y, begin, 0, width, vectors, inputs, depth, panels, how)


@inner
def add_narrow_columns(storage, arena, row_size, rows, batch, y, width, vectors, inputs, depth, panels, how):
    """What this thread adds.

    vectors  bfloat16: where h lies; int8: where the scales and levels of x and h do
    """
    begin = at(arena, y)
    if storage == BFLOAT16:
        _bfloat16(arena, row_size, rows, batch, y, begin, row_size, width, vectors, inputs, depth, panels, how)
    else:
        _int8(arena, row_size, rows, batch, y, begin, row_size, width, vectors, inputs, depth, panels, how)


@scalar
def _rounded(op, arena, row_size, rows, batch, h, inputs, depth, kernel, how):
    """`vectors` of `add_narrow_columns`; of int8 they are written first."""
    if op[p.STORAGE] == BFLOAT16:
        return h
    levels, factors = op[p.ROUNDED], at(kernel, (inputs + 15) // 16 * 16)
    for r in range(batch):
        row = at(arena, rows[r] * row_size)
        if how & OF_X and inputs:
            quantise(at(row, levels), at(row, h - inputs), inputs, kernel)
        if how & OF_H:
            quantise(at(row, levels + _room(inputs)), at(row, h), depth, factors)
    return levels


@scalar
def _panels(op, inputs, depth, kernel):
    """Where the panels begin, and how many rows of words they have."""
    if op[p.STORAGE] == BFLOAT16:
        return kernel, (inputs + 1) // 2 + (depth + 1) // 2
    return at(kernel, (inputs + 15) // 16 * 16 + (depth + 15) // 16 * 16), _int8_rows(inputs) + _int8_rows(depth)


@scalar
def _int8_rows(depth):
    """Rows of a panel."""
    return BEFORE + (depth + 3) // 4 if depth else 0


@scalar
def _room(depth):
    """Elements for a scale and levels."""
    return 16 + ((depth + 3) // 4 + 15) // 16 * 16 if depth else 0


@scalar
def _tile(number, tiles, how):
    """The first column, in vectors, of the tile that comes as number so and so."""
    return 8 * (tiles - 1 - number if how & BACK else number)


@scalar
def _vector(panels, column, width, depth):
    """Where the panels' vector with this column begins, and how wide its panel is."""
    inside = column % PANEL
    return at(panels, (column - inside) * depth + inside), min(PANEL, width - column + inside)


@inner
def _bfloat16(arena, row_size, rows, batch, y, begin, begin_size, width, h, inputs, depth, panels, how):
    """begin  what the sums begin with: y itself, or of a batch of one anything; begin_size from row to row"""
    apart()
    lanes, first = lanes_of(arena), (inputs + 1) // 2
    total, tiles = first + (depth + 1) // 2, width // (8 * lanes)
    of_x, of_h = inputs if how & OF_X else 0, depth if how & OF_H else 0
    # x and h are one vector, and if x ends with a word, one pass.
    once, then = (of_x + of_h, 0) if of_x and of_h and inputs % 2 == 0 else (of_x, of_h)
    if batch == 1:
        row = at(arena, rows[0] * row_size)
        for number in range(tiles):
            column = _tile(number, tiles, how) * lanes
            z, source = at(row, y + column), at(begin, rows[0] * begin_size + column)
            for part in range(2):
                count, x, skipped = (then, h, first) if part else (once, h - inputs, 0)
                if count:
                    panel = at(panels, column * total + skipped * PANEL)
                    bfloat16_tile_8(z, source, at(row, x), count, panel, PANEL, total)
                    source = z
    else:
        for column in range(0, tiles * 8 * lanes, 2 * lanes):
            inside = column % PANEL
            for part in range(2):
                count, x, skipped = (then, h, first) if part else (once, h - inputs, 0)
                if count:
                    panel, place = at(panels, (column - inside) * total + skipped * PANEL), inside // (2 * lanes)
                    _bfloat16_rows(arena, row_size, rows, batch, y + column, x, count, panel, place)
    for column in range(tiles * 8 * lanes, width, lanes):
        vector, stride = _vector(panels, column, width, total)
        for r in range(batch):
            row = at(arena, rows[r] * row_size)
            z, source = at(row, y + column), at(begin, rows[r] * begin_size + column)
            for part in range(2):  # never one pass, as in a sequence it is not: so the order of the sums is the same
                count, x, skipped = (of_h, h, first) if part else (of_x, h - inputs, 0)
                if count:
                    bfloat16_tile_1(z, source, at(row, x), count, at(vector, skipped * stride), stride, total)
                    source = z


@scalar
def _bfloat16_rows(arena, row_size, rows, batch, y, x, count, panel, place):
    """Two vectors of a panel for all rows of the batch, six at a time: each word is shifted once for them."""
    r = 0
    while r + 6 <= batch:
        starts = (rows[r] * row_size, rows[r + 1] * row_size, rows[r + 2] * row_size,
                  rows[r + 3] * row_size, rows[r + 4] * row_size, rows[r + 5] * row_size)  # fmt: skip
        bfloat16_block_6(arena, starts, y, x, count, panel, place)
        r += 6
    if r + 4 <= batch:
        starts_4 = (rows[r] * row_size, rows[r + 1] * row_size, rows[r + 2] * row_size, rows[r + 3] * row_size)
        bfloat16_block_4(arena, starts_4, y, x, count, panel, place)
        r += 4
    if r + 2 <= batch:
        bfloat16_block_2(arena, (rows[r] * row_size, rows[r + 1] * row_size), y, x, count, panel, place)
        r += 2
    if r < batch:
        bfloat16_block_1(arena, (rows[r] * row_size,), y, x, count, panel, place)


@inner
def _int8(arena, row_size, rows, batch, y, begin, begin_size, width, levels, inputs, depth, panels, how):
    """A tile is read once for all rows: it takes no longer from L2, where it then is, than the multiplications do."""
    apart()
    lanes, first, room = lanes_of(arena), _int8_rows(inputs), _room(inputs)
    total, tiles = first + _int8_rows(depth), width // (8 * lanes)
    of_x, of_h = (inputs + 3) // 4 if how & OF_X else 0, (depth + 3) // 4 if how & OF_H else 0
    for number in range(tiles):
        column = _tile(number, tiles, how) * lanes
        for part in range(2):
            count, scale, skipped = (of_h, levels + room, first) if part else (of_x, levels, 0)
            if count:
                panel = at(panels, column * total + skipped * PANEL)
                for r in range(batch):
                    row = at(arena, rows[r] * row_size)
                    z = at(row, y + column)
                    source = z if part and of_x else at(begin, rows[r] * begin_size + column)
                    int8_tile_8(z, source, at(row, scale), count, panel, PANEL, total)
    for column in range(tiles * 8 * lanes, width, lanes):
        vector, stride = _vector(panels, column, width, total)
        for part in range(2):
            count, scale, skipped = (of_h, levels + room, first) if part else (of_x, levels, 0)
            if count:
                for r in range(batch):
                    row = at(arena, rows[r] * row_size)
                    z = at(row, y + column)
                    source = z if part and of_x else at(begin, rows[r] * begin_size + column)
                    int8_tile_1(z, source, at(row, scale), count, at(vector, skipped * stride), stride, total)


@inner
def quantise(out, x, depth, rows):
    """x (depth,) * rows (depth,) -> out: its scale, and from the 16th element on bytes of level + LEVELS.

    `rounded_activations` in narrow.py is its twin. The largest is found among the bits, where NaN is above infinity.
    Each sum of two int32 is an int64 to Numba, and would take half the lanes.
    """
    apart()
    top = np.int32(0)
    for k in range(depth):
        bits = np.int32(np.float32(x[k] * rows[k]).view(np.int32) & np.int32(0x7FFFFFFF))
        top = bits if bits > top else top
    largest, levels = np.int32(top).view(np.float32), as_bytes(at(out, 16))
    if top >= _INFINITE or largest < NOTHING:
        out[0] = np.float32(np.nan) if top >= _INFINITE else np.float32(0)
        for k in range(depth):
            levels[k] = np.uint8(LEVELS)
        return
    out[0] = largest / np.float32(LEVELS)
    factor = np.float32(2 * LEVELS) / largest
    for k in range(depth):
        twice = np.int32(np.float32(x[k] * rows[k]) * factor)
        above = np.int32(twice + np.int32(twice >= 0))
        levels[k] = np.uint8(np.int32(above >> np.int32(1)) + np.int32(LEVELS))
