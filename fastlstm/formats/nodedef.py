"""Parts of a NodeDef -> plain data.

Source: tensorflow/core/framework/{node_def,attr_value}.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastlstm.formats import proto
from fastlstm.formats.dtypes import dtype_name, tensor_from_proto
from fastlstm.formats.graph import Output


def output_of(text: str) -> Output:
    """ "split:2" -> Output("split", 2), "split" -> Output("split", 0)."""
    node, _, index = text.rpartition(":")
    if node and index.isascii() and index.isdecimal() and len(index) < 10:
        return Output(node, int(index))
    return Output(text, 0)


def attributes_of(definition: Any, where: str) -> Mapping[str, Any]:
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
