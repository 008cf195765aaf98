"""The CPU backend's compiled loops, which walk any plan. Nothing in them allocates, and they run without the GIL.

Arrays are the flat buffers of `plan.py`: `weights`, and an arena of one row for each row of the batch. `rows`
are the batch rows that take part in a step; the others' state stays as it is.
"""

from __future__ import annotations

import math

import numpy as np
from numba import carray

from fastlstm.backends import plan as p
from fastlstm.backends import scalar as s
from fastlstm.backends.cpu_draw import draw, largest
from fastlstm.backends.jit import compiled, scalar
from fastlstm.backends.memory import part, pointer
from fastlstm.layers import Activation

LINEAR, TANH, SIGMOID, SOFTMAX = (
    int(Activation.LINEAR),
    int(Activation.TANH),
    int(Activation.SIGMOID),
    int(Activation.SOFTMAX),
)
RELU, RELU6, ELU, SELU = int(Activation.RELU), int(Activation.RELU6), int(Activation.ELU), int(Activation.SELU)
SOFTPLUS, SOFTSIGN, SILU = int(Activation.SOFTPLUS), int(Activation.SOFTSIGN), int(Activation.SILU)
EXPONENTIAL, LEAKY_RELU = int(Activation.EXPONENTIAL), int(Activation.LEAKY_RELU)
HARD_SIGMOID, HARD_SIGMOID_KERAS3 = int(Activation.HARD_SIGMOID), int(Activation.HARD_SIGMOID_KERAS3)


@compiled
def _add_product(y, x, weights, start):
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


@compiled
def _copy(y, x):
    """y (N,) = x (N,)."""
    for j in range(y.size):
        y[j] = x[j]


@compiled
def _fill(y, value):
    for j in range(y.size):
        y[j] = value


@compiled
def _gates(z, hidden):
    """z (4H,) -> its four stretches i f g o, each (H,)."""
    return part(z, 0, hidden), part(z, hidden, hidden), part(z, 2 * hidden, hidden), part(z, 3 * hidden, hidden)


@compiled
def _add_scaled(y, w, x):
    """y (N,) += w (N,) * x (N,)."""
    for j in range(y.size):
        y[j] += w[j] * x[j]


@compiled
def _activate(code, x):
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
    elif code == SOFTMAX:
        _softmax(x)
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
    return s.leaky_relu(x)


@compiled
def _softmax(x):
    """x (N,) = exp(x) / sum(exp(x)), shifted by the largest so that nothing overflows."""
    largest = x[0]
    for j in range(x.size):
        largest = max(largest, x[j])
    total = type(largest)(0)
    for j in range(x.size):
        x[j] = math.exp(x[j] - largest)
        total += x[j]
    for j in range(x.size):
        x[j] /= total


@compiled
def _clip(x, limit):
    for j in range(x.size):
        x[j] = s.clip(x[j], limit)


@compiled
def _lstm(op, weights, row, token):
    """One LSTM layer, one time step, one batch row. z are the gates' sums, in four stretches i f g o."""
    hidden, out = op[p.HIDDEN], op[p.OUT]
    c, h, z = part(row, op[p.C], hidden), part(row, op[p.H], out), part(row, op[p.GATES], 4 * hidden)

    first = op[p.BIAS] if op[p.TABLE] == p.NONE else op[p.TABLE] + token * 4 * hidden
    _copy(z, part(weights, first, 4 * hidden))
    if op[p.TABLE] == p.NONE:
        _add_product(z, part(row, op[p.SOURCE], op[p.IN]), weights, op[p.KERNEL])
    _add_product(z, h, weights, op[p.RECURRENT])

    m = h if op[p.PROJECTION] == p.NONE else part(row, op[p.SCRATCH], hidden)
    plain = op[p.ACTIVATION] == TANH and op[p.RECURRENT_ACTIVATION] == SIGMOID
    if plain and op[p.PEEPHOLES] == p.NONE and op[p.CELL_CLIP] == p.NONE:
        _plain_cell(z, c, m)
    else:
        _optioned_cell(op, weights, z, c, m)

    if op[p.PROJECTION] != p.NONE:
        _fill(h, 0)
        _add_product(h, m, weights, op[p.PROJECTION])
        if op[p.PROJ_CLIP] != p.NONE:
            _clip(h, weights[op[p.PROJ_CLIP]])
    if op[p.RESIDUAL] == 1:
        x, y = part(row, op[p.SOURCE], out), part(row, op[p.TARGET], out)
        for j in range(out):
            y[j] = x[j] + h[j]


@compiled
def _plain_cell(z, c, m):
    """z (4H,), c (H,) -> c, m (H,): tanh, sigmoid and no options, in one pass."""
    hidden = c.size
    z_i, z_f, z_g, z_o = _gates(z, hidden)
    for j in range(hidden):
        c_new, m_new = s.cell(z_i[j], z_f[j], z_g[j], z_o[j], c[j])
        c[j] = c_new
        m[j] = m_new


@compiled
def _optioned_cell(op, weights, z, c, m):
    """The cell's equations with any activations, peepholes and clip, a pass for each term."""
    hidden, peepholes = c.size, op[p.PEEPHOLES]
    z_i, z_f, z_g, z_o = _gates(z, hidden)
    if peepholes != p.NONE:  # i and f look at the old cell state
        _add_scaled(z_i, part(weights, peepholes, hidden), c)
        _add_scaled(z_f, part(weights, peepholes + hidden, hidden), c)
    _activate(op[p.RECURRENT_ACTIVATION], part(z, 0, 2 * hidden))
    _activate(op[p.ACTIVATION], z_g)
    for j in range(hidden):
        c[j] = z_f[j] * c[j] + z_i[j] * z_g[j]
    if op[p.CELL_CLIP] != p.NONE:
        _clip(c, weights[op[p.CELL_CLIP]])
    if peepholes != p.NONE:  # o looks at the new one, clipped
        _add_scaled(z_o, part(weights, peepholes + 2 * hidden, hidden), c)
    _activate(op[p.RECURRENT_ACTIVATION], z_o)
    _copy(z_g, c)
    _activate(op[p.ACTIVATION], z_g)
    for j in range(hidden):
        m[j] = z_o[j] * z_g[j]


@compiled
def _dense(op, weights, row):
    y = part(row, op[p.TARGET], op[p.OUT])
    _copy(y, part(weights, op[p.BIAS], op[p.OUT]))
    _add_product(y, part(row, op[p.SOURCE], op[p.IN]), weights, op[p.KERNEL])
    _activate(op[p.ACTIVATION], y)


@compiled
def advance(program, weights, arena, row_size, tokens, rows):
    """One time step of the batch rows `rows`: inputs are in the arena, or ids in tokens (B,)."""
    for k in range(program.size // p.COLUMNS):
        op = part(program, k * p.COLUMNS, p.COLUMNS)
        for r in range(rows.size):
            row, token = part(arena, rows[r] * row_size, row_size), tokens[rows[r]]
            if op[p.OP] == p.LSTM_CELL:
                _lstm(op, weights, row, token)
            elif op[p.OP] == p.DENSE:
                _dense(op, weights, row)
            else:
                y = part(row, op[p.TARGET], op[p.OUT])
                if op[p.OP] == p.GATHER:
                    _copy(y, part(weights, op[p.TABLE] + token * op[p.OUT], op[p.OUT]))
                elif op[p.OP] == p.ONE_HOT:
                    _fill(y, 0)
                    y[token] = 1


@compiled
def _step(table, dtype):
    """`advance` for an arena of one row, all its arrays found through a table of 8 integers.

    table  addresses and sizes: program, weights, arena; addresses: tokens, rows. For each array that a call passes,
           Numba would allocate something and spend 0.1 us
    """
    t = carray(pointer(table), 8, np.int64)
    program, weights = carray(pointer(t[0]), t[1], np.int64), carray(pointer(t[2]), t[3], dtype)
    tokens, rows = carray(pointer(t[6]), 1, np.int64), carray(pointer(t[7]), 1, np.int64)
    advance(program, weights, carray(pointer(t[4]), t[5], dtype), t[5], tokens, rows)


@compiled
def step_32(table):
    _step(table, np.float32)


@compiled
def step_64(table):
    _step(table, np.float64)


@compiled
def run(program, weights, arena, row_size, tokens, rows, xs, ids, lengths, source, target, ys):
    """A known sequence: xs (B, T, D), or ids (B, T) where source is NONE -> ys (B, T, V), zeros past each length."""
    batch, steps, outputs = ys.shape
    for t in range(steps):
        count = 0
        for b in range(batch):
            if t < lengths[b]:
                rows[count] = b
                count += 1
                if source == p.NONE:
                    tokens[b] = ids[b, t]
                else:
                    _copy(part(arena, b * row_size + source, xs.shape[2]), xs[b, t])
            else:
                _fill(ys[b, t], 0)
        advance(program, weights, arena, row_size, tokens, part(rows, 0, count))
        for r in range(count):
            _copy(ys[rows[r], t], part(arena, rows[r] * row_size + target, outputs))


@compiled
def generate(program, weights, arena, row_size, tokens, rows, xs, ids, lengths, source, target, ys, drawn,
             greedy, temperature, top_k, top_p, probabilities, seed, position, stop, order, mass):  # fmt: skip
    """Prime with xs or ids, then feed the output back.

    xs (B, T, D) or ids (B, T)  the prime; row b's first lengths[b] elements. Shorter rows begin later, so that all
                                end together; a row that has not begun keeps its state
    ys (B, n, V)                outputs of a continuous model;  drawn (B, n) those of a token model
    probabilities               1 where the model's outputs are probabilities, 0 where they are logits
    position                    of the first draw, for `scalar.uniform`
    stop (S,)                   a row that draws one of these repeats it and takes part no more
    order (V,) int64, mass (V,) float64: scratch
    """
    batch, steps = ids.shape if source == p.NONE else xs.shape[:2]
    outputs = mass.size
    n = drawn.shape[1] if source == p.NONE else ys.shape[1]
    for t in range(steps + n - 1):
        count = 0
        for b in range(batch):
            at = t - (steps - lengths[b])
            if at < 0 or tokens[b] < 0:
                continue
            rows[count] = b
            count += 1
            if at < lengths[b]:
                if source == p.NONE:
                    tokens[b] = ids[b, at]
                else:
                    _copy(part(arena, b * row_size + source, xs.shape[2]), xs[b, at])
            elif source != p.NONE:
                _copy(part(arena, b * row_size + source, outputs), part(arena, b * row_size + target, outputs))
        if count == 0 and t >= steps:
            break  # every row has drawn its stop
        advance(program, weights, arena, row_size, tokens, part(rows, 0, count))
        k = t - (steps - 1)
        if k < 0:
            continue
        for r in range(count):
            b = rows[r]
            y = part(arena, b * row_size + target, outputs)
            if source != p.NONE:
                _copy(ys[b, k], y)
                continue
            if greedy:
                token = largest(y)
            else:
                chance = s.uniform(seed, np.uint64(b), position + np.uint64(k))
                token = draw(y, probabilities, temperature, top_k, top_p, chance, order, mass)
            tokens[b] = token
            drawn[b, k] = token
            for e in range(stop.size):
                if token == stop[e]:
                    _fill(drawn[b, k:], token)
                    tokens[b] = -1
