"""A Keras configuration as a chain: its layers in the order they run, and where each stands among the weights.

Sources: keras.Sequential.get_config, keras.src.saving.saving_lib (folder names).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from fastlstm.errors import RecognitionError
from fastlstm.recognise.keras.connections import running_order
from fastlstm.recognise.keras.entries import layer_name, settings_of
from fastlstm.recognise.keras.kinds import (
    ACTIVATIONS,
    CELLS,
    CUDNN,
    EXPECTED,
    GRUS,
    IDENTITY,
    LSTMS,
    WHY_NOT,
    refusal,
)

_MERGE_MODES = ("concat", "sum", "mul", "ave", None)


@dataclass(frozen=True)
class Place:
    """Where a layer stands in the model, which is how its weights are found.

    top      name of the outermost model's layer that it is, or is part of
    order    sorts the layers of one `top` as they come in their models: (position, position further in ...)
    folders  (class in snake case, how many of that class with weights come before it), from the outermost model inwards
    inside   the folders below those, down to "vars"
    frozen   whether it, and what is around it, from the outermost model inwards, is not trainable: Keras lists such
             weights last
    """

    top: str
    order: tuple[int, ...]
    folders: tuple[tuple[str, int], ...]
    inside: tuple[str, ...] = ()
    frozen: tuple[bool, ...] = ()

    def within(self, *folders: str, number: int = 0, part: dict[str, Any] | None = None) -> Place:
        """The place of part `number` of the layer here; `part` is its entry in the configuration, if it has one."""
        frozen = self.frozen if part is None else (*self.frozen, _is_frozen(part))
        return replace(self, order=(*self.order, number), inside=self.inside + folders, frozen=frozen)


@dataclass(frozen=True)
class Link:
    """One layer of the chain.

    kind     Keras' class: "LSTM", "CuDNNLSTM", "GRU", "CuDNNGRU", "Bidirectional", "Dense", "Embedding", "Masking", one
             of ACTIVATIONS, or "Reverse", which is the half of go_backwards that comes before the layer
    name     its name in the file
    config   its configuration; empty where the file holds weights only
    place    see `Place`
    weights  names of its tensors in Keras' order, once they have been found
    parts    a Bidirectional's: the links forward, and the links backward
    """

    kind: str
    name: str
    config: dict[str, Any]
    place: Place
    weights: tuple[str, ...] = field(default=())
    parts: tuple[tuple[Link, ...], ...] = ()


def leaves(links: Iterable[Link]) -> list[Link]:
    """`links`, with its parts in the place of each link that has some."""
    return [leaf for link in links for leaf in (leaves(sum(link.parts, ())) if link.parts else [link])]


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
    for layer in running_order(model, layers, source):
        name, kind = layer_name(layer), layer.get("class_name")
        position = names.index(name)
        before = sum(_has_weights(other) and other.get("class_name") == kind for other in layers[:position])
        folder = (snake_case(str(kind)), before)
        outer = within or Place(name, (), ())
        place = replace(
            outer,
            order=(*outer.order, position),
            folders=(*outer.folders, folder),
            frozen=(*outer.frozen, _is_frozen(layer)),
        )
        if _is_model(layer):
            yield from _walk(layer, source, place)
        else:
            yield from _links(layer, place, source)


def _links(layer: dict[str, Any], place: Place, source: str) -> Iterator[Link]:
    """The chain links that one layer of a model stands for: none, one, or one a cell."""
    kind, name, config = str(layer.get("class_name")), layer_name(layer), settings_of(layer)
    if kind in IDENTITY:
        return
    if kind in LSTMS | GRUS | {"RNN"}:
        if config.get("go_backwards"):
            yield Link("Reverse", name, {}, place.within(number=-1))
        yield from _recurrent(kind, name, config, place, source)
    elif kind == "Bidirectional":
        yield from _bidirectional(name, config, place, source)
    elif kind in {"Dense", "Embedding", "Masking"} or kind in ACTIVATIONS:
        yield Link(kind, name, config, place)
    elif kind == "TimeDistributed":
        inner = config.get("layer") or {}
        inner_kind = str(inner.get("class_name"))
        if inner_kind not in {"Dense", *ACTIVATIONS, *IDENTITY}:
            raise refusal(source, name, f"TimeDistributed({inner_kind})", "only TimeDistributed(Dense) is supported")
        if inner_kind not in IDENTITY:
            yield Link(inner_kind, name, settings_of(inner), place.within("layer", part=inner))
    else:
        raise refusal(source, name, kind, WHY_NOT.get(kind, "it is not one of the layers that fastlstm knows"))


def _recurrent(kind: str, name: str, config: dict[str, Any], place: Place, source: str) -> Iterator[Link]:
    """LSTM, GRU, RNN(LSTMCell) and RNN(StackedRNNCells): one link a cell, with the settings of the RNN around it."""
    if kind != "RNN":
        yield Link(kind, name, config, place.within(*(() if kind in CUDNN else ("cell",))))
        return
    cell = config.get("cell") or {}
    outer = {key: value for key, value in config.items() if key != "cell"}
    stacked = cell.get("class_name") == "StackedRNNCells"
    cells = settings_of(cell).get("cells", []) if stacked else [cell]
    if not cells:
        raise refusal(source, name, "RNN without cells", "there is nothing to run")
    folders: dict[str, int] = {}
    for k, each in enumerate(cells):
        cell_kind = each.get("class_name")
        if cell_kind not in CELLS:
            known = " and ".join(CELLS)
            raise refusal(source, name, f"RNN({cell_kind})", f"the only cells that are supported are {known}")
        settings = outer | settings_of(each)
        if not stacked:
            yield Link(CELLS[cell_kind], name, settings, place.within("cell", part=each))
            continue
        if k < len(cells) - 1:
            settings["return_sequences"] = True
        folder = snake_case(cell_kind)
        number = folders[folder] = folders.get(folder, -1) + 1
        inside = place.within("cell", "cells", f"{folder}_{number}" if number else folder, number=k, part=each)
        yield Link(CELLS[cell_kind], f"{name}/{k}", settings, inside)


def _bidirectional(name: str, config: dict[str, Any], place: Place, source: str) -> Iterator[Link]:
    """A Bidirectional, after a Reverse where it is the forward half that goes backwards."""
    forward = config.get("layer") or {}
    own = config.get("backward_layer")
    if config.get("merge_mode", "concat") not in _MERGE_MODES:
        raise refusal(source, name, f"Bidirectional with merge_mode={config['merge_mode']!r}", "Keras has no such mode")
    parts = []
    for k, (half, folder) in enumerate(((forward, "forward_layer"), (own or forward, "backward_layer"))):
        kind = str(half.get("class_name"))
        if kind not in LSTMS | GRUS | {"RNN"}:
            raise refusal(source, name, f"Bidirectional({kind})", "only LSTM, GRU and RNN are supported in it")
        inside = place.within(folder, number=k, part=half)
        parts.append(tuple(_recurrent(kind, f"{name}/{folder.split('_')[0]}", settings_of(half), inside, source)))
    turned = bool(settings_of(forward).get("go_backwards"))
    if own and bool(settings_of(own).get("go_backwards")) == turned:
        raise refusal(source, name, "Bidirectional of two layers with the same go_backwards", "Keras has none")
    if turned:
        yield Link("Reverse", name, {}, place.within(number=-1))
    settings = {key: value for key, value in config.items() if key not in {"layer", "backward_layer"}}
    yield Link("Bidirectional", name, settings, place, parts=tuple(parts))


def snake_case(class_name: str) -> str:
    """How Keras turns a class's name into a folder's: TimeDistributed -> time_distributed."""
    spaced = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", spaced).lower()


def _is_frozen(layer: dict[str, Any]) -> bool:
    return not settings_of(layer).get("trainable", True)


def _is_model(layer: dict[str, Any]) -> bool:
    return layer.get("class_name") == "Sequential" or "layers" in settings_of(layer)


def _has_weights(layer: dict[str, Any]) -> bool:
    kind = layer.get("class_name")
    if kind == "TimeDistributed":
        kind = (settings_of(layer).get("layer") or {}).get("class_name")
    return kind not in IDENTITY | ACTIVATIONS | {"Masking"}


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
