"""A column of a comparison: one size, the bound, and the timings of each peer that has given the right answers."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from benchmarks import peers
from benchmarks.bounds import Bound
from benchmarks.peers import Peer, Ready
from benchmarks.problem import Characters, Problem, WrongAnswer
from fastlstm import FastLSTMError
from fastlstm.bench.interleave import Timing, interleave

Column = dict[str, Any]


class Entry(NamedTuple):
    """A peer, how its call is made and checked, and how many steps a call takes."""

    peer: Peer
    ready: Callable[[], Ready]
    steps: int


def stepped(problem: Problem, some: dict[str, Peer]) -> dict[str, Entry]:
    """Steps driven from Python."""
    return {name: Entry(peer, partial(peers.checked_step, name, peer, problem), 1) for name, peer in some.items()}


def looped(problem: Problem, some: dict[str, Peer], limit: int = 1000, read: float = 1e9) -> dict[str, Entry]:
    """Autoregressive loops, of so many steps that a call takes most of a slice, not many slices.

    read  bytes that a call may read
    """
    count = max(10, min(limit, int(read / problem.weight_bytes(head=True))))
    return {
        name: Entry(peer, partial(peers.checked_loop, name, peer, problem, count), count) for name, peer in some.items()
    }


def spelled(problem: Characters, some: dict[str, Peer], count: int) -> dict[str, Entry]:
    """Loops over symbols."""
    return {
        name: Entry(peer, partial(peers.checked_characters, name, peer, problem, count), count)
        for name, peer in some.items()
    }


def known(problem: Problem, some: dict[str, Peer]) -> dict[str, Entry]:
    """Known sequences."""
    return {
        name: Entry(peer, partial(peers.checked_sequence, name, peer, problem), len(problem.xs))
        for name, peer in some.items()
    }


def prepare(label: str, entries: dict[str, Entry]) -> tuple[dict[str, Ready], dict[str, str]]:
    """The peers that can be timed, and of the others why not."""
    ready, refused = {}, {}
    for name, entry in entries.items():
        try:
            if entry.peer.missing:
                refused[name] = f"not installed: {entry.peer.missing}"
            else:
                ready[name] = entry.ready()
            continue
        except WrongAnswer as error:
            refused[name] = f"wrong: {error}"
        except FastLSTMError as error:
            refused[name] = f"not available: {error}"
        except Exception as error:  # a peer that fails is no reason to leave out the others
            refused[name] = f"failed: {type(error).__name__}: {error}"[:300]
        print(f"{label}: {name} {refused[name]}", file=sys.stderr)
    return ready, refused


def column(
    label: str,
    entries: dict[str, Entry],
    bound: Bound,
    rounds: int,
    narrow: dict[str, Bound] | None = None,
    take: Callable[..., dict[str, Timing]] = interleave,
    **more: Any,
) -> Column:
    """Timings of one size, in microseconds a step, taken in turns with each other and with the bound.

    narrow  the bounds of the peers that have the key in their names
    take    calls, rounds -> timings
    """
    ready, refused = prepare(label, entries)
    calls = {name: (one.call, one.argument) for name, one in ready.items()}
    bounds = {"": bound, **(narrow or {})}
    taken = take({**calls, **{n: call for one in bounds.values() for n, call in one.calls.items()}}, rounds=rounds)
    limits = {kind: one.timing(taken) for kind, one in bounds.items()}
    limit = limits.pop("")
    if narrow:
        more["narrow_bound_us"] = {kind: 1e6 * one.best for kind, one in limits.items()}
    timings = {name: Timing(tuple(s / entries[name].steps for s in taken[name].rounds)) for name in ready}
    first = next(iter(timings.values()), limit)
    print(f"{label} done", file=sys.stderr)
    return {
        "label": label,
        **more,
        "bound_us": 1e6 * limit.best,
        "median_us": {name: 1e6 * timing.median for name, timing in timings.items()},
        "best_us": {name: 1e6 * timing.best for name, timing in timings.items()},
        "times_the_bound": {
            name: timing.ratio(next((one for kind, one in limits.items() if kind in name), limit))
            for name, timing in timings.items()
        },
        "times_the_first": {name: timing.ratio(first) for name, timing in timings.items()},
        "error": {name: one.error for name, one in ready.items()},
        "refused": refused,
    }
