"""`intrinsics.py` and `words.py` for Numba's CUDA simulator, where a thread of a block is a thread of Python.

A warp has four lanes here: enough for what goes on between them, and few enough to wait for.
"""

from __future__ import annotations

import threading
import time

import numpy as np

from fastlstm.backends.cuda.settings import FEW, MANY

LANES = 4
PATIENCE = 60.0  # seconds that a thread waits for others


def load4(array, index):
    if array.dtype == np.uint32:
        assert index % 4 == 0, "a device would not load this"
        pair = np.asarray(array[index // 2 : index // 2 + 2])
        return np.stack([pair, pair << np.uint32(16)], axis=1).ravel().view(np.float32)
    assert index * array.dtype.itemsize % 16 == 0, "a device would not load this"
    return np.array([array[index + k] for k in range(4)])


def no_sums(array, rows):
    return (array.dtype.type(0),) * (4 * len(rows))


def multiplied(sums, weights, columns, further, arena, rows, x, lane, begin, end):
    sums = list(sums)
    for k in (k for k in range(4 * lane, end, 4 * LANES) if k >= begin):
        factors = [load4(weights, column + further + k) for column in columns]
        for r, row in enumerate(rows):
            vector = load4(arena, row // arena.itemsize + x + k)
            for c, column in enumerate(factors):
                for a, b in zip(column, vector, strict=True):
                    sums[4 * r + c] = sums[4 * r + c] + a * b
    return tuple(sums)


def of(program, o, column):
    return program[o + column]


def get(array, index):
    assert index >= 0
    return array[index]


def put(array, index, value):
    assert index >= 0
    array[index] = value


def few_of(starts, row, count):
    return tuple(int(starts[min(row + k, count - 1)]) for k in range(1 << FEW))


def many_of(starts, row, count, sums):
    return tuple(int(starts[min(row + k, count - 1)]) for k in range(1 << MANY - (sums.itemsize == 8)))


def copy4(target, to, source, at, j, distance, last):
    size = 16 // source.itemsize
    for i in (min(j + k * distance, last) for k in range(4)):
        assert (to + i) % size == 0 == (at + i) % size, "a device would not copy this"
        target[to + i : to + i + size] = source[at + i : at + i + size]


def quotient(a, b):
    return a // b


def _bits(value):
    return np.atleast_1d(value).view(np.uint32)


def post(words, index, value, stamp):
    halves = _bits(value)
    for k, half in enumerate(halves):
        words[index * len(halves) + k] = np.uint64(half) | np.uint64(stamp) << np.uint64(32)


def peek(words, index, stamp, like):
    count = len(_bits(like))
    found = [int(words[index * count + k]) for k in range(count)]
    value = np.array([word & 0xFFFFFFFF for word in found], np.uint32).view(type(like))[0]
    return all(word >> 32 == stamp for word in found), value


_counting = threading.Lock()


def arrive(counters, index):
    with _counting:
        counters[index] += 1


def arrivals(counters, index):
    return counters[index]


class _Warp:
    """Where the lanes of a warp meet, each with its number or tuple of numbers."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(LANES)
        self.given = [None] * LANES

    def meet(self, lane, value):
        self.given[lane] = value
        self.barrier.wait(PATIENCE)
        values = list(self.given)
        self.barrier.wait(PATIENCE)
        return values


def _met(value):
    thread = threading.current_thread()
    warps = thread._manager.__dict__.setdefault("warps", {})
    lane = thread.thread_id % LANES
    return warps.setdefault(thread.thread_id // LANES, _Warp()).meet(lane, value)


def _added(rows):
    """In the order in which the lanes of a real warp are added."""
    while len(rows) > 1:
        half = len(rows) // 2
        rows = [rows[k] + rows[k + half] for k in range(half)]
    return rows[0]


def warp_sums(numbers, lane, place, index):
    rows = _met(numbers)
    for k in range(len(numbers)):
        place[index + k] = _added([row[k] for row in rows])
    _met(None)


def warp_sum(number):
    return _added(_met(number))


def warp_largest(number):
    return max((other for other in _met(number) if other == other), default=number)


def apart():
    """There is no compiled code."""


def pause(event):
    """Let others run; raise where they will not come."""
    thread = threading.current_thread()
    if thread.abort:
        raise RuntimeError("another thread of the block has failed")
    now = time.monotonic()
    waits_for, since = thread.__dict__.get("waits", (None, now))
    thread.waits = (event, since if waits_for == event else now)
    if now - thread.waits[1] > PATIENCE:
        raise TimeoutError(f"block {thread.blockIdx}: what it waits for ({event}) was not written")
    time.sleep(0)
