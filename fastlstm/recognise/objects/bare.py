"""Keras layers in a graph of objects, without the model's configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastlstm.errors import FormatError, RecognitionError
from fastlstm.formats.artefact import Artefact, KerasConfig
from fastlstm.formats.tensors import Tensors
from fastlstm.recognise.objects.tree import Group, Layer

if TYPE_CHECKING:
    from fastlstm.formats.objects import ObjectGraph

CONFIG = "OBJECT_CONFIG_JSON"  # the attribute under which TensorFlow 1.13 to 2.x may keep a layer's configuration


def candidates(item: Layer | Group) -> list[Layer | Group]:
    """The models with an LSTM in `item`: a layer or a row is one, a bag with LSTM layers of its own is one."""
    if isinstance(item, Layer) or item.ordered:
        return [item] if item.recurrent else []
    loose = [part for part in item.items if isinstance(part, Layer)]
    models = [part for part in item.items if isinstance(part, Group) and part.recurrent]
    if any(layer.recurrent for layer in loose) or (loose and len(models) == 1):
        return [item]
    return [found for model in models for found in candidates(model)]


def check_cells(item: Layer | Group, artefact: Artefact, graph: ObjectGraph) -> None:
    """Raises RecognitionError where a recurrent layer has no weights in the file."""
    for layer in layers_of(item):
        if not layer.weights and "cell" in graph.nodes[layer.number].children:
            raise RecognitionError(
                f"{artefact.path}: object {layer.path!r} is a recurrent layer whose cell has no weights in the file: "
                "Keras 3 leaves the weights of stacked cells (RNN over a list of cells) out of a tf.train.Checkpoint, "
                "or the layer had not been built. Save the model with model.save('model.h5') or "
                "model.save('model.keras') instead"
            )


def layers_of(item: Layer | Group) -> list[Layer]:
    return [item] if isinstance(item, Layer) else list(item.layers())


def as_keras(item: Layer | Group, artefact: Artefact, graph: ObjectGraph) -> Artefact:
    """The artefact as a Keras file of weights that has these layers.  Raises RecognitionError where weights miss."""
    check_cells(item, artefact, graph)
    layers = [layer for layer in layers_of(item) if layer.weights]
    keys = {weight.path: weight.key for layer in layers for weight in layer.weights}
    keras3 = any("_kernel" in graph.nodes[layer.number].children for layer in layers) or any(
        "_operations" in node.children for node in graph.nodes
    )
    config = KerasConfig(
        None,
        "3" if keras3 else "2",
        {layer.path: tuple(weight.path for weight in layer.weights) for layer in layers},
        ordered=isinstance(item, Layer) or item.ordered or len(layers) == 1,
        recent=graph.recent,
    )
    return replace(artefact, tensors=renamed(artefact.tensors, keys), keras=config, graph=None)


def renamed(tensors: Tensors, keys: dict[str, str]) -> Tensors:
    """Tensors under other names.  keys: name -> the tensor's name in the file"""
    return Tensors({name: tensors.specs[key] for name, key in keys.items()}, lambda name: tensors[keys[name]])


def layer_configs(item: Layer | Group, artefact: Artefact) -> dict[str, dict[str, Any]]:
    """Path of a layer -> its configuration, {"class_name": ..., "config": {...}}, for the layers that have one."""
    found = {}
    for layer in layers_of(item):
        config = config_of(layer.number, artefact)
        if config is not None:
            found[layer.path] = config
    return found


def config_of(number: int, artefact: Artefact) -> dict[str, Any] | None:
    """An object's configuration as the file has it, with class_name and config; else None.  Raises FormatError."""
    assert artefact.objects is not None
    node = artefact.objects.nodes[number]
    text: str | bytes = node.metadata
    if CONFIG in node.attributes:
        text = artefact.tensors[node.attributes[CONFIG]].item()
    if not text:
        return None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(
            f"{artefact.path}: the metadata of object {number} is not JSON: {error}; the file is damaged"
        ) from error
    return config if isinstance(config, dict) and isinstance(config.get("config"), dict) else None
