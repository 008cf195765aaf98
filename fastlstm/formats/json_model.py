"""LSTM models of audio software as JSON: RTNeural, NeuralAmpModeler (`.nam`), GuitarML and Proteus.

Sources: RTNeural/python/model_utils.py; NeuralAmpModelerCore/NAM/get_dsp.cpp; GuitarML's Automated-GuitarAmpModelling.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.source import read_start, read_whole
from fastlstm.formats.tensors import Tensors, TensorSpec

LIMIT = 512 << 20
MAX_DIGITS = 400  # of a number


def detect(path: Path) -> bool:
    """The first character that is no space is an opening brace."""
    return read_start(path, 64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"


def read(path: Path) -> Artefact:
    """The weights, and the rest as the description.  Raises FormatError."""
    model = _parse(read_whole(path, LIMIT), path.name)
    if "in_shape" in model and isinstance(model.get("layers"), list):
        return _rtneural(model, path)
    if isinstance(model.get("architecture"), str) and "weights" in model:
        return _artefact(path, "nam", model, {"weights": model.pop("weights")})
    if isinstance(model.get("model_data"), dict) and isinstance(model.get("state_dict"), dict):
        return _artefact(path, "guitarml", model, model.pop("state_dict"))
    keys = ", ".join(repr(str(key)[:40]) for key in list(model)[:8])
    raise FormatError(
        f"{path.name}: JSON with {keys or 'nothing in it'}; expected RTNeural's in_shape and layers, NeuralAmp"
        f"Modeler's architecture and weights, or GuitarML's model_data and state_dict"
    )


def _rtneural(model: dict[str, Any], path: Path) -> Artefact:
    arrays = {}
    for number, layer in enumerate(model["layers"]):
        weights = layer.pop("weights", []) if isinstance(layer, dict) else None
        if not isinstance(weights, list):
            raise FormatError(f"{path.name}: layer {number} has no list of weights; the file is damaged")
        arrays.update({f"layers/{number}/weights/{k}": weight for k, weight in enumerate(weights)})
    return _artefact(path, "rtneural", model, arrays)


def _artefact(path: Path, name: str, description: dict[str, Any], nested: dict[str, Any]) -> Artefact:
    arrays = {key: _array(value, f"{path.name}: {key!r}") for key, value in nested.items()}
    specs = {key: TensorSpec(array.shape, "float32") for key, array in arrays.items()}
    return Artefact(path, name, Tensors(specs, lambda key: arrays[key].copy()), description=description)


def _array(nested: Any, where: str) -> NDArray[np.float32]:
    """Nested lists of numbers -> array.  Raises FormatError."""
    try:
        array = np.asarray(nested)
        if array.dtype.kind in "iuf" or not array.size:
            with np.errstate(over="ignore"):
                return array.astype(np.float32)
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    raise FormatError(f"{where}: not a list of numbers, or lists of one length each; the file is damaged")


def _parse(text: bytes, where: str) -> dict[str, Any]:
    """A JSON object without NaN, and without numbers that take long to read.  Raises FormatError."""

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is no number")

    def integer(digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            raise ValueError(f"a number of {len(digits)} digits")
        return int(digits)

    try:
        model = json.loads(text.decode("utf-8-sig"), parse_constant=constant, parse_int=integer)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: not JSON: {str(error)[:200]}; the file is damaged or truncated") from error
    if not isinstance(model, dict):
        raise FormatError(f"{where}: JSON of type {type(model).__name__}, expected an object; the file is damaged")
    return model
