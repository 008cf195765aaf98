"""Variables that are kept in several pieces, joined: one tensor, and a graph that reads it as one.

W_0, W_1 ...              LSTMCell(num_unit_shards=2) up to TF 0.12; W_P_0, W_P_1 ...: num_proj_shards.  Joined they
                          go by the first one's name.  Source: rnn_cell.py of 0.12, _get_concat_variable
<name>/part_0, part_1 ... a partitioned variable in a frozen graph; a checkpoint has it whole, as <name>.
                          Source: tensorflow/python/ops/variables.py, PartitionedVariable
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlstm.formats.artefact import Artefact
from fastlstm.formats.graph import Graph, Node, Output
from fastlstm.formats.tensors import Tensors, TensorSpec
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import SEVERAL

_FIRST = re.compile(r"(?:^|.*/)(?:W|W_P)_0$")
_PART = re.compile(r"(.+)/part_0$")


class _Row(NamedTuple):
    """joined  the name of the whole; shards: of its pieces, in order, side by side along `axis`"""

    joined: str
    shards: tuple[str, ...]
    axis: int = 0


def with_rows_joined(artefact: Artefact) -> Artefact:
    """`artefact`, or one in which each row of pieces is one tensor."""
    artefact = _with_one_join(artefact)
    specs = artefact.tensors.specs
    rows = [row for name in specs if (row := _row(name, specs)) is not None]
    graph = artefact.graph
    if graph is not None and rows:
        strange = [row for row in rows if row.shards[0] not in graph.nodes and row.joined == row.shards[0]]
        found = {row: _concats(graph, row, specs) for row in rows}
        rows = [row._replace(axis=axis) for row, (axis, _) in found.items() if axis is not None]
        joins = {concat: row.joined for row, (_, concats) in found.items() for concat in concats}
        graph = replace(graph, nodes=_rewired(graph, rows, joins))
        rows += strange  # another model's graph
    else:
        rows = [row for row in rows if not _PART.match(row.shards[0])]
    return replace(artefact, tensors=_joined(artefact.tensors, rows), graph=graph) if rows else artefact


def _with_one_join(artefact: Artefact) -> Artefact:
    """A partitioned variable is joined anew by each unrolled step: all go by the first join, which has its name."""
    graph, specs = artefact.graph, artefact.tensors.specs
    if graph is None:
        return artefact
    walker = Walker(graph, {})
    again = {}
    for node in graph.nodes.values():
        name, found, _ = node.name.partition("/ConcatPartitions/")
        if not found or name not in specs or name not in graph.nodes or not node.inputs:
            continue
        first = walker.node(walker.plain(Output(name, 0)))
        if first != node and first.op == node.op == "ConcatV2" and first.inputs[:-1] == node.inputs[:-1]:
            axes = [walker.scalar(concat.inputs[-1]) for concat in (first, node)]
            if None not in axes and axes[0] == axes[1]:
                again[node.name] = Node(node.name, "Identity", (Output(name, 0),), dict)
    return replace(artefact, graph=replace(graph, nodes={**graph.nodes, **again})) if again else artefact


def _row(first: str, specs: Mapping[str, TensorSpec]) -> _Row | None:
    """The row that begins with `first`: W_0 ... have as many rows each, the first ones one more if that leaves some."""
    part = _PART.match(first)
    if not part and not _FIRST.match(first):
        return None
    names = [first]
    while f"{first[:-1]}{len(names)}" in specs:
        names.append(f"{first[:-1]}{len(names)}")
    shapes = [specs[name].shape for name in names]
    if part:
        return _Row(part[1], tuple(names)) if part[1] not in specs else None
    if len(names) == 1 or any(len(shape) != 2 or shape[1] != shapes[0][1] for shape in shapes):
        return None
    size, more = divmod(sum(shape[0] for shape in shapes), len(names))
    even = [shape[0] for shape in shapes] == [size + (k < more) for k in range(len(names))]
    scope = first.rpartition("/")[0]
    return _Row(first, tuple(names)) if even and (f"{scope}/B" if scope else "B") in specs else None


def _concats(graph: Graph, row: _Row, specs: Mapping[str, TensorSpec]) -> tuple[int | None, list[str]]:
    """The axis along which the graph joins the pieces, in their order, and the nodes that do; None where none does."""
    walker = Walker(graph, {name: specs[name].shape for name in row.shards})
    found = []
    joined_along = None
    for use in walker.uses_of_variable(row.shards[0]):
        node = use.node
        if node.op not in ("Concat", "ConcatV2"):
            continue
        axis = walker.scalar(node.inputs[0 if node.op == "Concat" else -1])
        reads = [walker.variable(part) for part in node.inputs[SEVERAL[node.op]]]
        fits = axis is not None and 0 <= axis < len(specs[row.shards[0]].shape) and joined_along in (None, axis)
        if fits and [read and read.name for read in reads] == list(row.shards) and _side_by_side(row, int(axis), specs):
            joined_along = int(axis)
            found.append(node.name)
    return joined_along, found


def _side_by_side(row: _Row, axis: int, specs: Mapping[str, TensorSpec]) -> bool:
    """Whether the pieces have the same shape, but for the axis along which they are joined, and one type."""
    others = {(s.shape[:axis], s.shape[axis + 1 :], s.dtype) for s in map(specs.__getitem__, row.shards)}
    return len(others) == 1


def _rewired(graph: Graph, rows: list[_Row], joins: Mapping[str, str]) -> dict[str, Node]:
    """The graph's nodes, where what joins the pieces is what reads the whole."""
    nodes = dict(graph.nodes)
    for row in rows:
        if row.joined != row.shards[0]:
            nodes[row.joined] = Node(row.joined, "VariableV2", (), dict)
    for concat, joined in joins.items():
        if concat != joined:
            nodes[concat] = Node(concat, "Identity", (Output(joined, 0),), dict)
    return nodes


def _joined(tensors: Tensors, rows: list[_Row]) -> Tensors:
    parts = {row.joined: row for row in rows}
    gone = {name for row in rows for name in row.shards}
    specs = {name: spec for name, spec in tensors.specs.items() if name not in gone}
    for name, row in parts.items():
        shapes = [tensors.specs[shard].shape for shard in row.shards]
        size = sum(shape[row.axis] for shape in shapes)
        shape = (*shapes[0][: row.axis], size, *shapes[0][row.axis + 1 :])
        specs[name] = TensorSpec(shape, tensors.specs[row.shards[0]].dtype)

    def fetch(name: str) -> NDArray[Any]:
        row = parts.get(name)
        return tensors[name] if row is None else np.concatenate([tensors[s] for s in row.shards], row.axis)

    return Tensors(specs, fetch)
