"""Products of narrow matrices (`narrow.py`) and vectors of the arena, of one row of the batch or of several.

A tile is read once for all rows. What a row gets does not depend on the others.
"""

from __future__ import annotations

import numpy as np

from fastlstm.backends import plan as p
from fastlstm.backends.jit import inner, scalar
from fastlstm.backends.memory import at
from fastlstm.backends.narrow import BFLOAT16, LEVELS, NOTHING
from fastlstm.backends.narrow_simd import (
    apart,
    as_bytes,
    bfloat16_tile_1,
    bfloat16_tile_8,
    int8_tile_1,
    int8_tile_8,
)
from fastlstm.backends.simd import lanes_of

_INFINITE = np.int32(0x7F800000)


@inner
def add_narrow_products(op, arena, row_size, rows, batch, y, width, x, depth, kernel):
    """For each of `rows` (batch,): the arena's y (width,) += x (depth,) @ the packed narrow kernel."""
    if op[p.STORAGE] == BFLOAT16:
        _bfloat16(arena, row_size, rows, batch, y, width, x, depth, kernel)
        return
    levels = op[p.ROUNDED]
    for r in range(batch):
        row = at(arena, rows[r] * row_size)
        quantise(at(row, levels), at(row, x), depth, kernel)
    _int8(arena, row_size, rows, batch, y, width, levels, depth, kernel)


@scalar
def _stride(column, width, lanes):
    """How wide the panel is that this column lies in: two vectors, or one where that is left over."""
    return lanes if column // (2 * lanes) * (2 * lanes) + lanes == width else 2 * lanes


@inner
def _bfloat16(arena, row_size, rows, batch, y, width, x, depth, kernel):
    apart()
    lanes, words, column = lanes_of(arena), (depth + 1) // 2, 0
    while column + 8 * lanes <= width:
        panel = at(kernel, column * words)
        for r in range(batch):
            row = at(arena, rows[r] * row_size)
            bfloat16_tile_8(at(row, y + column), at(row, x), depth, panel, 2 * lanes)
        column += 8 * lanes
    while column < width:
        inside = column % (2 * lanes)
        vector, stride = at(kernel, (column - inside) * words + inside), _stride(column, width, lanes)
        for r in range(batch):
            row = at(arena, rows[r] * row_size)
            bfloat16_tile_1(at(row, y + column), at(row, x), depth, vector, stride)
        column += lanes


@inner
def _int8(arena, row_size, rows, batch, y, width, levels, depth, kernel):
    apart()
    lanes, words, column = lanes_of(arena), (depth + 3) // 4, 0
    columns = at(kernel, (depth + 15) // 16 * 16)
    surplus = at(columns, (width + 15) // 16 * 16)
    panels = at(surplus, (width + 15) // 16 * 16)
    while column + 8 * lanes <= width:
        panel, unit, less = at(panels, column * words), at(columns, column), at(surplus, column)
        for r in range(batch):
            row = at(arena, rows[r] * row_size)
            z, v = at(row, y + column), at(row, levels + 16)
            int8_tile_8(z, v, words, panel, 2 * lanes, unit, less, at(row, levels))
        column += 8 * lanes
    while column < width:
        inside = column % (2 * lanes)
        vector, stride = at(panels, (column - inside) * words + inside), _stride(column, width, lanes)
        unit, less = at(columns, column), at(surplus, column)
        for r in range(batch):
            row = at(arena, rows[r] * row_size)
            z, v = at(row, y + column), at(row, levels + 16)
            int8_tile_1(z, v, words, vector, stride, unit, less, at(row, levels))
        column += lanes


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
