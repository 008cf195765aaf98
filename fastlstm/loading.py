"""load, read, inspect, save, extract: between files and models.

The packages that read files, and the model with its compiled code, are imported inside the functions, so that
`import fastlstm` needs nothing but NumPy.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlstm.errors import ArgumentError, RecognitionError, WeightError

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact
    from fastlstm.inspection import Inspection
    from fastlstm.layers import Layer
    from fastlstm.model import Model
    from fastlstm.recognise import Report

PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def load(
    path: PathLike,
    *,
    scope: str | None = None,
    device: str = "cpu",
    dtype: DTypeLike | None = None,
    weights: str | None = None,
    threads: int = 1,
    **overrides: Any,
) -> Model:
    """The trained LSTM in a file, ready to run.

    path       a TensorFlow checkpoint, V1 or V2 (its prefix, one of its files, or its folder), a SavedModel, a frozen
               graph, .h5, .keras, .weights.h5, .tflite, .onnx, a PyTorch state_dict, an audio model's JSON, or what
               `fastlstm.save` wrote: `formats.FORMATS` has them all; "~" is your home
    scope      picks one LSTM where the file holds several; the error that asks for it lists them
    device, dtype, weights, threads
               as for `Model`; dtype None is the file's own: float64 where the LSTM's weights are float64, else float32
    overrides  hyper-parameters that you know better than the file: forget_bias, cell_clip, proj_clip, activation,
               recurrent_activation, residual, num_layers, embedding, one_hot, head, head_activation, ema, cell,
               num_units, direction, merge_mode, reset_after; an unknown one's error says what each stands for
    ->         Model; `model.report` says how each hyper-parameter is known

    Raises FormatError if the file is missing, damaged or of a format that fastlstm does not read, RecognitionError if
    it cannot be told what it computes, WeightError if the weights do not fit each other or hold NaN, ArgumentError for
    an override, scope, device ... that does not exist or does not apply, DeviceError.
    """
    from fastlstm.model import Model

    layers, own_dtype, report = _read_model(checked_path(path, "load: path"), scope, overrides)
    wanted = own_dtype if dtype is None else dtype
    return Model(layers, device=device, dtype=wanted, weights=weights, threads=threads, report=report)


def read(path: PathLike) -> dict[str, NDArray[Any]]:
    """Every variable in a file, by name, as the file has it: {name: array}.  Nothing is recognised or converted.

    path  as for `load`
    Raises FormatError, ArgumentError.
    """
    from fastlstm.formats import read_variables

    return dict(read_variables(checked_path(path, "read: path")))


def inspect(path: PathLike, *, scope: str | None = None, **overrides: Any) -> Inspection:
    """What a file holds: its tensors, and which LSTM `load` makes of them.  `print` it.

    path, scope, overrides
               as for `load`
    Raises FormatError, ArgumentError. Where the LSTM is not recognised, `problem` of the Inspection says why.
    """
    from fastlstm.formats import open_artefact
    from fastlstm.inspection import Inspection
    from fastlstm.recognise import Report

    given = checked_path(path, "inspect: path")
    artefact = open_artefact(given)
    layers: Sequence[Layer] = ()
    report, problem, replayed = Report(), None, None
    try:
        layers, dtype, report = _recognise(artefact, scope, overrides)
        replayed = None if overrides else _replay(artefact, layers, dtype)
    except (RecognitionError, WeightError) as error:
        problem = str(error)
    return Inspection(
        path=artefact.path,
        format=artefact.format,
        written_by=_written_by(artefact),
        files=_files(given, artefact),
        tensors=artefact.tensors.specs,
        layers=tuple(layers),
        report=report,
        problem=problem,
        notes=(*artefact.notes, *([replayed] if replayed else [])),
    )


def save(model: Model, path: PathLike, *, known_answer: bool = False) -> None:
    """Write a model as a safetensors file that needs no TensorFlow; `load` reads it back to the last bit.

    path          ends in .safetensors; an existing file is replaced when the new one is complete, and kept if that
                  fails
    known_answer  store an input and what the model makes of it too; `load` replays it, on NumPy, and refuses the file
                  if the answer differs by more than 1e-4 of the values' size, 1e-9 in float64
    Raises WriteError, ArgumentError for another ending.
    """
    from fastlstm.model import Model

    if not isinstance(model, Model):
        raise ArgumentError(f"save: model is {_shown(model)}; expected a fastlstm.Model, as fastlstm.load gives it")
    target = checked_path(path, "save: path")
    if target.suffix != ".safetensors":
        raise ArgumentError(f"save: {str(target)!r} ends in {target.suffix!r}; expected .safetensors")
    _write_saved(target, model.layers, np.dtype(model.dtype).name, model.report, known_answer)


def extract(
    source: PathLike | Model, out: PathLike, *, scope: str | None = None, known_answer: bool = False, **overrides: Any
) -> dict[str, Any]:
    """Write the kernels and biases of an LSTM as NumPy arrays, in canonical layout.

    source     a file, as for `load`, or a Model
    out        *.npz: arrays "lstm_0/kernel" (D, 4H), "lstm_0/recurrent_kernel" (P, 4H), "lstm_0/bias" (4H,),
               "dense_0/kernel" (D, V), "embedding/table" (V, D) ..., and "architecture", JSON text with all the rest;
               *.safetensors: what `save` writes
    scope, overrides
               as for `load`
    known_answer
               as for `save`, of a .safetensors
    ->         {name: array}, under the names of the .npz

    Gates are in the order i f g o, and the forget bias is in the bias. Raises ArgumentError for another ending of
    `out`, WriteError, and whatever `load` raises.
    """
    from fastlstm.formats.npz import write_npz
    from fastlstm.model import Model
    from fastlstm.recognise.saved import describe

    target = checked_path(out, "extract: out")
    if target.suffix not in {".npz", ".safetensors"}:
        raise ArgumentError(f"extract: {str(target)!r} ends in {target.suffix!r}; expected .npz or .safetensors")
    if known_answer and target.suffix != ".safetensors":
        raise ArgumentError(f"extract: known_answer is for a file that load reads; {str(target)!r} is no .safetensors")
    if not isinstance(source, Model):
        layers, dtype, report = _read_model(
            checked_path(source, "extract: source", " or a fastlstm.Model"), scope, overrides
        )
    else:
        if scope is not None or overrides:
            named = ", ".join(["scope"] * (scope is not None) + [*overrides])
            raise ArgumentError(
                f"extract: {named} given with a Model; they say how to read a file, pass a path with them"
            )
        layers, dtype, report = source.layers, np.dtype(source.dtype).name, source.report
    names = plain_names(layers)
    arrays = {f"{name}/{k}": a for name, layer in zip(names, layers, strict=True) for k, a in layer.arrays().items()}
    if target.suffix == ".safetensors":
        _write_saved(target, layers, dtype, report, known_answer)
    else:
        described = describe(layers, dtype, report)
        for name, entry in zip(names, described["layers"], strict=True):
            entry["arrays"] = name
        write_npz(target, arrays | {"architecture": np.array(json.dumps(described))})
    return arrays


def plain_names(layers: Sequence[Layer]) -> list[str]:
    """lstm_0, lstm_1, dense_0 ... for the layers; "embedding" and "one_hot" have no number, there being one at most."""
    from fastlstm.layers import Embedding, OneHot

    names = []
    for k, layer in enumerate(layers):
        number = sum(type(before) is type(layer) for before in layers[:k])
        if isinstance(layer, Embedding | OneHot):
            names.append("embedding" if isinstance(layer, Embedding) else "one_hot")
        else:
            names.append(f"{type(layer).__name__.lower()}_{number}")
    return names


def checked_path(given: object, name: str, other: str = "") -> Path:
    """A path that a caller gave as `name`, "~" being the home.  Raises ArgumentError; `other` is expected as well."""
    try:
        return Path(os.path.expanduser(os.fsdecode(given)))  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentError(f"{name} is {_shown(given)}; expected a path as str, bytes or os.PathLike{other}") from None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def _read_model(path: Path, scope: str | None, overrides: dict[str, Any]) -> tuple[Sequence[Layer], str, Report]:
    from fastlstm.formats import open_artefact

    artefact = open_artefact(path)
    found = _recognise(artefact, scope, overrides)
    if not overrides:  # which change the answer
        _replay(artefact, *found[:2])
    return found


def _replay(artefact: Artefact, layers: Sequence[Layer], dtype: str) -> str | None:
    """Compare the answer in a file by `save` with what the layers make of its input; what to say of it.

    Raises FormatError where they differ.
    """
    from fastlstm.known_answer import PREFIX, check_known_answer

    if artefact.architecture is None or not any(name.startswith(PREFIX) for name in artefact.tensors):
        return None
    largest = check_known_answer(layers, dtype, artefact.tensors, str(artefact.path))
    return f"the known answer that is stored was replayed: the largest difference is {largest:.1g}"


def _recognise(artefact: Artefact, scope: str | None, overrides: dict[str, Any]) -> tuple[Sequence[Layer], str, Report]:
    """The layers in the artefact, the dtype that they run in, and the report."""
    from fastlstm.layers import recurrent_layers
    from fastlstm.recognise import Report, recognise
    from fastlstm.recognise.saved import saved_dtype

    found = recognise(artefact, scope=scope, overrides=overrides)
    if artefact.architecture is not None:
        dtype = saved_dtype(artefact)
    else:
        kernels = [layer.kernel for layer in recurrent_layers(found.layers)]
        dtype = "float64" if any(kernel.dtype == np.float64 for kernel in kernels) else "float32"
    return found.layers, dtype, Report(found.findings, [*artefact.notes, *found.notes], found.initial_state)


def _write_saved(path: Path, layers: Sequence[Layer], dtype: str, report: Report, answer: bool) -> None:
    from fastlstm import known_answer
    from fastlstm.formats.safetensors_file import ARCHITECTURE, write_safetensors
    from fastlstm.recognise.saved import describe

    arrays = {f"{k}/{name}": array for k, layer in enumerate(layers) for name, array in layer.arrays().items()}
    if answer:
        arrays |= known_answer.known_answer(layers)
    write_safetensors(path, arrays, {ARCHITECTURE: json.dumps(describe(layers, dtype, report))})


def _written_by(artefact: Artefact) -> str:
    """The TensorFlow or Keras that wrote the file, where it says so."""
    if artefact.keras is not None and artefact.keras.model is not None:
        return f"Keras {artefact.keras.version}"
    told = [part.tensorflow_version for part in (artefact.graph, artefact.program) if part is not None]
    return f"TensorFlow {told[0]}" if told and told[0] else ""


def _files(path: Path, artefact: Artefact) -> list[Path]:
    """The files that an artefact consists of: itself, those in its folder, or those with a checkpoint's prefix."""
    if path.is_dir() and not artefact.path.is_file():
        path = artefact.path
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    prefix, name = artefact.path, glob.escape(artefact.path.name)
    endings = (".index", ".data-*", ".meta", "_temp*/part-*")
    if artefact.format == "checkpoint-v1":
        endings = (".meta", "-?????-of-?????")
    parts = [file for ending in endings for file in prefix.parent.glob(name + ending)]
    return sorted({file for file in (prefix, path, *parts) if file.is_file()})
