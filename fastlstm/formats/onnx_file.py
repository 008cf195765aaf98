"""ONNX models (`.onnx`): initializers by name, and the graph as a dataflow.

Source: onnx/onnx.proto, onnx/docs/ExternalData.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError
from fastlstm.formats import proto
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.dataflow import Dataflow, Operation, Value
from fastlstm.formats.dtypes import DTYPES, DType, byte_count, decode, item_size, widen
from fastlstm.formats.source import Source, read_start, read_whole
from fastlstm.formats.tensors import Tensors, TensorSpec

LIMIT = 2 << 30  # protocol buffers have no larger messages
EXTERNAL = 1  # data_location
DOMAINS = {"", "ai.onnx"}

#: TensorProto.DataType: name, and the field of its elements where they are not raw_data
TYPES = {
    1: ("float32", "float_data"),
    2: ("uint8", "int32_data"),
    3: ("int8", "int32_data"),
    4: ("uint16", "int32_data"),
    5: ("int16", "int32_data"),
    6: ("int32", "int32_data"),
    7: ("int64", "int64_data"),
    9: ("bool", "int32_data"),
    10: ("float16", "int32_data"),
    11: ("float64", "double_data"),
    12: ("uint32", "uint64_data"),
    13: ("uint64", "uint64_data"),
    16: ("bfloat16", "int32_data"),
}
#: AttributeProto.AttributeType: the field of its value
ATTRIBUTES = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}


def detect(path: Path) -> bool:
    """The name's ending, or a ModelProto's first two fields: an IR version of 3 to 31, then the producer's name."""
    start = read_start(path, 3)
    return bool(start) and (path.suffix == ".onnx" or (start[:1] == b"\x08" and 3 <= start[1] < 32 and start[2] == 18))


def read(path: Path) -> Artefact:
    """The initializers and the constants by name, and the graph.  Raises FormatError."""
    model = proto.parse("OnnxModel", read_whole(path, LIMIT), path.name)
    if not model.graph.node:
        raise FormatError(f"{path.name}: an ONNX model without nodes; the file is damaged or of another format")
    tensors: dict[str, Any] = {}
    for number, tensor in enumerate(model.graph.initializer):
        name = proto.text(tensor.name, f"{path.name}: name of initializer {number}")
        if name in tensors:
            raise FormatError(f"{path.name}: initializer {name!r} is there twice; the file is damaged")
        tensors[name] = tensor
    operations = []
    for number, node in enumerate(model.graph.node):
        operation = _operation(node, number, path.name)
        value = operation.attrs.get("value")
        if operation.op == "Constant" and hasattr(value, "data_type") and operation.outputs:
            tensors.setdefault(operation.outputs[0], value)
        else:
            operations.append(operation)
    specs = {name: TensorSpec(_dims(t, path.name, name), _type(t.data_type)[0]) for name, t in tensors.items()}

    def fetch(name: str) -> NDArray[Any]:
        return _array(tensors[name], path, f"{path.name}: tensor {name!r}")

    values = {}
    for infos in (model.graph.value_info, model.graph.output, model.graph.input):
        values.update(dict(_value(info, path.name) for info in infos))
    inputs = tuple(proto.text(info.name, f"{path.name}: name of an input") for info in model.graph.input)
    outputs = tuple(proto.text(info.name, f"{path.name}: name of an output") for info in model.graph.output)
    graph = Dataflow(tuple(operations), tuple(name for name in inputs if name not in tensors), outputs, values)
    producer = model.producer_name.decode("utf-8", "replace")
    versions = {entry.domain: entry.version for entry in model.opset_import}
    notes = (f"written by {producer or 'an unnamed producer'}, operator set {versions.get(b'', 'unknown')}",)
    return Artefact(path, "onnx", Tensors(specs, fetch), dataflow=graph, notes=notes)


def _operation(node: Any, number: int, where: str) -> Operation:
    where = f"{where}: node {number}"
    name, op, domain = (proto.text(data, where) for data in (node.name, node.op_type, node.domain))
    inputs = tuple([proto.text(data, where) for data in node.input])
    outputs = tuple([proto.text(data, where) for data in node.output])
    if domain not in DOMAINS:
        op = f"{domain}.{op}"
    attrs = {}
    for attribute in node.attribute:
        key = proto.text(attribute.name, where)
        kind = ATTRIBUTES.get(attribute.type) or next(
            (field.name for field, _ in attribute.ListFields() if field.name in ATTRIBUTES.values()), None
        )  # IR versions before 2 have no type
        if kind is None:
            continue
        value = getattr(attribute, kind)
        attrs[key] = list(value) if kind in ("floats", "ints", "strings") else value
    if op != "Constant":
        attrs = {key: value for key, value in attrs.items() if not hasattr(value, "data_type")} | {
            key: _array(value, None, f"{where}: attribute {key!r}")
            for key, value in attrs.items()
            if hasattr(value, "data_type")
        }
    return Operation(name or (outputs[0] if outputs else f"node {number}"), op, inputs, outputs, attrs)


def _value(info: Any, where: str) -> tuple[str, Value]:
    name = proto.text(info.name, f"{where}: name of a value")
    kind = info.type.tensor_type
    sizes = None
    if kind.HasField("shape"):
        sizes = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim)
    return name, Value(sizes, _type(kind.elem_type)[0])


def _type(code: int) -> tuple[str, str]:
    return TYPES.get(code, (f"ONNX type {code}", ""))


def _dims(tensor: Any, where: str, name: str) -> tuple[int, ...]:
    shape = tuple(tensor.dims)
    byte_count(shape, 1, f"{where}: tensor {name!r}")
    return shape


def _array(tensor: Any, path: Path | None, where: str) -> NDArray[Any]:
    """A TensorProto -> array.  Raises FormatError."""
    name, field = _type(tensor.data_type)
    dtype = next((dtype for dtype in DTYPES.values() if dtype.name == name), DType(name))
    shape = tuple(tensor.dims)
    size = byte_count(shape, item_size(dtype, where), where)
    if tensor.data_location == EXTERNAL:
        if path is None:
            raise FormatError(f"{where}: an attribute whose elements are in another file; the file is damaged")
        return decode(_external(tensor, size, path, where), dtype, shape, where)
    if tensor.raw_data or not size:
        return decode(tensor.raw_data, dtype, shape, where)
    values = getattr(tensor, field)
    storage = np.dtype(dtype.storage)
    if len(values) * storage.itemsize != size:
        raise FormatError(f"{where}: {len(values)} elements for the shape {shape}; the file is damaged")
    if storage.kind == "f" and storage.itemsize > 2:
        return np.array(values, storage).reshape(shape)
    wide = np.array(values, np.uint64 if field == "uint64_data" else np.int64)
    bits = np.dtype(np.uint16) if name == "float16" else np.dtype(np.uint8) if name == "bool" else storage
    narrow = wide.astype(bits)
    if (narrow != wide).any():
        raise FormatError(f"{where}: an element does not fit {name}; the file is damaged")
    if name == "bool":
        return (narrow != 0).reshape(shape)
    return widen(narrow.view(storage), dtype).reshape(shape)


def _external(tensor: Any, size: int, path: Path, where: str) -> bytes:
    """A tensor's bytes in a file beside the model, and nowhere else.  Raises FormatError."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = proto.text(entries.get(b"location", b""), where)
    parts = location.replace("\\", "/").split("/")
    if not location or "\0" in location or ":" in location or {"", "..", "."} & set(parts):
        raise FormatError(
            f"{where}: its elements are in {location!r}, expected the name of a file beside the model; the file is "
            f"damaged, or not to be trusted"
        )
    folder, target = path.parent.resolve(), path.parent.joinpath(*parts)
    try:
        inside = target.resolve().is_relative_to(folder)
    except (OSError, RuntimeError, ValueError):
        inside = False
    if not inside:
        raise FormatError(f"{where}: {location!r} leads out of the model's folder; put the file itself there")
    try:
        offset = int(entries.get(b"offset", b"0"))
        length = int(entries.get(b"length", str(size)))
    except ValueError as error:
        raise FormatError(f"{where}: offset or length in {location!r} is no number; the file is damaged") from error
    if length != size:
        raise FormatError(f"{where}: {length} bytes in {location!r}, expected {size}; the file is damaged")
    with Source(target) as source:
        return source.read(offset, length, where)
