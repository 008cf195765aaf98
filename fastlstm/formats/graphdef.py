"""GraphDef and MetaGraphDef -> `Graph`.

Source: tensorflow/core/framework/{graph,node_def,attr_value}.proto, tensorflow/core/protobuf/meta_graph.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastlstm.errors import FormatError
from fastlstm.formats import proto
from fastlstm.formats.dtypes import dtype_name, tensor_from_proto
from fastlstm.formats.graph import Graph, Node, Output

COLLECTIONS = (b"variables", b"global_variables")


def read_meta_graph(data: bytes, source: str) -> Graph:
    """A MetaGraphDef, the content of a `.meta` file.

    source  the file's name, for messages
    Raises FormatError.
    """
    meta = proto.parse("MetaGraphDef", data, source)
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
    return Graph(_nodes(meta.graph_def, source), tuple(variables), version, source)


def read_graph(data: bytes, source: str) -> Graph:
    """A GraphDef, the content of a frozen `.pb` file.  Raises FormatError."""
    return Graph(_nodes(proto.parse("GraphDef", data, source), source), source=source)


def _nodes(graph: Any, source: str) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for number, definition in enumerate(graph.node):
        try:
            name, op = definition.name.decode(), definition.op.decode()
            inputs = tuple([_output(data.decode()) for data in definition.input if data[:1] != b"^"])
        except UnicodeDecodeError as error:
            raise FormatError(f"{source}: node {number}: {error.object!r} is not UTF-8; the file is damaged") from error
        where = f"{source}: node {name!r}"
        if name in nodes:
            raise FormatError(f"{where} is there twice; the file is damaged")
        nodes[name] = Node(name, op, inputs, partial(_attributes, definition, where))
    return nodes


def _output(text: str) -> Output:
    """ "split:2" -> Output("split", 2), "split" -> Output("split", 0)."""
    node, _, index = text.rpartition(":")
    if node and index.isascii() and index.isdecimal() and len(index) < 10:
        return Output(node, int(index))
    return Output(text, 0)


def _attributes(definition: Any, where: str) -> Mapping[str, Any]:
    result = {}
    for entry in definition.attr:
        key = proto.text(entry.key, where)
        result[key] = _value(entry.value, f"{where}: attribute {key!r}")
    return result


def _value(value: Any, where: str) -> Any:
    """An AttrValue -> what `Node` promises; None if nothing is set."""
    kind = next((descriptor.name for descriptor, _ in value.ListFields()), None)
    if kind is None:
        return None
    if kind == "list":
        return tuple(_single(field.name, item, where) for field, items in value.list.ListFields() for item in items)
    return _single(kind, getattr(value, kind), where)


def _single(kind: str, value: Any, where: str) -> Any:
    """One value of the AttrValue field called `kind`."""
    if kind == "type":
        return dtype_name(value)
    if kind == "shape":
        return None if value.unknown_rank else tuple(dim.size for dim in value.dim)
    if kind == "tensor":
        return tensor_from_proto(value, where)
    if kind == "func":
        return proto.text(value.name, where)
    if kind == "placeholder":
        return proto.text(value, where)
    return value
