"""What becomes of a product's sums: the cells' equations of one unit and row, by one thread."""

from __future__ import annotations

from fastlstm.backends import scalar as s
from fastlstm.backends.cpu_vectors import HARD_SIGMOID, LINEAR, RELU, SIGMOID, TANH, _rare
from fastlstm.backends.cuda import packing as p
from fastlstm.backends.cuda.jit import called, device


@called
def activation(code, x):
    """Any activation of one number."""
    if code == TANH:
        return s.tanh(x)
    if code == SIGMOID:
        return s.sigmoid(x)
    if code == LINEAR:
        return x
    if code == RELU:
        return s.relu(x)
    if code == HARD_SIGMOID:
        return s.hard_sigmoid(x)
    return _rare(code, x)


@device
def _clipped(program, o, table, x):
    return x if program[o + p.CLIP] == p.NONE else s.clip(x, table[program[o + p.CLIP]])


@device
def optioned(program, o, table, unit, hidden, z_i, z_f, z_g, z_o, c):
    """An LSTM's unit with any activations, peepholes and clip -> (c', h')."""
    phi, sigma, peepholes = program[o + p.ACTIVATION], program[o + p.RECURRENT_ACTIVATION], program[o + p.PEEPHOLES]
    if peepholes != p.NONE:
        z_i = z_i + table[peepholes + unit] * c
        z_f = z_f + table[peepholes + hidden + unit] * c
    c = activation(sigma, z_f) * c + activation(sigma, z_i) * activation(phi, z_g)
    c = _clipped(program, o, table, c)
    if peepholes != p.NONE:
        z_o = z_o + table[peepholes + 2 * hidden + unit] * c
    return c, activation(sigma, z_o) * activation(phi, c)


@device
def is_plain(program, o):
    """Whether a cell has tanh and sigmoid and no options."""
    functions = program[o + p.ACTIVATION] == TANH and program[o + p.RECURRENT_ACTIVATION] == SIGMOID
    return functions and program[o + p.PEEPHOLES] == p.NONE and program[o + p.CLIP] == p.NONE


@device
def begins(program, o, table, lookup, token, unit):
    """What the sums of a unit begin with, four numbers: biases, or what stands in `lookup` for the row's id."""
    columns, begin, zero = program[o + p.COLUMNS_OF_UNIT], program[o + p.BEGIN], table.dtype.type(0)
    b0, b1, b2, b3 = zero, zero, zero, zero
    first = begin + unit * columns
    if begin == p.NONE:
        return b0, b1, b2, b3
    if program[o + p.BY_TOKEN]:
        b0 = lookup[token, first]
        if columns > 1:
            b1 = lookup[token, first + 1]
        if columns > 2:
            b2, b3 = lookup[token, first + 2], lookup[token, first + 3]
    else:
        b0 = table[first]
        if columns > 1:
            b1 = table[first + 1]
        if columns > 2:
            b2, b3 = table[first + 2], table[first + 3]
    return b0, b1, b2, b3


@device
def finished(program, o, table, arena, row, unit, begin, sums, place):
    """The result of one unit of a product; its c, where it has one, is brought up to date.

    row    where the batch row begins in the arena
    begin  of `begins`; the products stand at sums[place]
    """
    op, columns, zero = program[o + p.OP], program[o + p.COLUMNS_OF_UNIT], table.dtype.type(0)
    z0, z1, z2, z3 = begin
    z0 = z0 + sums[place]
    if columns > 1:
        z1 = z1 + sums[place + 1]
    if columns > 2:
        z2, z3 = z2 + sums[place + 2], z3 + sums[place + 3]
    masked = program[o + p.MASK] != p.NONE and arena[row + program[o + p.MASK]] != zero
    if masked and op != p.GRU_GATES:
        return arena[row + program[o + p.TARGET] + unit]  # h as it was
    if op == p.LSTM_CELL:
        at = row + program[o + p.C] + unit
        if is_plain(program, o):
            c, h = s.cell(z0, z1, z2, z3, arena[at])
        else:
            c, h = optioned(program, o, table, unit, program[o + p.UNITS], z0, z1, z2, z3, arena[at])
        arena[at] = c
        return h
    if op == p.DENSE:
        return _clipped(program, o, table, activation(program[o + p.ACTIVATION], z0))
    return _gru(program, o, arena, row, unit, z0, z1, z2, z3)


@called
def _gru(program, o, arena, row, unit, z0, z1, z2, z3):
    op, phi, sigma = program[o + p.OP], program[o + p.ACTIVATION], program[o + p.RECURRENT_ACTIVATION]
    h = arena[row + program[o + p.H] + unit]
    if op == p.GRU_AFTER:
        return s.blend(activation(sigma, z0), h, activation(phi, z2 + activation(sigma, z1) * z3))
    at = row + program[o + p.C] + unit
    if op == p.GRU_GATES:
        arena[at] = activation(sigma, z0)
        return activation(sigma, z1) * h
    return s.blend(arena[at], h, activation(phi, z0))
