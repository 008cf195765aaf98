"""Runs a format's worker, and starts it again behind a file that brought it down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FLIPS = 10_000
DEATHS = 20  # of a format's worker, until we believe that it will not get through
COLUMNS = (
    "format",
    "truncated",
    "flipped",
    "rebuilt",
    "refused",
    "unchanged",
    "different",
    "worst ms",
    "peak MB",
    "crashes",
    "hangs",
    "foreign",
)
RESULTS: dict[str, Outcome] = {}


@dataclass
class Outcome:
    """What came of all damaged files of a format."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    worst_ms: float = 0.0
    slowest: str = ""
    peak_mb: float = 0.0

    def row(self, name: str) -> tuple[str, ...]:
        numbers = (f"{self.counts[column]:,}" for column in COLUMNS[1:7])
        died = (str(self.counts[column]) for column in COLUMNS[9:])
        return (name, *numbers, f"{self.worst_ms:.0f}", f"{self.peak_mb:.1f}", *died)


def flips_wanted() -> int:
    return int(os.environ.get("FASTLSTM_FUZZ", FLIPS))


def run(name: str, flips: int, seed: int) -> Outcome:
    """All cases of one format."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "progress"
        progress.write_bytes(bytes(4096))
        after: tuple[str, ...] = ()
        for _ in range(DEATHS):
            command = [sys.executable, "-m", "tests.fuzz.worker", name, str(flips), str(seed), str(progress), *after]
            done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
            lines = done.stdout.splitlines()
            if done.returncode == 0 and lines:
                _add(outcome, json.loads(lines[-1]))
                break
            case = progress.read_bytes().rstrip(b"\0").decode()
            hung = -done.returncode in (signal.SIGVTALRM, signal.SIGALRM)
            outcome.counts["hangs" if hung else "crashes"] += 1
            outcome.failures.append(f"{case}: exit status {done.returncode}: {done.stderr[-3000:]}")
            if after == (case,) or not case:
                break
            after = (case,)
    RESULTS[name] = outcome
    return outcome


def _add(outcome: Outcome, said: dict[str, object]) -> None:
    outcome.counts.update(said["counts"])
    outcome.failures += said["failures"]
    outcome.worst_ms, outcome.slowest, outcome.peak_mb = said["worst_ms"], said["slowest"], said["peak_mb"]


def table(results: dict[str, Outcome]) -> list[str]:
    """The figures as lines of text."""
    total = Outcome()
    for outcome in results.values():
        total.counts.update(outcome.counts)
        total.worst_ms = max(total.worst_ms, outcome.worst_ms)
        total.peak_mb = max(total.peak_mb, outcome.peak_mb)
    rows = [COLUMNS, *(outcome.row(name) for name, outcome in results.items()), total.row("all")]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(w) if k else cell.ljust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
