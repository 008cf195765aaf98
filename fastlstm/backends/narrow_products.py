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
    storage, how = op[p.STORAGE], how + BACK * op[p.BACK]
    if storage == BFLOAT16:
        vectors, panels, total = h, kernel, (inputs + 1) // 2 + (depth + 1) // 2
    else:
        first = (inputs + 15) // 16 * 16
        vectors, panels = op[p.ROUNDED], at(kernel, first + (depth + 15) // 16 * 16)
        total = _int8_rows(inputs) + _int8_rows(depth)
        for r in range(batch):
            row = at(arena, rows[r] * row_size)
            if how & OF_X and inputs:
                quantise(at(row, vectors), at(row, h - inputs), inputs, kernel)
            if how & OF_H:
                quantise(at(row, vectors + _room(inputs)), at(row, h), depth, at(kernel, first))
    if op[p.TEAM] > 0 and narrow_shared(
        op, arena, row_size, rows, batch, y, width, vectors, inputs, depth, panels, total, how
    ):
        return
    add_narrow_columns(storage, arena, row_size, rows, batch, y, width, vectors, inputs, depth, panels, how)


@inner
def add_narrow_columns(storage, arena, row_size, rows, batch, y, width, vectors, inputs, depth, panels, how):
    """What this thread adds.

    vectors  bfloat16: where h lies; int8: where the scales and levels of x and h do
    """
    if storage == BFLOAT16:
        _bfloat16(arena, row_size, rows, batch, y, width, vectors, inputs, depth, panels, how)
    else:
        _int8(arena, row_size, rows, batch, y, width, vectors, inputs, depth, panels, how)


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
def _bfloat16(arena, row_size, rows, batch, y, width, h, inputs, depth, panels, how):
    apart()
    lanes, even = lanes_of(arena), (inputs + 1) // 2 * 2
    total, tiles = (even + depth + 1) // 2, width // (8 * lanes)
    begin, end = 0 if how & OF_X else even, even + depth if how & OF_H else even
    x, first = h - even + begin, begin // 2 * PANEL
    if batch == 1:
        row = at(arena, rows[0] * row_size)
        for number in range(tiles):
            column = _tile(number, tiles, how) * lanes
            panel = at(panels, column * total + first)
            bfloat16_tile_8(at(row, y + column), at(row, x), end - begin, panel, PANEL, total)
    else:
        for column in range(0, tiles * 8 * lanes, 2 * lanes):
            inside = column % PANEL
            panel = at(panels, (column - inside) * total + first)
            _bfloat16_rows(arena, row_size, rows, batch, y + column, x, end - begin, panel, inside // (2 * lanes))
    for column in range(tiles * 8 * lanes, width, lanes):
        vector, stride = _vector(panels, column, width, total)
        for r in range(batch):
            row = at(arena, rows[r] * row_size)
            if begin < even:  # by itself, as a sequence does it, so that the sums are made in the same order
                bfloat16_tile_1(at(row, y + column), at(row, h - even), even, vector, stride, total)
            if end > even:
                bfloat16_tile_1(at(row, y + column), at(row, h), depth, at(vector, even // 2 * stride), stride, total)


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
def _int8(arena, row_size, rows, batch, y, width, levels, inputs, depth, panels, how):
    """A tile is read once for all rows: it takes no longer from L2, where it then is, than the multiplications do."""
    apart()
    lanes, total = lanes_of(arena), _int8_rows(inputs) + _int8_rows(depth)
    tiles = width // (8 * lanes)
    for number in range(tiles):
        column = _tile(number, tiles, how) * lanes
        for part in range(OF_X, OF_H + 1):
            count, first, scale = _part(part, inputs, depth)
            if how & part and count:
                panel = at(panels, column * total + first * PANEL)
                for r in range(batch):
                    row = at(arena, rows[r] * row_size)
                    int8_tile_8(at(row, y + column), at(row, levels + scale), (count + 3) // 4, panel, PANEL, total)
    for column in range(tiles * 8 * lanes, width, lanes):
        vector, stride = _vector(panels, column, width, total)
        for part in range(OF_X, OF_H + 1):
            count, first, scale = _part(part, inputs, depth)
            if how & part and count:
                for r in range(batch):
                    row = at(arena, rows[r] * row_size)
                    z, v = at(row, y + column), at(row, levels + scale)
                    int8_tile_1(z, v, (count + 3) // 4, at(vector, first * stride), stride, total)


@scalar
def _part(part, inputs, depth):
    """Of the matrix of x or of h: its depth, its first row in a panel, and where its vector's scale is."""
    return (inputs, 0, 0) if part == OF_X else (depth, _int8_rows(inputs), _room(inputs))


@inner
def quantise(out, x, depth, rows):
    """x (depth,) * rows (depth,) -> out: its scale, and from the 16th element on bytes of level + LEVELS.

    `rounded_activations` in narrow.py is its twin. The largest is found among the bits, where NaN is above infinity.
    """
    apart()
    top = np.int32(0)
    for k in range(depth):
        bits = np.float32(x[k] * rows[k]).view(np.int32) & np.int32(0x7FFFFFFF)
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
        levels[k] = np.uint8(((twice + np.int32(twice >= 0)) >> np.int32(1)) + np.int32(LEVELS))
