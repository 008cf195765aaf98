"""A picture of what a bench found."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from fastlstm.bench.result import BenchResult


def draw(found: BenchResult, file: BinaryIO, kind: str, title: str) -> None:
    """Microseconds a step of each way to run the model, and of the first one how many steps take how long.

    kind  "svg" or "png"
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.35 * len(found.timed) + 2.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    _bars(left, found)
    _tail(right, found)
    figure.savefig(file, format=kind, dpi=150)


def _bars(axes, found: BenchResult) -> None:
    values, places = [1e6 * t.timing.median for t in found.timed], range(len(found.timed))
    own = [t.key in ("step", "process", "generate", "run") for t in found.timed]
    bars = axes.barh(places, values, color=["tab:blue" if ours else "0.7" for ours in own])
    axes.bar_label(bars, [f"{value:.3g}" for value in values], padding=3)
    axes.axvline(1e6 * found.bound, color="tab:red", linestyle=":", label="the memory's bound")
    axes.set(xscale="log", xlabel="us a step", yticks=list(places), yticklabels=[t.title for t in found.timed])
    axes.set_xlim(min(1e6 * found.bound, *values) / 2, max(values) * 4)
    axes.invert_yaxis()
    axes.legend(frameon=False, loc="lower right")


def _tail(axes, found: BenchResult) -> None:
    taken = np.sort(found.latency.nanoseconds) / 1e3
    slower = 1 - np.arange(len(taken)) / len(taken)
    axes.loglog(taken, slower, color="tab:blue", drawstyle="steps-post")
    if found.budget_us is not None:
        axes.axvline(found.budget_us, color="tab:red", label=f"{found.rate:,g} steps a second")
        axes.legend(frameon=False)
    axes.set(xlabel="us a call", ylabel="share of the calls that take longer", title=found.timed[0].title)
    axes.grid(alpha=0.3)
