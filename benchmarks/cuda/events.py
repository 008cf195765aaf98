"""Time on the GPU's own clock, by CUDA events on the default stream, which PyTorch's calls run on too."""

from collections.abc import Callable, Mapping
from typing import Any

from fastlstm.bench import interleave as turns
from fastlstm.bench.interleave import Timing


def timer(function: Callable[[Any], Any], argument: Any) -> Callable[[int], float]:
    """How many calls -> seconds from before the first to after the last, as the GPU saw them."""
    from numba import cuda

    before, after = cuda.event(), cuda.event()

    def timed(count: int) -> float:
        before.record()
        for _ in range(count):
            function(argument)
        after.record()
        after.synchronize()
        return cuda.event_elapsed_time(before, after) / 1e3

    return timed


def interleave(
    calls: Mapping[str, tuple[Callable[[Any], Any], Any]], *, rounds: int = 15, slice_seconds: float = 0.02
) -> dict[str, Timing]:
    return turns.interleave(calls, rounds=rounds, slice_seconds=slice_seconds, timer=timer)
