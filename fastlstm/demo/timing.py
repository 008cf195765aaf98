"""Microseconds a step of the sine model, beside a TensorFlow `session.run` loop where TensorFlow is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fastlstm.demo.sine import TOLERANCE
from fastlstm.model import Model
from fastlstm.terminal import microseconds, speed

_REPEATS, _STEPS, _PATIENCE = 15, 1000, 180  # times, steps, seconds


def report(model: Model, data: Path) -> str:
    """One line.  Everything has to be compiled already."""
    with np.load(data / "feedback.npz") as stored:
        first = stored["prime"][-1:]
    stream = model.stream()

    def live() -> None:
        y = first[0]
        for _ in range(_STEPS):
            y = stream.step(y)

    step = _median(live) / _STEPS
    together = _median(lambda: model.generate(_STEPS, prime=first)) / _STEPS
    return (
        f"speed of the sine model: Stream.step {speed(step, 1)}; generate {microseconds(together)} a step; "
        f"{_comparison(data, step)}"
    )


def _median(run: Callable[[], object]) -> float:
    """The middle of the seconds that several runs take."""
    taken = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def _comparison(data: Path, step: float) -> str:
    if importlib.util.find_spec("tensorflow") is None:
        return "TensorFlow is not installed here, so no comparison"
    print("\ntiming TensorFlow's session.run loop (some seconds) ...", file=sys.stderr, flush=True)
    try:
        found = _tensorflow(data)
    except subprocess.CalledProcessError as error:
        told = [line for line in error.stderr.splitlines() if line.strip()] or [f"exit status {error.returncode}"]
        return f"no comparison, for TensorFlow's loop failed here ({told[-1].strip()})"
    except (subprocess.TimeoutExpired, OSError, ValueError) as error:
        return f"no comparison, for TensorFlow's loop failed here ({error})"
    name = f"TensorFlow {found['version']} session.run on one thread"
    if not found["difference"] <= TOLERANCE:
        return f"no comparison, for {name} gave another answer ({found['difference']:.1e} away)"
    return f"{name} {microseconds(found['seconds'])} a step, {found['seconds'] / step:.0f} times Stream.step's"


def _tensorflow(data: Path) -> dict:
    """What `session_run.py` prints.  In a process of its own, TensorFlow's messages and crashes stay there too."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    quiet = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    command = [sys.executable, "-m", "fastlstm.demo.session_run", str(data)]
    done = subprocess.run(
        command, env=os.environ | quiet, capture_output=True, text=True, check=True, timeout=_PATIENCE, errors="replace"
    )
    return json.loads(done.stdout.splitlines()[-1])
