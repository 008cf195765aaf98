"""Pictures of a result, each as SVG and PNG. Nothing is drawn where matplotlib is not installed."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks.latency import CURVE
from benchmarks.report import label, names

COLOURS = {
    "fastlstm": "#1769e0",
    "LiteRT": "#e07b39",
    "ONNX Runtime": "#3a9a5f",
    "NumPy": "#8a63c9",
    "JAX": "#b5a02b",
    "PyTorch": "#c94f4f",
}
OTHERS, LIMIT = "#9aa3ad", "#222222"
#: Of steps and loops the sizes that a picture shows, where they were measured.
SHOWN = [[1, 32], [64, 128], [256, 512], [512, 1024]]


Figures: TypeAlias = Callable[[dict[str, Any]], Iterator[tuple[str, str, Any]]]


def draw(result: dict[str, Any], output: Path, figures: Figures | None = None) -> list[tuple[str, str]]:
    """Pictures of the parts that the result has: (what it shows, SVG file), written beside `output`.

    figures  result -> (part, what it shows, figure); those of `benchmarks.compare` when None
    """
    if find_spec("matplotlib") is None:
        return []
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({
        "svg.hashsalt": "fastlstm", "svg.fonttype": "none", "font.size": 9, "figure.facecolor": "white",
        "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10, "legend.frameon": False,
    })  # fmt: skip
    output.parent.mkdir(parents=True, exist_ok=True)
    drawn = []
    for part, title, figure in (figures or _figures)(result):
        figure.supxlabel(f"{result['processor']}, {result['date']}", x=0.99, ha="right", size=7, color=OTHERS)
        for ending in ("svg", "png"):
            metadata = {"Date": None} if ending == "svg" else {}
            figure.savefig(f"{output}-{part}.{ending}", dpi=150, metadata=metadata)
        drawn.append((title, f"{output.name}-{part}.svg"))
    return drawn


def _figures(result: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for part, title in (("steps", "One step driven from Python"), ("loops", "A step of the autoregressive loop")):
        if columns := result.get(part):
            yield part, title, bars(title, [c for c in columns if c["size"] in SHOWN] or columns[:4])
    if columns := result.get("sizes"):
        units = [column["size"][1] for column in columns]
        figure = curves("Cost of a step, one number in", "units", units, columns)
        yield "sizes", "Cost of a step against the number of units", figure
    if columns := result.get("latency"):
        yield "latency", "Latency of single steps", latencies(columns)


def _figure(panels: int, width: float, height: float) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def bars(title: str, columns: list[dict[str, Any]]) -> Any:
    """A panel a size, a bar a peer, all of one scale."""
    peers = names(columns)
    figure, axes = _figure(len(columns), 3 + 2.2 * len(columns), 1.2 + 0.24 * len(peers))
    figure.suptitle(f"{title}, us (less is better)")
    for axis, column in zip(axes, columns, strict=True):
        values = column["median_us"]
        rows = [k for k, name in enumerate(peers) if name in values]
        axis.barh(rows, [values[peers[k]] for k in rows], color=[_colour(peers[k]) for k in rows], height=0.7)
        for k in rows:
            axis.text(values[peers[k]] * 1.08, k, _short(values[peers[k]]), va="center", size=7)
        axis.axvline(column["bound_us"], color=LIMIT, linestyle="--", linewidth=1)
        axis.set(
            xscale="log", title=f"({label(column)}), bound {_short(column['bound_us'])}", ylim=(len(peers) - 0.4, -0.6)
        )
        axis.set_xlim(column["bound_us"] / 2, 6 * max(values.values(), default=column["bound_us"]))
        axis.set_yticks(range(len(peers)), peers if axis is axes[0] else [""] * len(peers))
    return figure


def curves(title: str, what: str, values: list[int], columns: list[dict[str, Any]]) -> Any:
    """Cost against `what`, which has `values`, and the bound."""
    figure, (axis,) = _figure(1, 7, 4.6)
    for name in names(columns):
        points = [(x, c["median_us"][name]) for x, c in zip(values, columns, strict=True) if name in c["median_us"]]
        dashes = "-" if "generate" in name or "scan" in name else (0, (4, 1.5))
        axis.plot(
            *zip(*points, strict=True), marker="o", markersize=3, linestyle=dashes, color=_colour(name), label=name
        )
    bounds = [column["bound_us"] for column in columns]
    axis.plot(values, bounds, color=LIMIT, linestyle=":", label="bound: weights read once")
    axis.set(xscale="log", yscale="log", xlabel=what, ylabel="us a step", title=title)
    axis.set_xticks(values, values, minor=False)
    axis.minorticks_off()
    axis.grid(alpha=0.25)
    axis.legend()
    return figure


def latencies(columns: list[dict[str, Any]]) -> Any:
    """Time that a share of the steps does not exceed; the further right, the rarer."""
    figure, axes = _figure(len(columns), 4.5 * len(columns), 3.8)
    figure.suptitle("Latency of single steps driven from Python, us")
    rarity = 1 / (1 - CURVE)
    for axis, column in zip(axes, columns, strict=True):
        for name, curve in column["curve_us"].items():
            style = {"linestyle": ":", "color": LIMIT} if name.startswith("(") else {"color": _colour(name)}
            axis.plot(rarity, curve, label=name, **style)
        axis.set(
            xscale="log",
            yscale="log",
            title=f"({label(column)}), {column['steps']:,} steps",
            xlabel="share of the steps",
        )
        shares = ["50%", "90%", "99%", "99.9%", "99.99%", "99.999%"]
        axis.set_xticks(np.array([2, 1e1, 1e2, 1e3, 1e4, 1e5]), shares)
        axis.minorticks_off()
        axis.grid(alpha=0.25)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _colour(name: str) -> str:
    return next((colour for start, colour in COLOURS.items() if name.startswith(start)), OTHERS)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.0f}"
