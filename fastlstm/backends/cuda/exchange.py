"""How the blocks of a row group hand each other their results: each vector ends up complete in every block's arena.

STAMPS   A value travels in one word with the number of its step (`primitives.post`); a reader polls the word until the
         number is the one that it waits for. One trip through L2; a barrier and the loads after it take two or three.
         There are two words for each value, by the parity of the step. A writer never overwrites what a slow reader
         still needs: it posts step t + 2 after it has read all results of step t + 1, among them (see `fit.py`: every
         block has a unit of some product) one of that reader, who posted it after a barrier of its block, behind which
         all its reads of step t were done.
BARRIER  The same words, read once after all blocks have counted themselves at a counter in L2.

A row group of one block has no words: results wait in PENDING until the products have been computed, which read what
they replace.
"""

from __future__ import annotations

from numba import cuda

from fastlstm.backends.cuda import settings as c
from fastlstm.backends.cuda.jit import device
from fastlstm.backends.cuda.primitives import arrivals, arrive, get, pause, peek, post, put, quotient


@device
def place_of(call, group, stamp, row, word):
    """The index of a value's word: [row group][parity][batch row][word]."""
    return ((group * 2 + (stamp & 1)) * call[c.ROWS] + row) * call[c.WORDS] + word


@device
def give(call, words, group, stamp, arena, row, word, unit, value):
    """Hand out a result: `word` of the product that it is of, `unit` in it."""
    if call[c.UNIT_GROUPS] == 1:
        put(arena, row * call[c.ROW_SIZE] + call[c.PENDING] + unit, value)
    else:
        post(words, place_of(call, group, stamp, row, word + unit), value, stamp)


@device
def meet(call, counters, group, turn):
    """Wait until every block of the row group has come here for the `turn`-th time, from 1."""
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        arrive(counters, c.COUNTERS * group + 2)
        while arrivals(counters, c.COUNTERS * group + 2) < turn * call[c.UNIT_GROUPS]:
            pause(turn)
    cuda.syncthreads()


@device
def take(call, words, group, stamp, arena, target, word, units, places, count):
    """All units of a product, of the `count` rows in `places` -> the arena, at `target`. Threads wait for the words."""
    threads, size = cuda.blockDim.x, call[c.ROW_SIZE]
    total, zero, first = count * units, arena.dtype.type(0), cuda.threadIdx.x
    while first < total:
        row, unit = split(first, units, places, count)
        more, other = split(min(first + threads, total - 1), units, places, count)
        third, unit3 = split(min(first + 2 * threads, total - 1), units, places, count)
        fourth, unit4 = split(min(first + 3 * threads, total - 1), units, places, count)
        at = place_of(call, group, stamp, row, word + unit)
        at2 = place_of(call, group, stamp, more, word + other)
        at3 = place_of(call, group, stamp, third, word + unit3)
        at4 = place_of(call, group, stamp, fourth, word + unit4)
        while True:  # four loads on their way at a time; beyond the end all are the last one's
            came, value = peek(words, at, stamp, zero)
            came2, value2 = peek(words, at2, stamp, zero)
            came3, value3 = peek(words, at3, stamp, zero)
            came4, value4 = peek(words, at4, stamp, zero)
            if came and came2 and came3 and came4:
                break
            pause(stamp)
        put(arena, row * size + target + unit, value)
        if first + threads < total:
            put(arena, more * size + target + other, value2)
        if first + 2 * threads < total:
            put(arena, third * size + target + unit3, value3)
        if first + 3 * threads < total:
            put(arena, fourth * size + target + unit4, value4)
        first += 4 * threads


@device
def split(index, units, places, count):
    """(row, unit) of the index-th of count * units values; without a division where there is one row."""
    if count == 1:
        return get(places, 0), index
    k = quotient(index, units)
    return get(places, k), index - k * units


@device
def take_pending(call, arena, target, units, places, count):
    """`take` in a row group of one block."""
    size, index = call[c.ROW_SIZE], cuda.threadIdx.x
    while index < count * units:
        row, unit = split(index, units, places, count)
        put(arena, row * size + target + unit, get(arena, row * size + call[c.PENDING] + unit))
        index += cuda.blockDim.x
