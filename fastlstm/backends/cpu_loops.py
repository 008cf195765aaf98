"""The CPU backend's compiled loops, which walk any plan. Nothing in them allocates, and they run without the GIL.

Arrays are the flat buffers of `plan.py`: `weights`, and an arena of one row for each row of the batch. `rows`
are the batch rows that take part in a step; the others' state stays as it is.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from fastlstm.backends import plan as p
from fastlstm.backends import scalar as s
from fastlstm.backends.cpu_cells import dense, gru, lstm, other
from fastlstm.backends.cpu_draw import draw, largest
from fastlstm.backends.cpu_vectors import copy, fill
from fastlstm.backends.jit import compiled, inlined
from fastlstm.backends.memory import part, pointer


@compiled
def advance(program, weights, arena, row_size, tokens, rows):
    """One time step of the batch rows `rows`: inputs are in the arena, or ids in tokens (B,)."""
    for k in range(program.size // p.COLUMNS):
        op = part(program, k * p.COLUMNS, p.COLUMNS)
        for r in range(rows.size):
            row, token = part(arena, rows[r] * row_size, row_size), tokens[rows[r]]
            code = op[p.OP]
            if code == p.DENSE:
                dense(op, weights, row)
            elif code != p.LSTM_CELL and code != p.GRU_CELL:
                other(op, weights, row, token)
            elif op[p.MASK] != p.NONE and row[op[p.MASK]] != 0:
                continue  # a masked step: the state stays, and h with it
            elif code == p.LSTM_CELL:
                lstm(op, weights, row, token)
            else:
                gru(op, weights, row, token)


@inlined
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
                    copy(part(arena, b * row_size + source, xs.shape[2]), xs[b, t])
            else:
                fill(ys[b, t], 0)
        advance(program, weights, arena, row_size, tokens, part(rows, 0, count))
        for r in range(count):
            copy(ys[rows[r], t], part(arena, rows[r] * row_size + target, outputs))


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
                    copy(part(arena, b * row_size + source, xs.shape[2]), xs[b, at])
            elif source != p.NONE:
                copy(part(arena, b * row_size + source, outputs), part(arena, b * row_size + target, outputs))
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
                copy(ys[b, k], y)
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
                    fill(drawn[b, k:], token)
                    tokens[b] = -1
