"""From what a file holds to layers: names, graphs and configurations in, layers and a report out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastlstm.errors import ArgumentError, WeightError
from fastlstm.recognise.averages import chosen_weights
from fastlstm.recognise.findings import Finding, Recognised
from fastlstm.recognise.overrides import OF_SOME_LAYERS, Book
from fastlstm.recognise.report import Report

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

__all__ = ["Book", "Finding", "Recognised", "Report", "recognise"]


def recognise(
    artefact: Artefact, *, scope: str | None = None, overrides: Mapping[str, Any] | None = None
) -> Recognised:
    """The LSTM that `artefact` holds.

    scope      picks one where the artefact holds several
    overrides  hyper-parameters that the caller knows better, by name: see KNOWN_OVERRIDES
    Raises RecognitionError if it cannot be told what the file computes, ArgumentError for an override that does not
    exist or does not apply, WeightError for weights that do not fit each other.
    """
    if scope is not None and not isinstance(scope, str):
        raise ArgumentError(f"scope is {scope!r}; expected a variable scope by its name, such as 'decoder', or None")
    book = Book(overrides or {})
    artefact = chosen_weights(artefact, book)
    recogniser = _recogniser(artefact)
    try:
        found = recogniser(artefact, scope=scope, book=book)
    except WeightError as error:
        if str(artefact.path) in str(error):
            raise
        raise WeightError(f"{artefact.path}: {error}") from error
    for what in OF_SOME_LAYERS:
        if book.given(what) and not any(finding.what == what for finding in found.findings):
            raise ArgumentError(
                f"load({what}={book.value(what)!r}): no layer in {artefact.path} has it; leave {what} out"
            )
    return found


#: What recognises an artefact that has neither a graph, objects nor a Keras configuration of TensorFlow: by its format
#: the module and the function, imported when needed.
FOREIGN = {
    "tflite": ("foreign.tflite", "recognise_tflite"),
    "onnx": ("foreign.onnx", "recognise_onnx"),
    "pytorch": ("foreign.pytorch", "recognise_pytorch"),
    "safetensors": ("foreign.pytorch", "recognise_pytorch"),
    "rtneural": ("foreign.rtneural", "recognise_rtneural"),
    "nam": ("foreign.audio", "recognise_nam"),
    "guitarml": ("foreign.audio", "recognise_guitarml"),
}


def _recogniser(artefact: Artefact) -> Callable[..., Recognised]:
    """By what the artefact holds, else by its format; TensorFlow 1's for the rest."""
    if artefact.architecture is not None:
        module, function = "saved", "recognise_saved"
    elif artefact.objects is not None:
        module, function = "objects", "recognise_objects"
    elif artefact.keras is not None:
        module, function = "keras.config", "recognise_keras"
    else:
        module, function = FOREIGN.get(artefact.format, ("tensorflow1", "recognise_tensorflow1"))
    return getattr(import_module(f"fastlstm.recognise.{module}"), function)
