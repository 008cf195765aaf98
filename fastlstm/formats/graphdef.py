"""GraphDef and MetaGraphDef -> `Graph`.

Source: tensorflow/core/framework/{graph,node_def,attr_value}.proto, tensorflow/core/protobuf/meta_graph.proto.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastlstm.errors import FormatError
from fastlstm.formats import proto
from fastlstm.formats.functions import Flattener, loop_constants
from fastlstm.formats.graph import Graph, Node, Output
from fastlstm.formats.nodedef import attributes_of, output_of

COLLECTIONS = (b"variables", b"global_variables")


def read_meta_graph(data: bytes, source: str) -> Graph:
    """A MetaGraphDef, the content of a `.meta` file.

    source  the file's name, for messages
    Raises FormatError.
    """
    return meta_graph(proto.parse("MetaGraphDef", data, source), source)


def meta_graph(meta: Any, source: str, outputs: tuple[Output, ...] = ()) -> Graph:
    """The graph of a MetaGraphDef message.  outputs: what a signature gives.  Raises FormatError."""
    if not meta.graph_def.node:
        raise FormatError(f"{source}: a MetaGraphDef without nodes; the file is damaged, truncated, or of another kind")
    collections = {entry.key: entry.value for entry in meta.collection_def}
    definitions = next((collections[key].bytes_list.value for key in COLLECTIONS if key in collections), ())
    variables = []
    for definition in definitions:
        where = f"{source}: collection of variables"
        name = proto.text(proto.parse("VariableDef", definition, where).variable_name, where)
        variables.append(name.removesuffix(":0"))
    version = proto.text(meta.meta_info_def.tensorflow_version, f"{source}: TensorFlow's version")
    return Graph(_nodes(meta.graph_def, source), tuple(variables), version, source, outputs)


def read_graph(data: bytes, source: str) -> Graph:
    """A GraphDef.  Raises FormatError."""
    return graph_of(proto.parse("GraphDef", data, source), source)


def graph_of(message: Any, source: str) -> Graph:
    """A GraphDef that is parsed.  Raises FormatError."""
    return Graph(_nodes(message, source), source=source)


def _nodes(graph: Any, source: str) -> dict[str, Node]:
    """The nodes by name, with functions written out where there are any."""
    read: dict[str, tuple[Any, str, str, tuple[Output, ...]]] = {}
    for number, definition in enumerate(graph.node):
        try:
            name, op = definition.name.decode(), definition.op.decode()
            inputs = tuple([output_of(data.decode()) for data in definition.input if data[:1] != b"^"])
        except UnicodeDecodeError as error:
            raise FormatError(f"{source}: node {number}: {error.object!r} is not UTF-8; the file is damaged") from error
        if name in read:
            raise FormatError(f"{source}: node {name!r} is there twice; the file is damaged")
        read[name] = (definition, name, op, inputs)
    if graph.library.function:
        flattener = Flattener(graph, source)
        flattener.add_graph(list(read.values()))
        return loop_constants(flattener.nodes())
    nodes = {
        name: Node(name, op, inputs, partial(attributes_of, definition, f"{source}: node {name!r}"))
        for definition, name, op, inputs in read.values()
    }
    return loop_constants(nodes)
