"""TensorFlow Lite models (`.tflite`): constants by name, and the main subgraph as a dataflow.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, whose field numbers and codes stand here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.dataflow import Dataflow, Operation, Value
from fastlstm.formats.dtypes import DTYPES, DType, byte_count, decode
from fastlstm.formats.flatbuffer import FlatBuffer, Table
from fastlstm.formats.source import read_start, read_whole
from fastlstm.formats.tensors import Tensors, TensorSpec

IDENTIFIER = b"TFL3"
VERSION = 3
LIMIT = 4 << 30

#: BuiltinOperator, codes 0 to 118 and on; those that are not listed are called by their number.
OPERATORS = [
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE",
    "EMBEDDING_LOOKUP", "FLOOR", "FULLY_CONNECTED", "HASHTABLE_LOOKUP", "L2_NORMALIZATION", "L2_POOL_2D",
    "LOCAL_RESPONSE_NORMALIZATION", "LOGISTIC", "LSH_PROJECTION", "LSTM", "MAX_POOL_2D", "MUL", "RELU", "RELU_N1_TO_1",
    "RELU6", "RESHAPE", "RESIZE_BILINEAR", "RNN", "SOFTMAX", "SPACE_TO_DEPTH", "SVDF", "TANH", "CONCAT_EMBEDDINGS",
    "SKIP_GRAM", "CALL", "CUSTOM", "EMBEDDING_LOOKUP_SPARSE", "PAD", "UNIDIRECTIONAL_SEQUENCE_RNN", "GATHER",
    "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "TRANSPOSE", "MEAN", "SUB", "DIV", "SQUEEZE",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "STRIDED_SLICE", "BIDIRECTIONAL_SEQUENCE_RNN", "EXP", "TOPK_V2", "SPLIT",
    "LOG_SOFTMAX", "DELEGATE", "BIDIRECTIONAL_SEQUENCE_LSTM", "CAST", "PRELU", "MAXIMUM", "ARG_MAX", "MINIMUM", "LESS",
    "NEG", "PADV2", "GREATER", "GREATER_EQUAL", "LESS_EQUAL", "SELECT", "SLICE", "SIN", "TRANSPOSE_CONV",
    "SPARSE_TO_DENSE", "TILE", "EXPAND_DIMS", "EQUAL", "NOT_EQUAL", "LOG", "SUM", "SQRT", "RSQRT", "SHAPE", "POW",
    "ARG_MIN", "FAKE_QUANT", "REDUCE_PROD", "REDUCE_MAX", "PACK", "LOGICAL_OR", "ONE_HOT", "LOGICAL_AND",
    "LOGICAL_NOT", "UNPACK", "REDUCE_MIN", "FLOOR_DIV", "REDUCE_ANY", "SQUARE", "ZEROS_LIKE", "FILL", "FLOOR_MOD",
    "RANGE", "RESIZE_NEAREST_NEIGHBOR", "LEAKY_RELU", "SQUARED_DIFFERENCE", "MIRROR_PAD", "ABS", "SPLIT_V", "UNIQUE",
    "CEIL", "REVERSE_V2", "ADD_N", "GATHER_ND", "COS", "WHERE", "RANK", "ELU", "REVERSE_SEQUENCE", "MATRIX_DIAG",
    "QUANTIZE", "MATRIX_SET_DIAG", "ROUND", "HARD_SWISH", "IF", "WHILE",
]  # fmt: skip

OTHERS = {123: "SELECT_V2", 126: "BATCH_MATMUL"}
FUSED = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")

#: operator: (code of its table in the union BuiltinOptions, {field: "struct-code name default"})
OPTIONS: dict[str, tuple[int, dict[int, str]]] = {
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (
        71,
        {0: "b fused 0", 1: "f cell_clip 0", 2: "f proj_clip 0", 3: "? time_major 0", 5: "? diagonal 0"},
    ),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (
        69,
        {0: "b fused 0", 1: "f cell_clip 0", 2: "f proj_clip 0", 3: "? merge_outputs 0", 4: "? time_major 1"},
    ),
    "LSTM": (14, {0: "b fused 0", 1: "f cell_clip 0", 2: "f proj_clip 0", 3: "b kernel_type 0"}),
    "FULLY_CONNECTED": (8, {0: "b fused 0", 1: "b weights_format 0", 2: "? keep_num_dims 0"}),
    "BATCH_MATMUL": (101, {0: "? adj_x 0", 1: "? adj_y 0"}),
    "SOFTMAX": (9, {0: "f beta 0"}),
    "GATHER": (23, {0: "i axis 0", 1: "i batch_dims 0"}),
    "STRIDED_SLICE": (
        32,
        {0: "i begin 0", 1: "i end 0", 2: "i ellipsis 0", 3: "i new_axis 0", 4: "i shrink 0"},
    ),
    "CONCATENATION": (10, {0: "i axis 0", 1: "b fused 0"}),
    "ADD": (11, {0: "b fused 0"}),
    "MUL": (21, {0: "b fused 0"}),
    "SUB": (28, {0: "b fused 0"}),
    "WHILE": (93, {0: "i condition 0", 1: "i body 0"}),
    "SPLIT": (35, {0: "i count 0"}),
    "LEAKY_RELU": (75, {0: "f alpha 0"}),
    "PACK": (59, {0: "i count 0", 1: "i axis 0"}),
    "UNPACK": (64, {0: "i count 0", 1: "i axis 0"}),
}
VECTORS = {"RESHAPE": (17, "new_shape"), "SQUEEZE": (30, "dims")}  # operators whose options are one vector of int32

_NAMES = [
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64",
    "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16", "int2", "uint4",
    "float8_e4m3fn", "float8_e5m2",
]  # fmt: skip
_PACKED = {"int4", "int2", "uint4"}  # several elements a byte


def detect(path: Path) -> bool:
    """A FlatBuffer's identifier."""
    return read_start(path, 8)[4:] == IDENTIFIER


def read(path: Path) -> Artefact:
    """The constants by the names of their tensors, and the operators of the first subgraph.  Raises FormatError."""
    data = read_whole(path, LIMIT)
    root = FlatBuffer(data, path.name).root()
    version = root.number(0, "I")
    if version != VERSION:
        raise FormatError(f"{path.name}: TensorFlow Lite schema {version}, expected {VERSION}; the file is damaged")
    codes = [_operator(entry) for entry in root.tables(1)]
    graphs, buffers = root.tables(2), root.tables(4)
    if not graphs:
        raise FormatError(f"{path.name}: a TensorFlow Lite model without subgraphs; the file is damaged")
    specs: dict[str, TensorSpec] = {}
    spans: dict[str, tuple[int, int]] = {}
    main, *others = (
        _subgraph(graph, f"{number}/" if number else "", codes, buffers, path.name, specs, spans)
        for number, graph in enumerate(graphs)
    )
    main = replace(main, bodies=dict(enumerate(others, 1)))

    def fetch(name: str) -> NDArray[Any]:
        start, size = spans[name]
        spec = specs[name]
        return decode(data[start : start + size], _dtype(spec.dtype), spec.shape, f"{path.name}: tensor {name!r}")

    return Artefact(path, "tflite", Tensors(specs, fetch), dataflow=main)


def _operator(entry: Table) -> str:
    """The name of an operator; a custom one's own."""
    code = max(entry.number(0, "b"), entry.number(3, "i"))
    name = OPERATORS[code] if 0 <= code < len(OPERATORS) else OTHERS.get(code, f"operator {code}")
    return f"CUSTOM {entry.text(1)}" if name == "CUSTOM" else name


def _dtype(name: str) -> DType:
    if name in _PACKED:
        return DType(f"{name}, several a byte")
    return next((dtype for dtype in DTYPES.values() if dtype.name == name), DType(name))


def _subgraph(
    graph: Table,
    prefix: str,
    codes: list[str],
    buffers: list[Table],
    where: str,
    specs: dict[str, TensorSpec],
    spans: dict[str, tuple[int, int]],
) -> Dataflow:
    """A subgraph, its values' names after `prefix`; its constants are added to `specs` and `spans`."""
    names: list[str] = []
    values: dict[str, Value] = {}
    for number, tensor in enumerate(graph.tables(0)):
        name = prefix + (tensor.text(3) or f"tensor {number}")
        if name in values:
            name = f"{name}#{number}"
        names.append(name)
        span = _content(tensor, buffers, where, name)
        values[name] = _value(tensor, where, name, span is not None)
        if span is None:
            continue
        shape, dtype = tuple(size or 0 for size in values[name].shape or ()), values[name].dtype
        specs[name], spans[name] = TensorSpec(shape, dtype), span
        if tensor.table(6) is not None:
            specs[name] = TensorSpec(shape, f"{dtype}, sparse")
        elif _dtype(dtype).storage:
            item = np.dtype(_dtype(dtype).storage).itemsize
            expected = byte_count(shape, item, f"{where}: tensor {name!r}")
            if expected != span[1]:
                raise FormatError(
                    f"{where}: tensor {name!r}: {span[1]} bytes, expected {expected} for {dtype} {shape}; the file is "
                    f"damaged"
                )

    def named(numbers: Any, what: str) -> tuple[str, ...]:
        result = [] if numbers is None else [int(number) for number in numbers]
        if any(number < -1 or number >= len(names) for number in result):
            raise FormatError(f"{where}: {what}: tensors {result[:30]}, there are {len(names)}; the file is damaged")
        return tuple("" if number < 0 else names[number] for number in result)

    operations = []
    for number, operator in enumerate(graph.tables(3)):
        code = operator.number(0, "I")
        if code >= len(codes):
            raise FormatError(f"{where}: operator {number} has code {code} of {len(codes)}; the file is damaged")
        label = f"operator {number}, {codes[code]}"
        inputs = named(operator.numbers(1, "i4"), f"{label}: inputs")
        outputs = named(operator.numbers(2, "i4"), f"{label}: outputs")
        attrs = _options(codes[code], operator, f"{where}: {label}")
        operations.append(Operation(outputs[0] if outputs else label, codes[code], inputs, outputs, attrs))
    ends = [named(graph.numbers(field, "i4"), "ends of the subgraph") for field in (1, 2)]
    return Dataflow(tuple(operations), ends[0], ends[1], values)


def _value(tensor: Table, where: str, name: str, constant: bool) -> Value:
    code = tensor.number(1, "b")
    dtype = _NAMES[code] if 0 <= code < len(_NAMES) else f"unknown type {code}"
    shape = tensor.numbers(0, "i4")
    signature = tensor.numbers(7, "i4")
    sizes: tuple[int | None, ...] = () if shape is None else tuple(int(size) for size in shape)
    if any(size is not None and size < 0 for size in sizes):
        raise FormatError(f"{where}: tensor {name!r} has shape {sizes}; the file is damaged")
    if signature is not None and len(signature) == len(sizes) and not constant:
        sizes = tuple(None if free < 0 else size for size, free in zip(sizes, signature, strict=True))
    details = tensor.table(4)
    if details is None:
        return Value(sizes, dtype)
    scale, zero = details.numbers(2, "f4"), details.numbers(3, "i8")
    if scale is None or not len(scale):
        return Value(sizes, dtype)
    zeros = tuple(int(z) for z in zero) if zero is not None and len(zero) else (0,) * len(scale)
    if len(zeros) != len(scale):
        raise FormatError(f"{where}: tensor {name!r}: {len(scale)} scales and {len(zeros)} zero points")
    return Value(sizes, dtype, tuple(float(s) for s in scale), zeros, details.number(6, "i"))


def _content(tensor: Table, buffers: list[Table], where: str, name: str) -> tuple[int, int] | None:
    """Where a tensor's bytes are; None for one that is computed, or is a variable."""
    number = tensor.number(2, "I")
    if number >= len(buffers):
        raise FormatError(f"{where}: tensor {name!r} is in buffer {number} of {len(buffers)}; the file is damaged")
    buffer = buffers[number]
    offset, size = buffer.number(1, "Q"), buffer.number(2, "Q")
    if offset > 1:  # behind the FlatBuffer, in files of more than 2 GB
        buffer.check(offset, size, f"tensor {name!r}")
        return offset, size
    span = buffer.span(0)
    return span if span is not None and span[1] else None


def _options(op: str, operator: Table, where: str) -> dict[str, Any]:
    """The options of an operator that `OPTIONS` and `VECTORS` list; defaults where the file leaves them out."""
    if op not in OPTIONS and op not in VECTORS:
        return {}
    kind, table = operator.number(3, "B"), operator.table(4)
    expected = (OPTIONS if op in OPTIONS else VECTORS)[op][0]
    if table is not None and kind != expected:
        raise FormatError(f"{where}: options of type {kind}, expected {expected}; the file is damaged")
    if op in VECTORS:
        vector = table.numbers(0, "i4") if table is not None else None
        return {} if vector is None else {VECTORS[op][1]: [int(v) for v in vector]}
    result: dict[str, Any] = {}
    for number, declaration in OPTIONS[op][1].items():
        code, name, default = declaration.split()
        value = float(default) if code == "f" else int(default)
        if table is not None:
            value = table.number(number, code, value)
        if name == "fused":
            value = FUSED[value] if 0 <= value < len(FUSED) else f"function {value}"
        result[name] = value
    return result
