"""The read bandwidth of this machine's memory levels: what a step at batch 1 cannot be faster than."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends.processor import READ_BLOCK
from fastlstm.errors import DeviceError

#: Working sets in bytes: small ones lie in L1, the largest in main memory on most machines.
WORKING_SETS = [2**k for k in (12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 27)]
_HUGE_PAGE = 2**21


def levels(
    sizes: Sequence[int] | None = None, *, rounds: int = 25, slice_bytes: int = 10**8, threads: int = 1
) -> dict[int, float]:
    """Working set -> bandwidth in bytes a second, read again and again: the best of the rounds.

    sizes        of the working sets, each a multiple of 4096; WORKING_SETS when None
    slice_bytes  read in one round of one working set, at least once through it; 10**8 takes 0.5 ms in L1, 5 ms in DRAM

    threads      each of which reads its part of the working set, all at the same time

    The best, and not the median: whatever else the machine does only takes away from it. The working sets take turns,
    so that what slows the machine down for a while does not slow down all the rounds of one of them.
    """
    read = reader()
    sizes = WORKING_SETS if sizes is None else sizes
    _memory, address = room(max(sizes))
    if threads > 1:
        slice_bytes *= 8 * threads  # to start a team takes 50 us
    times = {size: max(1, slice_bytes // size) for size in sizes}
    best = dict.fromkeys(sizes, float("inf"))
    with ThreadPoolExecutor(threads) as team:

        def seconds(size: int, times: int) -> float:
            blocks = size // READ_BLOCK // threads
            parts = [(address + k * blocks * READ_BLOCK, blocks, times) for k in range(threads)]
            start = perf_counter()
            if threads == 1:
                read(*parts[0])
            else:
                list(team.map(lambda part: read(*part), parts))
            return perf_counter() - start

        for _ in range(rounds):
            for size in sizes:
                seconds(size, 1)  # into the caches
                best[size] = min(best[size], seconds(size, times[size]))
    return {size: size * times[size] / best[size] for size in sizes}


def room(size: int) -> tuple[NDArray[np.int64], int]:
    """Memory to read `size` bytes of, and the address of a 2 MiB page's beginning in it.

    It is written to: pages that nobody has touched are all the same one.
    """
    memory = np.ones((size + _HUGE_PAGE) // 8, np.int64)
    return memory, -(-memory.ctypes.data // _HUGE_PAGE) * _HUGE_PAGE


def reader() -> Callable[[int, int, int], int]:
    """`read` of `backends.read_loop`, compiled.  Raises DeviceError where it cannot be."""
    from fastlstm.backends.objects import code

    try:
        return code("read").call
    except DeviceError as error:
        raise DeviceError(f"the read bandwidth is measured by compiled code: {error}") from error


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
