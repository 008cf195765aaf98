"""The layers as compiled functions: one time step of some rows of the batch.

op         (COLUMNS,) the layer's row of the program
weights    the plan's
arena      rows of row_size elements, `row` one of them
tokens     (B,) the rows' ids
rows       (batch,) which rows take part

`lstm_block` and `gru_block` take as `rows` the time steps of one sequence, the first of which has the state before it.
A stretch of an arena row is given by where it begins and its size; sizes in the plan that are padded to whole vectors
(`packing.py`) are so here.
"""

from __future__ import annotations

from fastlstm.backends import plan as p
from fastlstm.backends import scalar as s
from fastlstm.backends.cpu_products import add_blocks, add_later, add_products, full_products
from fastlstm.backends.cpu_vectors import LINEAR, activate, add_scaled, clip, fill, normalise
from fastlstm.backends.jit import inner, scalar
from fastlstm.backends.memory import at
from fastlstm.backends.narrow import FULL
from fastlstm.backends.narrow_products import OF_H, OF_X, add_narrow_products
from fastlstm.backends.simd import copy_lanes, lanes_of
from fastlstm.backends.units import plain_cells


@scalar
def _begin(op, weights, row, token, width):
    """The gates' sums before x and h: the bias, or what stands in the table for the id."""
    first = op[p.BIAS] if op[p.TABLE] == p.NONE else op[p.TABLE] + token * width
    copy_lanes(at(row, op[p.GATES]), at(weights, first), width)


@inner
def lstm(op, weights, arena, row_size, tokens, rows, batch):
    """One LSTM layer."""
    width, depth = op[p.WIDTH], op[p.IN] + op[p.OUT]
    z, x, kernel = op[p.GATES], op[p.H] - op[p.IN], at(weights, op[p.KERNEL])
    alike = op[p.STORAGE] == FULL and op[p.TABLE] == p.NONE  # the sums of all rows begin with the bias itself
    if not alike:
        for r in range(batch):
            _begin(op, weights, at(arena, rows[r] * row_size), tokens[rows[r]], width)
    if op[p.STORAGE] == FULL:
        begin = at(weights, op[p.BIAS]) if alike else at(arena, z)
        full_products(op, arena, row_size, rows, batch, z, begin, not alike, width, x, depth, kernel)
    else:
        h = op[p.H]
        add_narrow_products(op, arena, row_size, rows, batch, z, width, h, op[p.IN], op[p.OUT], kernel, OF_X | OF_H)
    for r in range(batch):
        _cell(op, weights, at(arena, rows[r] * row_size))
    if op[p.PROJECTION] != p.NONE:
        _project(op, weights, arena, row_size, rows, batch)


@inner
def lstm_block(op, weights, arena, row_size, tokens, rows, batch):
    """One LSTM layer over a sequence: what x adds to whole tiles at all steps at once, what h adds step by step."""
    width, depth, inputs = op[p.WIDTH], op[p.IN] + op[p.OUT], op[p.IN]
    x, kernel = op[p.H] - inputs, at(weights, op[p.KERNEL])
    for r in range(batch):
        _begin(op, weights, at(arena, rows[r] * row_size), tokens[rows[r]], width)
    if op[p.STORAGE] == FULL:
        add_blocks(op, arena, row_size, rows, batch, op[p.GATES], width, x, inputs, kernel, depth)
    elif inputs:
        z, h = op[p.GATES], op[p.H]
        add_narrow_products(op, arena, row_size, rows, batch, z, width, h, inputs, op[p.OUT], kernel, OF_X)
    for r in range(batch):
        row = at(arena, rows[r] * row_size)
        if not _goes_on(op, arena, row_size, rows, r):
            continue
        op[p.BACK] ^= 1
        if op[p.STORAGE] == FULL:
            add_later(op, arena, row_size, at(rows, r), op[p.GATES], width, x, inputs, kernel, depth)
        else:
            z, h, one = op[p.GATES], op[p.H], at(rows, r)
            add_narrow_products(op, arena, row_size, one, 1, z, width, h, inputs, op[p.OUT], kernel, OF_H)
        _cell(op, weights, row)
        if op[p.PROJECTION] != p.NONE:
            _project(op, weights, arena, row_size, at(rows, r), 1)


@scalar
def _goes_on(op, arena, row_size, rows, r):
    """Bring the state to step r of a sequence -> whether the step is to be computed; else it is masked."""
    row = at(arena, rows[r] * row_size)
    if r > 0:
        carry(op, at(arena, rows[r - 1] * row_size), row)
    return op[p.MASK] == p.NONE or row[op[p.MASK]] == 0


@inner
def carry(op, before, row):
    """The state of a layer in another row: c, of an LSTM, and h."""
    if op[p.OP] == p.LSTM_CELL:
        copy_lanes(at(row, op[p.C]), at(before, op[p.C]), op[p.HIDDEN])
    copy_lanes(at(row, op[p.H]), at(before, op[p.H]), op[p.OUT])


@inner
def _cell(op, weights, row):
    """The gates' sums, c -> c, and h or what is to be projected."""
    c, z, m = at(row, op[p.C]), at(row, op[p.GATES]), at(row, op[p.H] if op[p.PROJECTION] == p.NONE else op[p.SCRATCH])
    if op[p.OPTIONS] == 0:
        plain_cells(z, op[p.WIDTH] // 4, c, m)
    else:
        _optioned_cell(op, weights, z, c, m)


@inner
def _optioned_cell(op, weights, z, c, m):
    """The cell's equations with any activations, layer norm, peepholes and clip, a pass for each term."""
    n, stride, peepholes, norm = op[p.HIDDEN], op[p.WIDTH] // 4, at(weights, op[p.PEEPHOLES]), at(weights, op[p.NORM])
    has_peepholes, has_norm = op[p.PEEPHOLES] != p.NONE, op[p.NORM] != p.NONE
    z_i, z_f, z_g, z_o = z, at(z, stride), at(z, 2 * stride), at(z, 3 * stride)
    if has_norm:  # gamma (4, H), bias (4, H), gamma and beta of the cell state (H), epsilon; H padded to stride
        for k in range(4):
            gamma, beta = at(norm, k * stride), at(norm, (4 + k) * stride)
            normalise(at(z, k * stride), n, gamma, beta, norm[10 * stride])
    if has_peepholes:  # i and f look at the old cell state
        add_scaled(z_i, n, peepholes, c)
        add_scaled(z_f, n, at(peepholes, stride), c)
    activate(op[p.RECURRENT_ACTIVATION], z_i, n)
    activate(op[p.RECURRENT_ACTIVATION], z_f, n)
    activate(op[p.ACTIVATION], z_g, n)
    for j in range(n):
        c[j] = z_f[j] * c[j] + z_i[j] * z_g[j]
    if has_norm:
        normalise(c, n, at(norm, 8 * stride), at(norm, 9 * stride), norm[10 * stride])
    if op[p.CELL_CLIP] != p.NONE:
        clip(c, n, weights[op[p.CELL_CLIP]])
    if has_peepholes:  # o looks at the new one, clipped
        add_scaled(z_o, n, at(peepholes, 2 * stride), c)
    activate(op[p.RECURRENT_ACTIVATION], z_o, n)
    copy_lanes(z_g, c, n)
    activate(op[p.ACTIVATION], z_g, n)
    for j in range(n):
        m[j] = z_o[j] * z_g[j]


@inner
def _project(op, weights, arena, row_size, rows, batch):
    """h = what SCRATCH holds @ the projection, clipped. The gates' room is free by then, and takes the product."""
    lanes, out, z = lanes_of(weights), op[p.OUT], op[p.GATES]
    width = (out + lanes - 1) // lanes * lanes
    for r in range(batch):
        fill(at(arena, rows[r] * row_size + z), width, 0)
    kernel = at(weights, op[p.PROJECTION])
    add_products(op, arena, row_size, rows, batch, z, width, op[p.SCRATCH], op[p.HIDDEN], kernel)
    for r in range(batch):
        row = at(arena, rows[r] * row_size)
        if op[p.PROJ_CLIP] != p.NONE:
            clip(at(row, z), out, weights[op[p.PROJ_CLIP]])
        copy_lanes(at(row, op[p.H]), at(row, z), out)


@inner
def gru(op, weights, arena, row_size, tokens, rows, batch):
    """One GRU layer. GATES are four stretches: the candidate's sums, z's, r's, and what r multiplies."""
    _gru_inputs(op, weights, arena, row_size, tokens, rows, batch)
    width, hidden, u = op[p.WIDTH], op[p.HIDDEN], op[p.GATES]
    after = op[p.CANDIDATE] == p.NONE  # r multiplies h's product, not h itself
    gates, kernel = (3 if after else 2) * width, at(weights, op[p.RECURRENT])
    add_products(op, arena, row_size, rows, batch, u + width, gates, op[p.H], hidden, kernel)
    for r in range(batch):
        _gru_gates(op, at(arena, rows[r] * row_size))
    if not after:
        kernel = at(weights, op[p.CANDIDATE])
        add_products(op, arena, row_size, rows, batch, u, width, u + 3 * width, hidden, kernel)
    for r in range(batch):
        _gru_state(op, at(arena, rows[r] * row_size))


@inner
def gru_block(op, weights, arena, row_size, tokens, rows, batch):
    """One GRU layer over a sequence: what x adds at all steps at once, what h adds step by step."""
    _gru_inputs(op, weights, arena, row_size, tokens, rows, batch)
    width, hidden, after = op[p.WIDTH], op[p.HIDDEN], op[p.CANDIDATE] == p.NONE
    for r in range(batch):
        row = at(arena, rows[r] * row_size)
        if not _goes_on(op, arena, row_size, rows, r):
            continue
        u, one, gates = op[p.GATES], at(rows, r), (3 if after else 2) * width
        kernel = at(weights, op[p.RECURRENT])
        add_products(op, arena, row_size, one, 1, u + width, gates, op[p.H], hidden, kernel)
        _gru_gates(op, row)
        if not after:
            kernel = at(weights, op[p.CANDIDATE])
            add_products(op, arena, row_size, one, 1, u, width, u + 3 * width, hidden, kernel)
        _gru_state(op, row)


@inner
def _gru_inputs(op, weights, arena, row_size, tokens, rows, batch):
    """The sums before h."""
    width = op[p.WIDTH]
    for r in range(batch):
        _begin(op, weights, at(arena, rows[r] * row_size), tokens[rows[r]], 4 * width)
    if op[p.TABLE] == p.NONE:
        kernel = at(weights, op[p.KERNEL])
        add_products(op, arena, row_size, rows, batch, op[p.GATES], 3 * width, op[p.SOURCE], op[p.IN], kernel)


@inner
def _gru_gates(op, row):
    """z and r; the fourth stretch becomes r * h, or with reset_after what r multiplies is added to the candidate."""
    n, width, g, h = op[p.HIDDEN], op[p.WIDTH], at(row, op[p.GATES]), at(row, op[p.H])
    z, r, a = at(g, width), at(g, 2 * width), at(g, 3 * width)
    activate(op[p.RECURRENT_ACTIVATION], z, n)
    activate(op[p.RECURRENT_ACTIVATION], r, n)
    if op[p.CANDIDATE] == p.NONE:
        add_scaled(g, n, r, a)
        return
    for j in range(n):
        a[j] = r[j] * h[j]


@inner
def _gru_state(op, row):
    n, g, h = op[p.HIDDEN], at(row, op[p.GATES]), at(row, op[p.H])
    z = at(g, op[p.WIDTH])
    activate(op[p.ACTIVATION], g, n)
    for j in range(n):
        h[j] = s.blend(z[j], h[j], g[j])


@inner
def dense(op, weights, arena, row_size, rows, batch):
    width, y, bias, kernel = op[p.WIDTH], op[p.TARGET], at(weights, op[p.BIAS]), at(weights, op[p.KERNEL])
    if op[p.STORAGE] == FULL:
        full_products(op, arena, row_size, rows, batch, y, bias, 0, width, op[p.SOURCE], op[p.IN], kernel)
    else:
        for r in range(batch):
            copy_lanes(at(arena, rows[r] * row_size + y), bias, width)
        add_products(op, arena, row_size, rows, batch, y, width, op[p.SOURCE], op[p.IN], kernel)
    if op[p.ACTIVATION] != LINEAR:
        for r in range(batch):
            activate(op[p.ACTIVATION], at(arena, rows[r] * row_size + y), op[p.OUT])


@inner
def other(op, weights, row, token):
    """The operations that take next to no time."""
    code, y, n = op[p.OP], at(row, op[p.TARGET]), op[p.OUT]
    if code == p.COPY:
        copy_lanes(y, at(row, op[p.SOURCE]), n)
    elif code == p.GATHER:
        copy_lanes(y, at(weights, op[p.TABLE] + token * n), n)
    elif code == p.ONE_HOT:
        fill(y, n, 0)
        y[token] = 1
    elif code == p.AROUND:
        _around(op, weights, row, y, n)
    elif code == p.MASK_ID:
        row[op[p.MASK]] = token == 0
    else:
        _mask_value(at(row, op[p.SOURCE]), n, weights[op[p.VALUE]], at(row, op[p.MASK]), y)


@inner
def _mask_value(x, n, value, mask, y):
    """mask (1,) = 1 where x (n,) is all `value`, else 0; y (n,) = x, or 0 where it is."""
    same = 0
    while same < n and x[same] == value:
        same += 1
    live = same < n
    mask[0] = not live
    for j in range(n):
        y[j] = x[j] if live else type(value)(0)


@inner
def _around(op, weights, row, y, n):
    """y (n,) = h, or 0 where the step is masked; then with x: x + y, or mixed by the gates of a highway."""
    h, masked = at(row, op[p.H]), op[p.MASK] != p.NONE and row[op[p.MASK]] != 0
    for j in range(n):
        y[j] = type(h[j])(0) if masked else h[j]
    if op[p.SOURCE] == p.NONE:
        return
    x = at(row, op[p.SOURCE])
    if op[p.KERNEL] == p.NONE:
        for j in range(n):
            y[j] += x[j]
        return
    carried, transform, coupled = at(row, op[p.GATES]), at(row, op[p.SCRATCH]), op[p.TRANSFORM] == p.NONE
    _affine(op, weights, row, op[p.GATES], op[p.BIAS], op[p.KERNEL])
    if not coupled:
        _affine(op, weights, row, op[p.SCRATCH], op[p.TRANSFORM_BIAS], op[p.TRANSFORM])
    for j in range(n):
        y[j] = x[j] * carried[j] + y[j] * (type(carried[j])(1) - carried[j] if coupled else transform[j])


@inner
def _affine(op, weights, row, y, bias, kernel):
    """y (WIDTH,) of `row` = activation(SOURCE kernel + bias)."""
    width = op[p.WIDTH]
    copy_lanes(at(row, y), at(weights, bias), width)
    no_rows = op  # rows of size 0: whatever number comes first, the row is this one
    add_products(op, row, 0, no_rows, 1, y, width, op[p.SOURCE], op[p.OUT], at(weights, kernel))
    activate(op[p.RECURRENT_ACTIVATION], at(row, y), width)
