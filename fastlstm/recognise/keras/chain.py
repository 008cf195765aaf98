"""A Keras configuration as a chain: its layers in the order they run, and where each stands among the weights.

Sources: keras.Sequential.get_config, keras.Model.get_config (Keras 2 lists, Keras 3 `__keras_tensor__` entries),
keras.src.saving.saving_lib (folder names).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fastlstm.errors import RecognitionError

EXPECTED = (
    "fastlstm runs a chain with one input and one output: an Embedding, LSTM and Dense layers "
    "(Dropout is skipped, an Activation is taken into the Dense before it)"
)

#: Layers that hand on what they are given when a trained model runs.
IDENTITY = {
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "InputLayer",
    "SpatialDropout1D",
}
ACTIVATIONS = {"Activation", "ReLU", "Softmax"}
LSTMS = {"LSTM", "CuDNNLSTM"}

_WHY_NOT = {
    "Bidirectional": "it also reads the sequence from its end, so it cannot run one step at a time",
    "BatchNormalization": "fold it into the Dense beside it and save the model again",
    "Masking": "save the model without it (the weights stay the same) and pass lengths to run() instead",
    "GRU": "it is a recurrent layer, but no LSTM",
    "CuDNNGRU": "it is a recurrent layer, but no LSTM",
    "SimpleRNN": "it is a recurrent layer, but no LSTM",
    "ConvLSTM1D": "its gates are convolutions",
    "ConvLSTM2D": "its gates are convolutions",
    "ConvLSTM3D": "its gates are convolutions",
    "Conv1D": "it needs several steps of the sequence at once",
    "RepeatVector": "it needs the whole sequence before the next layer can start",
    "Flatten": "it needs the whole sequence at once",
    "Lambda": "its Python code is not something that fastlstm runs",
} | dict.fromkeys(
    ["Add", "Average", "Concatenate", "Dot", "Maximum", "Merge", "Minimum", "Multiply", "Subtract"],
    "it joins several branches",
)


@dataclass(frozen=True)
class Place:
    """Where a layer stands in the model, which is how its weights are found.

    top      name of the outermost model's layer that it is, or is part of
    order    sorts the layers of one `top` as Keras lists their weights: (frozen, position, position further in ...)
    folders  (class in snake case, how many of that class with weights come before it), from the outermost model inwards
    inside   the folders below those, down to "vars"
    """

    top: str
    order: tuple[int | bool, ...]
    folders: tuple[tuple[str, int], ...]
    inside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Link:
    """One layer of the chain.

    kind     Keras' class: "LSTM", "CuDNNLSTM", "Dense", "Embedding", or one of ACTIVATIONS
    name     its name in the file
    config   its configuration; empty where the file holds weights only
    place    see `Place`
    weights  names of its tensors in Keras' order, once they have been found
    """

    kind: str
    name: str
    config: dict[str, Any]
    place: Place
    weights: tuple[str, ...] = field(default=())


def chain_of(model: dict[str, Any], source: str) -> list[Link]:
    """The layers of `model` that compute something, in the order they run.

    model   {"class_name": ..., "config": {...}}
    source  what the errors call the file
    Raises RecognitionError for a model that is no chain, or holds a layer that fastlstm does not run.
    """
    return list(_walk(model, source, None))


def _walk(model: dict[str, Any], source: str, within: Place | None) -> Iterator[Link]:
    """The links of `model`, which stands at `within` in the model around it."""
    layers = _layers(model, source)
    names = [layer_name(layer) for layer in layers]
    for layer in _running_order(model, layers, source):
        name, kind = layer_name(layer), layer.get("class_name")
        position = names.index(name)
        before = sum(_has_weights(other) and other.get("class_name") == kind for other in layers[:position])
        frozen = not settings_of(layer).get("trainable", True)
        place = Place(name, (frozen, position), ((snake_case(str(kind)), before),))
        if within is not None:
            order = (frozen or within.order[0], *within.order[1:], position)
            place = Place(within.top, order, within.folders + place.folders)
        if _is_model(layer):
            yield from _walk(layer, source, place)
        else:
            yield from _links(layer, place, source)


def _links(layer: dict[str, Any], place: Place, source: str) -> Iterator[Link]:
    """The chain links that one layer of a model stands for: none, one, or one a cell."""
    kind, name, config = str(layer.get("class_name")), layer_name(layer), settings_of(layer)
    if kind in IDENTITY:
        return
    if kind in {"LSTM", "RNN"}:
        yield from _recurrent(kind, name, config, place, source)
    elif kind in {"CuDNNLSTM", "Dense", "Embedding"} or kind in ACTIVATIONS:
        yield Link(kind, name, config, place)
    elif kind == "TimeDistributed":
        inner = config.get("layer") or {}
        inner_kind = str(inner.get("class_name"))
        if inner_kind not in {"Dense", *ACTIVATIONS, *IDENTITY}:
            raise refusal(source, name, f"TimeDistributed({inner_kind})", "only TimeDistributed(Dense) is supported")
        if inner_kind not in IDENTITY:
            yield Link(inner_kind, name, settings_of(inner), _inside(place, "layer"))
    else:
        raise refusal(source, name, kind, _WHY_NOT.get(kind, "it is not one of the layers that fastlstm knows"))


def _recurrent(kind: str, name: str, config: dict[str, Any], place: Place, source: str) -> Iterator[Link]:
    """LSTM, RNN(LSTMCell) and RNN(StackedRNNCells): one link a cell, with the settings of the RNN around it."""
    if kind == "LSTM":
        yield Link("LSTM", name, config, _inside(place, "cell"))
        return
    cell = config.get("cell") or {}
    outer = {key: value for key, value in config.items() if key != "cell"}
    stacked = cell.get("class_name") == "StackedRNNCells"
    cells = settings_of(cell).get("cells", []) if stacked else [cell]
    for k, each in enumerate(cells):
        if each.get("class_name") != "LSTMCell":
            raise refusal(source, name, f"RNN({each.get('class_name')})", "the only cell that is supported is LSTMCell")
        settings = outer | settings_of(each)
        if not stacked:
            yield Link("LSTM", name, settings, _inside(place, "cell"))
            continue
        if k < len(cells) - 1:
            settings["return_sequences"] = True
        folder = "lstm_cell" if k == 0 else f"lstm_cell_{k}"
        yield Link("LSTM", f"{name}/{k}", settings, _inside(place, "cell", "cells", folder, order=k))


def _inside(place: Place, *folders: str, order: int = 0) -> Place:
    return Place(place.top, (*place.order, order), place.folders, folders)


def settings_of(layer: dict[str, Any]) -> dict[str, Any]:
    """A layer's configuration; empty for the list that is a Sequential's until Keras 2.2."""
    config = layer.get("config")
    return config if isinstance(config, dict) else {}


def layer_name(layer: dict[str, Any]) -> str:
    return str(settings_of(layer).get("name") or layer.get("name") or layer.get("class_name"))


def snake_case(class_name: str) -> str:
    """How Keras turns a class's name into a folder's: TimeDistributed -> time_distributed."""
    spaced = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", spaced).lower()


def refusal(source: str, name: str, kind: str, why: str) -> RecognitionError:
    return RecognitionError(f"{source}: layer {name!r} is a {kind}, which is not supported: {why}. {EXPECTED}")


def _is_model(layer: dict[str, Any]) -> bool:
    return layer.get("class_name") == "Sequential" or "layers" in settings_of(layer)


def _has_weights(layer: dict[str, Any]) -> bool:
    kind = layer.get("class_name")
    if kind == "TimeDistributed":
        return (settings_of(layer).get("layer") or {}).get("class_name") not in IDENTITY | ACTIVATIONS
    return kind not in IDENTITY | ACTIVATIONS


def _layers(model: dict[str, Any], source: str) -> list[dict[str, Any]]:
    """The layers as the configuration lists them.  Sequential's list had no dictionary around it until Keras 2.2."""
    config = model.get("config")
    layers = config if isinstance(config, list) else (config or {}).get("layers")
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise RecognitionError(
            f"{source}: the model is a {model.get('class_name')!r} whose configuration lists no layers: how it "
            f"computes is in Python code that is not in the file. {EXPECTED}. Save its weights alone "
            f"(model.save_weights) and load those with the hyper-parameters as arguments"
        )
    return layers


def _running_order(model: dict[str, Any], layers: list[dict[str, Any]], source: str) -> list[dict[str, Any]]:
    """`layers` from the input to the output."""
    config = model.get("config")
    if not isinstance(config, dict) or "output_layers" not in config:
        return layers
    ends = {key: histories(config.get(key)) for key in ("input_layers", "output_layers")}
    for key, found in ends.items():
        if len(found) != 1:
            what, names = key.removesuffix("_layers"), ", ".join(name for name, _ in found)
            raise RecognitionError(f"{source}: the model has {len(found)} {what}s ({names}); expected one. {EXPECTED}")
    by_name = {layer_name(layer): layer for layer in layers}
    (name, output), order = ends["output_layers"][0], []
    while True:
        if name not in by_name or any(layer_name(done) == name for done in order):
            raise RecognitionError(
                f"{source}: the layers' connections lead to {name!r} twice or not at all. {EXPECTED}"
            )
        if output:
            raise RecognitionError(
                f"{source}: output {output} of layer {name!r} (a state) is used; only its output 0 can be. {EXPECTED}"
            )
        order.insert(0, by_name[name])
        sources = _inputs(by_name[name], source)
        if sources is None:
            break
        name, output = sources
    left = [name for name in by_name if name not in {layer_name(layer) for layer in order}]
    if left:
        raise RecognitionError(f"{source}: beside the chain from input to output: {', '.join(left)}. {EXPECTED}")
    return order


def _inputs(layer: dict[str, Any], source: str) -> tuple[str, int] | None:
    """The layer whose output `layer` reads, and which output; None for the input layer."""
    nodes = layer.get("inbound_nodes") or []
    name, kind = layer_name(layer), layer.get("class_name")
    if len(nodes) > 1:
        raise refusal(source, name, f"{kind} that is used {len(nodes)} times", "each layer may be used once")
    found = histories(nodes)
    if len(found) > 1:
        readers = ", ".join(repr(name) for name, _ in found)
        why = "an initial state comes from outside" if kind in {"LSTM", "RNN"} else "it joins several branches"
        raise refusal(source, name, f"{kind} with {len(found)} inputs ({readers})", why)
    return found[0] if found else None


def histories(entry: Any) -> list[tuple[str, int]]:
    """Every (layer, output number) that an entry of the configuration names.

    Keras 2 writes ["lstm", node, output, {keyword arguments}], Keras 3 {"class_name": "__keras_tensor__", "config":
    {"keras_history": ["lstm", node, output]}}; both inside lists and dictionaries of any depth.
    """
    if isinstance(entry, dict):
        if entry.get("class_name") == "__keras_tensor__":
            return histories(entry.get("config", {}).get("keras_history"))
        return [found for value in entry.values() for found in histories(value)]
    if not isinstance(entry, (list, tuple)):
        return []
    if len(entry) >= 3 and isinstance(entry[0], str) and all(type(number) is int for number in entry[1:3]):
        return [(entry[0], entry[2]), *histories(list(entry[3:]))]
    return [found for value in entry for found in histories(value)]
