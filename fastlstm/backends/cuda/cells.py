"""What becomes of a product's sums: the cells' equations of one unit and row, by one thread."""

from __future__ import annotations

from fastlstm.backends import scalar as s
from fastlstm.backends.cpu_vectors import HARD_SIGMOID, LINEAR, RELU, SIGMOID, TANH, rare
from fastlstm.backends.cuda import program as p
from fastlstm.backends.cuda.jit import called, device
from fastlstm.backends.cuda.primitives import apart, get, of, put


@device
def activation(code, x):
    """Any activation of one number."""
    if code == LINEAR:
        return x
    if code == TANH:
        return s.tanh(x)
    if code == SIGMOID:
        return s.sigmoid(x)
    return _other(code, x)


@called
def _other(code, x):
    apart()
    if code == RELU:
        return s.relu(x)
    if code == HARD_SIGMOID:
        return s.hard_sigmoid(x)
    return rare(code, x)


@device
def clipped(program, o, table, x):
    return x if of(program, o, p.CLIP) == p.NONE else s.clip(x, table[of(program, o, p.CLIP)])


@device
def is_plain(program, o):
    """Whether a cell has tanh and sigmoid and no options."""
    functions = of(program, o, p.ACTIVATION) == TANH and of(program, o, p.RECURRENT_ACTIVATION) == SIGMOID
    return functions and of(program, o, p.PEEPHOLES) == p.NONE and of(program, o, p.CLIP) == p.NONE


@device
def begins(program, o, table, lookup, token, unit):
    """What the sums of a unit begin with, four numbers: biases, or what stands in `lookup` for the row's id."""
    columns, begin, zero = of(program, o, p.COLUMNS_OF_UNIT), of(program, o, p.BEGIN), table.dtype.type(0)
    b0, b1, b2, b3 = zero, zero, zero, zero
    first = begin + unit * columns
    if begin == p.NONE:
        return b0, b1, b2, b3
    if of(program, o, p.BY_TOKEN):
        b0 = lookup[token, first]
        if columns > 1:
            b1 = lookup[token, first + 1]
        if columns > 2:
            b2, b3 = lookup[token, first + 2], lookup[token, first + 3]
    else:
        b0 = get(table, first)
        if columns > 1:
            b1 = get(table, first + 1)
        if columns > 2:
            b2, b3 = get(table, first + 2), get(table, first + 3)
    return b0, b1, b2, b3


@device
def finished(program, o, table, arena, row, unit, begin, sums, place):
    """The result of one unit of a product; its c, where it has one, is brought up to date.

    row    where the batch row begins in the arena
    begin  of `begins`; the products stand at get(sums, place)
    """
    op, columns, zero = of(program, o, p.OP), of(program, o, p.COLUMNS_OF_UNIT), table.dtype.type(0)
    z0, z1, z2, z3 = begin
    z0 = z0 + get(sums, place)
    if columns > 1:
        z1 = z1 + get(sums, place + 1)
    if columns > 2:
        z2, z3 = z2 + get(sums, place + 2), z3 + get(sums, place + 3)
    masked = of(program, o, p.MASK) != p.NONE and arena[row + of(program, o, p.MASK)] != zero
    if masked and op != p.GRU_GATES:
        return arena[row + of(program, o, p.TARGET) + unit]  # h as it was
    if op == p.LSTM_CELL and is_plain(program, o):
        at = row + of(program, o, p.C) + unit
        c, h = s.cell(z0, z1, z2, z3, get(arena, at))
        put(arena, at, c)
        return h
    return _optioned(program, o, table, arena, row, unit, z0, z1, z2, z3)


@called
def _optioned(program, o, table, arena, row, unit, z0, z1, z2, z3):
    """Any product's result, activation after activation, so that there is one place where they are compiled."""
    apart()
    op, phi, sigma = of(program, o, p.OP), of(program, o, p.ACTIVATION), of(program, o, p.RECURRENT_ACTIVATION)
    zero = table.dtype.type(0)
    hidden, peepholes, c, h = of(program, o, p.UNITS), of(program, o, p.PEEPHOLES), zero, zero
    stages, at = 1, row + of(program, o, p.C) + unit
    if op == p.LSTM_CELL:
        stages, c = 5, arena[at]
        if peepholes != p.NONE:
            z0, z1 = z0 + table[peepholes + unit] * c, z1 + table[peepholes + hidden + unit] * c
    elif op != p.DENSE:
        stages, h = 3 if op == p.GRU_AFTER else 2 if op == p.GRU_GATES else 1, arena[row + of(program, o, p.H) + unit]
    code, y0, y1, y = phi if stages == 1 else sigma, zero, zero, zero
    for stage in range(stages):
        y = activation(code, z0)
        if stage == 0:
            y0, z0 = y, z1
        if stage == 1:  # the candidate is next
            y1, code = y, phi
            z0 = z2 + y1 * z3 if op == p.GRU_AFTER else z2
        elif stage == 2 and op == p.LSTM_CELL:
            c, code, y0 = clipped(program, o, table, y1 * c + y0 * y), sigma, zero
            z0 = z3 if peepholes == p.NONE else z3 + table[peepholes + 2 * hidden + unit] * c
        elif stage == 3:
            y0, code, z0 = y, phi, c
    if op == p.LSTM_CELL:
        arena[at] = c
        return y0 * y
    if op == p.DENSE:
        return clipped(program, o, table, y)
    if op == p.GRU_GATES:
        arena[at] = y0
        return y1 * h
    return s.blend(y0 if op == p.GRU_AFTER else arena[at], h, y)
