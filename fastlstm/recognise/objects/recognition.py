"""A graph of objects to layers: by Keras' configuration, by what the functions compute, or by the objects alone."""

from __future__ import annotations

from dataclasses import replace

from fastlstm.errors import RecognitionError
from fastlstm.formats.artefact import Artefact
from fastlstm.recognise.findings import Recognised
from fastlstm.recognise.keras import recognise_keras
from fastlstm.recognise.objects.bare import candidates, check_cells, layers_of
from fastlstm.recognise.objects.configured import with_layers, with_model
from fastlstm.recognise.objects.program import from_names, from_program
from fastlstm.recognise.objects.tree import Group, Layer, Tree
from fastlstm.recognise.overrides import Book


def recognise_objects(artefact: Artefact, *, scope: str | None, book: Book) -> Recognised:
    """The LSTM in a TensorFlow 2 checkpoint or SavedModel.

    scope  the path of one object: "model/encoder"
    book   the caller's overrides; gets a finding for every hyper-parameter
    Raises RecognitionError where there is no LSTM, or several and no scope, or where the file does not decide a
    hyper-parameter that changes the numbers; what the recogniser of Keras files or of TensorFlow 1 graphs raises.
    """
    assert artefact.objects is not None
    tree = Tree(artefact.objects, artefact.tensors.specs, str(artefact.path))
    edges = tuple(part for part in (scope or "").split("/") if part)
    number = tree.walk(edges)
    whole = tree.below(0, "")
    if number is None:  # the scope of variables' names, then
        return from_program(artefact, whole, scope, book) or from_names(artefact, whole, scope, book)
    item = tree.below(number, "/".join(edges))
    configured = with_model(item, number, tree, artefact)
    if configured is not None:
        return _as_keras(configured, book)
    if not edges or isinstance(item, Group):
        recognised = from_program(artefact, whole, scope if edges else None, book)
        if recognised is not None:
            return recognised
    if not item.recurrent:
        check_cells(item, artefact, artefact.objects)
        return from_names(artefact, item, None, book)
    return _from_layers(item, artefact, scope, book)


def _from_layers(item: Layer | Group, artefact: Artefact, scope: str | None, book: Book) -> Recognised:
    found = candidates(item)
    if len(found) != 1:
        rows = "".join(f"\n  scope={each.path!r}: {_described(each)}" for each in found)
        inside = f" below {scope!r}" if scope else ""
        raise RecognitionError(f"{artefact.path}: {len(found)} models with an LSTM{inside}; pick one:{rows}")
    keras, order = with_layers(found[0], artefact)
    if order is not None:
        book.note("", order.what, order.value, order.how, order.source)
    return _as_keras(keras, book)


def _described(item: Layer | Group) -> str:
    return ", ".join(layer.path for layer in layers_of(item) if layer.recurrent)


def _as_keras(artefact: Artefact, book: Book) -> Recognised:
    return recognise_keras(replace(artefact, objects=None, program=None), scope=None, book=book)
