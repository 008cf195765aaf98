"""RTNeural's JSON -> layers.  Source: RTNeural/model_loader.h, RTNeural/python/model_utils.py (Keras' own weights)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastlstm.errors import ArgumentError, FormatError, RecognitionError
from fastlstm.recognise.findings import Recognised
from fastlstm.recognise.foreign.parts import EXPECTED, Part, build, dense, gru, lstm, with_activation
from fastlstm.recognise.overrides import Book

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

ACTIVATIONS = {"": "linear", "linear": "linear"} | {n: n for n in ("tanh", "relu", "sigmoid", "softmax", "elu")}
_DENSE = {"dense", "time-distributed-dense"}


def recognise_rtneural(artefact: Artefact, *, scope: str | None, book: Book) -> Recognised:
    """The layers in RTNeural's order.  Raises RecognitionError, ArgumentError, FormatError."""
    source = str(artefact.path)
    if scope is not None:
        raise ArgumentError(f"{source}: scope is {scope!r}, but an RTNeural file holds one model; leave scope out")
    parts: list[Part] = []
    for number, layer in enumerate(artefact.description["layers"]):
        kind, name = str(layer.get("type")), f"layer {number}"
        prefix = f"layers/{number}/weights/"
        weights = [artefact.tensors[key] for key in artefact.tensors if key.startswith(prefix)]
        text = str(layer.get("activation") or "")
        where = f"{source}: {name}, {kind}"
        if text not in ACTIVATIONS:
            raise RecognitionError(f"{where}: activation {text!r}, expected one of {', '.join(ACTIVATIONS)}")
        if kind in _DENSE:
            kernel, bias = _expected(where, weights, (2, 1))
            said = (ACTIVATIONS[text], "read", f"key 'activation' of {name}")
            parts.append(dense(name, kernel, bias, said, (f"{prefix}0", f"{prefix}1")))
        elif kind in ("lstm", "gru"):
            parts.append(_recurrent(kind, name, where, text, weights, book))
        elif kind == "activation" and parts and parts[-1].kind == "Dense" and _is_linear(parts[-1]):
            parts[-1] = with_activation(parts[-1], (ACTIVATIONS[text], "read", f"key 'activation' of {name}"))
        else:
            raise RecognitionError(f"{where}, after {parts[-1].kind if parts else 'the input'}, is not run. {EXPECTED}")
    return build(parts, artefact, book)


def _is_linear(part: Part) -> bool:
    return part.settings["activation"][0] == "linear"


def _expected(where: str, weights: list[Any], ranks: tuple[int, ...]) -> list[Any]:
    """`weights`, the last of which may be missing.  Raises FormatError."""
    found = [array.ndim for array in weights]
    if found != list(ranks[: len(found)]) or not len(ranks) - 1 <= len(found):
        raise FormatError(f"{where}: weights of {found} dimensions, expected {list(ranks)}; the file is damaged")
    return weights + [None] * (len(ranks) - len(found))


def _recurrent(kind: str, name: str, where: str, activation: str, weights: list[Any], book: Book) -> Part:
    """RTNeural's own layers are tanh and sigmoid, whatever the file says."""
    if activation not in ("", "tanh") and not book.given("activation"):
        raise RecognitionError(
            f"{where}: the file says {activation!r}, which the model was trained with, and RTNeural runs tanh all the "
            f"same. Pass activation={activation!r} for the model as trained, activation='tanh' for what RTNeural runs"
        )
    settings = {
        "activation": (
            "tanh",
            "read" if activation else "inferred",
            f"key 'activation' of {name}; RTNeural has no other",
        ),
        "recurrent_activation": ("sigmoid", "inferred", "RTNeural has no other"),
    }
    if kind == "lstm":
        kernel, recurrent, bias = _expected(where, weights, (2, 2, 1))
        return lstm(
            name, {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias, "gate_order": "keras"}, settings
        )
    kernel, recurrent, bias = _expected(where, weights, (2, 2, 2))
    if bias is None or np.shape(bias)[0] != 2:
        raise FormatError(f"{where}: biases of shape {np.shape(bias)}, expected (2, 3H); the file is damaged")
    arguments = {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias[0], "recurrent_bias": bias[1]}
    return gru(name, arguments | {"gate_order": "keras", "reset_after": True}, settings)
