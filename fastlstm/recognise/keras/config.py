"""Keras files -> layers: Keras 1, 2, tf.keras and tf_keras HDF5, Keras 3 HDF5 and zip, with or without a configuration.

Sources: keras.layers.LSTM, keras.layers.Dense, keras.layers.Embedding and their get_config; formats.md of this project
lists what differs between the versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastlstm.errors import ArgumentError, FastLSTMError, FormatError, RecognitionError
from fastlstm.recognise.findings import Recognised
from fastlstm.recognise.keras.activation import activation_of_layer
from fastlstm.recognise.keras.bare import bare_chain
from fastlstm.recognise.keras.chain import Link, chain_of, leaves
from fastlstm.recognise.keras.entries import settings_of
from fastlstm.recognise.keras.kinds import ACTIVATIONS, EXPECTED, RECURRENT, refusal
from fastlstm.recognise.keras.layers import Builder
from fastlstm.recognise.keras.reader import version_numbers
from fastlstm.recognise.keras.shapes import lookalikes
from fastlstm.recognise.keras.weights import located
from fastlstm.recognise.overrides import Book

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

#: Keras 1's names of the settings that Keras 2 renamed.
_KERAS1_SETTINGS = {"output_dim": "units", "inner_activation": "recurrent_activation", "bias": "use_bias"}


def recognise_keras(artefact: Artefact, *, scope: str | None, book: Book) -> Recognised:
    """The chain of layers in a Keras file.

    Raises RecognitionError if the model is no chain of layers that fastlstm runs, or if the file does not decide a
    hyper-parameter that changes the numbers; ArgumentError for an override or a scope that does not apply; FormatError
    for a configuration that Keras did not write.
    """
    if scope is not None:
        raise ArgumentError(f"{artefact.path}: scope is {scope!r}, but a Keras file holds one model; leave scope out")
    try:
        return _recognise(artefact, book)
    except FastLSTMError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(
            f"{artefact.path}: the model's configuration is not one that Keras writes ({error!r}); the file is damaged "
            f"or was changed by hand: save the model again"
        ) from error


def _recognise(artefact: Artefact, book: Book) -> Recognised:
    keras = artefact.keras
    if keras.model is None:
        links, order = bare_chain(artefact)
        if order is not None:
            book.note("", order.what, order.value, order.how, order.source)
    else:
        try:
            links = [_modern(link, keras.version) for link in chain_of(keras.model, str(artefact.path))]
        except RecognitionError as error:
            raise RecognitionError(f"{error}{lookalikes(artefact)}") from None
        links = located(links, artefact)
    links = _chosen(_with_activations_folded(links, str(artefact.path)), str(artefact.path), book)
    found = Builder(artefact, book).build(links)
    batch = None if keras.model is None else _batch_size(keras.model)
    if batch is None:
        return found
    return replace(found, notes=[*found.notes, f"the model was made for batches of {batch} rows; run takes any number"])


def _batch_size(model: dict[str, Any]) -> int | None:
    """The number of rows that a model was made for, where its input says one."""
    config = model.get("config")
    layers = config if isinstance(config, list) else config.get("layers") if isinstance(config, dict) else None
    for layer in layers or ():
        settings = settings_of(layer)
        for key in ("batch_input_shape", "batch_shape"):
            shape = settings.get(key)
            if isinstance(shape, list) and shape and isinstance(shape[0], int):
                return shape[0]
    return None


def _modern(link: Link, version: str) -> Link:
    """`link` with its settings called as Keras 2 and 3 call them."""
    if version_numbers(version)[0] != 1 or link.kind == "Embedding":
        return link
    parts = tuple(tuple(_modern(each, version) for each in part) for part in link.parts)
    return replace(
        link, parts=parts, config={_KERAS1_SETTINGS.get(key, key): value for key, value in link.config.items()}
    )


def _with_activations_folded(links: Sequence[Link], source: str) -> list[Link]:
    """`links` without activation layers: each becomes the activation of the Dense before it."""
    result: list[Link] = []
    for link in links:
        if link.kind not in ACTIVATIONS:
            result.append(link)
            continue
        activation = activation_of_layer(link.kind, link.config, f"{source}: layer {link.name!r}")
        if activation == "linear":
            continue
        before = result[-1] if result else None
        own = before.config.get("activation", "linear") if before else None
        if before is None or before.kind != "Dense" or own not in {"linear", None}:
            what = f"{before.kind} {before.name!r} ({own})" if before else "the input"
            raise refusal(
                source, link.name, f"{link.kind} after {what}", "it can only follow a Dense without one of its own"
            )
        added = {"activation": activation, "activation_layer": link.name, "activation_kind": link.kind}
        result[-1] = replace(before, config=before.config | added)
    return result


def _chosen(links: list[Link], source: str, book: Book) -> list[Link]:
    """`links` without those that the overrides leave out.  Raises RecognitionError, ArgumentError."""
    recurrent = [k for k, link in enumerate(links) if link.kind in RECURRENT]
    if not recurrent:
        listed = ", ".join(f"{link.kind} {link.name!r}" for link in links)
        raise RecognitionError(f"{source}: no LSTM among its layers ({listed or 'none'}). {EXPECTED}")
    if book.given("num_layers") and book.value("num_layers") != len(recurrent):
        raise ArgumentError(
            f"load(num_layers={book.value('num_layers')!r}): {source} says that the model has {len(recurrent)} "
            f"recurrent layers; leave num_layers out"
        )
    for what, span in (("head", links[recurrent[-1] + 1 :]), ("embedding", links[: recurrent[0]])):
        if not book.given(what):
            continue
        names = {name for link in leaves(span) for name in (link.name, *link.weights)}
        given = book.note("", what, ", ".join(link.name for link in span) or None, "read", "the configuration's layers")
        if given is None:
            links = [link for link in links if link not in span or (what == "embedding" and link.kind != "Embedding")]
        elif not names.issuperset([given] if isinstance(given, str) else given):
            raise ArgumentError(
                f"load({what}={given!r}): {source} says itself what its {what} is "
                f"({', '.join(sorted(names)) or 'there is none'}); leave {what} out, or pass None to do without it"
            )
    return links
