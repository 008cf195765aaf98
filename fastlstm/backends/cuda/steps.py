"""One time step of a row group: the program's operations, by all its blocks."""

from __future__ import annotations

from numba import cuda

from fastlstm.backends.cuda import program as p
from fastlstm.backends.cuda import settings as c
from fastlstm.backends.cuda.cells import begins, finished
from fastlstm.backends.cuda.exchange import give, meet, split, take, take_pending
from fastlstm.backends.cuda.jit import device
from fastlstm.backends.cuda.primitives import LANES, few_of, get, many_of, of, quotient
from fastlstm.backends.cuda.products import sums_of
from fastlstm.backends.cuda.vectors import element, mask_value, norm_cell, softmax


@device
def begin_rows(call, t, ids, lengths, first, batch, tokens, live, places, starts, row_bytes):
    """Which rows take part in step t: `places` lists them -> how many. Their ids are in `tokens`, while primed.

    starts  at which byte of the arena their rows begin, each of row_bytes

    first  the row group's first batch row, of `batch`
    """
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    r = thread
    while r < batch:
        length = lengths[first + r]
        when = t - (call[c.STEPS] - length) * call[c.FREE]
        live[r] = when >= 0 and tokens[r] >= 0 and (when < length or call[c.FREE] != 0)
        if live[r] and when < length and call[c.SOURCE] == p.NONE:
            tokens[r] = ids[first + r, when]
        r += threads
    cuda.syncthreads()
    count, writer = 0, 0
    for r in range(batch):
        if live[r]:
            if writer == thread:
                places[count], starts[count] = r, r * row_bytes
            count += 1
        writer = 0 if writer + 1 == threads else writer + 1
    cuda.syncthreads()
    return count


@device
def enter(call, t, xs, lengths, first, arena, places, count):
    """The inputs of step t: of the prime, or a row's last output."""
    inputs, size, j = call[c.INPUTS], call[c.ROW_SIZE], cuda.threadIdx.x
    while j < count * inputs:
        row, k = split(j, inputs, places, count)
        length = lengths[first + row]
        when = t - (call[c.STEPS] - length) * call[c.FREE]
        if when < length:
            arena[row * size + call[c.SOURCE] + k] = xs[first + row, when, k]
        else:
            arena[row * size + call[c.SOURCE] + k] = arena[row * size + call[c.TARGET] + k]
        j += cuda.blockDim.x
    cuda.syncthreads()


@device
def _columns(base, column, last, stride):
    """Where four columns begin, of which `last` is the last there is."""
    return (
        base + column * stride,
        base + min(column + 1, last) * stride,
        base + min(column + 2, last) * stride,
        base + min(column + 3, last) * stride,
    )


@device
def _quads(call, program, o, weights, slices, table, lookup, arena, tokens, places, starts, count, sums, words, group,
           stamp):  # fmt: skip
    """This block's units of a product, four columns at a time; each result is handed out as soon as it is there."""
    first, end, of_unit = of(program, o, p.FIRST), of(program, o, p.END), of(program, o, p.COLUMNS_OF_UNIT)
    units = 2 - (of_unit >> 1)  # a warp's: 4, 2 or 1, by bits to shift
    size, stride, kept = call[c.ROW_SIZE], of(program, o, p.STRIDE), of(program, o, p.KEPT)
    warp, warps, lane = cuda.threadIdx.x // LANES, cuda.blockDim.x // LANES, cuda.threadIdx.x % LANES
    a, a_depth, b, b_depth = (
        of(program, o, p.A),
        of(program, o, p.A_DEPTH),
        of(program, o, p.B),
        of(program, o, p.B_DEPTH),
    )
    bits = 0 if count == 1 else c.FEW if count <= 2 << c.FEW else c.MANY - (sums.itemsize >> 3)
    quads, batches = (end - first + (1 << units) - 1) >> units, (count + (1 << bits) - 1) >> bits
    task, place, last = warp, (4 << c.MANY) * warp, (end - first) * of_unit - 1
    base, slice_base = of(program, o, p.WEIGHTS) + first * of_unit * stride, of(program, o, p.SLICE)
    while task < quads * batches:
        quad = quotient(task, batches) if batches > 1 else task
        row, unit = (task - quad * batches) << bits, first + (quad << units)
        near, far = _columns(slice_base, 4 * quad, last, kept), _columns(base, 4 * quad, last, stride)
        item, items = lane, 1 << (bits + units)
        begin = _begins_of(program, o, table, lookup, tokens, places, row, count, unit, end, item, units)
        if bits == 0:
            one = (get(starts, 0),)
            sums_of(slices, near, kept, weights, far, arena, one, a, a_depth, b, b_depth, lane, sums, place)
        elif bits == c.FEW:
            few = few_of(starts, row, count)
            sums_of(slices, near, kept, weights, far, arena, few, a, a_depth, b, b_depth, lane, sums, place)
        else:
            many = many_of(starts, row, count, sums)
            sums_of(slices, near, kept, weights, far, arena, many, a, a_depth, b, b_depth, lane, sums, place)
        while item < items:
            k, own = item >> units, unit + (item & ((1 << units) - 1))
            if row + k < count and own < end:
                r = get(places, row + k)
                of_row = place + 4 * k + (own - unit) * of_unit
                value = finished(program, o, table, arena, r * size, own, begin, sums, of_row)
                give(call, words, group, stamp, arena, r, of(program, o, p.WORDS), own, value)
            item += LANES
            if item < items:
                begin = _begins_of(program, o, table, lookup, tokens, places, row, count, unit, end, item, units)
        task += warps


@device
def _begins_of(program, o, table, lookup, tokens, places, row, count, unit, end, item, units):
    """What an item's sums begin with: 1 << `units` of each row; loaded before the products, it is there in time."""
    r = get(places, min(row + (item >> units), count - 1))
    return begins(program, o, table, lookup, get(tokens, r), min(unit + (item & ((1 << units) - 1)), end - 1))


@device
def advance(call, program, weights, slices, table, lookup, arena, tokens, places, starts, count, sums, scratch, words,
            counters, group, stamp, turn):  # fmt: skip
    """All operations -> the number of barriers that the row group's blocks have met at."""
    thread, threads, size = cuda.threadIdx.x, cuda.blockDim.x, call[c.ROW_SIZE]
    for o in range(0, call[c.LAST], p.COLUMNS):
        op, units, target = of(program, o, p.OP), of(program, o, p.UNITS), of(program, o, p.TARGET)
        if op < p.STATE:
            _quads(call, program, o, weights, slices, table, lookup, arena, tokens, places, starts, count, sums, words,
                   group, stamp)  # fmt: skip
            if call[c.UNIT_GROUPS] > 1 and call[c.MEETING] == c.BARRIER:
                turn += 1
                meet(call, counters, group, turn)
            else:
                cuda.syncthreads()  # what comes in replaces what the products read
            if call[c.UNIT_GROUPS] > 1:
                take(call, words, group, stamp, arena, target, of(program, o, p.WORDS), units, places, count)
            else:
                take_pending(call, arena, target, units, places, count)
        elif op == p.GATHER or op == p.ONE_HOT or op == p.AROUND:
            for j in range(thread, count * units, threads):
                row, k = split(j, units, places, count)
                if op == p.GATHER:
                    arena[row * size + target + k] = lookup[tokens[row], k]
                elif op == p.ONE_HOT:
                    arena[row * size + target + k] = k == tokens[row]
                else:
                    element(program, o, arena, row * size, k)
        elif op == p.MASK_ID:
            for k in range(thread, count, threads):
                arena[places[k] * size + of(program, o, p.MASK)] = tokens[places[k]] == 0
        elif op != p.STATE:
            for k in range(count):
                row = places[k] * size
                if op == p.SOFTMAX:
                    softmax(of(program, o, p.ACTIVATION), arena, row + target, units, scratch)
                elif op == p.MASK_VALUE:
                    mask_value(program, o, table, arena, row, scratch)
                elif of(program, o, p.MASK) == p.NONE or arena[row + of(program, o, p.MASK)] == 0:
                    norm_cell(program, o, table, arena, row, scratch)
        cuda.syncthreads()
    return turn
