"""Frozen graphs: a GraphDef whose variables have become constants, in binary (.pb) or as text (.pbtxt).

Source: tensorflow/python/framework/graph_util_impl.py, convert_variables_to_constants.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError
from fastlstm.formats import proto
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.dtypes import DTYPES, MAX_REPEATED, dtype_of, shape_of, tensor_from_proto
from fastlstm.formats.graphdef import graph_of
from fastlstm.formats.source import is_file, read_whole
from fastlstm.formats.tensors import Tensors, TensorSpec

LARGEST, LARGEST_TEXT, LARGEST_NODES = (1 << 31) - 1, 1 << 28, 1 << 23  # bytes: protobuf's limit; what text may have
VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})
_CODES = {f"DT_{dtype.name.upper()}": code for code, dtype in DTYPES.items()}
_CODES |= {"DT_FLOAT": 1, "DT_DOUBLE": 2, "DT_HALF": 19}
_CONTENT = b'tensor_content: "'
_ENUM = re.compile(rb"^(\s*d?type: )(DT_\w+?)(_REF)?\s*$", re.MULTILINE)


def detect(path: Path) -> bool:
    return path.suffix in (".pb", ".pbtxt") and path.stem != "saved_model" and is_file(path)


def read(path: Path) -> Artefact:
    """The constants that may be weights, and the graph.

    Raises FormatError if the file is damaged, or holds a graph without weights.
    """
    message = _text(path) if path.suffix == ".pbtxt" else _binary(path)
    if not message.node:
        raise FormatError(
            f"{path.name}: a GraphDef without nodes; the file is damaged, truncated, or of another kind.  Of a "
            "SavedModel, pass the folder"
        )
    graph = graph_of(message, path.name)
    protos = dict(_constants(message))
    specs = {}
    for name, tensor in protos.items():
        shape = shape_of(tensor.tensor_shape, f"{path.name}: node {name!r}")
        dtype = dtype_of(tensor.dtype).name
        if shape and "float" in dtype:
            specs[name] = TensorSpec(shape, dtype)
    variables = [node.name for node in graph.nodes.values() if node.op in VARIABLES]
    if not any(len(spec.shape) > 1 for spec in specs.values()):
        first = f", and {len(variables)} variables such as {variables[0]!r}" if variables else ""
        raise FormatError(
            f"{path.name}: a graph with {len(graph.nodes)} nodes but no weights among its constants{first}: it was not "
            "frozen; pass the checkpoint that belongs to it, or freeze it with its checkpoint "
            "(tf.compat.v1.graph_util.convert_variables_to_constants)"
        )
    notes = ()
    if variables:
        notes = (f"{len(variables)} variables of the graph are not frozen ({', '.join(map(repr, variables[:3]))}...)",)
    return Artefact(
        path, "frozen-graph", Tensors(specs, lambda name: _weight(protos, name, path.name)), graph, notes=notes
    )


def _constants(message: Any) -> list[tuple[str, Any]]:
    """Name -> TensorProto of every Const; names are known to be UTF-8."""
    return [
        (node.name.decode(), entry.value.tensor)
        for node in message.node
        if node.op == b"Const"
        for entry in node.attr
        if entry.key == b"value" and entry.value.HasField("tensor")
    ]


def _weight(protos: Mapping[str, Any], name: str, source: str) -> NDArray[Any]:
    """The constant as an array of its own.  Raises FormatError for a small list that would become a large array."""
    where = f"{source}: node {name!r}"
    array = tensor_from_proto(protos[name], where)
    if 0 in array.strides and math.prod(array.shape) * array.itemsize > MAX_REPEATED:
        raise FormatError(f"{where}: one value for the shape {array.shape}, too many to repeat; the file is damaged")
    return np.array(array)


def _binary(path: Path) -> Any:
    return proto.parse("GraphDef", read_whole(path, LARGEST), path.name)


def _text(path: Path) -> Any:
    """A GraphDef in protobuf's text format, whose enums our messages hold as numbers.

    protobuf's reader of text takes a hundred times the size of a long string, so the elements of tensors go round it.
    """
    message = proto.new("GraphDef")
    from google.protobuf import text_format

    try:
        text, contents = _without_contents(_ENUM.sub(_code, read_whole(path, LARGEST_TEXT)), path.name)
        if len(text) > LARGEST_NODES:
            raise FormatError(
                f"{path.name}: {len(text)} bytes of text without the elements of tensors, expected at most "
                f"{LARGEST_NODES}; save the graph in binary form (.pb)"
            )
        text_format.Parse(text, message, allow_unknown_field=True)
        for tensor in _tensors(message):
            if tensor.tensor_content:
                tensor.tensor_content = contents[int(tensor.tensor_content)]
    except (text_format.ParseError, ValueError, IndexError, RecursionError) as error:
        raise FormatError(f"{path.name}: not a GraphDef in text form: {error}; the file is damaged") from error
    return message


def _without_contents(text: bytes, source: str) -> tuple[bytes, list[bytes]]:
    """The text with a number in place of each tensor's elements, and the elements."""
    pieces = text.split(_CONTENT)
    kept, contents = [pieces[0]], list[bytes]()
    for piece in pieces[1:]:
        end = piece.find(b'"')
        while end > 0 and (end - len(piece[:end].rstrip(b"\\"))) % 2:  # an odd number of backslashes before it
            end = piece.find(b'"', end + 1)
        if end < 0:
            raise FormatError(f"{source}: the elements of a tensor do not end; the file is damaged or truncated")
        contents.append(codecs.escape_decode(piece[:end])[0])
        kept.append(b'%d"%s' % (len(contents) - 1, piece[end + 1 :]))
    return _CONTENT.join(kept), contents


def _tensors(message: Any) -> Iterator[Any]:
    for node in message.node:
        for entry in node.attr:
            if entry.value.HasField("tensor"):
                yield entry.value.tensor
            yield from entry.value.list.tensor


def _code(match: re.Match[bytes]) -> bytes:
    code = _CODES.get(match[2].decode(), 0) + (100 if match[3] else 0)
    return match[1] + str(code).encode()
