"""The kernel for the first layer's products with all inputs of a sequence; `ahead.py` launches it."""

from __future__ import annotations

from numba import cuda

from fastlstm.backends.cuda.jit import kernel
from fastlstm.backends.cuda.primitives import LANES, quotient
from fastlstm.backends.cuda.products import sums_of_one
from fastlstm.backends.cuda.settings import MANY

ROWS = 1 << MANY  # that a warp computes at a time


@kernel
def multiply(xs, columns, bias, out):
    """out (M, N) = xs (M, K) @ columns (N, K).T + bias (N,), where xs and columns come flat, K a multiple of 4.

    A warp computes 16 rows of four columns at a time; shared memory for 64 sums a warp.
    """
    rows, width = out.shape
    depth, sums = columns.size // width, cuda.shared.array(0, out.dtype)
    warps, lane, place = cuda.blockDim.x // LANES, cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES * 4 * ROWS
    batches, first = (rows + ROWS - 1) // ROWS, cuda.blockIdx.x * warps + cuda.threadIdx.x // LANES
    for task in range(first, batches * ((width + 3) // 4), warps * cuda.gridDim.x):
        quad = quotient(task, batches)
        n, m, last, end = 4 * quad, (task - quad * batches) * ROWS, width - 1, rows - 1
        four = (n * depth, min(n + 1, last) * depth, min(n + 2, last) * depth, min(n + 3, last) * depth)
        row, end = depth * xs.itemsize, end * depth * xs.itemsize
        m *= row
        many = (
            m, min(m + row, end), min(m + 2 * row, end), min(m + 3 * row, end),
            min(m + 4 * row, end), min(m + 5 * row, end), min(m + 6 * row, end), min(m + 7 * row, end),
            min(m + 8 * row, end), min(m + 9 * row, end), min(m + 10 * row, end), min(m + 11 * row, end),
            min(m + 12 * row, end), min(m + 13 * row, end), min(m + 14 * row, end), min(m + 15 * row, end),
        )  # fmt: skip
        sums_of_one(columns, four, xs, many, 0, depth, lane, sums, place)
        for item in range(lane, 4 * ROWS, LANES):
            r, k = (task - quad * batches) * ROWS + item // 4, n + item % 4
            if r < rows and k < width:
                out[r, k] = sums[place + item] + bias[k]
