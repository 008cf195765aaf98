"""Timing a user's own model: against the memory's bandwidth, against a deadline, and against other ways to run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from math import inf, isfinite
from typing import TYPE_CHECKING

from fastlstm import arguments
from fastlstm.bench import bandwidth, contenders, machine, peers, traffic
from fastlstm.bench.interleave import interleave
from fastlstm.bench.latency import latency
from fastlstm.bench.result import BenchResult, Timed
from fastlstm.errors import ArgumentError

if TYPE_CHECKING:
    from fastlstm.model import Model

CALLS = 100_000  # whose latency is measured
# Of the turns that the contenders take, and the most seconds of one: many short ones, so that on a busy machine some
# of them are left alone.
_ROUNDS, _SLICE = 51, 0.02


def bench(
    model: Model,
    *,
    against: Sequence[str] = (),
    rate: float | None = None,
    calls: int | None = None,
    seconds: float = 10.0,
    say: Callable[[str], None] = lambda text: None,
) -> BenchResult:
    """Time the model.

    against  names of `peers.PEERS`
    rate     steps a second that the model has to keep up with
    calls    of which the latency is measured; None is CALLS, or as many as half of `seconds` has room for
    seconds  that it takes, or so, without compiling and loading the peers
    say      is told what is being done
    Raises VerificationError where the model's outputs are not those of the NumPy device in float64, ArgumentError.
    """
    asked = CALLS if calls is None else arguments.count(calls, name="steps")
    for name, value in (("rate", rate), ("seconds", seconds)):
        if value is not None and not (isfinite(value) and value > 0):
            raise ArgumentError(f"{name} is {value}; expected a number above 0")
    slices = min(_SLICE, seconds / 2 / (_ROUNDS * (3 + len(against))))
    load, when, threads = machine.load_average(), datetime.now(), getattr(model, "threads", 1)
    referee = contenders.Referee(model)
    entered, difference = contenders.ours(model, referee, slices)
    outcomes = []
    for name in against:
        if not peers.missing(name):
            say(f"loading {peers.PEERS[name].title} ...")
        outcome, contender = contenders.peer(name, model, referee, threads)
        outcomes.append(outcome)
        entered += [contender] if contender else []
    say(f"measuring, about {seconds:g} s ...")
    rounds = max(1, min(20, round(4 * seconds)))  # of 30 ms or so; half of them before, half after all the rest
    reading = bandwidth.levels(rounds=rounds, threads=threads)
    timings = interleave({c.key: (c.call, c.x) for c in entered}, rounds=_ROUNDS, slice_seconds=slices)
    first = entered[0]
    found = latency(first.call, first.x, asked, seconds / 2 if calls is None else inf)
    again = bandwidth.levels(rounds=rounds, threads=threads)
    reading = {size: max(rate, again[size]) for size, rate in reading.items()}
    size = traffic.weight_bytes(model)
    return BenchResult(
        model={
            "layers": [repr(layer) for layer in model.layers],
            "parameters": sum(a.size for layer in model.layers for a in layer.arrays().values()),
            "device": model.device,
            "dtype": model.dtype.name,
            "weights": traffic.storage(model),
            "threads": threads,
        },
        about={
            "processor": machine.processor(),
            "cores": machine.cores(),
            "load_average": [load, machine.load_average()],
            "versions": machine.versions(),
        },
        when=when,
        weight_bytes=size,
        bandwidth=reading,
        bound=bandwidth.bound(size, reading),
        difference=difference,
        timed=[Timed(c.key, c.title, timings[c.key].divided(c.steps), c.bounded) for c in entered],
        latency=found,
        call_steps=first.steps,
        rate=rate,
        peers=outcomes,
    )
