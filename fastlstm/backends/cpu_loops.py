"""The CPU backend's compiled loops, which walk any plan. Nothing in them allocates, and they run without the GIL.

`weights` and `arena` are the flat buffers of `plan.py`, the arena with one row for each of the batch. `rows` are the
batch rows that take part in a step; the others' state stays as it is.
"""

from __future__ import annotations

import numpy as np

from fastlstm.backends import plan as p
from fastlstm.backends import scalar as s
from fastlstm.backends.cpu_cells import carry, dense, gru, gru_block, lstm, lstm_block, other
from fastlstm.backends.cpu_draw import draw, largest
from fastlstm.backends.cpu_plain import plain_dense, plain_lstm
from fastlstm.backends.cpu_vectors import fill
from fastlstm.backends.jit import compiled, inlined, inner, scalar
from fastlstm.backends.meeting import enter, leave
from fastlstm.backends.memory import at, base, pointer
from fastlstm.backends.simd import copy_lanes


@inner
def advance(program, operations, weights, arena, row_size, tokens, rows, batch):
    """One time step of `rows` (batch,), whose order may change: inputs are in the arena, or ids in tokens."""
    for k in range(operations):
        op = at(program, k * p.COLUMNS)
        op[p.BACK] ^= 1
        if batch != 1 or op[p.PLAIN] <= 0 or op[p.TEAM] != 0:
            _operate(op, weights, arena, row_size, tokens, rows, batch)
        elif op[p.OP] == p.DENSE:
            plain_dense(op, weights, at(arena, rows[0] * row_size))
        else:
            plain_lstm(op, weights, at(arena, rows[0] * row_size), tokens[rows[0]])


@inner
def _operate(op, weights, arena, row_size, tokens, rows, batch):
    """One operation of one time step."""
    code = op[p.OP]
    if code == p.LSTM_CELL:
        lstm(op, weights, arena, row_size, tokens, rows, _live(op, arena, row_size, rows, batch))
    elif code == p.DENSE:
        dense(op, weights, arena, row_size, rows, batch)
    elif code == p.GRU_CELL:
        gru(op, weights, arena, row_size, tokens, rows, _live(op, arena, row_size, rows, batch))
    else:
        for r in range(batch):
            other(op, weights, at(arena, rows[r] * row_size), tokens[rows[r]])


@scalar
def _live(op, arena, row_size, rows, batch):
    """How many rows are not masked; they come to stand first. The others keep their state, and h with it."""
    if op[p.MASK] == p.NONE:
        return batch
    r = 0
    while r < batch:
        if arena[rows[r] * row_size + op[p.MASK]] != 0:
            batch -= 1
            rows[r], rows[batch] = rows[batch], rows[r]
        else:
            r += 1
    return batch


@inner
def advance_block(program, operations, weights, arena, row_size, tokens, rows, batch):
    """The time steps `rows` (batch,), in their order, of one sequence; row 0 has the state before them."""
    for k in range(operations):
        op = at(program, k * p.COLUMNS)
        code = op[p.OP]
        if code == p.LSTM_CELL:
            lstm_block(op, weights, arena, row_size, tokens, rows, batch)
        elif code == p.DENSE:
            dense(op, weights, arena, row_size, rows, batch)
        elif code == p.GRU_CELL:
            gru_block(op, weights, arena, row_size, tokens, rows, batch)
        else:
            for r in range(batch):
                other(op, weights, at(arena, rows[r] * row_size), tokens[rows[r]])


@inner
def carry_back(program, operations, arena, row_size, row):
    """The state in `row` becomes that in row 0."""
    for k in range(operations):
        op = at(program, k * p.COLUMNS)
        if op[p.OP] == p.LSTM_CELL or op[p.OP] == p.GRU_CELL:
            carry(op, at(arena, row * row_size), arena)


@inlined
def _step(table, dtype):
    """`advance` of all rows, all that it needs found through a table of 10 integers.

    table  addresses: program, weights, arena, tokens, rows; then how many operations, the team and the arena's size
           for `enter`, the size of a row and how many there are. For each array that is passed, Numba would allocate
           something and spend 0.1 us
    """
    t = pointer(table, np.int64)
    leads = t[6] != 0 and enter(t[6], t[2], t[7])
    program, tokens, rows = pointer(t[0], np.int64), pointer(t[3], np.int64), pointer(t[4], np.int64)
    advance(program, t[5], pointer(t[1], dtype), pointer(t[2], dtype), t[8], tokens, rows, t[9])
    if leads:
        leave(t[6])


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
    operations, inputs = program.size // p.COLUMNS, xs.shape[2]
    x, y = base(xs), base(ys)
    for t in range(steps):
        count = 0
        for b in range(batch):
            if t < lengths[b]:
                rows[count] = b
                count += 1
                if source == p.NONE:
                    tokens[b] = ids[b, t]
                else:
                    copy_lanes(at(base(arena), b * row_size + source), at(x, (b * steps + t) * inputs), inputs)
            else:
                fill(at(y, (b * steps + t) * outputs), outputs, 0)
        advance(base(program), operations, base(weights), base(arena), row_size, base(tokens), base(rows), count)
        for r in range(count):
            place = at(y, (rows[r] * steps + t) * outputs)
            copy_lanes(place, at(base(arena), rows[r] * row_size + target), outputs)


@compiled
def run_block(program, weights, arena, row_size, tokens, rows, xs, ids, source, target, ys):
    """`run` of one sequence, as many steps at a time as the arena has rows: xs (T, D) or ids (T,) -> ys (T, V)."""
    steps, outputs = ys.shape
    operations, inputs, block = program.size // p.COLUMNS, xs.shape[1], rows.size
    x, y, memory = base(xs), base(ys), base(arena)
    for start in range(0, steps, block):
        count = min(block, steps - start)
        for r in range(count):
            rows[r] = r
            if source == p.NONE:
                tokens[r] = ids[start + r]
            else:
                copy_lanes(at(memory, r * row_size + source), at(x, (start + r) * inputs), inputs)
        advance_block(base(program), operations, base(weights), memory, row_size, base(tokens), base(rows), count)
        for r in range(count):
            copy_lanes(at(y, (start + r) * outputs), at(memory, r * row_size + target), outputs)
        carry_back(base(program), operations, memory, row_size, count - 1)


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
    outputs, operations = mass.size, program.size // p.COLUMNS
    x, y, memory, inputs = base(xs), base(ys), base(arena), xs.shape[2]
    n, count = drawn.shape[1] if source == p.NONE else ys.shape[1], 0
    for t in range(steps):
        count = 0
        for b in range(batch):
            when = t - (steps - lengths[b])
            if when < 0:
                continue
            rows[count] = b
            count += 1
            if source == p.NONE:
                tokens[b] = ids[b, when]
            else:
                copy_lanes(at(memory, b * row_size + source), at(x, (b * steps + when) * inputs), inputs)
        advance(base(program), operations, base(weights), memory, row_size, base(tokens), base(rows), count)
    for k in range(n):
        if k > 0:
            advance(base(program), operations, base(weights), memory, row_size, base(tokens), base(rows), count)
        r = 0
        while r < count:
            b = rows[r]
            output = at(memory, b * row_size + target)
            r += 1
            if source != p.NONE:
                copy_lanes(at(y, (b * n + k) * outputs), output, outputs)
                copy_lanes(at(memory, b * row_size + source), output, outputs)
                continue
            if greedy:
                token = largest(output, outputs)
            else:
                chance = s.uniform(seed, np.uint64(b), position + np.uint64(k))
                token = draw(output, outputs, probabilities, temperature, top_k, top_p, chance, order, mass)
            tokens[b] = token
            drawn[b, k] = token
            for e in range(stop.size):
                if token == stop[e]:
                    drawn[b, k:] = token
                    r, count = r - 1, count - 1
                    rows[r], rows[count] = rows[count], b
                    break
        if count == 0:
            break  # every row has drawn its stop
