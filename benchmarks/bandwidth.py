"""The read bandwidth of this machine's memory levels, one thread: what a step at batch 1 cannot be faster than."""

from time import perf_counter

import numpy as np
from numba import njit

#: Working sets in bytes: small ones lie in L1, the largest in main memory on most machines.
WORKING_SETS = [2**12, 2**14, 2**16, 2**18, 2**20, 2**21, 2**22, 2**23, 2**24, 2**25, 2**27]


@njit(cache=True)
def _read(words, times):
    """XOR of all words, `times` over: an operation of one cycle, so that reading is what takes the time."""
    total = 0
    for k in range(times):
        part = k
        for n in range(len(words)):
            part ^= words[n]
        total += part
    return total


def read_bandwidth(size: int, *, seconds: float = 0.005, rounds: int = 25) -> float:
    """Bytes a second, read again and again from an array of `size` bytes; the best of the rounds."""
    words = np.arange(size // 8)
    times = max(1, int(seconds * 20e9 / size))
    _read(words, 1)
    taken = []
    for _ in range(rounds):
        start = perf_counter()
        _read(words, times)
        taken.append(perf_counter() - start)
    return words.nbytes * times / min(taken)


def levels() -> dict[int, float]:
    """Working set -> bandwidth."""
    return {size: read_bandwidth(size) for size in WORKING_SETS}


def bound(size: int, measured: dict[int, float]) -> float:
    """Seconds to read `size` bytes once, at the bandwidth of the next larger working set that was measured."""
    level = min((s for s in measured if s >= size), default=max(measured))
    return size / measured[level]
