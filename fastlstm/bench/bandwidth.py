"""The read bandwidth of this machine's memory levels, one thread: what a step at batch 1 cannot be faster than."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np

#: Working sets in bytes: small ones lie in L1, the largest in main memory on most machines.
WORKING_SETS = [2**k for k in (12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 27)]
_HUGE_PAGE = 2**21


def levels(sizes: Sequence[int] = WORKING_SETS, *, rounds: int = 25, slice_bytes: int = 10**8) -> dict[int, float]:
    """Working set -> bandwidth in bytes a second, read again and again: the best of the rounds.

    sizes        of the working sets, each a multiple of 4096
    slice_bytes  read in one round of one working set, at least once through it; 10**8 takes 0.5 ms in L1, 5 ms in DRAM

    The best, and not the median: whatever else the machine does only takes away from it. The working sets take turns,
    so that what slows the machine down for a while does not slow down all the rounds of one of them.
    """
    from fastlstm.backends.read_loop import BLOCK, read

    room = np.ones((max(sizes) + _HUGE_PAGE) // 8, np.int64)  # written to: untouched pages are all the same one
    address = -(-room.ctypes.data // _HUGE_PAGE) * _HUGE_PAGE
    times = {size: max(1, slice_bytes // size) for size in sizes}
    best = dict.fromkeys(sizes, float("inf"))
    for _ in range(rounds):
        for size in sizes:
            read(address, size // BLOCK, 1)  # into the caches; also compiles
            start = perf_counter()
            read(address, size // BLOCK, times[size])
            best[size] = min(best[size], perf_counter() - start)
    return {size: size * times[size] / best[size] for size in sizes}


def working_sets(size: int) -> list[int]:
    """Those that are enough for `bound(size, ...)`: the smallest that `size` bytes fit in, and the one above it."""
    above = [s for s in WORKING_SETS if s >= size] or WORKING_SETS[-1:]
    return above[:2]


def bound(size: int, measured: dict[int, float]) -> float:
    """Seconds to read `size` bytes once, at the best bandwidth of the working sets that are at least as large.

    (The smallest of them is the fastest but for what a measurement misses.)
    """
    rates = [rate for working_set, rate in measured.items() if working_set >= size]
    return size / max(rates, default=measured[max(measured)])
