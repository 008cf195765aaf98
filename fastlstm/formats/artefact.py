"""What a file holds, as plain data: the only thing that `formats` hands to the rest of the package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fastlstm.formats.dataflow import Dataflow
from fastlstm.formats.graph import Graph
from fastlstm.formats.objects import ObjectGraph

if TYPE_CHECKING:
    from fastlstm.formats.saved_model import Program


@dataclass(frozen=True)
class TensorSpec:
    """What is known of a tensor before its bytes are read.

    dtype  as the file names it: "float32", "bfloat16", "string" ...
    """

    shape: tuple[int, ...]
    dtype: str


class Tensors(Mapping[str, NDArray[Any]]):
    """Named tensors, each read and checked when it is asked for.

    specs  name -> TensorSpec, in the file's order
    fetch  name -> array, read from the file at each call.  Raises FormatError.
    """

    def __init__(self, specs: Mapping[str, TensorSpec], fetch: Callable[[str], NDArray[Any]]) -> None:
        self.specs = dict(specs)
        self._fetch = fetch

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.specs:
            raise KeyError(name)
        return self._fetch(name)

    def __contains__(self, name: object) -> bool:
        return name in self.specs

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)


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
