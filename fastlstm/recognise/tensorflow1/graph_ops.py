"""TensorFlow's operations by what they do to a value: tables for walking a graph."""

from __future__ import annotations

from fastlstm.formats.graph import Node, Use

#: Give their first input on as it is, or converted to another type.
SAME_VALUE = frozenset(
    (
        *("Identity", "IdentityN", "RefIdentity", "Snapshot", "StopGradient", "PreventGradient", "CheckNumerics"),
        *("Print", "Cast", "EnsureShape"),
    )
)

#: Between a variable and the operation that uses it, also inside a loop (Enter) or a tf.cond (Switch).
READS = SAME_VALUE | {"ReadVariableOp", "Enter", "RefEnter", "Switch", "RefSwitch"}
READS_AND_RESHAPES = READS | {"Transpose", "Reshape"}

#: Move elements around, in time or between loop frames, without changing them -> the inputs that carry them.
#: A TensorArray's elements are found by its flow: Read and Gather <- Scatter or Write.
CARRIES: dict[str, tuple[int, ...]] = dict.fromkeys(
    (
        *SAME_VALUE,
        *("Reshape", "Transpose", "Squeeze", "ExpandDims", "StridedSlice", "Slice", "Unpack", "SplitV"),
        *("Gather", "GatherV2", "GatherNd"),
        *("Enter", "RefEnter", "Exit", "RefExit", "NextIteration", "RefNextIteration", "Switch", "RefSwitch"),
    ),
    (0,),
)
CARRIES |= {
    "Split": (1,),
    "Select": (1, 2),
    "SelectV2": (1, 2),
    "TensorArrayRead": (2,),
    "TensorArrayReadV2": (2,),
    "TensorArrayReadV3": (2,),
    "TensorArrayGather": (2,),
    "TensorArrayGatherV2": (2,),
    "TensorArrayGatherV3": (2,),
    "TensorArrayScatter": (2,),
    "TensorArrayScatterV2": (2,),
    "TensorArrayScatterV3": (2,),
    "TensorArrayWrite": (2, 3),
    "TensorArrayWriteV2": (2, 3),
    "TensorArrayWriteV3": (2, 3),
    "TensorArrayUnpack": (1,),
    "TensorArrayPack": (1,),
    "TensorArrayConcatV2": (1,),
    "TensorArrayConcatV3": (1,),
    "TensorArraySplitV3": (1,),
}
CARRIES |= {  # and the same of TensorFlow 2
    "TensorListFromTensor": (0,),
    "TensorListGetItem": (0,),
    "TensorListSetItem": (0, 2),
    "TensorListStack": (0,),
    "TensorListPushBack": (0, 1),
    "TensorListPopBack": (0,),
}
SEVERAL = {
    "Merge": slice(None),
    "RefMerge": slice(None),
    "Pack": slice(None),
    "ConcatV2": slice(-1),
    "Concat": slice(1, None),
}

#: Where a graph's inputs come in.
FEEDS = frozenset(
    (
        *("Placeholder", "PlaceholderV2", "PlaceholderWithDefault", "IteratorGetNext", "Variable", "VariableV2"),
        *("QueueDequeue", "QueueDequeueV2", "QueueDequeueMany", "QueueDequeueManyV2", "QueueDequeueUpToV2"),
        *("ParseExample", "ParseSingleExample"),
    )
)

#: What the condition of a Select is made of, where it is a mask: comparisons, and what joins or repeats them.
COMPARES = frozenset({"Less", "LessEqual", "Greater", "GreaterEqual", "Equal", "NotEqual"})
LOGIC = frozenset({"LogicalAnd", "LogicalOr", "LogicalNot", "All", "Any", "Tile", "LoopCond", "BroadcastTo"})

#: Values that hold nothing of interest: zero outputs past a sequence's end, initial states, empty arrays.
FILLS = frozenset(
    (
        *("Fill", "ZerosLike", "OnesLike", "Const", "TensorArray", "TensorArrayV2", "TensorArrayV3", "RandomUniform"),
        *("TensorListReserve", "EmptyTensorList"),
    )
)

#: How many inputs the operations have whose inputs are picked by position.
INPUTS = dict.fromkeys(("MatMul", "Add", "AddV2", "BiasAdd", "Mul", "Sub", "RealDiv", "Div", "Minimum", "Maximum"), 2)
INPUTS |= dict.fromkeys(("Split", "Transpose", "Reshape", "Gather", "ResourceGather"), 2)
INPUTS |= dict.fromkeys(("Sigmoid", "Tanh", "Relu", "Relu6", "Elu", "Softmax", "NextIteration"), 1)
INPUTS |= {
    "GatherV2": 3,
    "Select": 3,
    "SelectV2": 3,
    "ClipByValue": 3,
    "OneHot": 4,
    "GRUBlockCell": 6,
    "LSTMBlockCell": 8,
    "BlockLSTM": 9,
    "BlockLSTMV2": 9,
}

ADDS = frozenset({"Add", "AddV2", "BiasAdd"})
PAIRS = frozenset({"Add", "AddV2", "Concat", "ConcatV2"})  # put two directions together
#: Run functions, whose bodies are not among a graph's nodes (TensorFlow 2's way of writing loops).
CALLS = frozenset(("While", "StatelessWhile", "If", "StatelessIf", "PartitionedCall", "StatefulPartitionedCall"))

UPKEEP = (  # beginnings of operations that initialise, train, save and watch variables
    *("Assign", "Save", "Apply", "ResourceApply", "SparseApply", "ResourceSparseApply", "Scatter"),
    *("IsVariableInitialized", "VarIsInitialized", "Shape", "HistogramSummary", "L2Loss"),
)


def outputs_of(use: Use) -> range:
    """The outputs that may give on what is read there: a Switch has one for either branch."""
    if use.node.op == "IdentityN":
        return range(use.input, use.input + 1)
    return range(2 if use.node.op in ("Switch", "RefSwitch") else 1)


def is_upkeep(node: Node) -> bool:
    """Whether the node initialises, trains, saves or watches variables: it is no part of the forward pass."""
    return node.op.startswith(UPKEEP) or any(part.startswith("gradients") for part in node.name.split("/"))
