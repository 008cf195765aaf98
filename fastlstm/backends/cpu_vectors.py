"""Compiled loops over one or two vectors, given by pointer and size: what the cells of `cpu_cells.py` are made of."""

from __future__ import annotations

import math

from fastlstm.backends import scalar as s
from fastlstm.backends.jit import inner, scalar
from fastlstm.layers import Activation

# The codes as plain integers, which Numba takes as constants; in the order of the codes.
(
    LINEAR, TANH, SIGMOID, RELU, RELU6, ELU, SELU, SOFTPLUS, SOFTSIGN, SILU, EXPONENTIAL, HARD_SIGMOID,
    HARD_SIGMOID_KERAS3, LEAKY_RELU, SOFTMAX, GELU, MISH, HARD_SHRINK, HARD_SILU, HARD_TANH, LOG_SIGMOID, LOG_SOFTMAX,
    SOFT_SHRINK, SPARSE_PLUS, SPARSE_SIGMOID, SQUAREPLUS, TANH_SHRINK,
) = map(int, Activation)  # fmt: skip


@inner
def fill(y, n, value):
    for j in range(n):
        y[j] = value


@inner
def add_scaled(y, n, w, x):
    """y (n,) += w (n,) * x (n,)."""
    for j in range(n):
        y[j] += w[j] * x[j]


@inner
def activate(code, x, n):
    """x (n,) = activation(x), in place. The choice stands outside the loops, so that each is vectorised."""
    if code == TANH:
        for j in range(n):
            x[j] = s.tanh(x[j])
    elif code == SIGMOID:
        for j in range(n):
            x[j] = s.sigmoid(x[j])
    elif code == RELU:
        for j in range(n):
            x[j] = s.relu(x[j])
    elif code == HARD_SIGMOID:
        for j in range(n):
            x[j] = s.hard_sigmoid(x[j])
    elif code in (SOFTMAX, LOG_SOFTMAX):
        _softmax(code, x, n)
    elif code != LINEAR:
        for j in range(n):  # the rare ones share a loop that is not vectorised, and compile in a tenth of the time
            x[j] = rare(code, x[j])


@scalar
def rare(code, x):
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
def _softmax(code, x, n):
    """x (n,) = exp(x) / sum(exp(x)), or its logarithm, shifted by the largest so that nothing overflows."""
    largest = x[0]
    for j in range(n):
        largest = max(largest, x[j])
    for j in range(n):
        x[j] -= largest
    total = type(largest)(0)
    for j in range(n):
        e = math.exp(x[j])
        total += e
        if code == SOFTMAX:
            x[j] = e
    shift = type(largest)(math.log(total))
    for j in range(n):
        x[j] = x[j] / total if code == SOFTMAX else x[j] - shift


@inner
def clip(x, n, limit):
    for j in range(n):
        x[j] = s.clip(x[j], limit)


@inner
def normalise(x, n, gamma, beta, epsilon):
    """x (n,) = gamma * (x - mean) / sqrt(variance + epsilon) + beta, in place; the sums in float64."""
    mean = 0.0
    for j in range(n):
        mean += x[j]
    mean /= n
    variance = 0.0
    for j in range(n):
        variance += (x[j] - mean) * (x[j] - mean)
    scale = 1.0 / math.sqrt(variance / n + epsilon)
    for j in range(n):
        x[j] = gamma[j] * ((x[j] - mean) * scale) + beta[j]
