"""Keras models of a SavedModel, whose objects come with the configuration that Keras gave them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastlstm.formats.artefact import Artefact, KerasConfig
from fastlstm.recognise.keras.bare import bare_chain
from fastlstm.recognise.objects.bare import as_keras, config_of, layer_configs, renamed
from fastlstm.recognise.objects.tree import Group, Layer, Tree, Weight

if TYPE_CHECKING:
    from fastlstm.recognise.findings import Finding

_BEFORE = "2.2.4-tf"  # what tf.keras called itself when it did not write its version into the metadata


def with_model(item: Layer | Group, number: int, tree: Tree, artefact: Artefact) -> Artefact | None:
    """The artefact as a Keras file with the configuration of the model `number`; None where it has none of layers."""
    model = config_of(number, artefact)
    if model is None or not isinstance(model["config"].get("layers"), list):
        return None
    named: dict[str, tuple[int, str]] = {}
    children = tree.nodes[number].children
    for edge in sorted(children, key=lambda edge: not edge.startswith("layer")):
        config = config_of(children[edge], artefact)
        if config is not None:
            named.setdefault(str(config["config"].get("name")), (children[edge], edge))
    weights: dict[str, list[Weight]] = {}
    for layer in _layers(model):
        name = _name(layer)
        if name in named:
            part = tree.below(*named[name])
            weights[name] = list(part.weights) if isinstance(part, Layer) else _nested(layer, part, artefact)
    prefix = f"{item.path}/" if item.path else ""
    keys = {prefix + weight.path: weight.key for found in weights.values() for weight in found}
    listed = {name: tuple(prefix + weight.path for weight in found) for name, found in weights.items()}
    whole = {"class_name": model["class_name"], "config": _all_trainable(model["config"])}
    config = KerasConfig(whole, _version(model), listed)
    return replace(artefact, tensors=renamed(artefact.tensors, keys), keras=config, graph=None)


def with_layers(item: Layer | Group, artefact: Artefact) -> tuple[Artefact, Finding | None]:
    """The artefact as a Keras file of these layers, with their configurations if all have one; how they are ordered."""
    assert artefact.objects is not None
    bare = as_keras(item, artefact, artefact.objects)
    configs = layer_configs(item, artefact)
    assert bare.keras is not None
    listed = bare.keras.layer_weights
    if not listed.keys() <= configs.keys():
        return bare, None
    chain, order = bare_chain(bare)
    names = list(dict.fromkeys(link.name.split("//")[0] for link in chain))
    paths = [path for path in names if path in configs] if set(names) == listed.keys() else list(listed)
    layers = [{**configs[path], "config": {**configs[path]["config"], "name": path}} for path in paths]
    for layer in layers:
        layer.pop("inbound_nodes", None)
    model = {"class_name": "Sequential", "config": {"name": item.path or "model", "layers": _all_trainable(layers)}}
    return replace(bare, keras=KerasConfig(model, _version(configs[paths[0]]), listed)), order


def _version(config: dict[str, Any]) -> str:
    version = config.get("keras_version")
    return version if isinstance(version, str) and version else _BEFORE


def _layers(model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The layers that a model's configuration lists."""
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, dict) else None
    for layer in layers if isinstance(layers, list) else ():
        if isinstance(layer, dict) and isinstance(layer.get("config"), dict):
            yield layer


def _name(layer: dict[str, Any]) -> str:
    return str(layer["config"].get("name") or layer.get("name"))


def _nested(model: dict[str, Any], group: Group, artefact: Artefact) -> list[Weight]:
    """The weights of a model in a model, in the order of its layers."""
    by_name: dict[str, Sequence[Weight]] = {}
    for layer in group.layers():
        config = config_of(layer.number, artefact)
        if config is not None:
            by_name.setdefault(str(config["config"].get("name")), layer.weights)
    found: list[Weight] = []
    pending = [model]
    while pending:
        layer = pending.pop()
        inner = list(_layers(layer))
        pending.extend(reversed(inner))
        if not inner:
            found.extend(by_name.get(_name(layer), ()))
    return found


def _all_trainable(config: Any) -> Any:
    """A configuration without what is frozen: Keras lists such weights last, objects keep theirs where they are."""
    if isinstance(config, dict):
        return {key: _all_trainable(value) for key, value in config.items() if key != "trainable"}
    return [_all_trainable(each) for each in config] if isinstance(config, list) else config
