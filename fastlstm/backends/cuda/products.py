"""Products of four weight columns with 1, 4 or 8 batch rows, by a warp.

Each lane takes every 32nd group of four elements: 16-byte loads, a warp's side by side, so that no two lanes want the
same bank of shared memory. Four columns share each load of a vector, the rows share each load of the weights: of 4
rows eight loads go with 64 multiply-adds, of 8 rows 12 with 128. A sum's order does not depend on how many rows there
are, nor on the grid.
"""

from __future__ import annotations

from fastlstm.backends.cuda.jit import device
from fastlstm.backends.cuda.primitives import multiplied, no_sums, warp_sums


@device
def sums_of(weights, columns, arena, rows, a, a_depth, b, b_depth, lane, sums, place):
    """sums[place + 4 * r + k] = columns[k] times what stands at a, then at b, in the arena row that is at rows[r]."""
    parts = multiplied(no_sums(sums, rows), weights, columns, 0, arena, rows, a, lane, a_depth)
    warp_sums(multiplied(parts, weights, columns, a_depth, arena, rows, b, lane, b_depth), lane, sums, place)
