"""The kernel for the first layer's products with all inputs of a sequence; `ahead.py` launches it."""

from __future__ import annotations

from numba import cuda

from fastlstm.backends.cuda.jit import kernel
from fastlstm.backends.cuda.primitives import LANES
from fastlstm.backends.cuda.products import sums_of
from fastlstm.backends.cuda.settings import MANY


@kernel
def multiply(xs, columns, bias, out):
    """out (M, N) = xs (M, K) @ columns (N, K).T + bias (N,), where xs and columns come flat, K a multiple of 4.

    A warp computes eight rows of four columns at a time; shared memory for 32 sums a warp.
    """
    rows, width = out.shape
    depth, sums = columns.size // width, cuda.shared.array(0, out.dtype)
    warps, lane, place = cuda.blockDim.x // LANES, cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES * 4 * MANY
    batches, first = (rows + MANY - 1) // MANY, cuda.blockIdx.x * warps + cuda.threadIdx.x // LANES
    for task in range(first, batches * ((width + 3) // 4), warps * cuda.gridDim.x):
        n, m, last, end = task // batches * 4, task % batches * MANY, width - 1, rows - 1
        four = (n * depth, min(n + 1, last) * depth, min(n + 2, last) * depth, min(n + 3, last) * depth)
        many = (
            m * depth, min(m + 1, end) * depth, min(m + 2, end) * depth, min(m + 3, end) * depth,
            min(m + 4, end) * depth, min(m + 5, end) * depth, min(m + 6, end) * depth, min(m + 7, end) * depth,
        )  # fmt: skip
        sums_of(columns, four, xs, many, 0, depth, 0, 0, lane, sums, place)
        for item in range(lane, 4 * MANY, LANES):
            r, k = m + item // 4, n + item % 4
            if r < rows and k < width:
                out[r, k] = sums[place + item] + bias[k]
