"""The CPU backend's compiled loops, which walk any plan. Nothing in them allocates, and they run without the GIL.

Arrays are the flat buffers of `plan.py`: `weights`, and an arena of one row for each row of the batch. `rows`
are the batch rows that take part in a step; the others' state stays as it is.
"""

from __future__ import annotations

import math

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from fastlstm.backends import plan as p
from fastlstm.backends import scalar as s
from fastlstm.backends.cpu_draw import draw, largest
from fastlstm.backends.scalar import compiled
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
    cache that the weights come from (tried on AVX2: four rows 66 GB/s from L3, one row 31, eight rows no better).
    """
    n, k = y.size, 0
    while k + 4 <= x.size:
        at = start + k * n
        w0, w1 = weights[at : at + n], weights[at + n : at + 2 * n]
        w2, w3 = weights[at + 2 * n : at + 3 * n], weights[at + 3 * n : at + 4 * n]
        x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        for j in range(n):
            y[j] += (x0 * w0[j] + x1 * w1[j]) + (x2 * w2[j] + x3 * w3[j])
        k += 4
    while k < x.size:
        at = start + k * n
        w0, x0 = weights[at : at + n], x[k]
        for j in range(n):
            y[j] += x0 * w0[j]
        k += 1


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


@s.scalar
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
    c, h = row[op[p.C] : op[p.C] + hidden], row[op[p.H] : op[p.H] + out]
    z = row[op[p.GATES] : op[p.GATES] + 4 * hidden]

    first = op[p.BIAS] if op[p.TABLE] == p.NONE else op[p.TABLE] + token * 4 * hidden
    z[:] = weights[first : first + 4 * hidden]
    if op[p.TABLE] == p.NONE:
        _add_product(z, row[op[p.SOURCE] : op[p.SOURCE] + op[p.IN]], weights, op[p.KERNEL])
    _add_product(z, h, weights, op[p.RECURRENT])

    m = h if op[p.PROJECTION] == p.NONE else row[op[p.SCRATCH] : op[p.SCRATCH] + hidden]
    plain = op[p.ACTIVATION] == TANH and op[p.RECURRENT_ACTIVATION] == SIGMOID
    if plain and op[p.PEEPHOLES] == p.NONE and op[p.CELL_CLIP] == p.NONE:
        _plain_cell(z, c, m)
    else:
        _optioned_cell(op, weights, z, c, m)

    if op[p.PROJECTION] != p.NONE:
        h[:] = 0
        _add_product(h, m, weights, op[p.PROJECTION])
        if op[p.PROJ_CLIP] != p.NONE:
            _clip(h, weights[op[p.PROJ_CLIP]])
    if op[p.RESIDUAL] == 1:
        x, y = row[op[p.SOURCE] : op[p.SOURCE] + out], row[op[p.TARGET] : op[p.TARGET] + out]
        for j in range(out):
            y[j] = x[j] + h[j]


@compiled
def _plain_cell(z, c, m):
    """z (4H,), c (H,) -> c, m (H,): tanh, sigmoid and no options, in one pass."""
    hidden = c.size
    z_i, z_f, z_g, z_o = z[:hidden], z[hidden : 2 * hidden], z[2 * hidden : 3 * hidden], z[3 * hidden : 4 * hidden]
    for j in range(hidden):
        c_new, m_new = s.cell(z_i[j], z_f[j], z_g[j], z_o[j], c[j])
        c[j] = c_new
        m[j] = m_new


@compiled
def _optioned_cell(op, weights, z, c, m):
    """The cell's equations with any activations, peepholes and clip, a pass for each term."""
    hidden, peepholes = c.size, op[p.PEEPHOLES]
    z_i, z_f, z_g, z_o = z[:hidden], z[hidden : 2 * hidden], z[2 * hidden : 3 * hidden], z[3 * hidden : 4 * hidden]
    if peepholes != p.NONE:  # i and f look at the old cell state
        _add_scaled(z_i, weights[peepholes : peepholes + hidden], c)
        _add_scaled(z_f, weights[peepholes + hidden : peepholes + 2 * hidden], c)
    _activate(op[p.RECURRENT_ACTIVATION], z[: 2 * hidden])
    _activate(op[p.ACTIVATION], z_g)
    for j in range(hidden):
        c[j] = z_f[j] * c[j] + z_i[j] * z_g[j]
    if op[p.CELL_CLIP] != p.NONE:
        _clip(c, weights[op[p.CELL_CLIP]])
    if peepholes != p.NONE:  # o looks at the new one, clipped
        _add_scaled(z_o, weights[peepholes + 2 * hidden : peepholes + 3 * hidden], c)
    _activate(op[p.RECURRENT_ACTIVATION], z_o)
    z_g[:] = c
    _activate(op[p.ACTIVATION], z_g)
    for j in range(hidden):
        m[j] = z_o[j] * z_g[j]


@compiled
def _dense(op, weights, row):
    y = row[op[p.TARGET] : op[p.TARGET] + op[p.OUT]]
    y[:] = weights[op[p.BIAS] : op[p.BIAS] + op[p.OUT]]
    _add_product(y, row[op[p.SOURCE] : op[p.SOURCE] + op[p.IN]], weights, op[p.KERNEL])
    _activate(op[p.ACTIVATION], y)


@compiled
def advance(program, weights, arena, tokens, rows):
    """One time step of the batch rows `rows`: inputs are in the arena, or ids in tokens (B,)."""
    for k in range(program.shape[0]):
        op = program[k]
        for r in range(rows.size):
            row, token = arena[rows[r]], tokens[rows[r]]
            if op[p.OP] == p.LSTM_CELL:
                _lstm(op, weights, row, token)
            elif op[p.OP] == p.DENSE:
                _dense(op, weights, row)
            else:
                y = row[op[p.TARGET] : op[p.TARGET] + op[p.OUT]]
                if op[p.OP] == p.GATHER:
                    at = op[p.TABLE] + token * op[p.OUT]
                    y[:] = weights[at : at + op[p.OUT]]
                elif op[p.OP] == p.ONE_HOT:
                    y[:] = 0
                    y[token] = 1


@intrinsic
def _pointer(typing_context, address):
    """An int64 address -> a pointer, for `carray`."""

    def generate_code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate_code


@compiled
def _step(table, dtype):
    """`advance` for an arena of one row, all its arrays found through a table of 8 integers.

    table  address of: program's address and operations, weights' address and size, arena's address and row size,
           tokens' and rows' address. Numba allocates something for each array that a call passes, and spends 0.1 us
    """
    t = carray(_pointer(table), 8, np.int64)
    program = carray(_pointer(t[0]), (t[1], p.COLUMNS), np.int64)
    weights = carray(_pointer(t[2]), t[3], dtype)
    arena, tokens = carray(_pointer(t[4]), (1, t[5]), dtype), carray(_pointer(t[6]), 1, np.int64)
    advance(program, weights, arena, tokens, carray(_pointer(t[7]), 1, np.int64))


@compiled
def step_32(table):
    _step(table, np.float32)


@compiled
def step_64(table):
    _step(table, np.float64)


@compiled
def run(program, weights, arena, tokens, rows, xs, ids, lengths, source, target, ys):
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
                    arena[b, source : source + xs.shape[2]] = xs[b, t]
            else:
                ys[b, t] = 0
        advance(program, weights, arena, tokens, rows[:count])
        for r in range(count):
            ys[rows[r], t] = arena[rows[r], target : target + outputs]


@compiled
def generate(program, weights, arena, tokens, rows, xs, ids, lengths, source, target, ys, drawn,
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
                    arena[b, source : source + xs.shape[2]] = xs[b, at]
            elif source != p.NONE:
                arena[b, source : source + outputs] = arena[b, target : target + outputs]
        if count == 0 and t >= steps:
            break  # every row has drawn its stop
        advance(program, weights, arena, tokens, rows[:count])
        k = t - (steps - 1)
        if k < 0:
            continue
        for r in range(count):
            b = rows[r]
            y = arena[b, target : target + outputs]
            if source != p.NONE:
                ys[b, k] = y
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
                    drawn[b, k:] = token
                    tokens[b] = -1
