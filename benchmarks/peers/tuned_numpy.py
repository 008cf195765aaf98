"""NumPy as fast as it gets: one product for all gates, sigmoid as a half-angle tanh, all in arrays made beforehand."""

import numpy as np


class _Layer:
    """One layer's weights and arrays: xh (B, D + H) is the product's input, h a view of its end."""

    def __init__(self, kernel, bias, batch, hidden, forget_bias):
        i, j, f, o = (slice(n * hidden, (n + 1) * hidden) for n in range(4))
        order = np.r_[i, f, o, j]  # the three sigmoids together
        scale = np.repeat(np.float32([0.5, 1]), [3 * hidden, hidden])  # sigmoid(x) = (tanh(x / 2) + 1) / 2
        bias = bias + np.repeat(np.float32([0, 0, forget_bias, 0]), hidden)
        self.kernel, self.bias = np.ascontiguousarray(kernel[:, order] * scale), bias[order] * scale
        self.xh = np.zeros((batch, len(kernel)), np.float32)
        self.x, self.h = self.xh[:, :-hidden], self.xh[:, -hidden:]
        self.c, self.ij = np.zeros((2, batch, hidden), np.float32)
        self.z = np.empty((batch, 4 * hidden), np.float32)
        self.sigmoids = self.z[:, : 3 * hidden]
        self.i, self.f, self.o, self.j = (self.z[:, n * hidden : (n + 1) * hidden] for n in range(4))

    def advance(self):
        np.matmul(self.xh, self.kernel, out=self.z)
        self.gates()

    def gates(self):
        """c and h from the products in z."""
        z, c, h = self.z, self.c, self.h
        np.add(z, self.bias, out=z)
        np.tanh(z, out=z)
        np.multiply(self.sigmoids, 0.5, out=self.sigmoids)
        np.add(self.sigmoids, 0.5, out=self.sigmoids)
        np.multiply(c, self.f, out=c)
        np.multiply(self.i, self.j, out=self.ij)
        np.add(c, self.ij, out=c)
        np.tanh(c, out=h)
        np.multiply(h, self.o, out=h)

    def reset(self):
        self.c[:] = self.h[:] = 0


def _layers(problem):
    p = problem
    return [_Layer(kernel, bias, p.batch, p.hidden, p.forget_bias) for kernel, bias in p.cells]


def step(problem):
    layers = _layers(problem)

    def call(x):
        for layer in layers:
            layer.x[:] = x
            layer.advance()
            x = layer.h
        return x

    def reset():
        for layer in layers:
            layer.reset()

    return call, reset, (problem.batch, problem.inputs)


def characters(problem, steps):
    """The symbol's row of the first kernel in place of a product."""
    one, two = _layers(problem)
    rows, recurrent = one.kernel[: problem.symbols], np.ascontiguousarray(one.kernel[problem.symbols :])
    logits = np.empty((1, problem.symbols), np.float32)

    def follow(symbol):
        one.reset(), two.reset()
        ids = np.empty(steps, np.int64)
        for t in range(steps):
            np.matmul(one.h, recurrent, out=one.z)
            np.add(one.z, rows[symbol], out=one.z)
            one.gates()
            two.x[:] = one.h
            two.advance()
            np.matmul(two.h, problem.head_kernel, out=logits)
            np.add(logits, problem.head_bias, out=logits)
            ids[t] = symbol = logits.argmax()
        return ids

    return follow


def sequence(problem):
    """The input product over all of the steps, then a step at a time."""
    (layer,), p = _layers(problem), problem
    inputs, recurrent = layer.kernel[: p.inputs], np.ascontiguousarray(layer.kernel[p.inputs :])
    zs, hs = (np.empty((len(p.xs), p.batch, size), np.float32) for size in (4 * p.hidden, p.hidden))

    def run(xs):
        layer.reset()
        np.matmul(xs.reshape(-1, p.inputs), inputs, out=zs.reshape(-1, 4 * p.hidden))
        for z, h in zip(zs, hs, strict=True):
            np.matmul(layer.h, recurrent, out=layer.z)
            np.add(layer.z, z, out=layer.z)
            layer.gates()
            h[:] = layer.h
        return hs

    return run, p.xs
