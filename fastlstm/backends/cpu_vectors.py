"""Compiled loops over one or two vectors: what the cells of `cpu_cells.py` are made of."""

from __future__ import annotations

import math

from fastlstm.backends import scalar as s
from fastlstm.backends.jit import inner, scalar
from fastlstm.backends.memory import part
from fastlstm.layers import Activation

# The codes as plain integers, which Numba takes as constants; in the order of the codes.
(
    LINEAR, TANH, SIGMOID, RELU, RELU6, ELU, SELU, SOFTPLUS, SOFTSIGN, SILU, EXPONENTIAL, HARD_SIGMOID,
    HARD_SIGMOID_KERAS3, LEAKY_RELU, SOFTMAX, GELU, MISH, HARD_SHRINK, HARD_SILU, HARD_TANH, LOG_SIGMOID, LOG_SOFTMAX,
    SOFT_SHRINK, SPARSE_PLUS, SPARSE_SIGMOID, SQUAREPLUS, TANH_SHRINK,
) = map(int, Activation)  # fmt: skip


@inner
def add_product(y, x, weights, start):
    """y (N,) += x (K,) @ weights[start:] read as (K, N).

    Four rows of weights a pass: y is then loaded and stored once for four multiply-adds, which keeps up with the
    cache that the weights come from (tried on AVX2: 66 GB/s from L3, and eight rows are no better).
    """
    n, k = y.size, 0
    while k + 4 <= x.size:
        at = start + k * n
        w0, w1 = part(weights, at, n), part(weights, at + n, n)
        w2, w3 = part(weights, at + 2 * n, n), part(weights, at + 3 * n, n)
        x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        for j in range(n):
            y[j] += (x0 * w0[j] + x1 * w1[j]) + (x2 * w2[j] + x3 * w3[j])
        k += 4
    while k < x.size:
        at = start + k * n
        w0, x0 = part(weights, at, n), x[k]
        for j in range(n):
            y[j] += x0 * w0[j]
        k += 1


@inner
def copy(y, x):
    """y (N,) = x (N,)."""
    for j in range(y.size):
        y[j] = x[j]


@inner
def fill(y, value):
    for j in range(y.size):
        y[j] = value


@inner
def add_scaled(y, w, x):
    """y (N,) += w (N,) * x (N,)."""
    for j in range(y.size):
        y[j] += w[j] * x[j]


@inner
def activate(code, x):
    """x (N,) = activation(x), in place. The choice stands outside the loops, so that each is vectorised."""
    if code == TANH:
        for j in range(x.size):
            x[j] = s.tanh(x[j])
    elif code == SIGMOID:
        for j in range(x.size):
            x[j] = s.sigmoid(x[j])
    elif code == RELU:
        for j in range(x.size):
            x[j] = s.relu(x[j])
    elif code == HARD_SIGMOID:
        for j in range(x.size):
            x[j] = s.hard_sigmoid(x[j])
    elif code in (SOFTMAX, LOG_SOFTMAX):
        _softmax(code, x)
    elif code != LINEAR:
        for j in range(x.size):  # the rare ones share a loop that is not vectorised, and compile in a tenth of the time
            x[j] = _rare(code, x[j])


@scalar
def _rare(code, x):
    if code == HARD_SIGMOID_KERAS3:
        return s.hard_sigmoid_keras3(x)
    if code == RELU6:
        return s.relu6(x)
    if code == ELU:
        return s.elu(x)
    if code == SELU:
        return s.selu(x)
    if code == SOFTPLUS:
        return s.softplus(x)
    if code == SOFTSIGN:
        return s.softsign(x)
    if code == SILU:
        return s.silu(x)
    if code == EXPONENTIAL:
        return s.exponential(x)
    if code == LEAKY_RELU:
        return s.leaky_relu(x)
    if code == GELU:
        return s.gelu(x)
    if code == MISH:
        return s.mish(x)
    if code == HARD_SHRINK:
        return s.hard_shrink(x)
    if code == HARD_SILU:
        return s.hard_silu(x)
    if code == HARD_TANH:
        return s.hard_tanh(x)
    if code == LOG_SIGMOID:
        return s.log_sigmoid(x)
    if code == SOFT_SHRINK:
        return s.soft_shrink(x)
    if code == SPARSE_PLUS:
        return s.sparse_plus(x)
    if code == SPARSE_SIGMOID:
        return s.sparse_sigmoid(x)
    if code == SQUAREPLUS:
        return s.squareplus(x)
    return s.tanh_shrink(x)


@inner
def _softmax(code, x):
    """x (N,) = exp(x) / sum(exp(x)), or its logarithm, shifted by the largest so that nothing overflows."""
    largest = x[0]
    for j in range(x.size):
        largest = max(largest, x[j])
    for j in range(x.size):
        x[j] -= largest
    total = type(largest)(0)
    for j in range(x.size):
        e = math.exp(x[j])
        total += e
        if code == SOFTMAX:
            x[j] = e
    shift = type(largest)(math.log(total))
    for j in range(x.size):
        x[j] = x[j] / total if code == SOFTMAX else x[j] - shift


@inner
def clip(x, limit):
    for j in range(x.size):
        x[j] = s.clip(x[j], limit)


@inner
def normalise(x, gamma, beta, epsilon):
    """x (N,) = gamma * (x - mean) / sqrt(variance + epsilon) + beta, in place; the sums in float64."""
    mean = 0.0
    for j in range(x.size):
        mean += x[j]
    mean /= x.size
    variance = 0.0
    for j in range(x.size):
        variance += (x[j] - mean) * (x[j] - mean)
    scale = 1.0 / math.sqrt(variance / x.size + epsilon)
    for j in range(x.size):
        x[j] = gamma[j] * ((x[j] - mean) * scale) + beta[j]
