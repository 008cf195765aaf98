"""What one writes with Numba in an afternoon: the equations as loops, in place."""

import math

import numpy as np
from numba import njit


@njit(cache=True, fastmath=True)
def advance(x, kernel, bias, forget_bias, c, h, z):
    """x (D,), kernel (D + H, 4H), bias (4H,), c (H,), h (H,), z (4H,) scratch; c and h are overwritten."""
    inputs, units = len(x), len(h)
    z[:] = bias
    for k in range(inputs):
        for n in range(4 * units):
            z[n] += x[k] * kernel[k, n]
    for k in range(units):
        for n in range(4 * units):
            z[n] += h[k] * kernel[inputs + k, n]
    for n in range(units):
        i, j = 1 / (1 + math.exp(-z[n])), math.tanh(z[units + n])
        f, o = 1 / (1 + math.exp(-(z[2 * units + n] + forget_bias))), 1 / (1 + math.exp(-z[3 * units + n]))
        c[n] = f * c[n] + i * j
        h[n] = o * math.tanh(c[n])


@njit(cache=True, fastmath=True)
def follow(first, kernel, bias, forget_bias, head_kernel, head_bias, steps):
    """ys (steps, D), each the next input."""
    inputs, units = len(first), len(head_kernel)
    c, h = np.zeros(units, np.float32), np.zeros(units, np.float32)
    z, ys = np.empty(4 * units, np.float32), np.empty((steps, inputs), np.float32)
    x = first
    for t in range(steps):
        advance(x, kernel, bias, forget_bias, c, h, z)
        ys[t] = head_bias
        for k in range(units):
            for n in range(inputs):
                ys[t, n] += h[k] * head_kernel[k, n]
        x = ys[t]
    return ys


def step(problem):
    c, h, z = (np.zeros(n * problem.hidden, np.float32) for n in (1, 1, 4))
    kernel, bias, forget_bias = problem.kernel, problem.bias, np.float32(problem.forget_bias)

    def call(x):
        advance(x, kernel, bias, forget_bias, c, h, z)
        return h

    def reset():
        c[:] = h[:] = 0

    return call, reset, (problem.inputs,)


def loop(problem, steps):
    p, forget_bias = problem, np.float32(problem.forget_bias)
    return lambda first: follow(first[0], p.kernel, p.bias, forget_bias, p.head_kernel, p.head_bias, steps)
