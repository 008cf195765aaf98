"""verify: a model and its original on the same inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlstm import arguments
from fastlstm.errors import ArgumentError, VerificationError
from fastlstm.layers import recurrent_layers
from fastlstm.loading import PathLike, checked_path, load
from fastlstm.model import Model
from fastlstm.state import State
from fastlstm.verification.launch import run_original
from fastlstm.verification.original import describe_original, window_of
from fastlstm.verification.ours import (
    KNOWN,
    feedback_of,
    known_input,
    long_length,
    run_known,
    run_loop,
    run_parts,
    run_whole,
    stride_of,
)
from fastlstm.verification.outcome import Difference, Verification

#: By the coarser of the two dtypes; the README's table. A model with layer norm has LAYER_NORM at least.
TOLERANCES = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-13}
LAYER_NORM = 1e-5
_WORDS = {
    "whole": "the file's model as it stands",
    "steps": "the layers, step by step, and the loop",
    "long": "the file's model as it stands, over a long sequence",
}
_RUN_ONLY = "there is none, for the first output needs the last input; a long known sequence is compared instead"

Arrays = Mapping[str, NDArray[Any]]


def verify(
    path: PathLike,
    *,
    scope: str | None = None,
    device: str = "cpu",
    dtype: DTypeLike | None = None,
    python: str | None = None,
    steps: int = 10_000,
    seed: int = 0,
    batch: int = 1,
    tolerance: float | None = None,
    timeout: float = 600.0,
    **overrides: Any,
) -> Verification:
    """Compare the model in a file with TensorFlow's or Keras' own run of that file.

    path, scope, device, dtype, overrides
               as for `load`
    python     a Python interpreter that has the TensorFlow or Keras to use, from TensorFlow 0.12; this one when None
    steps      of the loop
    seed       of the random input
    batch      sequences side by side
    tolerance  what values of size 1 and less may differ by; when None 2e-6 in float32, 1e-13 in float64, 1e-5 with
               layer norm
    timeout    seconds that the original may take
    ->         Verification, which is true where they are equal

    Raises VerificationError if the original cannot be run, and whatever `load` raises.
    """
    from fastlstm.formats import open_artefact

    file = checked_path(path, "verify: path")
    loop, rows = arguments.count(steps, name="steps"), arguments.count(batch, name="batch")
    if tolerance is not None and not tolerance > 0:
        raise ArgumentError(f"tolerance is {tolerance!r}; expected a number above 0")
    model = load(file, scope=scope, device=device, dtype=dtype, **overrides)
    artefact = open_artefact(file)
    job = describe_original(artefact, model.layers, overrides)
    known = max(KNOWN, window_of(artefact))
    xs = known_input(model, rows, seed, known)
    ours, given = {}, {"xs": xs}
    stride, feedback = stride_of(model, loop, rows), feedback_of(model, job["cut"])
    long = known_input(model, 1, seed + 1, long_length(model, loop))
    if model.run_only:
        record, feedback = run_parts(model, xs), None
    else:
        record, y, state = run_known(model, xs)
        inputs = None if feedback else known_input(model, rows, seed + 1, loop)
        free, before, fed, followed = run_loop(model, y, state, loop, feedback, inputs, stride)
        given |= {"local/x": _flat(fed)} | {
            f"local/{name}": _flat(a) for name, a in before.arrays.items() if name != "y"
        }
        given |= {} if inputs is None else {"free/x": inputs}
        ours |= {f"free/{name}": a for name, a in free.arrays.items()}
        long = np.concatenate([xs[:, :1], followed[: len(long), :1]])
    given |= {"long/x": long}
    ours |= {f"known/{name}": a for name, a in record.arrays.items()}
    job |= {
        "state_sizes": model.state_sizes,
        "dtype": model.dtype.name,
        "steps": loop,
        "stride": stride,
        "feedback": feedback,
        "run_only": model.run_only,
    }
    answer, theirs = run_original(job, given, python, timeout)
    coarser = _coarser(model, theirs)
    allowed = tolerance or _tolerance(model, coarser)
    rounding = float(np.finfo(coarser).eps)
    comparison = _Comparison(model, given, ours, theirs, allowed, rounding, stride, job["cut"])
    differences = [
        *comparison.whole("whole"),
        *comparison.known(),
        *comparison.loop(),
        *comparison.free(),
        *comparison.whole("long"),
    ]
    left = [f"{_WORDS[what]}: {why}" for what, why in answer["unavailable"].items()] + comparison.left
    if model.run_only:
        left.append(f"a loop that feeds its output back: {_RUN_ONLY}")
    if not any(d.comparison in ("whole", "known") for d in differences):
        raise VerificationError(f"{file}: nothing of the original could be compared: {'; '.join(left)}")
    return Verification(
        path=Path(artefact.path),
        runner=answer["runner"],
        device=model.device,
        dtype=model.dtype.name,
        tolerance=allowed,
        differences=differences,
        not_compared=left,
        feedback=feedback,
        steps=(known, loop, -(-loop // stride), len(long)),
        run_only=model.run_only,
    )


def _coarser(model: Model, theirs: Arrays) -> np.dtype:
    """The dtype with the larger rounding, of the model's and those of the original."""
    dtypes = [model.dtype, *(a.dtype for a in theirs.values() if a.dtype in (np.float16, np.float32, np.float64))]
    return min(dtypes, key=lambda dtype: dtype.itemsize)


def _tolerance(model: Model, dtype: np.dtype) -> float:
    normed = any(getattr(layer, "layer_norm", None) is not None for layer in recurrent_layers(model.layers))
    return max(TOLERANCES[dtype.name], LAYER_NORM if normed and dtype == np.float32 else 0.0)


class _Comparison:
    """epsilon  of the dtype: a value above 1 that is carried on is rounded at every step
    left     what could not be compared
    """

    def __init__(
        self,
        model: Model,
        given: Arrays,
        ours: Arrays,
        theirs: Arrays,
        tolerance: float,
        epsilon: float,
        stride: int,
        cut: bool,
    ) -> None:
        self.given = given
        self.model, self.ours, self.theirs = model, ours, theirs
        self.tolerance, self.stride, self.cut = tolerance, stride, cut
        self.epsilon = epsilon
        self.left: list[str] = []
        self._over: dict[tuple[str, int], tuple[NDArray[Any], State]] = {}
        self.names = [layer.name for layer in recurrent_layers(model.layers)]

    def known(self) -> Iterator[Difference]:
        yield from self._layers("known", "known", 1)

    def loop(self) -> Iterator[Difference]:
        """One step from each of our states: the rows of one batch, in the order of the loop."""
        yield from self._layers("loop", "local", self.stride)

    def free(self) -> Iterator[Difference]:
        ours, theirs = self.ours.get("free/ids"), self.theirs.get("free/ids")
        if ours is not None and theirs is not None:
            unequal = (ours != theirs).any(axis=-1)
            first = int(unequal.argmax()) if unequal.any() else None
            yield Difference("free", "", "ids", float(unequal.sum()), first or 0, 0.0, first)
        yield from self._layers("free", "free", self.stride)

    def _layers(self, comparison: str, prefix: str, stride: int) -> Iterator[Difference]:
        sizes = range(len(self.model.state_sizes))
        values = [(f"{n}_{k}", self.names[k], n) for k in sizes for n in "ch"]
        if not self.cut:
            values.append(("y", self.model.layers[-1].name, "output"))
        scale = 1.0
        for key, layer, value in values:
            ours = self.ours.get(f"{'free' if prefix == 'local' else prefix}/{key}")
            theirs = self.theirs.get(f"{prefix}/{key}")
            if ours is None or theirs is None or not ours.size:
                continue
            if prefix == "local":
                theirs = theirs.reshape(ours.shape[:2] + theirs.shape[1:]) if theirs.size == ours.size else theirs
            scale = max(scale, _size(ours))  # what a layer rounds, those above it see
            yield self._difference(comparison, layer, value, ours, theirs, scale, stride)

    def _difference(
        self,
        comparison: str,
        layer: str,
        value: str,
        ours: NDArray[Any],
        theirs: NDArray[Any],
        scale: float,
        stride: int = 1,
        first: int = 0,
    ) -> Difference:
        """Of two arrays (T, B, size), in a model whose largest values are of size `scale`, from step `first` on.

        Raises VerificationError if they do not have one shape.
        """
        if ours.shape != theirs.shape:
            raise VerificationError(
                f"{layer}: {value} has shape {theirs.shape} in the original and {ours.shape} in fastlstm, "
                f"(steps, batch, size); they cannot be compared"
            )
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        away = np.where(np.isnan(a) & np.isnan(b), 0.0, np.abs(a - b)).reshape(len(a), -1).max(axis=1)
        away = np.where(np.isnan(away), np.inf, away)
        carried = first + 1 + np.arange(len(a)) if comparison in ("known", "whole", "long") else np.zeros(len(a))
        allowed = self.tolerance * scale + 0.5 * self.epsilon * (scale - 1) * carried
        at, beyond = int(away.argmax()), np.flatnonzero(away > allowed)
        return Difference(
            comparison,
            layer,
            value,
            largest=float(away[at]),
            at=first + at * stride,
            allowed=float(allowed[at]),
            begins=first + int(beyond[0]) * stride if beyond.size else None,
        )

    # The file's model as it stands: which of its axes is which is told by what fits.

    def whole(self, comparison: str) -> Iterator[Difference]:
        """comparison  "whole" or "long" """
        runs: dict[str, dict[str, NDArray[Any]]] = {}
        wanted = len(self.given["xs" if comparison == "whole" else "long/x"])
        for key, array in self.theirs.items():
            if key.startswith(comparison):
                run, name = key.rsplit("/", 1)
                runs.setdefault(run, {})[name] = array
        if comparison == "long" and runs:
            taken = max(int(run.split("-")[1]) for run in runs)
            if taken < wanted:
                self.left.append(f"{_WORDS['long']}: its input has {taken} steps, not {wanted:,}")
                return
        found = [self._run(comparison, run.split("/")[1], values) for run, values in runs.items()]
        best = min(
            (row for row in found if row), key=lambda row: (row[0].begins is not None, row[0].largest), default=[]
        )
        if runs and not best:
            shapes = ", ".join(str(values["y"].shape) for values in runs.values() if "y" in values)
            self.left.append(
                f"{_WORDS[comparison]}: its output has shape {shapes}, which fits no order of batch, steps and "
                f"{self.model.output_size} outputs"
            )
        yield from best

    def _run(self, comparison: str, label: str, values: dict[str, NDArray[Any]]) -> list[Difference]:
        """The differences of one run; label: "<layout>-<steps>-<batch>"."""
        steps, batch = map(int, label.split("-")[1:])
        if self.cut:
            return []
        begin = self._begin(values)
        y, states = self._ours(comparison, steps, begin)
        last = steps - 1
        scale = max([1.0, _size(y), *(_size(a) for name, a in self.ours.items() if name.startswith("known/"))])
        options: list[Difference] = []
        for theirs in _arrangements(values["y"], steps, batch, y.shape[-1]):
            ours, first = y if len(theirs) == steps else y[last:], steps - len(theirs)
            ours = np.broadcast_to(ours, theirs.shape)
            options.append(self._difference(comparison, "", "output", ours, theirs, scale, first=first))
        if not options:
            return []
        result = [min(options, key=_far)]
        for k, pair in enumerate(states):
            for name, mine in zip("ch", pair, strict=True):
                final = values.get(f"{name}_{k}")
                if final is None or final.shape != (batch, mine.shape[-1]) or not mine.size:
                    continue
                mine = np.broadcast_to(mine[None, :1], (1, *final.shape))
                result.append(
                    self._difference(comparison, self.names[k], f"last {name}", mine, final[None], scale, first=last)
                )
        return result

    def _begin(self, values: Arrays) -> list[tuple[NDArray[Any], NDArray[Any]]] | None:
        """The states that the graph begins with where they are not zeros: an encoder's, say."""
        pairs = []
        for k, zeros in enumerate(self.model.zero_state(1)):
            pair = []
            for name, zero in zip("ch", zeros, strict=True):
                found = values.get(f"{name}0_{k}", zero)
                pair.append(found[:1] if found.ndim == 2 and found[:1].shape == zero.shape else zero)
            pairs.append((pair[0], pair[1]))
        return pairs if any(a.any() for pair in pairs for a in pair) else None

    def _ours(self, comparison: str, steps: int, begin: Any) -> tuple[NDArray[Any], State]:
        """Our outputs (T, 1, V) and last states over the first steps of the first sequence."""
        key = comparison, steps
        if begin is not None or key not in self._over:
            xs = self.given["xs" if comparison == "whole" else "long/x"]
            self._over[key] = run_whole(self.model, xs[:steps, :1], begin)
        return self._over[key]


def _size(array: NDArray[Any]) -> float:
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _far(found: Difference) -> tuple[bool, float]:
    return found.begins is not None, found.largest


def _arrangements(y: NDArray[Any], steps: int, batch: int, size: int) -> Iterator[NDArray[Any]]:
    """`y` as (T, B, V), or (1, B, V) of the last step, in every way that its shape allows."""
    if y.ndim == 3 and y.shape[-1] == size:
        if y.shape[:2] == (batch, steps):
            yield np.swapaxes(y, 0, 1)
        if y.shape[:2] == (steps, batch):
            yield y
    elif y.ndim == 2 and y.shape == (batch * steps, size):
        yield np.swapaxes(y.reshape(batch, steps, size), 0, 1)
        yield y.reshape(steps, batch, size)
    if y.ndim == 2 and y.shape == (batch, size):
        yield y[None]


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    """(N, B, ...) -> (N B, ...)"""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])
