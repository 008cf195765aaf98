"""Keras' older HDF5 files: a whole model, or `save_weights` of one.

The weights are in one group for each layer, whose attribute `weight_names` gives their order.
Source: keras/src/legacy/saving/legacy_h5_format.py.
"""

from __future__ import annotations

from pathlib import Path

from fastlstm.errors import FormatError
from fastlstm.formats.artefact import Artefact, KerasConfig
from fastlstm.formats.hdf5 import MAGIC, Hdf5
from fastlstm.formats.json_text import parse_object
from fastlstm.formats.keras_tree import read_tree
from fastlstm.formats.source import read_start
from fastlstm.formats.tensors import Tensors, TensorSpec

WEIGHTS = "model_weights"  # the group of the weights in a file of a whole model
TOP_LEVEL = "top_level_model_weights"  # variables of the model itself, outside its layers
KERAS_1, KERAS_3 = "1", "3"  # these did not write their versions


def detect(path: Path) -> bool:
    """A file with HDF5's signature."""
    return read_start(path, len(MAGIC)) == MAGIC


def read(path: Path) -> Artefact:
    """Weights named "layer/weight_name"; of a Keras 3 `.weights.h5`, by their path in the model.

    Raises FormatError.
    """
    source = Hdf5.of_path(path)
    specs: dict[str, TensorSpec] = {}
    layer_weights: dict[str, tuple[str, ...]] = {}
    with source.open() as file:
        group = source.child(file, WEIGHTS) if WEIGHTS in file else file
        layers = source.texts(group, "layer_names")
        config = source.text(file, "model_config")
        version = source.text(group, "keras_version") or source.text(file, "keras_version") or KERAS_1
        for layer in [*(layers or ()), *([TOP_LEVEL] if TOP_LEVEL in group else ())]:
            if layer in layer_weights:
                raise FormatError(f"{source.name}: layer {layer!r} is there twice; the file is damaged")
            weights = source.texts(source.child(group, layer), "weight_names")
            if weights is None:
                raise FormatError(
                    f"{source.name}: layer {layer!r} has no attribute 'weight_names'; the file is damaged"
                )
            layer_weights[layer] = tuple(f"{layer}/{weight}" for weight in weights)
            for name in layer_weights[layer]:
                specs[name] = source.spec(source.child(group, name))
        source.check_total(specs.values())
        root = "" if group is file else f"{WEIGHTS}/"
    if layers is None:
        return Artefact(path, "keras-h5", read_tree(source), keras=KerasConfig(None, KERAS_3))
    if not layer_weights.get(TOP_LEVEL, True):
        del layer_weights[TOP_LEVEL]
    model = None if config is None else parse_object(config, f"{source.name}: attribute 'model_config'")
    return Artefact(
        path,
        "keras-h5",
        Tensors(specs, lambda name: source.fetch(root + name)),
        keras=KerasConfig(model, version, layer_weights),
    )
