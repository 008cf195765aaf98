"""The sine wave: free-running feedback of a continuous model, drawn and compared."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.demo.drawing import draw
from fastlstm.errors import ArgumentError, WriteError
from fastlstm.model import Model

TOLERANCE = 1e-10  # in float64, of values within 1, after 1000 steps of feedback
_DRAWN = 144  # steps


def show(model: Model, data: Path, steps: int, plot: str | None) -> bool:
    """Prime the model, let it run, draw the end of the wave; give back whether it is TensorFlow's."""
    with np.load(data / "feedback.npz") as stored:
        prime, expected = stored["prime"], stored["outputs"]
    begin = time.perf_counter()
    ys, _ = model.generate(steps, prime=prime)
    seconds = time.perf_counter() - begin
    print(
        f"  {len(prime)} true values in, then {steps} steps by itself, in one compiled call: {seconds * 1e3:.2f} ms\n"
    )
    print("\n".join(draw(ys[-_DRAWN:, 0], sys.stdout.encoding)))
    print(f"steps {max(steps - _DRAWN, 0) + 1} to {steps}\n")
    if plot is not None:
        _save_plot(plot, prime, ys, expected)
        print(f"drawn in {plot}")
    n = min(steps, len(expected))
    difference = float(np.abs(ys[:n] - expected[:n]).max())
    same = difference <= TOLERANCE
    print(
        f"largest difference from TensorFlow's own feedback loop: {difference:.1e} in {n} steps "
        f"({'within' if same else 'NOT WITHIN'} {TOLERANCE:g})"
    )
    return same


def check_plot(path: str) -> None:
    """Raise before anything runs where `_save_plot` could not work: ArgumentError, WriteError."""
    if not path.endswith(".png"):
        raise ArgumentError(f"--plot: {path!r}; expected a name that ends in .png")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ArgumentError(f"--plot needs matplotlib ({error}): pip install matplotlib") from None
    if not Path(path).absolute().parent.is_dir():
        raise WriteError(f"--plot: {path} cannot be written: no such folder; choose another")


def _save_plot(path: str, prime: NDArray[Any], ys: NDArray[Any], expected: NDArray[Any]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(-len(prime), 0), prime[:, 0], color="0.6", label="prime, true values")
    axes.plot(ys[:, 0], label="fastlstm")
    axes.plot(expected[: len(ys), 0], ":", label="TensorFlow 1.15")
    axes.set(xlabel="step", title="A sine wave, fed its own output")
    axes.margins(x=0)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)  # above the wave
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise WriteError(f"--plot: {path} cannot be written: {error.strerror}; choose another file") from error
