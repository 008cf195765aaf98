"""Outputs -> an id, by all threads of a block; which id is that of `cpu_draw.py`, up to how sums are rounded."""

from __future__ import annotations

import math

from numba import cuda

from fastlstm.backends.cuda.jit import called, device
from fastlstm.backends.cuda.primitives import apart
from fastlstm.backends.cuda.vectors import block_largest, block_sum


@called
def largest(arena, start, n, scratch):
    """The index of the largest of arena[start : start + n], the first of equals."""
    apart()
    best, found = -math.inf, n
    for j in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        y = float(arena[start + j])
        if y > best:
            best, found = y, j
    top = block_largest(best, scratch)
    first = block_largest(float(-found) if best == top else -math.inf, scratch)
    return min(int(-first), n - 1) if first > -math.inf else 0


@called
def draw(arena, start, n, probabilities, temperature, top_k, top_p, chance, order, mass, scratch):
    """An index of y = arena[start : start + n], by probability ~ exp(y / temperature), or y^(1 / temperature).

    order, mass  (power of two >= n,) int32 and float64: the block's own
    """
    apart()
    thread, threads, size = cuda.threadIdx.x, cuda.blockDim.x, 1
    while size < n:
        size *= 2
    top = -math.inf
    for j in range(thread, n, threads):
        y = float(arena[start + j])
        mass[j] = _log(y) if probabilities else y
        top = max(top, mass[j])
    top = block_largest(top, scratch)
    total = 0.0
    for j in range(thread, size, threads):
        mass[j] = math.exp((mass[j] - top) / temperature) if j < n else -1.0
        order[j] = j
        total += mass[j] if j < n else 0.0
    total, kept = block_sum(total, scratch), n
    if top_k < n or top_p < 1.0:
        _sort(order, mass, size)
        _accumulate(mass, n, scratch)
        kept = min(top_k, n, 1 + _count_to(mass, n, top_p * total, False, scratch))
    else:
        _accumulate(mass, n, scratch)
    return order[min(_count_to(mass, kept, chance * mass[kept - 1], True, scratch), kept - 1)]


@device
def _log(y):
    return math.log(y) if y > 0.0 else -math.inf


@device
def _count_to(sums, n, level, inclusive, scratch):
    """How many of the rising sums[:n] are below `level`, or at most that."""
    below = 0.0
    for j in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        if sums[j] < level or (inclusive and sums[j] == level):
            below += 1.0
    return int(block_sum(below, scratch))


@device
def _accumulate(x, n, scratch):
    """x[k] = x[0] + ... + x[k]: each thread a stretch, which begins where the stretches before it end."""
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    stretch = (n + threads - 1) // threads
    own = 0.0
    cuda.syncthreads()
    for j in range(thread * stretch, min(n, (thread + 1) * stretch)):
        own += x[j]
    scratch[thread] = own
    cuda.syncthreads()
    before = 0.0
    for k in range(thread):
        before += scratch[k]
    for j in range(thread * stretch, min(n, (thread + 1) * stretch)):
        before += x[j]
        x[j] = before
    cuda.syncthreads()


@device
def _sort(order, mass, size):
    """The largest mass first, of equals the lower index: a bitonic sort, `size` a power of two."""
    width = 2
    while width <= size:
        distance = width // 2
        while distance > 0:
            cuda.syncthreads()
            for j in range(cuda.threadIdx.x, size, cuda.blockDim.x):
                k = j ^ distance
                if k > j:
                    a, b = mass[j], mass[k]
                    first = a > b or (a == b and order[j] < order[k])
                    if first == ((j & width) != 0):
                        mass[j], mass[k] = b, a
                        order[j], order[k] = order[k], order[j]
            distance //= 2
        width *= 2
    cuda.syncthreads()
