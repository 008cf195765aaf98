"""How long single steps take: not their mean, but the slow ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: In per cent of the calls.
PERCENTILES = (50, 99, 99.9)


@dataclass(frozen=True)
class Latency:
    """nanoseconds  (N,) int64, of each call, in the order they were made; the clock's own time is in them
    clock           nanoseconds that reading the clock twice takes, the median
    """

    nanoseconds: NDArray[np.int64]
    clock: float

    def __len__(self) -> int:
        return len(self.nanoseconds)

    def percentiles(self) -> dict[str, float]:
        """ "p50" ... "p99.9" and "max", in us."""
        found = {f"p{p:g}": float(np.percentile(self.nanoseconds, p)) / 1e3 for p in PERCENTILES}
        return found | {"max": float(self.nanoseconds.max()) / 1e3}

    def over(self, budget_us: float) -> int:
        """How many calls took longer."""
        return int(np.count_nonzero(self.nanoseconds > budget_us * 1e3))


def latency(call: Callable[[Any], Any], x: Any, calls: int, seconds: float) -> Latency:
    """Time `call(x)` one by one, so often or so long, whichever ends first, but 10 times at least."""
    taken = _timed(call, x, calls, seconds)
    return Latency(taken, float(np.median(_timed(id, x, 1000, 1.0))))


def _timed(call: Callable[[Any], Any], x: Any, calls: int, seconds: float) -> NDArray[np.int64]:
    taken = [0] * calls
    count, end = 0, perf_counter() + seconds
    while count < calls and (count < 10 or perf_counter() < end):
        for k in range(count, min(calls, count + 10)):
            begin = perf_counter_ns()
            call(x)
            taken[k] = perf_counter_ns() - begin
        count = min(calls, count + 10)
    return np.array(taken[:count], np.int64)
