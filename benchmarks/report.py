"""The result of `benchmarks.compare` as Markdown, and how any result is printed and kept."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def publish(text: str, result: dict[str, Any], output: Path | None) -> None:
    """Print `text`; with `output`, write it there with .md at its end, and `result` with .json."""
    print(text)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        Path(f"{output}.md").write_text(text)
        Path(f"{output}.json").write_text(json.dumps(result, indent=1) + "\n")


def markdown(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    rates = ", ".join(f"{_bytes(size)} {rate:.0f}" for size, rate in result["read_bandwidth_gb_s"].items())
    before, after = result["load_average"]
    parts = [
        f"# {result['processor']}, {result['date']}",
        f"{result['cores']} cores, load average {before} before and {after} after; {versions}.",
        "float32, one thread, batch 1, (input, hidden). Medians; the peers took turns within one run, and each gave "
        "the right answers (float64 NumPy loop) before it was timed. The bound is the time to read the weights once, "
        "at the best bandwidth that was measured; the share of it is that of the best round.",
        f"Read bandwidth of one thread, GB/s by working set: {rates}.",
        "## One step driven from Python, us",
        _table(result["steps"]),
        "## Autoregressive loop (LSTM and dense head, fed back), us a step",
        _table(result["loops"]),
    ]
    if "load_s" in result:
        times = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in result["load_s"].items())
        parts += ["## A checkpoint of 2 x 512 (13 MB), fresh process without TensorFlow", f"{times}."]
    return "\n\n".join(parts) + "\n"


def _table(columns: Sequence[dict[str, Any]]) -> str:
    """A row a peer; below, how the first of them stands to the bound and to the others."""
    first, *others = dict.fromkeys(name for column in columns for name in column["median_us"])
    rows = [["", *("{}, {}".format(*column["size"]) for column in columns)]]
    rows.append(["---"] * len(rows[0]))
    rows.append(["bound", *(_us(column["bound_us"]) for column in columns)])
    for name in (first, *others):
        rows.append([name, *(_us(column["median_us"].get(name)) for column in columns)])
    share = [f"{column['bound_us'] / column['best_us'][first]:.0%}" for column in columns]
    rows.append([f"**{first}: share of the bound**", *share])
    for name in others:
        rows.append([f"{name}: times as long", *(_times(column["times_the_first"].get(name)) for column in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _us(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}x" if value >= 10 else f"{value:.2f}x"


def _bytes(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 2**20 else f"{size >> 10} KiB"
