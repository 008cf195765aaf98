"""Which constants of a frozen graph are weights: those that it multiplies with, adds or looks up as a network does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastlstm.formats.graph import Graph, Output, Use
from fastlstm.recognise.tensorflow1.block_cell import BLOCK_OPS
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import ADDS

#: rank -> operations that read a weight of that rank, and at which inputs
_READERS: dict[int, dict[str, tuple[int, ...]]] = {
    1: dict.fromkeys((*ADDS, "Mul"), (0, 1)) | {"Sub": (0,), "GRUBlockCell": (4, 5)},  # a norm adds beta - mean
    2: {"MatMul": (0, 1), "Gather": (0,), "GatherV2": (0,), "ResourceGather": (0,), "GRUBlockCell": (2, 3)},
}
#: Give parts of a weight -> the input that is the weight
_PIECES = {"Split": 1, "SplitV": 0, "Unpack": 0, "StridedSlice": 0, "Squeeze": 0}
_FAR = 64  # pieces of a weight, far more than there are


def weights_among(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Those of `shapes`, name -> shape, that are weights; a state that begins with zeros, for one, is none."""
    walker = Walker(graph, dict(shapes))
    found = {}
    for name, shape in shapes.items():
        readers = _READERS.get(len(shape), {})
        whole = any(
            use.node.op in BLOCK_OPS or use.input in readers.get(use.node.op, ())
            for use in walker.uses_of_variable(name)
        )
        if whole or (readers and any(_is_weight(use) for use in _uses_of_pieces(walker, name))):
            found[name] = shape
    return found


def _is_weight(use: Use) -> bool:
    """Whether a part of a value is multiplied with, or added, there."""
    return use.node.op == "MatMul" or (use.node.op in ADDS and use.input == 1)


def _uses_of_pieces(walker: Walker, name: str) -> Iterator[Use]:
    """Who uses a part of the value: a gate's columns, or one of two biases."""
    pending = walker.uses_of_variable(name)
    for use in pending:
        if _PIECES.get(use.node.op) == use.input and len(pending) < _FAR:
            parts = use.node.attrs.get("num_split") or use.node.attrs.get("num") or 1
            onward = [u for k in range(min(parts, _FAR)) for u in walker.uses_of_value(Output(use.node.name, k))]
            pending.extend(onward)
            yield from onward
