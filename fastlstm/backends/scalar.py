"""The mathematics: activations, the cell's equations and the random numbers, one scalar at a time.

Compiled functions of scalars, free of branches (a condition is a select), so that LLVM turns a loop over them into
vector code; the same functions serve the CPU and CUDA. Loops are each backend's own.

Numbers stay in the type they come in: a constant is made with `type(x)(...)`, as a bare 1.0 would turn float32
arithmetic into float64. A limit is written `limit if x > limit else x`, which keeps a NaN a NaN.
"""

from __future__ import annotations

import math

import numpy as np

from fastlstm.backends.jit import scalar
from fastlstm.backends.sigmoids import cell, clip, sigmoid, tanh  # noqa: F401 cell is there for other backends


@scalar
def relu(x):
    zero = type(x)(0)
    return zero if x < zero else x


@scalar
def relu6(x):
    x = relu(x)
    return type(x)(6) if x > type(x)(6) else x


@scalar
def elu(x):
    e = type(x)(math.expm1(x if x < type(x)(0) else type(x)(0)))
    return e if x < type(x)(0) else x


@scalar
def selu(x):
    e = type(x)(1.6732632423543772) * elu(x if x < type(x)(0) else type(x)(0))
    return type(x)(1.0507009873554805) * (e if x < type(x)(0) else x)


@scalar
def softplus(x):
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))."""
    return relu(x) + type(x)(math.log1p(math.exp(-abs(x))))


@scalar
def softsign(x):
    return x / (type(x)(1) + abs(x))


@scalar
def silu(x):
    y = x * sigmoid(x)
    return type(x)(0) if x < type(x)(-80) else y  # there sigmoid has stopped at 1e-38, which is too large by then


@scalar
def exponential(x):
    return type(x)(math.exp(x))


@scalar
def hard_sigmoid(x):
    """Keras 1 and 2: clip(0.2 x + 0.5, 0, 1)."""
    y = relu(type(x)(0.2) * x + type(x)(0.5))
    return type(x)(1) if y > type(x)(1) else y


@scalar
def hard_sigmoid_keras3(x):
    """Keras 3: relu6(x + 3) / 6."""
    return relu6(x + type(x)(3)) / type(x)(6)


@scalar
def leaky_relu(x):
    return x if x > type(x)(0) else type(x)(0.2) * x


@scalar
def gelu(x):
    """x * (1 + erf(x / sqrt(2))) / 2; by erfc, whose small values are exact."""
    return type(x)(0.5) * x * type(x)(math.erfc(-x * type(x)(0.7071067811865476)))


@scalar
def mish(x):
    """x * tanh(log(1 + e)) with e = exp(x), which is x * n / (n + 2) with n = e (e + 2)."""
    e = type(x)(math.exp(type(x)(20) if x > type(x)(20) else x))
    n = e * (e + type(x)(2))
    return x * (n / (n + type(x)(2)))


@scalar
def hard_shrink(x):
    return type(x)(0) if abs(x) <= type(x)(0.5) else x


@scalar
def hard_silu(x):
    return x * hard_sigmoid_keras3(x)


@scalar
def hard_tanh(x):
    return clip(x, type(x)(1))


@scalar
def log_sigmoid(x):
    return -softplus(-x)


@scalar
def soft_shrink(x):
    return x - clip(x, type(x)(0.5))


@scalar
def sparse_plus(x):
    y = type(x)(0.25) * (x + type(x)(1)) * (x + type(x)(1))
    y = x if x >= type(x)(1) else y
    return type(x)(0) if x <= type(x)(-1) else y


@scalar
def sparse_sigmoid(x):
    return type(x)(0.5) * (clip(x, type(x)(1)) + type(x)(1))


@scalar
def squareplus(x):
    """(x + sqrt(x^2 + 4)) / 2; below 0 as 2 / (sqrt(x^2 + 4) - x), where nothing cancels."""
    root = type(x)(math.hypot(x, type(x)(2)))
    y = type(x)(0.5) * x + type(x)(0.5) * root
    return type(x)(2) / (root - x) if x < type(x)(0) else y


@scalar
def tanh_shrink(x):
    return x - tanh(x)


@scalar
def blend(gate, one, other):
    """gate * one + (1 - gate) * other: a GRU's new state, a highway's output."""
    return gate * one + (type(gate)(1) - gate) * other


@scalar
def _mixed(x):
    """The finaliser of SplitMix64: uint64 -> uint64, every bit depending on every bit (Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@scalar
def uniform(seed, row, position):
    """The number in [0, 1) that row `row` draws at step `position`: a function of its arguments alone (all uint64).

    `uniform` in numpy_draw.py is its twin in plain Python.
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    stream = _mixed(seed + golden * (row + np.uint64(1)))
    bits = _mixed(stream + golden * (position + np.uint64(1)))
    return np.float64(bits >> np.uint64(11)) * 2.0**-53
