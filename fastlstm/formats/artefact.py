"""What a file holds, as plain data: the only thing that `formats` hands to the rest of the package."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastlstm.formats.dataflow import Dataflow
from fastlstm.formats.graph import Graph
from fastlstm.formats.objects import ObjectGraph
from fastlstm.formats.program import Program
from fastlstm.formats.tensors import Tensors


@dataclass(frozen=True)
class KerasConfig:
    """A Keras file's own description of its model.

    model          the parsed JSON {"class_name": "Sequential", "config": {...}}; None in a weights-only file
    version        Keras' version as written, "1" where the file does not say
    layer_weights  layer name -> names of its tensors, in the order of `layer.weights` (not in Keras 3's own files)
    ordered        whether layer_weights has the layers in the order in which they run
    recent         whether a file without a configuration is known to be of TensorFlow 2.8 or later
    """

    model: dict[str, Any] | None
    version: str
    layer_weights: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ordered: bool = True
    recent: bool = False


@dataclass(frozen=True)
class Artefact:
    """A file or a set of files, read.

    path          what the messages call it
    format        one of the names in `formats.detect`
    tensors       the variables
    graph         the TensorFlow graph that came with them, else None
    keras         the Keras configuration that came with them, else None
    objects       the graph of objects that a TensorFlow 2 checkpoint or SavedModel came with, else None
    program       the functions of a TensorFlow 2 SavedModel, else None
    architecture  what `fastlstm.save` wrote of the layers, else None
    dataflow      the operations of a TensorFlow Lite or ONNX model, else None
    description   what a JSON model says beside its weights, else None
    notes         what a reader should know, e.g. that a `.meta` file was not found
    """

    path: Path
    format: str
    tensors: Tensors
    graph: Graph | None = None
    keras: KerasConfig | None = None
    objects: ObjectGraph | None = None
    program: Program | None = None
    architecture: dict[str, Any] | None = None
    dataflow: Dataflow | None = None
    description: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
