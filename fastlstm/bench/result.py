"""What a bench found, as an object and as JSON; `text.py` and `plot.py` show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastlstm.bench.interleave import Timing
from fastlstm.bench.latency import Latency


@dataclass(frozen=True)
class Timed:
    """A way to run the model.

    key      "step", "process", "generate", "run", or a peer's name
    title    for people
    timing   of a step, or of a step's share of a call that makes many
    bounded  it reads all weights at each step, so that the bound is one
    """

    key: str
    title: str
    timing: Timing
    bounded: bool


@dataclass(frozen=True)
class PeerOutcome:
    """Why a peer was timed or not.

    status      "timed", "not installed", "cannot express", "wrong" or "failed"
    reason      "" where it was timed
    difference  of its outputs from float64, in proportion to their size; None where it gave none
    """

    name: str
    status: str
    reason: str = ""
    difference: float | None = None


@dataclass(frozen=True)
class BenchResult:
    """What a bench of a model found.

    model         what was timed: layers, dtype, weights, device, threads
    about         the machine: processor, cores, versions, load_average (before and after)
    when          it was begun
    weight_bytes  that one step reads
    bandwidth     working set in bytes -> bytes a second, by so many threads as the model has
    bound         seconds: the time to read them
    difference    of the model's outputs from float64 in NumPy, in proportion to their size
    timed         what was timed, the one that decides first
    latency       of the first of them
    call_steps    steps that a call of `latency` makes: 1, or the sequence's where the model has `run` only
    rate          steps a second that are wanted; None
    peers         all that were asked for
    """

    model: dict[str, Any]
    about: dict[str, Any]
    when: datetime
    weight_bytes: int
    bandwidth: dict[int, float]
    bound: float
    difference: float
    timed: list[Timed]
    latency: Latency
    call_steps: int
    rate: float | None
    peers: list[PeerOutcome]

    @property
    def budget_us(self) -> float | None:
        """What the wanted rate leaves a call; None where none is wanted."""
        return None if self.rate is None else 1e6 * self.call_steps / self.rate

    @property
    def fits(self) -> bool | None:
        """Whether 99.9 % of the calls end within the budget."""
        return None if self.budget_us is None else self.latency.percentiles()["p99.9"] <= self.budget_us

    def share(self, timed: Timed) -> float | None:
        """Of the bound, by the best round; None where the bound is none."""
        return self.bound / timed.timing.best if timed.bounded else None

    def times(self, timed: Timed) -> float:
        """How many times as long it takes as the first."""
        return timed.timing.ratio(self.timed[0].timing)

    def to_json(self) -> dict[str, Any]:
        """Plain data that JSON can hold; times in microseconds."""
        return {
            "date": self.when.isoformat(timespec="seconds"),
            "model": self.model,
            "machine": self.about,
            "difference_from_float64": self.difference,
            "weight_bytes_a_step": self.weight_bytes,
            "read_bandwidth_gb_s": {str(size): rate / 1e9 for size, rate in self.bandwidth.items()},
            "bound_us": 1e6 * self.bound,
            "timed": [
                {
                    "what": t.key,
                    "title": t.title,
                    "median_us": 1e6 * t.timing.median,
                    "best_us": 1e6 * t.timing.best,
                    "share_of_bound": self.share(t),
                    "times_the_first": self.times(t),
                    "rounds_us": [1e6 * seconds for seconds in t.timing.rounds],
                }
                for t in self.timed
            ],
            "latency": {
                "calls": len(self.latency),
                "steps_a_call": self.call_steps,
                "percentiles_us": self.latency.percentiles(),
                "clock_us": self.latency.clock / 1e3,
            },
            "rate": self._rate(),
            "peers": [vars(peer) for peer in self.peers],
        }

    def _rate(self) -> dict[str, Any] | None:
        if self.budget_us is None:
            return None
        return {
            "steps_a_second": self.rate,
            "budget_us": self.budget_us,
            "fits": self.fits,
            "share_of_budget_p99.9": self.latency.percentiles()["p99.9"] / self.budget_us,
            "calls_over_budget": self.latency.over(self.budget_us),
        }
