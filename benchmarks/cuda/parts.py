"""What is timed on the GPU: each part is a series of columns, as those of `benchmarks.parts`."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.columns import Column, Entry, column, known, looped, prepare, spelled, stepped
from benchmarks.cuda import events, peers
from benchmarks.cuda.limits import Limits, fitted
from benchmarks.latency import latencies
from benchmarks.peers import Peer, ours
from benchmarks.problem import Characters, Problem
from fastlstm.backends.cuda.device import Properties
from fastlstm.bench.interleave import Timing

Size = tuple[int, int]


@dataclass(frozen=True)
class Options:
    """limits     what is timed beside each column
    sizes      (input, hidden) of steps, loops and sequences
    units      of the curve over sizes, with one number in
    batches    of the curve over batches, at `batched`
    large      a batch and its size, of loops and sequences
    steps      of a known sequence, and of a loop's call
    latency    single steps whose time is taken
    rounds     turns that each takes
    only       of the peers fastlstm, and those with this in their names
    take       calls, rounds -> timings
    """

    limits: Limits
    sizes: tuple[Size, ...] = ((256, 512), (512, 1024))
    units: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096)
    batches: tuple[int, ...] = (1, 4, 16, 64, 256, 1024, 4096)
    batched: Size = (128, 256)
    large: tuple[int, Size] = (64, (512, 1024))
    steps: int = 1000
    latency: int = 20_000
    rounds: int = 15
    only: str = ""
    take: Callable[..., dict[str, Timing]] = events.interleave

    def choose(self, some: dict[str, Peer]) -> dict[str, Peer]:
        return {name: peer for name, peer in some.items() if name.startswith("fastlstm") or self.only in name}

    def columns(self, label: str, entries: dict[str, Entry], bound: Any, **more: Any) -> Column:
        return column(label, entries, bound, self.rounds, take=self.take, **more)

    def narrow(self, problem: Problem, batch: int, *, head: bool, before: Any = ()) -> dict[str, Any]:
        """The bound, and that of weights of two bytes."""
        full, half = (
            self.limits.bound(ours.model(problem, head=head, before=before, weights=weights), batch)
            for weights in ("float32", "bfloat16")
        )
        return {"bound": full, "narrow": {"bfloat16": half}}


def loops(options: Options) -> Iterator[Column]:
    """A step of the autoregressive loop, with the head."""
    for size in options.sizes:
        problem = Problem(*size)
        entries = looped(problem, options.choose(peers.LOOPS), options.steps, read=1e12)
        yield options.columns(_label(size), entries, **options.narrow(problem, 1, head=True), size=list(size))


def characters(options: Options) -> Iterator[Column]:
    """A symbol of the character model."""
    import fastlstm

    problem, count = Characters(), min(options.steps, 300)
    bounds = options.narrow(problem, 1, head=True, before=[fastlstm.OneHot(problem.symbols)])
    yield options.columns("2 x 512, 65 symbols", spelled(problem, options.choose(peers.CHARACTERS), count), **bounds)


def sequences(options: Options) -> Iterator[Column]:
    """A step of a known sequence; the bound is reading what the recurrence needs, as if nothing went before it."""
    for size in options.sizes:
        problem = Problem(*size, steps=options.steps)
        entries = known(problem, options.choose(peers.SEQUENCES))
        yield options.columns(_label(size), entries, **options.narrow(problem, 1, head=False), size=list(size))


def large_batches(options: Options) -> Iterator[Column]:
    """Many rows: the loop, and a known sequence."""
    batch, size = options.large
    more = {"size": list(size), "batch": batch}
    steps = max(10, options.steps // 10)
    problem = Problem(*size, batch=batch)
    bound = options.limits.arithmetic(problem.operations() + 2 * batch * problem.head_kernel.size)
    entries = looped(problem, options.choose(peers.LOOPS), steps, read=1e12)
    yield options.columns(f"{batch} x ({_label(size)}), loop", entries, bound, **more)
    problem = Problem(*size, batch=batch, steps=steps)
    entries = known(problem, options.choose(peers.SEQUENCES))
    yield options.columns(
        f"{batch} x ({_label(size)}), one of {steps}", entries, options.limits.arithmetic(problem.operations()), **more
    )


def steps(options: Options) -> Iterator[Column]:
    """One step driven from Python, x and y on the host, the state on the device."""
    for size in options.sizes:
        problem = Problem(*size)
        entries = stepped(problem, options.choose(peers.STEPS))
        yield options.columns(_label(size), entries, options.limits.bound(ours.model(problem)), size=list(size))


def latency(options: Options) -> Iterator[Column]:
    """Every single step of many, driven from Python."""
    some = {name: peers.STEPS[name] for name in ("fastlstm Stream.step", "PyTorch LSTMCell step, CUDA graph")}
    for size in options.sizes:
        ready, refused = prepare(_label(size), stepped(Problem(*size), options.choose(some)))
        calls = {name: (one.call, one.argument) for name, one in ready.items()}
        measured = latencies(calls, steps=options.latency)
        print(f"latency at {_label(size)} done", file=sys.stderr)
        yield {"label": _label(size), "size": list(size), "refused": refused, **measured}


def sizes(options: Options) -> Iterator[Column]:
    """The loop against the number of units, one number in and out."""
    for hidden in options.units:
        problem = Problem(1, hidden)
        entries = looped(problem, options.choose(_first(peers.LOOPS)), options.steps, read=5e9)
        yield options.columns(_label((1, hidden)), entries, **options.narrow(problem, 1, head=True), size=[1, hidden])


def batches(options: Options) -> Iterator[Column]:
    """The loop against the number of rows. The bound is reading, or from 17 rows on multiplying."""
    for batch in options.batches:
        problem = Problem(*options.batched, batch=batch)
        count = max(20, min(options.steps, 20_000 // batch))
        entries = looped(problem, options.choose(_first(peers.LOOPS)), count, read=1e12)
        bound = options.limits.bound(ours.model(problem, head=True))
        if batch > 16:
            bound = options.limits.arithmetic(problem.operations() + 2 * batch * problem.head_kernel.size)
        label = f"{batch} x ({_label(options.batched)})"
        yield options.columns(label, entries, bound, size=list(options.batched), batch=batch)


def layouts(options: Options, found: Properties) -> dict[str, str]:
    """How the models that are timed lie on the device."""
    texts = {}
    for size in options.sizes:
        for batch in (1, options.large[0]):
            model = ours.model(Problem(*size), head=True)
            texts[f"({_label(size)}), {batch} row{'s'[: batch - 1]}"] = fitted(model, batch, found).text
    return texts


def _first(some: dict[str, Peer]) -> dict[str, Peer]:
    """fastlstm, and the fastest of PyTorch's that makes a step a replay."""
    wanted = ("fastlstm generate", "PyTorch LSTMCell step, CUDA graph", "PyTorch LSTMCell, 50 steps a CUDA graph")
    return {name: some[name] for name in wanted}


def _label(size: Size) -> str:
    return "{}, {}".format(*size)


PARTS = {part.__name__: part for part in (loops, characters, sequences, large_batches, steps, latency, sizes, batches)}


def quick(limits: Limits) -> Options:
    """About two minutes of them."""
    return Options(
        limits, units=(64, 256, 1024), batches=(1, 64, 1024), steps=300, latency=2000, rounds=5,
        take=partial(events.interleave, slice_seconds=0.01),
    )  # fmt: skip
