"""The kernels: a whole `generate`, `run` or step of a batch in one launch, and the product of a sequence's inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda, types
from numba.np.numpy_support import from_dtype

from fastlstm.backends import scalar as s
from fastlstm.backends.cuda import program as p
from fastlstm.backends.cuda import settings as c
from fastlstm.backends.cuda.drawing import draw, largest
from fastlstm.backends.cuda.exchange import meet, place_of, split
from fastlstm.backends.cuda.jit import device, kernel
from fastlstm.backends.cuda.primitives import LANES, copy4, of, pause, peek, post
from fastlstm.backends.cuda.sequences import multiply
from fastlstm.backends.cuda.steps import advance, begin_rows, enter


@device
def _place(call, program, member):
    """Which units of each operation are this block's; where its own units' vectors would begin with those before."""
    groups, o = call[c.UNIT_GROUPS], cuda.threadIdx.x * p.COLUMNS
    while o < call[c.LAST]:
        units = of(program, o, p.UNITS)
        program[o + p.FIRST], program[o + p.END] = member * units // groups, (member + 1) * units // groups
        if of(program, o, p.OWN) != p.NONE:
            program[o + p.C] -= program[o + p.FIRST]
        o += cuda.blockDim.x * p.COLUMNS
    cuda.syncthreads()


@device
def _copy_slices(call, program, weights, slices):
    """What stays of this block's columns of each product -> shared memory: a column a warp, 16 bytes a lane."""
    each, vector = call[c.PACKED], 16 // weights.itemsize
    warp, warps, lane = cuda.threadIdx.x // LANES, cuda.blockDim.x // LANES, cuda.threadIdx.x % LANES
    for o in range(0, call[c.LAST], p.COLUMNS):
        if of(program, o, p.OP) < p.STATE and of(program, o, p.KEPT) > 0:
            kept, stride = of(program, o, p.KEPT) // each, of(program, o, p.STRIDE) // each
            of_unit = of(program, o, p.COLUMNS_OF_UNIT)
            source = of(program, o, p.WEIGHTS) // each + of(program, o, p.FIRST) * of_unit * stride
            for column in range(warp, (of(program, o, p.END) - of(program, o, p.FIRST)) * of_unit, warps):
                target = of(program, o, p.SLICE) // each + column * kept
                for j in range(lane * vector, kept, 4 * LANES * vector):
                    copy4(slices, target, weights, source + column * stride, j, LANES * vector, kept - vector)


@device
def _load_state(call, program, arena, state, first, batch):
    """Rows of `state` -> the arena, which is zero but for them."""
    thread, threads, size = cuda.threadIdx.x, cuda.blockDim.x, call[c.ROW_SIZE]
    for j in range(thread, call[c.ROWS] * size, threads):
        arena[j] = 0
    cuda.syncthreads()
    for o in range(0, call[c.LAST], p.COLUMNS):
        if of(program, o, p.OP) == p.STATE:
            of_c, of_h, at = of(program, o, p.A_DEPTH), of(program, o, p.B_DEPTH), of(program, o, p.TARGET)
            begin, end = 0, of_c
            if of(program, o, p.OWN) != p.NONE:
                begin, end = of(program, o, p.FIRST), of(program, o, p.END)
            for r in range(batch):
                for j in range(begin + thread, end, threads):
                    arena[r * size + of(program, o, p.C) + j] = state[first + r, at + j]
                for j in range(thread, of_h, threads):
                    arena[r * size + of(program, o, p.B) + j] = state[first + r, at + of_c + j]
    cuda.syncthreads()


@device
def _store_state(call, program, arena, state, first, batch, member):
    """Each block the c of its own units; h, and a c that all have, block 0."""
    thread, threads, size = cuda.threadIdx.x, cuda.blockDim.x, call[c.ROW_SIZE]
    for o in range(0, call[c.LAST], p.COLUMNS):
        if of(program, o, p.OP) == p.STATE:
            of_c, of_h, at = of(program, o, p.A_DEPTH), of(program, o, p.B_DEPTH), of(program, o, p.TARGET)
            begin, end = 0, of_c if member == 0 else 0
            if of(program, o, p.OWN) != p.NONE:
                begin, end = of(program, o, p.FIRST), of(program, o, p.END)
            for r in range(batch):
                for j in range(begin + thread, end, threads):
                    state[first + r, at + j] = arena[r * size + of(program, o, p.C) + j]
                if member == 0:
                    for j in range(thread, of_h, threads):
                        state[first + r, at + of_c + j] = arena[r * size + of(program, o, p.B) + j]


@device
def _draw_one(call, row, k, arena, temperature, top_p, order, mass, first, scratch):
    """The k-th id of the launch that the row group's row `row` draws; by all threads."""
    start, n = row * call[c.ROW_SIZE] + call[c.TARGET], call[c.OUTPUTS]
    if call[c.DRAWS] == 1:
        return largest(arena, start, n, scratch)
    seed = np.uint64(call[c.SEED_LOW]) | np.uint64(call[c.SEED_HIGH]) << np.uint64(32)
    b, position = np.uint64(call[c.FIRST_ROW] + first + row), np.uint64(call[c.POSITION] + k)
    chance = s.uniform(seed, b, position)
    order, mass = order[cuda.blockIdx.x], mass[cuda.blockIdx.x]
    return draw(arena, start, n, call[c.PROBABILITIES], temperature, call[c.TOP_K], top_p, chance, order, mass, scratch)


@device
def _settle(call, row, k, token, tokens, drawn, stop, first, member):
    """Row `row` has drawn `token`; by one thread."""
    tokens[row] = token
    if member == 0:
        drawn[first + row, k] = token
    for e in range(stop.size):
        if token == stop[e]:
            tokens[row] = -1
            if member == 0:
                for later in range(k + 1, call[c.OUTPUT_STEPS]):
                    drawn[first + row, later] = token
            break


@device
def _draw_rows(call, k, arena, temperature, top_p, order, mass, tokens, places, count, drawn, stop, first, scratch,
               words, counters, group, member, stamp, turn):  # fmt: skip
    """The next ids. Of one row every block draws it for itself; of several each its share, and they are exchanged."""
    thread, threads, groups = cuda.threadIdx.x, cuda.blockDim.x, call[c.UNIT_GROUPS]
    shared, wide = groups > 1 and count > 1, arena.itemsize // 4  # an id is posted as it is, in the first half word
    i = member if shared else 0
    while i < count:
        token = _draw_one(call, places[i], k, arena, temperature, top_p, order, mass, first, scratch)
        if thread == 0:
            if shared:
                at = wide * place_of(call, group, stamp, places[i], call[c.WORDS] - 1)
                post(words, at, np.int32(token), stamp)
            else:
                _settle(call, places[i], k, token, tokens, drawn, stop, first, member)
        i += groups if shared else 1
    if shared:
        if call[c.MEETING] == c.BARRIER:
            turn += 1
            meet(call, counters, group, turn)
        for i in range(thread, count, threads):
            at = wide * place_of(call, group, stamp, places[i], call[c.WORDS] - 1)
            came, token = peek(words, at, stamp, np.int32(0))
            while not came:
                pause(stamp)
                came, token = peek(words, at, stamp, np.int32(0))
            _settle(call, places[i], k, token, tokens, drawn, stop, first, member)
    cuda.syncthreads()
    return turn


@device
def _loop(operations, weights, table, lookup, words, counters, spill, state, xs, ids, lengths, ys, drawn, stop, order,
          mass, temperature, top_p, call):  # fmt: skip
    member, group = cuda.blockIdx.x % call[c.UNIT_GROUPS], cuda.blockIdx.x // call[c.UNIT_GROUPS]
    thread, threads, rows = cuda.threadIdx.x, cuda.blockDim.x, call[c.ROWS]
    integers = cuda.shared.array(0, types.int32)
    scratch, sums = cuda.shared.array(0, types.float64), cuda.shared.array(0, table.dtype)
    slices, numbers = cuda.shared.array(0, weights.dtype), cuda.shared.array(0, table.dtype)
    start = p.SCRATCH_BYTES // 4
    tokens, live, places = integers[start:], integers[start + rows :], integers[start + 2 * rows :]
    starts = integers[start + 3 * rows :]
    start += (p.ROW_BYTES // 4 * rows + 3) // 4 * 4
    program = integers[start:]
    start += (operations.size + 3) // 4 * 4
    if spill is None:  # noqa: SIM108 it is decided when it is compiled
        arena = numbers[start * 4 // table.itemsize :]
    else:
        arena = spill[cuda.blockIdx.x]

    first = group * rows
    batch = min(rows, call[c.BATCH] - first)
    base, met = c.COUNTERS * group, c.COUNTERS * group + 1
    stamp, turn = np.int32(counters[base]), np.int64(counters[met])
    for j in range(thread, operations.size, threads):
        program[j] = operations[j]
    for r in range(thread, rows, threads):
        tokens[r] = 0
    cuda.syncthreads()
    _place(call, program, member)
    _copy_slices(call, program, weights, slices)
    _load_state(call, program, arena, state, first, batch)
    for t in range(call[c.STEPS] + (call[c.OUTPUT_STEPS] - 1) * call[c.FREE]):
        count = begin_rows(call, t, ids, lengths, first, batch, tokens, live, places, starts,
                           call[c.ROW_SIZE] * table.itemsize)  # fmt: skip
        if count == 0:
            if t >= call[c.STEPS]:
                break  # every row has drawn its stop
            continue
        if call[c.SOURCE] != p.NONE:
            enter(call, t, xs, lengths, first, arena, places, count)
        stamp = np.int32((stamp + 1) & 0x7FFFFFFF)
        turn = advance(call, program, weights, slices, table, lookup, arena, tokens, places, starts, count, sums,
                       scratch, words, counters, group, stamp, turn)  # fmt: skip
        k = t - (call[c.STEPS] - 1) * call[c.FREE]
        if k >= 0 and call[c.DRAWS]:
            turn = _draw_rows(call, k, arena, temperature, top_p, order, mass, tokens, places, count, drawn, stop,
                              first, scratch, words, counters, group, member, stamp, turn)  # fmt: skip
        elif k >= 0:
            outputs, j = call[c.OUTPUTS], thread + member * threads
            while j < count * outputs:
                row, unit = split(j, outputs, places, count)
                ys[first + row, k, unit] = arena[row * call[c.ROW_SIZE] + call[c.TARGET] + unit]
                j += threads * call[c.UNIT_GROUPS]
    _store_state(call, program, arena, state, first, batch, member)
    if member == 0 and thread == 0:  # all have posted, so all have read these
        counters[base], counters[met] = stamp, turn


@kernel
def loop(operations, weights, table, lookup, words, counters, state, xs, ids, lengths, ys, drawn, stop, order, mass,
         temperature, top_p, call):  # fmt: skip
    """Prime, or a known sequence, then outputs fed back: every time step of the launch's rows.

    operations, weights, table, lookup   see `program.py`
    words (.,), counters (COUNTERS * row groups,)  uint64, for `exchange.py`; only zero, or what a launch has left
    state (B, .)                         each layer's c and h, read and written
    xs (B, T, D) or ids (B, T), lengths (B,);  ys (B, n, V) or drawn (B, n);  stop (S,)
    order (blocks, .) int32, mass (blocks, .) float64: for drawing
    call                                 see `settings.py`
    Every block's shared memory: scratch, rows, program, arena, slices, as `fit.py` counts them.
    """
    _loop(operations, weights, table, lookup, words, counters, None, state, xs, ids, lengths, ys, drawn, stop, order,
          mass, temperature, top_p, call)  # fmt: skip


@kernel
def loop_spilled(operations, weights, table, lookup, words, counters, spill, state, xs, ids, lengths, ys, drawn, stop,
                 order, mass, temperature, top_p, call):  # fmt: skip
    """`loop` with the arenas, which do not fit into shared memory, in spill (blocks, .)."""
    _loop(operations, weights, table, lookup, words, counters, spill, state, xs, ids, lengths, ys, drawn, stop, order,
          mass, temperature, top_p, call)  # fmt: skip


def argument_types(dtype: np.dtype, stored: np.dtype, spilled: bool) -> tuple[types.Type, ...]:
    """Of `loop`, or `loop_spilled`.

    dtype   the model's;  stored  that of the array of weights
    """
    real, weight = from_dtype(np.dtype(dtype)), from_dtype(np.dtype(stored))
    integers, long = types.int32, types.int64
    return (
        integers[::1], weight[::1], real[::1], real[:, ::1], types.uint64[::1], types.uint64[::1],
        *([real[:, ::1]] if spilled else []), real[:, ::1], real[:, :, ::1], long[:, ::1], long[::1],
        real[:, :, ::1], long[:, ::1], long[::1], integers[:, ::1], types.float64[:, ::1],
        types.float64, types.float64, types.UniTuple(long, c.COUNT),
    )  # fmt: skip


def _signatures() -> dict[str, tuple[Any, tuple[types.Type, ...], int]]:
    stored = {"float32": np.float32, "bfloat16": np.uint32, "float64": np.float64}
    found = {}
    for name, kind in stored.items():
        dtype = np.dtype(np.float64 if name == "float64" else np.float32)
        found[f"loop {name}"] = loop, argument_types(dtype, np.dtype(kind), False), c.MOST_THREADS
    found["loop_spilled float32"] = (
        loop_spilled,
        argument_types(np.dtype(np.float32), np.dtype(np.float32), True),
        c.MOST_THREADS,
    )
    real = types.float32
    found["multiply float32"] = multiply, (real[::1], real[::1], real[::1], real[:, ::1]), c.MOST_THREADS
    return found


#: What is checked without a GPU: kernel, argument types and the most threads of a block.
SIGNATURES = _signatures()
