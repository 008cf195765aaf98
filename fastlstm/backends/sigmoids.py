"""tanh, sigmoid and the cell's equations, each as a fraction first: a cell then needs three divisions, not five.

Written as `scalar.py` says. The worst errors over all numbers, absolute and relative, tested in tests/test_errors.py:

           tanh            sigmoid
float32    2e-7    4e-7    1.2e-7  6e-6  above -87, from where it stays at 1.6e-38
float64    3e-16   5e-16   2e-16   5e-16 above -708, from where it stays at 3.3e-308

-1 <= tanh <= 1 and 0 <= sigmoid <= 1 always; a NaN stays one. tools/fit_tanh.py makes float32's coefficients.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from fastlstm.backends.jit import JIT, scalar


@scalar
def clip(x, limit):
    """x clipped to [-limit, limit]."""
    x = limit if x > limit else x
    return -limit if x < -limit else x


@scalar
def _tanh_32(x):
    """(n, d): tanh x = 2 a b / (a^2 + b^2), where a / b is nearly tanh(x / 2): what it is off hardly shows near +-1.

    a^2 + b^2 = n + (b - a)^2 is rounded less, and never to less than n.
    """
    x = clip(x, np.float32(9))
    t = x * x
    a = ((np.float32(1.1418666e-4) * t + np.float32(2.97702774e-2)) * t + np.float32(1)) * x
    b = np.float32(2.45563206e-6) * t + np.float32(2.41238507e-3)
    b = (b * t + np.float32(0.226207122)) * t + np.float32(2)
    n = (a + a) * b
    e = b - abs(a)
    return n, abs(n) + e * e


@scalar
def _sigmoid_32(x):
    """(n, d): 1 / (1 + exp(-x)), exp(-x) = s 2^r with s a power of two, |r| <= 1/2 and 2^r = (b + r) / (b - r).

    -x / ln(2) is rounded by adding 1.5 * 2^23 + 127: the low bits of the sum are then the exponent of s, which is
    shifted into its place. Its two factors differ so that LLVM fuses each product with its sum.
    """
    x = clip(x, np.float32(87))
    shifted = x * np.float32(-1.4427) + np.float32(12583039)
    r = x * np.float32(-1.4426950408889634) - (shifted - np.float32(12583039))
    s = np.int32(np.float32(shifted).view(np.int32) << np.int32(23)).view(np.float32)
    t = r * r
    b = (np.float32(-9.20453807e-4) * t + np.float32(0.115523957)) * t + np.float32(2.88539004)
    n = b - r
    return n, s * (b + r) + n


@scalar
def _exp_64(x):
    """x -> (s, p) with exp(x) = s + s p, s a power of two and p = expm1 of the rest, |rest| <= ln(2) / 2.

    Rounded as in `_sigmoid_32`, ln(2) in two parts; the polynomial is exp's series to x^13.
    """
    x = clip(x, 708.0)
    shifted = x * 1.4426950408889634 + 6755399441055744.0
    k = shifted - 6755399441055744.0
    r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    q = (1 / 6227020800) * r + (1 / 479001600)
    q = q * r + (1 / 39916800)
    q = q * r + (1 / 3628800)
    q = q * r + (1 / 362880)
    q = q * r + (1 / 40320)
    q = q * r + (1 / 5040)
    q = q * r + (1 / 720)
    q = q * r + (1 / 120)
    q = q * r + (1 / 24)
    q = q * r + (1 / 6)
    q = q * r + (1 / 2)
    bits = np.float64(shifted).view(np.int64)
    s = np.int64((bits + np.int64(1023)) << np.int64(52)).view(np.float64)
    return s, r + r * r * q


@scalar
def _tanh_64(x):
    """n / d = expm1(2 x) / (expm1(2 x) + 2)."""
    x = clip(x, 20.0)
    s, p = _exp_64(x + x)
    n = s * p + (s - 1.0)
    return n, n + 2.0


@scalar
def _sigmoid_64(x):
    s, p = _exp_64(-x)
    return 1.0, 1.0 + (s + s * p)


def tanh_parts(x):
    """(n, d) with n / d = tanh x, |n| <= d; by the type of x, which compiled code knows when it is compiled."""
    return _tanh_32(x) if isinstance(x, np.float32) else _tanh_64(x)


def sigmoid_parts(x):
    """(n, d) with n / d = sigmoid x, 0 <= n <= d."""
    return _sigmoid_32(x) if isinstance(x, np.float32) else _sigmoid_64(x)


@overload(tanh_parts, jit_options=JIT)
def _tanh_parts_for(x):
    if x == types.float32:
        return lambda x: _tanh_32(x)
    return lambda x: _tanh_64(x)


@overload(sigmoid_parts, jit_options=JIT)
def _sigmoid_parts_for(x):
    if x == types.float32:
        return lambda x: _sigmoid_32(x)
    return lambda x: _sigmoid_64(x)


@scalar
def tanh(x):
    n, d = tanh_parts(x)
    return n / d


@scalar
def sigmoid(x):
    n, d = sigmoid_parts(x)
    return n / d


@scalar
def new_state(z_i, z_f, z_g, c):
    """The cell state of one unit of an LSTM with tanh and sigmoid and no options.

    In float32 no product of d's overflows but where its fraction is 0 anyway, and f is exactly 1 above 17.
    """
    n_i, d_i = sigmoid_parts(z_i)
    n_f, d_f = sigmoid_parts(z_f)
    n_g, d_g = tanh_parts(z_g)
    return (n_f / d_f) * c + (n_i * n_g) / (d_i * d_g)


@scalar
def output(z_o, c):
    """What such a unit gives, c its new state."""
    n_o, d_o = sigmoid_parts(z_o)
    n_c, d_c = tanh_parts(c)
    return (n_o * n_c) / (d_o * d_c)


@scalar
def cell(z_i, z_f, z_g, z_o, c):
    """Such a unit -> (c', h')."""
    c = new_state(z_i, z_f, z_g, c)
    return c, output(z_o, c)
