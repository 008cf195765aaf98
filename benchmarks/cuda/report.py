"""The result of `benchmarks.cuda` as Markdown and pictures, and how it stands to the goals."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks import plots, report

PARTS = {
    "loops": ("Autoregressive loop inside `generate` (LSTM and dense head, fed back), batch 1, us a step", ""),
    "characters": ("Character model: one-hot symbols, 2 x 512, dense head, the most probable fed back, us a step", ""),
    "sequences": ("A known sequence, batch 1, us a step", "The bound is that of the loop without the head."),
    "large_batches": ("Batches, us a step of all rows", "The bound is the products' multiply-adds, in float32."),
    "steps": ("One step driven from Python, x and y on the host, us", ""),
    "sizes": ("The loop against the number of units, one number in and out, us a step", ""),
    "batches": (
        "The loop against the number of rows, us a step of all rows",
        "The bound is that of one row, or from 17 rows on the products' multiply-adds.",
    ),
}


class Goal(NamedTuple):
    """find: result -> the figure, None where it was not measured."""

    what: str
    find: Callable[[dict[str, Any]], float | None]
    most: float
    unit: str = ""


def goals(result: dict[str, Any]) -> list[list[str]]:
    """Rows of a table: what, goal, measured, whether it is reached."""
    rows = []
    for goal in _GOALS:
        found = goal.find(result)
        reached = "not measured" if found is None else "yes" if found <= goal.most else "**no**"
        shown = "" if found is None else f"{found:.3g}{goal.unit}"
        rows.append([goal.what, f"at most {goal.most:g}{goal.unit}", shown, reached])
    return rows


#: Of our own, what is not the float32 that people get.
_OTHERS = {"bfloat16", "barrier"}


def _column(result: dict[str, Any], part: str, label: str) -> dict[str, Any]:
    return next((c for c in result.get(part, ()) if label in c["label"]), {})


def _time(part: str, label: str, name: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda result: _column(result, part, label).get("median_us", {}).get(name)


def _against(part: str, label: str, names: Sequence[str]) -> Callable[[dict[str, Any]], float | None]:
    """Our time in proportion to that of the fastest of `names`, PyTorch's."""

    def find(result: dict[str, Any]) -> float | None:
        times = _column(result, part, label).get("median_us", {})
        ours = [t for name, t in times.items() if name.startswith("fastlstm") and not _OTHERS & set(name.split())]
        theirs = [times[name] for name in names if name in times]
        return min(ours) / min(theirs) if ours and theirs else None

    return find


def _other_ids(result: dict[str, Any]) -> float | None:
    """Of the longest check of ids."""
    return max((c["error"] for c in result.get("checks", ()) if "ids of the demonstration" in c["check"]), default=None)


def _largest_error(result: dict[str, Any]) -> float | None:
    errors = [c["error"] for c in result.get("checks", ()) if "float32" in c["check"] and "norm" not in c["check"]]
    return max(errors, default=None)


_CUDNN, _GRAPHS = (
    ["PyTorch nn.LSTM (cuDNN)"],
    ["PyTorch nn.LSTM (cuDNN) step, CUDA graph", "PyTorch LSTMCell step, CUDA graph"],
)
_GOALS = [
    Goal("float32 against the oracle, a step", _largest_error, 5e-6),
    Goal("greedy ids of the demonstration that are not the CPU's", _other_ids, 0),
    Goal("a step inside generate, H = 512, batch 1", _time("loops", "256, 512", "fastlstm generate"), 4, " us"),
    Goal("a step inside generate, H = 1024, batch 1", _time("loops", "512, 1024", "fastlstm generate"), 6, " us"),
    Goal("of PyTorch's step replayed as a CUDA graph, H = 512", _against("loops", "256, 512", _GRAPHS), 0.25),
    Goal("of PyTorch's step replayed as a CUDA graph, H = 1024", _against("loops", "512, 1024", _GRAPHS), 0.25),
    Goal("of cuDNN over a known sequence, H = 512", _against("sequences", "256, 512", _CUDNN), 1),
    Goal("of cuDNN over a known sequence, H = 1024", _against("sequences", "512, 1024", _CUDNN), 1),
    Goal("of cuDNN over a sequence, 64 rows, H = 1024", _against("large_batches", "one of", _CUDNN), 1.25),
    Goal("of PyTorch's CUDA graphs in the loop, 64 rows, H = 1024", _against("large_batches", "loop", _GRAPHS), 1),
    Goal("`Stream.step` from Python, H = 512", _time("steps", "256, 512", "fastlstm Stream.step"), 12, " us"),
    Goal("`Stream.step` from Python, H = 1024", _time("steps", "512, 1024", "fastlstm Stream.step"), 12, " us"),
]


def markdown(result: dict[str, Any], pictures: Sequence[tuple[str, str]] = ()) -> str:
    """The whole result; pictures are (what it shows, file beside the Markdown)."""
    found = result["device"]
    parts = [
        f"# {result['processor']}, {result['date']}",
        f"Compute capability {_dotted(found['capability'])}, {found['multiprocessors']} multiprocessors at up to "
        f"{found['clock'] / 1e6:.0f} MHz, {found['shared_per_block'] / 1024:.0f} KiB of shared memory a block, "
        f"{found['l2_bytes'] / 2**20:.0f} MiB of L2; driver for CUDA {_dotted(found['driver'])}, toolkit "
        f"{_dotted(found['toolkit'])}; {', '.join(f'{name} {number}' for name, number in result['versions'].items())}.",
        _checked(result["checks"], result["seed"]),
    ]
    if "limits" in result:
        rates = [f"{name} {value:.3g} {_unit(name)}" for name, value in result["limits"].items()]
        parts += [
            "Times are medians by CUDA events; the peers and the bound took turns, and each gave the right answers "
            "(float64 NumPy loop) before it was timed. The bound is the time to read the weights from where they lie "
            "and to exchange the results between blocks, both measured alone in the same rounds; in brackets the share "
            "of it. Times as long: the median of the ratios within a round, against the first of the table.",
            f"Measured alone: {', '.join(rates)}.",
            _meetings(result),
            "## Goals",
            report.lines([["", "goal", "measured", "reached"], ["---"] * 4, *goals(result)]),
        ]
    parts += [f"![{title}]({file})" for title, file in pictures]
    parts += report.sections(result, PARTS)
    if kernels := result.get("kernels"):
        parts += ["## Kernels", _kernels(kernels)]
    if layouts := result.get("layouts"):
        parts += ["## How models were laid out", "\n".join(f"- {name}: {text}" for name, text in layouts.items())]
    return "\n\n".join(filter(None, parts)) + "\n"


def _checked(checks: Sequence[dict[str, Any]], seed: int) -> str:
    wrong = [check for check in checks if not check["right"]]
    said = f"{len(checks) - len(wrong)} of {len(checks)} checks against the oracle were right (seed {seed})."
    lines = [
        f"- {check['check']}: {check['said'] or 'error {error:.2g}, at most {tolerance:g}'.format(**check)}"
        for check in wrong
    ]
    return "\n".join([said, "", *lines]) if lines else said


_WAYS = {
    "exchange": "results that carry their step's number",
    "barrier": "a barrier of our own",
    "CUDA's grid barrier": "CUDA's this_grid().sync()",
}


def _meetings(result: dict[str, Any]) -> str:
    """Which way of blocks to wait for each other is the fastest; that of the barriers is without the results."""
    found = {what: result["limits"][name] for name, what in _WAYS.items() if name in result["limits"]}
    lines = [f"Blocks that wait for each other, us: {', '.join(f'{what} {t:.3g}' for what, t in found.items())}"]
    lines[0] += f"; the fastest: {min(found, key=found.__getitem__)}."
    for column in result.get("loops", ()):
        times = column["median_us"]
        usual, other = times.get("fastlstm generate"), times.get("fastlstm generate, by a barrier")
        if usual and other:
            faster = "results that carry their number" if usual <= other else "the barrier"
            lines.append(f"A step at {column['label']}: {usual:.3g}, by the barrier {other:.3g}: {faster} it is.")
    return " ".join(lines)


def _kernels(kernels: dict[str, dict[str, Any]]) -> str:
    heads = list(dict.fromkeys(key for values in kernels.values() for key in values))
    rows = [[name, *(str(values.get(key, "")) for key in heads)] for name, values in kernels.items()]
    return report.lines([["", *heads], ["---"] * (len(heads) + 1), *rows])


def _unit(name: str) -> str:
    if name in ("launch", *_WAYS):
        return "us"
    return "GFLOP/s" if name == "multiply-adds" else "GB/s"


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def figures(result: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """For `plots.draw`."""
    for part, title in (("loops", "A step inside generate"), ("sequences", "A step of a known sequence")):
        if columns := result.get(part):
            yield part, title, plots.bars(title, columns)
    if columns := result.get("sizes"):
        values = [column["size"][1] for column in columns]
        title = "Cost of a step against the number of units"
        yield "sizes", title, plots.curves("Cost of a step inside generate, one number in", "units", values, columns)
    if columns := result.get("batches"):
        values, title = [column["batch"] for column in columns], "Cost of a step against the number of rows"
        yield "batches", title, plots.curves("Cost of a step of all rows inside generate", "rows", values, columns)
    if columns := result.get("latency"):
        yield "latency", "Latency of single steps", plots.latencies(columns)
