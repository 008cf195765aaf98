"""Products of four weight columns with 1, 4 or 16 batch rows, by a warp.

Each lane takes every 32nd group of four elements: 16-byte loads, a warp's side by side, so that no two lanes want the
same bank of shared memory. Four columns share each load of a vector, the rows share each load of the weights: of 4
rows eight loads go with 64 multiply-adds, of 16 rows 20 with 256. A sum's order does not depend on how many rows there
are, nor on the grid, nor on how much of the weights lies where.
"""

from __future__ import annotations

from fastlstm.backends.cuda.jit import device
from fastlstm.backends.cuda.primitives import multiplied, no_sums, warp_sums


@device
def sums_of(slices, near, kept, weights, far, arena, rows, a, a_depth, b, b_depth, lane, sums, place):
    """sums[place + 4 * r + k] = column k times what stands at a, then at b, in the arena's row at the byte rows[r].

    near, far  where the four columns begin, of which the first `kept` elements lie in `slices`, the others in `weights`
    """
    of_a, of_b = min(kept, a_depth), max(kept - a_depth, 0)
    parts = multiplied(no_sums(sums, rows), slices, near, 0, arena, rows, a, lane, 0, of_a)
    parts = multiplied(parts, weights, far, 0, arena, rows, a, lane, of_a, a_depth)
    parts = multiplied(parts, slices, near, a_depth, arena, rows, b, lane, 0, of_b)
    parts = multiplied(parts, weights, far, a_depth, arena, rows, b, lane, of_b, b_depth)
    warp_sums(parts, lane, sums, place)


@device
def sums_of_one(weights, columns, arena, rows, x, depth, lane, sums, place):
    """The same of columns that lie in one place, and of one vector of each row."""
    warp_sums(multiplied(no_sums(sums, rows), weights, columns, 0, arena, rows, x, lane, 0, depth), lane, sums, place)
