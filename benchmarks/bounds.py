"""What a step cannot be faster than: reading its weights once, or its multiplications at the processor's full rate.

Both are timed in the same rounds as the calls that they bound, so that a slow moment of the machine slows down both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fastlstm.backends.processor import READ_BLOCK
from fastlstm.bench.bandwidth import reader, room
from fastlstm.bench.interleave import Timing, interleave

_SMALLEST = 2**14  # bytes; what is smaller lies in the same cache, and would measure the loop's beginning and end
_BYTES, _TIMES = 2**21, 20_000  # in a call of reading, of multiplying


@dataclass(frozen=True)
class Bound:
    """Calls to time, as name -> (function, argument), and how much of the time of each the bound is."""

    calls: Mapping[str, tuple[Callable[[Any], Any], Any]]
    shares: Mapping[str, float]

    def __add__(self, other: "Bound") -> "Bound":
        return Bound({**self.calls, **other.calls}, {**self.shares, **other.shares})

    def timing(self, timings: Mapping[str, Timing]) -> Timing:
        """Seconds of the bound, round by round."""
        return Timing(tuple(sum(np.multiply(timings[name].rounds, share) for name, share in self.shares.items())))


def streaming(size: int, name: str = "reading") -> Bound:
    """Reading `size` bytes once, on one thread, from where so many lie when they are read again and again."""
    read, blocks = reader(), -(-max(size, _SMALLEST) // READ_BLOCK)
    memory, address = room(blocks * READ_BLOCK)
    times = -(-_BYTES // (blocks * READ_BLOCK))

    def call(_):
        return read(address, blocks, times)

    call.keep = memory
    return Bound({name: (call, None)}, {name: size / (blocks * READ_BLOCK * times)})


def arithmetic(operations: int) -> Bound:
    """`operations` additions and multiplications of float32, on one thread."""
    loop, done = _fastest_loop()
    return Bound({"multiplying": (loop, _TIMES)}, {"multiplying": operations / done})


@cache
def _fastest_loop() -> tuple[Callable[[int], float], int]:
    """The loop with vectors of the length that this machine is fastest with, and operations a call."""
    from benchmarks.multiply_add import CHAINS, loop_of

    loops = {lanes: loop_of(lanes) for lanes in (4, 8, 16)}
    timings = interleave({lanes: (loop, _TIMES) for lanes, loop in loops.items()}, rounds=5, slice_seconds=0.002)
    lanes = max(loops, key=lambda lanes: lanes / timings[lanes].best)
    return loops[lanes], 2 * CHAINS * lanes * _TIMES


def peak() -> float:
    """Operations a second."""
    loop, done = _fastest_loop()
    return done / interleave({"": (loop, _TIMES)}, slice_seconds=0.005)[""].best
