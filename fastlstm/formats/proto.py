"""TensorFlow's protocol buffer messages, described here by field numbers.

The descriptors are built when first needed, in a pool and a package of our own, so that they live beside TensorFlow's
in one process.  Only the fields that fastlstm reads are listed; a parser skips the others.  Names are `bytes`, not
`string`, and enums are `int32`: a damaged name or an unknown enum is then reported by whoever uses it, with the place.
Source: tensorflow/core/protobuf/*.proto, tensorflow/core/framework/*.proto.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fastlstm.errors import FormatError
from fastlstm.formats.onnx_messages import ONNX_MESSAGES

PACKAGE = "fastlstm.tensorflow"

# message: {number: "type name"}, a "*" marks a repeated field; a type with a capital is another message
MESSAGES: dict[str, dict[int, str]] = {
    "VersionDef": {2: "int32 min_consumer", 3: "int32* bad_consumers"},
    # tensors
    "Dim": {1: "int64 size"},
    "TensorShapeProto": {2: "Dim* dim", 3: "bool unknown_rank"},
    "TensorProto": {
        1: "int32 dtype",
        2: "TensorShapeProto tensor_shape",
        4: "bytes tensor_content",
        5: "float* float_val",
        6: "double* double_val",
        7: "int32* int_val",
        8: "bytes* string_val",
        9: "float* scomplex_val",
        10: "int64* int64_val",
        11: "bool* bool_val",
        12: "double* dcomplex_val",
        13: "int32* half_val",
        16: "uint32* uint32_val",
        17: "uint64* uint64_val",
    },
    # the index of a V2 checkpoint
    "BundleHeaderProto": {1: "int32 num_shards", 2: "int32 endianness", 3: "VersionDef version"},
    "Extent": {1: "int64 start", 2: "int64 length"},
    "TensorSliceProto": {1: "Extent* extent"},
    "BundleEntryProto": {
        1: "int32 dtype",
        2: "TensorShapeProto shape",
        3: "int32 shard_id",
        4: "int64 offset",
        5: "int64 size",
        6: "fixed32 crc32c",
        7: "TensorSliceProto* slices",
    },
    # the first entry of a V1 checkpoint, one tensor of it
    "SavedSliceMeta": {1: "bytes name", 2: "TensorShapeProto shape", 3: "int32 type", 4: "TensorSliceProto* slice"},
    # the file `checkpoint`
    "CheckpointState": {1: "bytes model_checkpoint_path"},
    # graphs
    "NameAttrList": {1: "bytes name"},
    "ListValue": {
        2: "bytes* s",
        3: "int64* i",
        4: "float* f",
        5: "bool* b",
        6: "int32* type",
        7: "TensorShapeProto* shape",
        8: "TensorProto* tensor",
        9: "NameAttrList* func",
    },
    "AttrValue": {
        1: "ListValue list",
        2: "bytes s",
        3: "int64 i",
        4: "float f",
        5: "bool b",
        6: "int32 type",
        7: "TensorShapeProto shape",
        8: "TensorProto tensor",
        9: "bytes placeholder",
        10: "NameAttrList func",
    },
    "AttrEntry": {1: "bytes key", 2: "AttrValue value"},
    "NodeDef": {1: "bytes name", 2: "bytes op", 3: "bytes* input", 5: "AttrEntry* attr"},
    "GraphDef": {1: "NodeDef* node", 2: "FunctionDefLibrary library"},
    "ArgDef": {1: "bytes name"},
    "OpDef": {1: "bytes name", 2: "ArgDef* input_arg", 3: "ArgDef* output_arg"},
    "ReturnEntry": {1: "bytes key", 2: "bytes value"},
    "FunctionDef": {1: "OpDef signature", 3: "NodeDef* node_def", 4: "ReturnEntry* ret"},
    "FunctionDefLibrary": {1: "FunctionDef* function"},
    "BytesList": {1: "bytes* value"},
    "CollectionDef": {2: "BytesList bytes_list"},
    "CollectionEntry": {1: "bytes key", 2: "CollectionDef value"},
    "VariableDef": {1: "bytes variable_name"},
    "MetaInfoDef": {4: "bytes* tags", 5: "bytes tensorflow_version"},
    "TensorInfo": {1: "bytes name"},
    "TensorInfoEntry": {1: "bytes key", 2: "TensorInfo value"},
    "SignatureDef": {1: "TensorInfoEntry* inputs", 2: "TensorInfoEntry* outputs"},
    "SignatureEntry": {1: "bytes key", 2: "SignatureDef value"},
    "MetaGraphDef": {
        1: "MetaInfoDef meta_info_def",
        2: "GraphDef graph_def",
        4: "CollectionEntry* collection_def",
        5: "SignatureEntry* signature_def",
        7: "SavedObjectGraph object_graph_def",
    },
    # the objects of a TensorFlow 2 checkpoint
    "ObjectReference": {1: "int32 node_id", 2: "bytes local_name"},
    "SerializedTensor": {1: "bytes name", 2: "bytes full_name", 3: "bytes checkpoint_key"},
    "BoolValue": {1: "bool value"},
    "TrackableObject": {
        1: "ObjectReference* children",
        2: "SerializedTensor* attributes",
        5: "BoolValue has_checkpoint_values",
    },
    "TrackableObjectGraph": {1: "TrackableObject* nodes"},
    # SavedModels
    "SavedUserObject": {1: "bytes identifier", 3: "bytes metadata"},
    "SavedFunction": {1: "bytes* concrete_functions"},
    "SavedVariable": {6: "bytes name"},
    "SavedBareConcreteFunction": {1: "bytes concrete_function_name"},
    "SavedObject": {
        1: "ObjectReference* children",
        4: "SavedUserObject user_object",
        6: "SavedFunction function",
        7: "SavedVariable variable",
        8: "SavedBareConcreteFunction bare_concrete_function",
    },
    "SavedConcreteFunction": {2: "int32* bound_inputs"},
    "ConcreteFunctionEntry": {1: "bytes key", 2: "SavedConcreteFunction value"},
    "SavedObjectGraph": {1: "SavedObject* nodes", 2: "ConcreteFunctionEntry* concrete_functions"},
    "SavedModel": {2: "MetaGraphDef* meta_graphs"},
    "KerasObject": {2: "int32 node_id", 5: "bytes metadata"},
    "KerasMetadata": {1: "KerasObject* nodes"},
} | ONNX_MESSAGES


def new(message: str) -> Any:
    """An empty message."""
    return _classes()[message]()


def parse(message: str, data: bytes, where: str) -> Any:
    """Decode `data` as a `message` of the table above.

    where  what an error calls `data`
    Raises FormatError.
    """
    result = new(message)
    from google.protobuf.message import DecodeError

    try:
        result.ParseFromString(data)
    except DecodeError as error:
        raise FormatError(
            f"{where}: {len(data)} bytes are not a {message}: {error}; "
            "the file is damaged, truncated, or of another kind"
        ) from error
    return result


def text(data: bytes, where: str) -> str:
    """Decode a name.  Raises FormatError if it is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{where}: {data!r} is not UTF-8; the file is damaged") from error


@lru_cache(maxsize=1)
def _classes() -> dict[str, Any]:
    """Message name -> class."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise FormatError(
            "the package protobuf, which reads TensorFlow's files, is not installed: pip install protobuf"
        ) from error
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{PACKAGE}.proto", package=PACKAGE, syntax="proto2")
    for message, fields in MESSAGES.items():
        descriptor = file.message_type.add(name=message)
        for number, declaration in fields.items():
            kind, name = declaration.split()
            repeated = kind.endswith("*")
            kind = kind.rstrip("*")
            field = descriptor.field.add(name=name, number=number)
            field.label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind in MESSAGES:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            else:
                field.type = field_type.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    if hasattr(message_factory, "GetMessageClass"):
        make = message_factory.GetMessageClass
    else:  # protobuf before 4.22
        make = message_factory.MessageFactory(pool).GetPrototype
    return {message: make(pool.FindMessageTypeByName(f"{PACKAGE}.{message}")) for message in MESSAGES}
