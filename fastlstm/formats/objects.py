"""The graph of objects in a TensorFlow 2 checkpoint or SavedModel: which object holds which, and their tensors' keys.

An object that is reached on several paths is stored under the shortest of them, so a key alone does not say whose
tensor it is; the edges do.  Cycles are normal.
Source: tensorflow/core/protobuf/{trackable_object_graph,saved_object_graph}.proto.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from fastlstm.errors import FormatError
from fastlstm.formats import proto
from fastlstm.formats.tensors import Tensors

KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the scalar string tensor of a checkpoint that holds the graph
VALUE = "VARIABLE_VALUE"  # the attribute that is a variable's tensor
LONGEST_NAME = 1024  # bytes of an edge's name, far more than a Python attribute has


@dataclass(frozen=True)
class ObjectNode:
    """One object.

    children    edge -> number of the node it leads to
    attributes  what is saved of the object -> key of the tensor that holds it
    full_name   the variable's own name, "lstm/lstm_cell/kernel"; several variables may have the same one
    identifier  of a SavedModel's object: "_tf_keras_rnn_layer", "signature_map" ...
    metadata    of a SavedModel's Keras object: JSON text, as written
    functions   names of the functions that it stands for, in a SavedModel
    """

    children: dict[str, int]
    attributes: dict[str, str] = field(default_factory=dict)
    full_name: str = ""
    identifier: str = ""
    metadata: str = ""
    functions: tuple[str, ...] = ()


@dataclass(frozen=True)
class ObjectGraph:
    """nodes   the first is the root
    recent  written by TensorFlow 2.8 or later, which notes for each object whether it has values
    """

    nodes: tuple[ObjectNode, ...]
    recent: bool


def read_object_graph(data: bytes, keys: Collection[str], source: str) -> ObjectGraph:
    """A TrackableObjectGraph.

    keys    of the tensors in the checkpoint
    source  the file's name, for messages
    Raises FormatError where a node refers to a node or a tensor that is not there.
    """
    where = f"{source}: {KEY}"
    graph = proto.parse("TrackableObjectGraph", data, where)
    if not graph.nodes:
        raise FormatError(f"{where}: no objects, expected a root at least; the file is damaged")
    nodes = []
    for number, node in enumerate(graph.nodes):
        here = f"{where}: node {number}"
        attributes: dict[str, str] = {}
        for attribute in node.attributes:
            name, key = proto.text(attribute.name, here), proto.text(attribute.checkpoint_key, here)
            if name in attributes or key not in keys:
                wrong = "is there twice" if name in attributes else f"is said to be tensor {key!r}, which is not there"
                raise FormatError(f"{here}: attribute {name!r} {wrong}; the file is damaged")
            attributes[name] = key
        full_name = next((proto.text(a.full_name, here) for a in node.attributes), "")
        nodes.append(ObjectNode(children_of(node.children, len(graph.nodes), here), attributes, full_name))
    return ObjectGraph(tuple(nodes), any(node.HasField("has_checkpoint_values") for node in graph.nodes))


def object_graph_of(tensors: Tensors, source: str) -> ObjectGraph | None:
    """The graph that a checkpoint's tensors hold, None where they hold none.  Raises FormatError."""
    spec = tensors.specs.get(KEY)
    if spec is None:
        return None
    if spec.dtype != "string" or spec.shape:
        raise FormatError(f"{source}: {KEY} is {spec.dtype} {spec.shape}, expected one string; the file is damaged")
    return read_object_graph(tensors[KEY].item(), tensors.specs, source)


def children_of(references: Iterable[Any], count: int, where: str) -> dict[str, int]:
    """ObjectReferences -> edge: number of one of `count` nodes.  Raises FormatError."""
    children: dict[str, int] = {}
    for reference in references:
        name, number = proto.text(reference.local_name, where), reference.node_id
        if not 0 <= number < count:
            raise FormatError(f"{where}: child {name!r} is node {number}, expected one of {count}; the file is damaged")
        if name in children or len(name) > LONGEST_NAME:
            wrong = "is there twice" if name in children else f"has {len(name)} characters in its name"
            raise FormatError(f"{where}: child {name[:60]!r} {wrong}; the file is damaged")
        children[name] = number
    return children


def with_keys(graph: ObjectGraph, stored: ObjectGraph) -> ObjectGraph:
    """A SavedModel's `graph` with the attributes of the objects in `stored`, its checkpoint's, that stand alike."""
    nodes = list(graph.nodes)
    pairs, met = [(0, 0)], {0}
    while pairs:
        here, there = pairs.pop()
        other = stored.nodes[there]
        name = nodes[here].full_name or other.full_name
        nodes[here] = replace(nodes[here], attributes=other.attributes, full_name=name)
        for edge, child in nodes[here].children.items():
            if child not in met and edge in other.children:
                met.add(child)
                pairs.append((child, other.children[edge]))
    return ObjectGraph(tuple(nodes), stored.recent)
