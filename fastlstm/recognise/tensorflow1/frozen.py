"""Which constants of a frozen graph are weights: those that it multiplies with, adds or looks up as a network does."""

from __future__ import annotations

from collections.abc import Mapping

from fastlstm.formats.graph import Graph
from fastlstm.recognise.tensorflow1.block_cell import BLOCK_OPS
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import ADDS

#: rank -> operations that read a weight of that rank, and at which inputs
_READERS: dict[int, dict[str, tuple[int, ...]]] = {
    1: dict.fromkeys((*ADDS, "Mul"), (0, 1)) | {"Sub": (0,)},  # beta - mean * scale of a norm
    2: {"MatMul": (0, 1), "Gather": (0,), "GatherV2": (0,), "ResourceGather": (0,)},
}


def weights_among(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Those of `shapes`, name -> shape, that are weights; a state that begins with zeros, for one, is none."""
    walker = Walker(graph, dict(shapes))
    found = {}
    for name, shape in shapes.items():
        readers = _READERS.get(len(shape), {})
        for use in walker.uses_of_variable(name):
            if use.node.op in BLOCK_OPS or use.node.op == "GRUBlockCell" or use.input in readers.get(use.node.op, ()):
                found[name] = shape
                break
    return found
