"""The layers as compiled functions: one time step of one batch row each.

op       (COLUMNS,) the layer's row of the program
weights  the plan's
row      (row_size,) the batch row's stretch of the arena
token    the batch row's id
"""

from __future__ import annotations

from fastlstm.backends import plan as p
from fastlstm.backends import scalar as s
from fastlstm.backends.cpu_vectors import activate, add_product, add_scaled, clip, copy, fill, normalise
from fastlstm.backends.jit import inner
from fastlstm.backends.memory import part


@inner
def _gates(z, hidden):
    """z (4H,) -> its four stretches i f g o, each (H,)."""
    return part(z, 0, hidden), part(z, hidden, hidden), part(z, 2 * hidden, hidden), part(z, 3 * hidden, hidden)


@inner
def lstm(op, weights, row, token):
    """One LSTM layer, one time step, one batch row. z are the gates' sums, in four stretches i f g o."""
    hidden, out = op[p.HIDDEN], op[p.OUT]
    c, h, z = part(row, op[p.C], hidden), part(row, op[p.H], out), part(row, op[p.GATES], 4 * hidden)

    first = op[p.BIAS] if op[p.TABLE] == p.NONE else op[p.TABLE] + token * 4 * hidden
    copy(z, part(weights, first, 4 * hidden))
    if op[p.TABLE] == p.NONE:
        add_product(z, part(row, op[p.SOURCE], op[p.IN]), weights, op[p.KERNEL])
    add_product(z, h, weights, op[p.RECURRENT])

    m = h if op[p.PROJECTION] == p.NONE else part(row, op[p.SCRATCH], hidden)
    if op[p.OPTIONS] == 0:
        _plain_cell(z, c, m)
    else:
        _optioned_cell(op, weights, z, c, m)

    if op[p.PROJECTION] != p.NONE:
        fill(h, 0)
        add_product(h, m, weights, op[p.PROJECTION])
        if op[p.PROJ_CLIP] != p.NONE:
            clip(h, weights[op[p.PROJ_CLIP]])


@inner
def _plain_cell(z, c, m):
    """z (4H,), c (H,) -> c, m (H,): tanh, sigmoid and no options, in one pass."""
    hidden = c.size
    z_i, z_f, z_g, z_o = _gates(z, hidden)
    for j in range(hidden):
        c_new, m_new = s.cell(z_i[j], z_f[j], z_g[j], z_o[j], c[j])
        c[j] = c_new
        m[j] = m_new


@inner
def _optioned_cell(op, weights, z, c, m):
    """The cell's equations with any activations, layer norm, peepholes and clip, a pass for each term."""
    hidden, peepholes, norm = c.size, op[p.PEEPHOLES], op[p.NORM]
    z_i, z_f, z_g, z_o = _gates(z, hidden)
    if norm != p.NONE:
        _norm_gates(z, part(weights, norm, 10 * hidden + 1), hidden)
    if peepholes != p.NONE:  # i and f look at the old cell state
        add_scaled(z_i, part(weights, peepholes, hidden), c)
        add_scaled(z_f, part(weights, peepholes + hidden, hidden), c)
    activate(op[p.RECURRENT_ACTIVATION], z_i)
    activate(op[p.RECURRENT_ACTIVATION], z_f)
    activate(op[p.ACTIVATION], z_g)
    for j in range(hidden):
        c[j] = z_f[j] * c[j] + z_i[j] * z_g[j]
    if norm != p.NONE:
        epsilon = weights[norm + 10 * hidden]
        normalise(c, part(weights, norm + 8 * hidden, hidden), part(weights, norm + 9 * hidden, hidden), epsilon)
    if op[p.CELL_CLIP] != p.NONE:
        clip(c, weights[op[p.CELL_CLIP]])
    if peepholes != p.NONE:  # o looks at the new one, clipped
        add_scaled(z_o, part(weights, peepholes + 2 * hidden, hidden), c)
    activate(op[p.RECURRENT_ACTIVATION], z_o)
    copy(z_g, c)
    activate(op[p.ACTIVATION], z_g)
    for j in range(hidden):
        m[j] = z_o[j] * z_g[j]


@inner
def _norm_gates(z, block, hidden):
    """Each of z's stretches normalised. block: gamma (4H), bias (4H), the cell state's gamma and beta, epsilon."""
    for k in range(4):
        gamma, beta = part(block, k * hidden, hidden), part(block, (4 + k) * hidden, hidden)
        normalise(part(z, k * hidden, hidden), gamma, beta, block[10 * hidden])


@inner
def gru(op, weights, row, token):
    """One GRU layer. u are four stretches: the candidate's sums, z's, r's, and what r multiplies."""
    hidden = op[p.HIDDEN]
    h, u = part(row, op[p.H], hidden), part(row, op[p.GATES], 4 * hidden)
    if op[p.TABLE] == p.NONE:
        copy(u, part(weights, op[p.BIAS], 4 * hidden))
        add_product(part(u, 0, 3 * hidden), part(row, op[p.SOURCE], op[p.IN]), weights, op[p.KERNEL])
    else:
        copy(u, part(weights, op[p.TABLE] + token * 4 * hidden, 4 * hidden))
    g, z, r, a = _gates(u, hidden)
    after = op[p.CANDIDATE] == p.NONE  # r multiplies h's product, not h itself
    add_product(part(u, hidden, (3 if after else 2) * hidden), h, weights, op[p.RECURRENT])
    activate(op[p.RECURRENT_ACTIVATION], z)
    activate(op[p.RECURRENT_ACTIVATION], r)
    if after:
        add_scaled(g, r, a)
    else:
        for j in range(hidden):
            a[j] = r[j] * h[j]
        add_product(g, a, weights, op[p.CANDIDATE])
    activate(op[p.ACTIVATION], g)
    for j in range(hidden):
        h[j] = s.blend(z[j], h[j], g[j])


@inner
def dense(op, weights, row):
    x, y = part(row, op[p.SOURCE], op[p.IN]), part(row, op[p.TARGET], op[p.OUT])
    _affine(y, x, weights, op[p.BIAS], op[p.KERNEL], op[p.ACTIVATION])


@inner
def _affine(y, x, weights, bias, kernel, activation):
    """y (OUT,) = activation(x kernel + bias)."""
    copy(y, part(weights, bias, y.size))
    add_product(y, x, weights, kernel)
    activate(activation, y)


@inner
def other(op, weights, row, token):
    """The operations that take next to no time."""
    code, y = op[p.OP], part(row, op[p.TARGET], op[p.OUT])
    if code == p.GATHER:
        copy(y, part(weights, op[p.TABLE] + token * op[p.OUT], op[p.OUT]))
    elif code == p.ONE_HOT:
        fill(y, 0)
        y[token] = 1
    elif code == p.AROUND:
        _around(op, weights, row, y)
    elif code == p.MASK_ID:
        row[op[p.MASK]] = token == 0
    else:
        _mask_value(part(row, op[p.SOURCE], y.size), weights[op[p.VALUE]], part(row, op[p.MASK], 1), y)


@inner
def _mask_value(x, value, mask, y):
    """mask (1,) = 1 where x (D,) is all `value`, else 0; y (D,) = x, or 0 where it is."""
    same = 0
    while same < x.size and x[same] == value:
        same += 1
    live = same < x.size
    mask[0] = not live
    for j in range(x.size):
        y[j] = x[j] if live else type(value)(0)


@inner
def _around(op, weights, row, y):
    """y (OUT,) = h, or 0 where the step is masked; then with x: x + y, or mixed by the gates of a highway."""
    size, masked = y.size, op[p.MASK] != p.NONE and row[op[p.MASK]] != 0
    h = part(row, op[p.H], size)
    for j in range(size):
        y[j] = type(h[j])(0) if masked else h[j]
    if op[p.SOURCE] == p.NONE:
        return
    x, carry = part(row, op[p.SOURCE], size), part(row, op[p.GATES], size)
    if op[p.KERNEL] == p.NONE:
        for j in range(size):
            y[j] += x[j]
        return
    sigmoid, transform = op[p.RECURRENT_ACTIVATION], part(row, op[p.SCRATCH], size)
    _affine(carry, x, weights, op[p.BIAS], op[p.KERNEL], sigmoid)
    if op[p.TRANSFORM] != p.NONE:
        _affine(transform, x, weights, op[p.TRANSFORM_BIAS], op[p.TRANSFORM], sigmoid)
    coupled = op[p.TRANSFORM] == p.NONE
    for j in range(size):
        y[j] = x[j] * carry[j] + y[j] * (type(carry[j])(1) - carry[j] if coupled else transform[j])
