"""JAX on the CPU, one thread: a compiled step, and lax.scan over a loop or a sequence. The weights are arguments."""

import os
from functools import cache

import numpy as np


@cache
def jax():
    """JAX on the calling thread, which has to be said before its backend starts: half the time of a small step."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return jax


def _cell(z, c, forget_bias):
    i, j, f, o = jax().numpy.split(z, 4, 1)
    sigmoid, tanh = jax().nn.sigmoid, jax().numpy.tanh
    c = c * sigmoid(f + forget_bias) + sigmoid(i) * tanh(j)
    return c, tanh(c) * sigmoid(o)


def _layers(problem):
    """(cells, x (B, D), state) -> y (B, H), state."""

    def step(cells, x, state):
        after = []
        for (kernel, bias), (c, h) in zip(cells, state, strict=True):
            c, x = _cell(jax().numpy.concatenate([x, h], 1) @ kernel + bias, c, problem.forget_bias)
            after.append((c, x))
        return x, after

    return step


def _weights(problem):
    head = problem.head_kernel, problem.head_bias
    return jax().device_put(problem.cells), jax().device_put(head)


def _zeros(problem):
    zero = jax().numpy.zeros((problem.batch, problem.hidden), "float32")
    return [(zero, zero)] * problem.layers


def step(problem):
    compiled, (cells, _), state = jax().jit(_layers(problem)), _weights(problem), []

    def call(x):
        y, state[:] = compiled(cells, x, list(state))
        return np.asarray(y)

    def reset():
        state[:] = _zeros(problem)

    return call, reset, (problem.batch, problem.inputs)


def loop(problem, steps):
    layers = _layers(problem)

    @jax().jit
    def follow(cells, head, first):
        def body(carry, _):
            h, state = layers(cells, *carry)
            y = h @ head[0] + head[1]
            return (y, state), y

        return jax().lax.scan(body, (first, _zeros(problem)), length=steps)[1]

    weights = _weights(problem)
    return lambda first: np.asarray(follow(*weights, first))


def characters(problem, steps):
    """The most probable symbol's row of the first kernel in place of a product."""

    @jax().jit
    def follow(cells, head, first):
        (kernel, bias), (kernel2, bias2) = cells
        rows, recurrent, forget_bias = kernel[: problem.symbols], kernel[problem.symbols :], problem.forget_bias

        def body(carry, _):
            symbol, ((c1, h1), (c2, h2)) = carry
            c1, h1 = _cell(rows[symbol] + bias + h1 @ recurrent, c1, forget_bias)
            c2, h2 = _cell(jax().numpy.concatenate([h1, h2], 1) @ kernel2 + bias2, c2, forget_bias)
            symbol = (h2 @ head[0] + head[1]).argmax(1)
            return (symbol, [(c1, h1), (c2, h2)]), symbol

        start = jax().numpy.full([1], first), _zeros(problem)
        return jax().lax.scan(body, start, length=steps)[1]

    weights = _weights(problem)
    return lambda first: np.asarray(follow(*weights, first))


def sequence(problem):
    """The input product over all of the steps, then the scan."""

    @jax().jit
    def run(cells, xs):
        for (kernel, bias), (c, h) in zip(cells, _zeros(problem), strict=True):
            recurrent = kernel[-problem.hidden :]

            def body(state, z, recurrent=recurrent):
                c, h = _cell(z + state[1] @ recurrent, state[0], problem.forget_bias)
                return (c, h), h

            xs = jax().lax.scan(body, (c, h), xs @ kernel[: -problem.hidden] + bias)[1]
        return xs

    cells, _ = _weights(problem)
    return lambda xs: np.asarray(run(cells, xs)), problem.xs
