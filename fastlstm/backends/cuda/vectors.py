"""What every block computes for itself, over whole vectors of its arena, by all its threads.

A thread has the same elements of a vector in each pass over it, so that passes need no barrier between them; what
another operation reads is complete after the barrier that follows each of them (`steps.py`).
"""

from __future__ import annotations

import math

from numba import cuda

from fastlstm.backends import scalar as s
from fastlstm.backends.cpu_vectors import LOG_SOFTMAX, SOFTMAX
from fastlstm.backends.cuda import program as p
from fastlstm.backends.cuda.cells import activation, clipped
from fastlstm.backends.cuda.jit import called, device
from fastlstm.backends.cuda.primitives import LANES, apart, of, warp_largest, warp_sum


@device
def _of_warps(value, scratch):
    """Each warp's `value` -> scratch (warps,), for all threads to read."""
    thread = cuda.threadIdx.x
    cuda.syncthreads()
    if thread % LANES == 0:
        scratch[thread // LANES] = value
    cuda.syncthreads()


@called
def block_sum(value, scratch):
    """The sum of the threads' float64 `value`, the same bits in all; scratch: shared, one a warp."""
    apart()
    _of_warps(warp_sum(value), scratch)
    total = 0.0
    for k in range(cuda.blockDim.x // LANES):
        total += scratch[k]
    return total


@called
def block_largest(value, scratch):
    apart()
    _of_warps(warp_largest(value), scratch)
    largest = scratch[0]
    for k in range(1, cuda.blockDim.x // LANES):
        largest = max(largest, scratch[k])
    return largest


@called
def softmax(code, arena, start, n, scratch):
    """arena[start : start + n] = exp(x) / sum(exp(x)), or its logarithm."""
    apart()
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    largest = -math.inf
    for j in range(thread, n, threads):
        largest = max(largest, float(arena[start + j]))
    largest = arena.dtype.type(block_largest(largest, scratch))
    total = 0.0
    for j in range(thread, n, threads):
        arena[start + j] -= largest
        total += math.exp(arena[start + j])
    total = block_sum(total, scratch)
    for j in range(thread, n, threads):
        x = float(arena[start + j])
        arena[start + j] = math.exp(x) / total if code == SOFTMAX else x - math.log(total)


@called
def _activate(code, arena, start, n, scratch):
    apart()
    if code in (SOFTMAX, LOG_SOFTMAX):
        softmax(code, arena, start, n, scratch)
    else:
        for j in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            arena[start + j] = activation(code, arena[start + j])


@called
def _normalise(arena, start, n, table, gamma, beta, epsilon, scratch):
    """arena[start : start + n] = gamma * (x - mean) / sqrt(variance + epsilon) + beta; the sums in float64."""
    apart()
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    mean = 0.0
    for j in range(thread, n, threads):
        mean += arena[start + j]
    mean = block_sum(mean, scratch) / n
    variance = 0.0
    for j in range(thread, n, threads):
        variance += (arena[start + j] - mean) * (arena[start + j] - mean)
    scale = 1.0 / math.sqrt(block_sum(variance, scratch) / n + epsilon)
    for j in range(thread, n, threads):
        arena[start + j] = table[gamma + j] * ((arena[start + j] - mean) * scale) + table[beta + j]


@called
def _new_state(program, o, table, arena, z, c, n, epsilon, scratch):
    """c, also in place of the candidate; the peephole of o."""
    apart()
    norm, peepholes = of(program, o, p.NORM), of(program, o, p.PEEPHOLES)
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    for j in range(thread, n, threads):
        arena[c + j] = arena[z + n + j] * arena[c + j] + arena[z + j] * arena[z + 2 * n + j]
    if norm != p.NONE:
        _normalise(arena, c, n, table, norm + 8 * n, norm + 9 * n, epsilon, scratch)
    for j in range(thread, n, threads):
        x = clipped(program, o, table, arena[c + j])
        arena[c + j] = x
        arena[z + 2 * n + j] = x
        if peepholes != p.NONE:
            arena[z + 3 * n + j] += table[peepholes + 2 * n + j] * x


@called
def norm_cell(program, o, table, arena, row, scratch):
    """An LSTM's cell with layer norm, or with an activation across the units, of one row."""
    apart()
    n, z, c, target = (
        of(program, o, p.UNITS),
        row + of(program, o, p.A),
        row + of(program, o, p.C),
        row + of(program, o, p.TARGET),
    )
    norm, peepholes = of(program, o, p.NORM), of(program, o, p.PEEPHOLES)
    phi, sigma = of(program, o, p.ACTIVATION), of(program, o, p.RECURRENT_ACTIVATION)
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    epsilon = table[norm + 10 * n] if norm != p.NONE else table.dtype.type(0)
    if norm != p.NONE:  # gamma (4, H), bias (4, H), gamma and beta of the cell state (H), epsilon
        for k in range(4):
            _normalise(arena, z + k * n, n, table, norm + k * n, norm + (4 + k) * n, epsilon, scratch)
    if peepholes != p.NONE:
        for j in range(thread, n, threads):
            arena[z + j] += table[peepholes + j] * arena[c + j]
            arena[z + n + j] += table[peepholes + n + j] * arena[c + j]
    for k in range(5):  # i, f, the candidate; then, of the new cell state, o and what it multiplies
        if k == 3:
            _new_state(program, o, table, arena, z, c, n, epsilon, scratch)
        gate = 2 if k == 4 else k
        _activate(phi if gate == 2 else sigma, arena, z + gate * n, n, scratch)
    for j in range(thread, n, threads):
        arena[target + j] = arena[z + 3 * n + j] * arena[z + 2 * n + j]


@called
def element(program, o, arena, row, j):
    """AROUND: element j of what a layer puts out with its input x around it."""
    apart()
    target, mask, h = of(program, o, p.TARGET), of(program, o, p.MASK), arena[row + of(program, o, p.H) + j]
    zero = arena.dtype.type(0)
    if mask != p.NONE and arena[row + mask] != zero:
        h = zero
    if of(program, o, p.A) != p.NONE:
        x = arena[row + of(program, o, p.A) + j]
        if of(program, o, p.B) == p.NONE:
            h = h + x
        elif of(program, o, p.C) == p.NONE:
            h = s.blend(arena[row + of(program, o, p.B) + j], x, h)
        else:
            h = x * arena[row + of(program, o, p.B) + j] + h * arena[row + of(program, o, p.C) + j]
    arena[row + target + j] = h


@called
def mask_value(program, o, table, arena, row, scratch):
    """MASK_VALUE of one row: the mask, and the row without the value where it is masked."""
    apart()
    x, y, n = row + of(program, o, p.A), row + of(program, o, p.TARGET), of(program, o, p.UNITS)
    thread, threads, value = cuda.threadIdx.x, cuda.blockDim.x, table[of(program, o, p.VALUE)]
    others = 0.0
    for j in range(thread, n, threads):
        if arena[x + j] != value:
            others += 1.0
    live = block_sum(others, scratch) > 0.0
    zero = arena.dtype.type(0)
    for j in range(thread, n, threads):
        arena[y + j] = arena[x + j] if live else zero
    if thread == 0:
        arena[row + of(program, o, p.MASK)] = zero if live else arena.dtype.type(1)
