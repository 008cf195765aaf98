"""The first layer's products with all inputs of a sequence, in one matrix product before the loop."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from numba import cuda

from fastlstm.backends.cuda.device import simulated

_SIDE = 2 if simulated() else 16  # threads of a block in either direction
_TILE = 4 * _SIDE  # rows and columns of `out` that a block computes, each thread four by four
_DEPTH = _SIDE  # of a tile's factors in shared memory


@cuda.jit(cache=True)
def multiply(xs, kernel, bias, out):
    """out (M, N) = xs (M, K) @ kernel (K, N) + bias (N,); a grid of (N / _TILE, M / _TILE), blocks (_SIDE, _SIDE)."""
    left = cuda.shared.array((_DEPTH, _TILE), out.dtype)
    right = cuda.shared.array((_DEPTH, _TILE), out.dtype)
    sums = cuda.local.array((4, 4), out.dtype)
    x, y, column, row = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.x * _TILE, cuda.blockIdx.y * _TILE
    zero = out.dtype.type(0)
    for i in range(4):
        for j in range(4):
            sums[i, j] = zero
    for start in range(0, xs.shape[1], _DEPTH):
        for i in range(4):
            m, n, k = row + y + i * _SIDE, column + x + i * _SIDE, start + x
            inside = m < xs.shape[0] and k < xs.shape[1]
            left[x, y + i * _SIDE] = xs[m, k] if inside else zero
            inside = n < kernel.shape[1] and start + y < xs.shape[1]
            right[y, x + i * _SIDE] = kernel[start + y, n] if inside else zero
        cuda.syncthreads()
        for k in range(_DEPTH):
            for i in range(4):
                for j in range(4):
                    sums[i, j] += left[k, y + i * _SIDE] * right[k, x + j * _SIDE]
        cuda.syncthreads()
    for i in range(4):
        for j in range(4):
            m, n = row + y + i * _SIDE, column + x + j * _SIDE
            if m < out.shape[0] and n < out.shape[1]:
                out[m, n] = sums[i, j] + bias[n]


def products(xs: Any, kernel: Any, bias: Any, out: Any) -> None:
    """`multiply` of device arrays: by cuBLAS where CuPy is installed."""
    if not simulated() and find_spec("cupy") is not None:
        import cupy

        target = cupy.asarray(out)
        cupy.matmul(cupy.asarray(xs), cupy.asarray(kernel), out=target)
        target += cupy.asarray(bias)
        cupy.cuda.get_current_stream().synchronize()
        return
    grid = -(-out.shape[1] // _TILE), -(-out.shape[0] // _TILE)
    multiply[grid, (_SIDE, _SIDE)](xs, kernel, bias, out)
