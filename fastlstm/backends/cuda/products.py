"""Products of four weight columns with one or four batch rows, by a warp.

Each lane takes every 32nd group of four elements: 16-byte loads, a warp's side by side, so that no two lanes want the
same bank of shared memory. Four columns share each load of the vector, four rows share each load of the weights.
A sum's order does not depend on how many rows there are, nor on the grid.
"""

from __future__ import annotations

from fastlstm.backends.cuda.jit import device
from fastlstm.backends.cuda.primitives import LANES, load4, warp_sums


@device
def _dot(s, a, x):
    s = s + a[0] * x[0]
    s = s + a[1] * x[1]
    s = s + a[2] * x[2]
    return s + a[3] * x[3]


@device
def _add_one(sums, weights, columns, arena, x, depth, lane):
    """Four columns, which begin at columns[k], times the vector at x: this lane's part of four sums."""
    s, t, u, v = sums
    k = 4 * lane
    while k < depth:  # a range would be counted, which keeps addresses from becoming additions
        row = load4(arena, x + k)
        s = _dot(s, load4(weights, columns[0] + k), row)
        t = _dot(t, load4(weights, columns[1] + k), row)
        u = _dot(u, load4(weights, columns[2] + k), row)
        v = _dot(v, load4(weights, columns[3] + k), row)
        k += 4 * LANES
    return s, t, u, v


@device
def _add_four(sums, weights, columns, arena, rows, x, depth, lane):
    """The same of the vectors at rows[r] + x: sums[4 * r + k]."""
    s0, s1, s2, s3, t0, t1, t2, t3, u0, u1, u2, u3, v0, v1, v2, v3 = sums
    k = 4 * lane
    while k < depth:
        a = load4(weights, columns[0] + k)
        b = load4(weights, columns[1] + k)
        c = load4(weights, columns[2] + k)
        d = load4(weights, columns[3] + k)
        row = load4(arena, rows[0] + x + k)
        s0, s1, s2, s3 = _dot(s0, a, row), _dot(s1, b, row), _dot(s2, c, row), _dot(s3, d, row)
        row = load4(arena, rows[1] + x + k)
        t0, t1, t2, t3 = _dot(t0, a, row), _dot(t1, b, row), _dot(t2, c, row), _dot(t3, d, row)
        row = load4(arena, rows[2] + x + k)
        u0, u1, u2, u3 = _dot(u0, a, row), _dot(u1, b, row), _dot(u2, c, row), _dot(u3, d, row)
        row = load4(arena, rows[3] + x + k)
        v0, v1, v2, v3 = _dot(v0, a, row), _dot(v1, b, row), _dot(v2, c, row), _dot(v3, d, row)
        k += 4 * LANES
    return s0, s1, s2, s3, t0, t1, t2, t3, u0, u1, u2, u3, v0, v1, v2, v3


@device
def sums_of_one(weights, columns, arena, row, a, a_depth, b, b_depth, lane, sums, place):
    """sums[place + k] = columns[k] times what stands at a, then at b, in the arena row that begins at `row`."""
    zero = sums.dtype.type(0)
    parts, x, depth = (zero, zero, zero, zero), a, a_depth
    for _ in range(2):  # not twice in the code, of which the loops are the largest part
        parts = _add_one(parts, weights, columns, arena, row + x, depth, lane)
        columns = (columns[0] + a_depth, columns[1] + a_depth, columns[2] + a_depth, columns[3] + a_depth)
        x, depth = b, b_depth
    warp_sums(parts, lane, sums, place)


@device
def sums_of_four(weights, columns, arena, rows, a, a_depth, b, b_depth, lane, sums, place):
    """sums[place + 4 * r + k], of the arena rows that begin at rows[r]."""
    zero = sums.dtype.type(0)
    parts = (zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero)
    x, depth = a, a_depth
    for _ in range(2):
        parts = _add_four(parts, weights, columns, arena, rows, x, depth, lane)
        columns = (columns[0] + a_depth, columns[1] + a_depth, columns[2] + a_depth, columns[3] + a_depth)
        x, depth = b, b_depth
    warp_sums(parts, lane, sums, place)
