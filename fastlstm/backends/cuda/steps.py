"""One time step of a row group: the program's operations, by all its blocks."""

from __future__ import annotations

from numba import cuda

from fastlstm.backends.cuda import packing as p
from fastlstm.backends.cuda import settings as c
from fastlstm.backends.cuda.cells import begins, finished
from fastlstm.backends.cuda.exchange import give, meet, take, take_pending
from fastlstm.backends.cuda.jit import device
from fastlstm.backends.cuda.primitives import LANES
from fastlstm.backends.cuda.products import sums_of
from fastlstm.backends.cuda.vectors import element, mask_value, norm_cell, softmax


@device
def begin_rows(call, t, ids, lengths, first, batch, tokens, live, places):
    """Which rows take part in step t: `places` lists them -> how many. Their ids are in `tokens`, while primed.

    first  the row group's first batch row, of `batch`
    """
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    for r in range(thread, batch, threads):
        length = lengths[first + r]
        when = t - (call[c.STEPS] - length) * call[c.FREE]
        live[r] = when >= 0 and tokens[r] >= 0 and (when < length or call[c.FREE] != 0)
        if live[r] and when < length and call[c.SOURCE] == p.NONE:
            tokens[r] = ids[first + r, when]
    cuda.syncthreads()
    count = 0
    for r in range(batch):
        if live[r]:
            if r % threads == thread:
                places[count] = r
            count += 1
    cuda.syncthreads()
    return count


@device
def enter(call, t, xs, lengths, first, arena, places, count):
    """The inputs of step t: of the prime, or a row's last output."""
    inputs, size = call[c.INPUTS], call[c.ROW_SIZE]
    for j in range(cuda.threadIdx.x, count * inputs, cuda.blockDim.x):
        row = places[j // inputs]
        k, length = j % inputs, lengths[first + row]
        when = t - (call[c.STEPS] - length) * call[c.FREE]
        if when < length:
            arena[row * size + call[c.SOURCE] + k] = xs[first + row, when, k]
        else:
            arena[row * size + call[c.SOURCE] + k] = arena[row * size + call[c.TARGET] + k]
    cuda.syncthreads()


@device
def _four(places, row, count, size):
    """Where four rows begin in the arena; the last one again where there are fewer."""
    return (
        places[min(row, count - 1)] * size,
        places[min(row + 1, count - 1)] * size,
        places[min(row + 2, count - 1)] * size,
        places[min(row + 3, count - 1)] * size,
    )


@device
def _quads(call, program, o, weights, slices, table, lookup, arena, tokens, places, count, sums, words, group, member,
           stamp):  # fmt: skip
    """This block's units of a product, four columns at a time; each result is handed out as soon as it is there."""
    units, columns, stride = program[o + p.UNITS], program[o + p.COLUMNS_OF_UNIT], program[o + p.STRIDE]
    first, end = member * units // call[c.UNIT_GROUPS], (member + 1) * units // call[c.UNIT_GROUPS]
    together, size = 4 // columns, call[c.ROW_SIZE]
    warp, warps, lane = cuda.threadIdx.x // LANES, cuda.blockDim.x // LANES, cuda.threadIdx.x % LANES
    a, a_depth, b, b_depth = program[o + p.A], program[o + p.A_DEPTH], program[o + p.B], program[o + p.B_DEPTH]
    step = 1 if count == 1 else c.FEW if count <= c.FEW else c.MANY
    quads, batches, place = (end - first + together - 1) // together, (count + step - 1) // step, 4 * c.MANY * warp
    for task in range(warp, quads * batches, warps):
        quad = task // batches if batches > 1 else task
        row, unit = (task - quad * batches) * step, first + quad * together
        last = (end - first) * columns - 1
        column = quad * 4
        resident = program[o + p.SLICE] != p.NONE
        base = program[o + p.SLICE] if resident else program[o + p.WEIGHTS] + first * columns * stride
        at = (
            base + column * stride,
            base + min(column + 1, last) * stride,
            base + min(column + 2, last) * stride,
            base + min(column + 3, last) * stride,
        )
        item, items = lane, step * together
        begin = _begins_of(program, o, table, lookup, tokens, places, row, count, unit, end, item, together)
        if step == 1:
            rows = (places[0] * size,)
            if resident:
                sums_of(slices, at, arena, rows, a, a_depth, b, b_depth, lane, sums, place)
            else:
                sums_of(weights, at, arena, rows, a, a_depth, b, b_depth, lane, sums, place)
        elif step == c.FEW:
            four = _four(places, row, count, size)
            if resident:
                sums_of(slices, at, arena, four, a, a_depth, b, b_depth, lane, sums, place)
            else:
                sums_of(weights, at, arena, four, a, a_depth, b, b_depth, lane, sums, place)
        else:
            many = _four(places, row, count, size) + _four(places, row + 4, count, size)
            if resident:
                sums_of(slices, at, arena, many, a, a_depth, b, b_depth, lane, sums, place)
            else:
                sums_of(weights, at, arena, many, a, a_depth, b, b_depth, lane, sums, place)
        while item < items:
            k, own = item // together, unit + item % together
            if row + k < count and own < end:
                r = places[row + k]
                of_unit = place + 4 * k + (own - unit) * columns
                value = finished(program, o, table, arena, r * size, own, begin, sums, of_unit)
                give(call, words, group, stamp, arena, r, program[o + p.WORDS], own, value)
            item += LANES
            if item < items:
                begin = _begins_of(program, o, table, lookup, tokens, places, row, count, unit, end, item, together)


@device
def _begins_of(program, o, table, lookup, tokens, places, row, count, unit, end, item, together):
    """What an item's sums begin with: `together` units of each row; loaded before the products, it is there in time."""
    r = places[min(row + item // together, count - 1)]
    return begins(program, o, table, lookup, tokens[r], min(unit + item % together, end - 1))


@device
def advance(call, program, weights, slices, table, lookup, arena, tokens, places, count, sums, scratch, words,
            counters, group, member, stamp, turn):  # fmt: skip
    """All operations -> the number of barriers that the row group's blocks have met at."""
    thread, threads, size = cuda.threadIdx.x, cuda.blockDim.x, call[c.ROW_SIZE]
    for o in range(0, call[c.LAST], p.COLUMNS):
        op, units, target = program[o + p.OP], program[o + p.UNITS], program[o + p.TARGET]
        if op < p.STATE:
            _quads(call, program, o, weights, slices, table, lookup, arena, tokens, places, count, sums, words, group,
                   member, stamp)  # fmt: skip
            if call[c.UNIT_GROUPS] > 1 and call[c.MEETING] == c.BARRIER:
                turn += 1
                meet(call, counters, group, turn)
            else:
                cuda.syncthreads()  # what comes in replaces what the products read
            if call[c.UNIT_GROUPS] > 1:
                take(call, words, group, stamp, arena, target, program[o + p.WORDS], units, places, count)
            else:
                take_pending(call, arena, target, units, places, count)
        elif op == p.GATHER or op == p.ONE_HOT or op == p.AROUND:
            for j in range(thread, count * units, threads):
                row = places[j // units]
                k = j % units
                if op == p.GATHER:
                    arena[row * size + target + k] = lookup[tokens[row], k]
                elif op == p.ONE_HOT:
                    arena[row * size + target + k] = k == tokens[row]
                else:
                    element(program, o, arena, row * size, k)
        elif op == p.MASK_ID:
            for k in range(thread, count, threads):
                arena[places[k] * size + program[o + p.MASK]] = tokens[places[k]] == 0
        elif op != p.STATE:
            for k in range(count):
                row = places[k] * size
                if op == p.SOFTMAX:
                    softmax(program[o + p.ACTIVATION], arena, row + target, units, scratch)
                elif op == p.MASK_VALUE:
                    mask_value(program, o, table, arena, row, scratch)
                elif program[o + p.MASK] == p.NONE or arena[row + program[o + p.MASK]] == 0:
                    norm_cell(program, o, table, arena, row, scratch)
        cuda.syncthreads()
    return turn
