"""The result of `benchmarks.compare` as Markdown, and how any result is printed and kept."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: Part -> heading, and what its table's columns and its bound are where they need words.
PARTS = {
    "steps": ("One step driven from Python, us", ""),
    "loops": ("Autoregressive loop (LSTM and dense head, fed back), us a step", ""),
    "characters": (
        "Character model: one-hot symbols, 2 x 512, dense head, the most probable symbol fed back, us a step",
        "",
    ),
    "batches": (
        "Batches, us a step of all rows",
        "A step driven from Python, and one of a known sequence. The bound is the products' multiply-adds.",
    ),
    "sequences": (
        "A known sequence of 1000, batch 1, us a step",
        "The bound is reading the recurrent weights at each step, and the multiply-adds of the inputs' product.",
    ),
    "sizes": ("Cost against size: one number in, us a step", "Driven from Python; `generate` and lax.scan: the loop."),
    "threads": ("One thread and two, us a step", "The bound is that of one thread."),
    "narrow": ("Weights of fewer bytes, driven from Python, us", "Each peer's bound is that of its own weights."),
}


def publish(text: str, result: dict[str, Any], output: Path | None) -> None:
    """Print `text`; with `output`, write it there with .md at its end, and `result` with .json."""
    print(text)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        Path(f"{output}.md").write_text(text)
        Path(f"{output}.json").write_text(json.dumps(result, indent=1) + "\n")


def markdown(result: dict[str, Any], pictures: Sequence[tuple[str, str]] = ()) -> str:
    """The whole result; pictures are (what it shows, file beside the Markdown)."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    rates = ", ".join(f"{_bytes(int(size))} {rate:.0f}" for size, rate in result["read_bandwidth_gb_s"].items())
    before, after = result["load_average"]
    limits = f"Read bandwidth of one thread, GB/s by working set: {rates}."
    if "multiply_add_gflop_s" in result:
        limits += f" Multiply-adds of one thread: {result['multiply_add_gflop_s']:.0f} GFLOP/s."
    parts = [
        f"# {result['processor']}, {result['date']}",
        f"{result['cores']} cores, load average {before} before and {after} after; {versions}.",
        "float32, one thread, batch 1, (input, hidden) where nothing else is said. Medians; the peers took turns, and "
        "each gave the right answers (float64 NumPy loop) before it was timed. The bound is the time to read the "
        "weights once, measured in the same rounds; in brackets the share of it, both in their best rounds. Times: the "
        "median of the ratios within a round; times as long as the first peer of the table.",
        limits,
        *(f"![{title}]({file})" for title, file in pictures),
    ]
    parts += sections(result, PARTS)
    if result.get("load_s"):
        times = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in result["load_s"].items())
        parts += ["## A checkpoint of 2 x 512 (13 MB), fresh process without TensorFlow", f"{times}."]
    return "\n\n".join(filter(None, parts)) + "\n"


def sections(result: dict[str, Any], headings: dict[str, tuple[str, str]]) -> Iterator[str]:
    """Every part that the result has. headings: part -> heading, and words below it."""
    for part, (heading, words) in headings.items():
        if columns := result.get(part):
            tables = [_table(group, errors=part == "narrow") for group in _groups(columns)]
            yield from (f"## {heading}", words, *tables, _refused(columns))
    if columns := result.get("latency"):
        yield from ("## Single steps driven from Python, us", *map(_percentiles, columns), _refused(columns))


def label(column: dict[str, Any]) -> str:
    return column.get("label") or "{}, {}".format(*column["size"])


def names(columns: Sequence[dict[str, Any]]) -> list[str]:
    """Every peer that was timed in any of the columns."""
    return list(dict.fromkeys(name for column in columns for name in column["median_us"]))


def _groups(columns: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Columns that belong in one table: those in which the same peer is the first."""
    groups = defaultdict(list)
    for column in columns:
        groups[next(iter(column["median_us"]), "")].append(column)
    return list(groups.values())


def _limit(column: dict[str, Any], name: str) -> float:
    """What bounds this peer: where its weights have fewer bytes, reading those."""
    return next((us for kind, us in column.get("narrow_bound_us", {}).items() if kind in name), column["bound_us"])


def _table(columns: Sequence[dict[str, Any]], *, errors: bool) -> str:
    """A row a peer; below, how the first of them stands to the bound and to the others."""
    timed = names(columns)
    rows = [["", *map(label, columns)]]
    rows.append(["---"] * len(rows[0]))
    rows.append(["bound", *(_us(column["bound_us"]) for column in columns)])
    rows += [
        [f"bound, {kind}", *(_us(column["narrow_bound_us"][kind]) for column in columns)]
        for kind in columns[0].get("narrow_bound_us", {})
    ]
    rows += [[name, *(_share(column, name) for column in columns)] for name in timed]
    if "times_the_bound" in columns[0]:
        rows += [
            [f"**{name}: times the bound**", *_ratios(columns, "times_the_bound", name)]
            for name in timed
            if name.startswith("fastlstm")
        ]
    rows += [[f"{name}: times as long", *_ratios(columns, "times_the_first", name)] for name in timed[1:]]
    if errors:
        rows += [
            [
                f"{name}: largest error",
                *(f"{column['error'][name]:.0e}" if name in column["error"] else "" for column in columns),
            ]
            for name in timed
        ]
    return lines(rows)


def _percentiles(column: dict[str, Any]) -> str:
    heads = next(iter(column["percentiles_us"].values()))
    rows = [[f"({label(column)}), {column['steps']:,} steps", *heads, "p99.9 / p50"]]
    rows.append(["---"] * len(rows[0]))
    for name, values in column["percentiles_us"].items():
        rows.append([name, *map(_us, values.values()), f"{values['p99.9'] / values['p50']:.1f}"])
    return lines(rows)


def _refused(columns: Sequence[dict[str, Any]]) -> str:
    """Who was not timed, and why."""
    where = defaultdict(list)
    for column in columns:
        for name, reason in column.get("refused", {}).items():
            where[name, " ".join(reason.split())].append(f"({label(column)})")
    return "\n".join(f"- {name} was not timed at {', '.join(at)}: {reason}" for (name, reason), at in where.items())


def lines(rows: Sequence[Sequence[str]]) -> str:
    """A table; the second row is the line below the heads."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _share(column: dict[str, Any], name: str) -> str:
    if name not in column["median_us"]:
        return ""
    return f"{_us(column['median_us'][name])} ({_limit(column, name) / column['best_us'][name]:.0%})"


def _ratios(columns: Sequence[dict[str, Any]], which: str, name: str) -> list[str]:
    values = [column[which].get(name) for column in columns]
    return ["" if value is None else f"{value:.0f}x" if value >= 10 else f"{value:.2f}x" for value in values]


def _us(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _bytes(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 2**20 else f"{size >> 10} KiB"
