"""What a bench found, for people: as a terminal shows it, and as Markdown."""

from __future__ import annotations

from pathlib import Path

from fastlstm.bench.peers import PEERS
from fastlstm.bench.result import BenchResult
from fastlstm.recognise.report import table

_TITLES = ("", "us a step", "best", "of the bound", "times as long")


def terminal(found: BenchResult, path: str) -> str:
    """The whole, in some lines."""
    return "\n".join([*_heading(found, path), "", *table(_TITLES, _rows(found)), "", *_sentences(found)])


def markdown(found: BenchResult, path: str) -> str:
    """The same as Markdown, the path without its folders."""
    rows = [_TITLES, ["---"] * len(_TITLES), *_rows(found)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    heading, sentences = _heading(found, Path(path).name), _sentences(found)
    return "\n\n".join(["# " + heading[0], *heading[1:], "\n".join(lines), *sentences]) + "\n"


def _heading(found: BenchResult, path: str) -> list[str]:
    m, about = found.model, found.about
    stored = f", weights in {m['weights']}" if m["weights"] != m["dtype"] else ""
    threads = "1 thread" if m["threads"] == 1 else f"{m['threads']} threads"
    before, after = about["load_average"]
    load = "" if before is None else f"; load average {before} before, {after} after"
    packages = {"python", "numpy", "numba"}
    for peer in found.peers:
        packages |= {name.replace("_", "-") for name in PEERS[peer.name].needs if peer.status == "timed"}
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if name in packages)
    return [
        f"{path}: {', '.join(m['layers'])}",
        f"{m['dtype']}{stored}, on {m['device']}, {threads}; {about['processor']}, {about['cores']} cores{load}",
        versions,
    ]


def _rows(found: BenchResult) -> list[list[str]]:
    bound = [f"bound: reading {_bytes(found.weight_bytes)} of weights", _us(found.bound * 1e6), "", "", ""]
    rows = []
    for n, timed in enumerate(found.timed):
        share = found.share(timed)
        times = "" if n == 0 else _times(found.times(timed))
        figures = [_us(1e6 * seconds) for seconds in (timed.timing.median, timed.timing.best)]
        rows.append([timed.title, *figures, "" if share is None else _percent(share), times])
    return [bound, *rows]


def _sentences(found: BenchResult) -> list[str]:
    rate = found.weight_bytes / found.bound / 1e9
    taken = found.latency.percentiles()
    calls = f"{len(found.latency):,} calls of {found.timed[0].title.partition(' ')[0].rstrip(',')}"
    shown = ", ".join(f"{name} {_us(value)}" for name, value in taken.items())
    lines = [
        f"the bound is one reading of the weights at {rate:.0f} GB/s, measured in this run, and the best round's "
        f"share of it; the times are medians of {len(found.timed[0].timing.rounds)} rounds in turns",
        f"outputs within {found.difference:.1g} of float64 in NumPy",
        f"latency of {calls}, us: {shown} (the clock's own {found.latency.clock / 1e3:.2f} are in it)",
    ]
    return [*lines, *_deadline(found), *_busy(found), *_peers(found)]


def _deadline(found: BenchResult) -> list[str]:
    if found.budget_us is None:
        return []
    share = found.latency.percentiles()["p99.9"] / found.budget_us
    late = found.latency.over(found.budget_us)
    what = "a step" if found.call_steps == 1 else f"{found.call_steps} steps"
    fits = "YES, it fits" if found.fits else "NO, it does not fit"
    over = f"{late:,} of {len(found.latency):,} calls took longer" if late else "no call took longer"
    return [
        f"{found.rate:,g} steps a second leave {_us(found.budget_us)} us for {what}: {fits}; "
        f"p99.9 is {_percent(share)} of it, {over}"
    ]


def _busy(found: BenchResult) -> list[str]:
    load, cores = found.about["load_average"][0], found.about["cores"]
    if load is None or load <= cores / 2:
        return []
    return [f"the machine was busy before (load average {load} on {cores} cores): that makes steps late, too"]


def _peers(found: BenchResult) -> list[str]:
    whys = {"cannot express": "it has no equal of it: ", "wrong": "WRONG: ", "failed": "it failed here: "}
    lines = [
        f"not compared: {PEERS[peer.name].title}: {whys[peer.status]}{peer.reason}"
        for peer in found.peers
        if peer.status in whys
    ]
    absent = [PEERS[peer.name].title for peer in found.peers if peer.status == "not installed"]
    return [*lines, *([f"not installed here: {'; '.join(absent)}"] if absent else [])]


def _percent(share: float) -> str:
    return "<1%" if share < 0.01 else f"{100 * share:,.0f}%"


def _us(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _times(value: float) -> str:
    return f"{value:,.0f}x" if value >= 10 else f"{value:.2f}x"


def _bytes(size: int) -> str:
    for unit, name in ((2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"
