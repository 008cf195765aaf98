"""Timing several calls against each other on a machine that has other things to do.

The calls take turns, a short slice each, round after round in changing order: what slows the machine down for a while
slows all of them, and a ratio taken within a round stands.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from timeit import Timer
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Seconds a call, one figure a round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.rounds))

    @property
    def best(self) -> float:
        return min(self.rounds)

    def divided(self, n: int) -> "Timing":
        """Of one of `n` equal parts of a call."""
        return Timing(tuple(seconds / n for seconds in self.rounds))

    def ratio(self, other: "Timing") -> float:
        """How many times as long this one takes as `other`: the median of the ratios within each round."""
        return float(np.median(np.divide(self.rounds, other.rounds)))


def host_timer(function: Callable[[Any], Any], argument: Any) -> Callable[[int], float]:
    """How many calls -> seconds."""
    return Timer("f(x)", globals={"f": function, "x": argument}).timeit


def interleave(
    calls: Mapping[str, tuple[Callable[[Any], Any], Any]],
    *,
    rounds: int = 15,
    slice_seconds: float = 0.02,
    timer: Callable[[Callable[[Any], Any], Any], Callable[[int], float]] = host_timer,
) -> dict[str, Timing]:
    """Time `function(argument)` for each name -> (function, argument); `rounds` slices of `slice_seconds` or so."""
    timers = {name: timer(f, x) for name, (f, x) in calls.items()}
    counts = {name: _count(timer, slice_seconds) for name, timer in timers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    names = list(timers)
    for k in range(rounds):
        turn = k % len(names)
        for name in names[turn:] + names[:turn]:
            seconds[name].append(timers[name](counts[name]) / counts[name])
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def _count(timed: Callable[[int], float], slice_seconds: float) -> int:
    """How many calls fill a slice. The first calls, which compile and fill caches, are made here."""
    count, taken = 1, timed(1)
    while (taken := timed(count)) < slice_seconds / 4 and count < 10**7:
        count *= 2
    return max(1, round(count * slice_seconds / max(taken, 1e-9)))
