"""What a value in the graph comes from: walking back to the nearest landmarks.

A landmark is a cell's output, a dense layer, an embedding lookup, one-hot rows, or an operation that is none of these.
What lies between (reshapes, transposes, TensorArrays, loop frames, slices of time, dropout) only moves elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from fastlstm.formats.graph import Node, Output
from fastlstm.recognise.tensorflow1.bidirectional import turned
from fastlstm.recognise.tensorflow1.cell_use import ACTIVATIONS, CellUse, activation_fact
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import ADDS, FEEDS, FILLS
from fastlstm.recognise.tensorflow1.highway import highway
from fastlstm.recognise.tensorflow1.marks import FromAffine, FromCell, FromIds, FromPair, FromTurned, Mark, Unknown
from fastlstm.recognise.tensorflow1.parts import Affine, Cell, Fact, Hot, Lookup, Part

_GATHERS = frozenset({"Gather", "GatherV2", "ResourceGather"})
_CONCATS = frozenset({"ConcatV2", "Concat"})
_TURNS = frozenset({"ReverseV2", "Reverse", "ReverseSequence"})
_LANDMARKS = _GATHERS | ADDS | _CONCATS | _TURNS | set(ACTIVATIONS) | {"OneHot", "MatMul", "Softmax"}
_CHOOSES = frozenset({"ArgMax", "Multinomial", "TopK", "TopKV2"})  # the next id of what a model has generated
_FAR = 64  # nodes in a row that only move a value
_DEEP = 40  # additions and activations in a row, far more than a layer has


_P = TypeVar("_P", Affine, Cell, Hot, Lookup)


class Landmarks:
    """uses  every use of every cell that may belong to the stack

    where  part -> the node that showed it
    """

    def __init__(self, walker: Walker, uses: Sequence[CellUse]) -> None:
        self.walker = walker
        self.where: dict[Part, Fact] = {}
        self._ids: dict[Part, dict[Output, None]] = {}
        self._outputs = {u.c: (u, "c") for u in uses} | {u.h: (u, "h") for u in uses}  # a GRU's are one
        states = [self.walker.loop_variable(before) for u in uses for before in (u.h_before, u.c_before)]
        self._onward = {merge: after for after, merge in filter(None, states)}
        self._busy: set[Output] = set()  # landmarks that are being looked at, each to tell the one before
        self._cuts = 0  # how often a walk ended because it came back to one of these
        self._marks: dict[Output, list[Mark]] = {}
        self._walks = {False: self._marks, True: dict[Output, list[Mark]]()}  # by side_by_side

    def marks(self, start: Output) -> list[Mark]:
        """The landmarks that `start` comes from, each once."""
        if start not in self._marks:
            cuts = self._cuts
            found = self.walk_back(start)
            if self._busy and self._cuts > cuts:  # inside a landmark that goes round in a loop: not the whole truth
                return found
            self._marks[start] = found
        return self._marks[start]

    def walk_back(self, start: Output, around: Output | None = None, side_by_side: bool = False) -> list[Mark]:
        """around        not to be walked through
        side_by_side  go on through a Concat of different things, as a state that holds c and h in one tensor is

        In an unrolled loop with lengths the state of a step comes from all steps before it: where a walk meets the
        start of an earlier one, it goes no further.
        """
        whole = around is None and not self._busy
        known = self._walks[side_by_side] if whole else {}
        start = self._first_of_several(start) if whole else start
        if start in known:
            return known[start]
        pending, seen, found = [start], {around}, {}
        while pending:
            output = pending.pop()
            if output in seen:
                continue
            seen.add(output)
            if output in known:
                found.update(dict.fromkeys(known[output]))
                continue
            node = self.walker.node(output)
            if output in self._outputs:
                found[FromCell(*self._outputs[output], residual=False)] = None
            elif node.op in FILLS:
                continue
            elif (landmarks := self._landmarks(output, node, side_by_side)) is not None:
                found.update(dict.fromkeys(landmarks))
            elif output in self._onward and around is None and not side_by_side:
                pending.append(self._onward[output])  # a loop's state is what its steps make of it
            elif (carried := self.walker.carried(node, output.index)) is not None:
                pending.extend(reversed(carried))
            else:
                found[Unknown(node.name, node.op)] = None
        if whole:
            known[start] = list(found)
        return list(found)

    def _first_of_several(self, output: Output) -> Output:
        """Where a walk back from `output` first comes to more than one value, or to a landmark."""
        for _ in range(_FAR):
            node = self.walker.node(output)
            if output in self._outputs or node.op in FILLS or node.op in _LANDMARKS:
                break
            carried = self.walker.carried(node, output.index)
            if carried is None or len(carried) != 1:
                break
            (output,) = carried
        return output

    def _landmarks(self, output: Output, node: Node, side_by_side: bool) -> Sequence[Mark] | None:
        """What `node` is, if it is a landmark, or part of one."""
        if node.op not in _LANDMARKS:
            return None
        if output in self._busy or len(self._busy) > _DEEP:
            self._cuts += 1
            return [Unknown(node.name, node.op)]
        self._busy.add(output)
        try:
            if node.op in _GATHERS:
                return self._lookup(node)
            if node.op == "OneHot":
                return self._one_hot(node)
            if node.op == "MatMul":
                return self._product(node)
            if node.op in ADDS:
                return self._with_bias(node) or self._sum(node)
            if node.op in _CONCATS:
                return None if side_by_side else self._side_by_side(node)
            if node.op in _TURNS:
                return turned(self.walker, node)
            return self._activated(node)
        finally:
            self._busy.discard(output)

    def _lookup(self, node: Node) -> Sequence[Mark] | None:
        read = self.walker.variable(node.inputs[0])
        if read is None or read.transposed or len(self.walker.shapes[read.name]) != 2:
            return None  # rows of something computed: they are carried
        part = Lookup(read.name)
        self._ids.setdefault(part, {})[node.inputs[1]] = None
        return [FromIds(self._noted(part, node))]

    def _one_hot(self, node: Node) -> Sequence[Mark] | None:
        depth, on, off = (self.walker.scalar(value) for value in node.inputs[1:4])
        if depth is None or (on, off) != (1.0, 0.0):
            return None
        part = Hot(int(depth))
        self._ids.setdefault(part, {})[node.inputs[0]] = None
        return [FromIds(self._noted(part, node))]

    def cell_at(self, output: Output) -> CellUse | None:
        """The use of a cell whose h or c `output` is."""
        found = self._outputs.get(output)
        return found[0] if found else None

    def ids_computed(self, part: Part) -> list[Node]:
        """What the graph does to the ids before `part` takes them, other than to move or choose them."""
        pending, seen, found = list(self._ids.get(part, ())), set[Output](), dict[str, Node]()
        while pending:
            output = pending.pop()
            if output in seen:
                continue
            seen.add(output)
            node = self.walker.node(output)
            if node.op in FILLS | FEEDS | _CHOOSES or node.name in self.walker.shapes:
                continue
            carried = node.inputs[:1] if node.op == "Cast" else self.walker.carried(node, output.index)
            filled = node.op in _CONCATS and any(self.walker.node(i).op in FILLS for i in carried or ())
            if carried is None or filled or node.op in ("Select", "SelectV2"):
                found[node.name] = node
            else:
                pending.extend(carried)
        return list(found.values())

    def _product(self, node: Node) -> Sequence[Mark] | None:
        read = self.walker.variable(node.inputs[1])
        if read is None or len(self.walker.shapes[read.name]) != 2 or node.attrs.get("transpose_a"):
            return None
        turned = read.transposed != bool(node.attrs.get("transpose_b"))
        return [FromAffine(self._noted(Affine(read.name, transposed=turned), node), node.inputs[0])]

    def _with_bias(self, node: Node) -> Sequence[Mark] | None:
        for product, bias in (node.inputs, node.inputs[::-1]):
            read = self.walker.variable(bias)
            if read is not None and len(self.walker.shapes[read.name]) == 1:
                return self._extended(product, node, bias=read.name)
        return None

    def _activated(self, node: Node) -> Sequence[Mark] | None:
        name = "softmax" if node.op == "Softmax" else activation_fact(node, self.walker).value
        return None if name.startswith("?") else self._extended(node.inputs[0], node, activation=name)

    def _extended(self, product: Output, node: Node, **more: str) -> Sequence[Mark] | None:
        """A dense layer so far, with a bias or an activation more."""
        marks = self.marks(product)
        layers = [m for m in marks if isinstance(m, FromAffine)]
        if not layers or len(layers) < len(marks):
            return None
        if any(m.part.activation != "linear" or (m.part.bias and "bias" in more) for m in layers):
            return None
        return [FromAffine(self._noted(m.part._replace(**more), node), m.below) for m in layers]

    def _sum(self, node: Node) -> Sequence[Mark] | None:
        """A cell's output with its input added or mixed in, inside the loop or around it; two directions added."""
        one, other = sides = [(value, self.marks(value)) for value in node.inputs]
        for (value, marks), (rest, others) in ((one, other), (other, one)):
            found = [] if self._is_filled_up(rest) else self._residual(marks, others)
            found = found or highway(self, value, rest)
            if found:
                for cell in found:
                    self._noted(Cell(cell.use.cell.scope, cell.residual, cell.highway), node)
                return found
        pair = self._pair(sides, "sum") or self._pair(sides[::-1], "sum")
        return [pair] if pair else None

    def _residual(self, marks: Sequence[Mark], others: Sequence[Mark]) -> list[FromCell]:
        """input + output of a cell (rnn_cell_impl.ResidualWrapper)."""
        cells = _cells(marks)
        return [cell._replace(residual=True) for cell in cells] if self.are_inputs(others, cells) else []

    def _is_filled_up(self, output: Output) -> bool:
        """Whether a value is made of steps of another and of zeros: it is shifted in time."""
        for _ in range(_FAR):
            carried = self.walker.carried(self.walker.node(output), output.index)
            if self.walker.node(output).op in _CONCATS and carried:
                return any(self.walker.node(part).op in FILLS for part in carried)
            if carried is None or len(carried) != 1:
                return False
            (output,) = carried
        return False

    def cells_of(self, output: Output) -> list[FromCell]:
        """The cells whose output `output` is, as they give it; empty where it is anything else too."""
        return _cells(self.marks(output))

    def are_inputs(self, marks: Sequence[Mark], cells: Sequence[FromCell]) -> bool:
        """Whether `marks` are of what these cells read."""
        inputs = {mark for cell in cells for mark in self.marks(cell.use.x)}
        return bool(inputs) and inputs == set(marks)

    def _side_by_side(self, node: Node) -> Sequence[Mark] | None:
        """A Concat of different things; the steps of one thing in a row are carried."""
        parts = [(part, self.marks(part)) for part in self.walker.carried(node) or ()]
        if len({frozenset(map(self._kind, marks)) for _, marks in parts if marks}) < 2:
            return None
        axis = self.walker.scalar(node.inputs[-1] if node.op == "ConcatV2" else node.inputs[0])
        pair = self._pair(parts, "concat")
        whole = any(isinstance(m, FromTurned) for m in parts[-1][1]) and self.walker.step(parts[-1][0]) is None
        rows = 2 if whole else 1
        return [pair] if pair and axis in (rows, -1) else [Unknown(node.name, node.op)]

    def _pair(self, parts: Sequence[tuple[Output, Sequence[Mark]]], mode: str) -> FromPair | None:
        """Where the second of two alone is turned round in time, or both are steps of cells."""
        if len(parts) != 2 or not all(marks for _, marks in parts):
            return None
        (one, ones), (other, others) = parts
        if any(isinstance(m, Unknown | FromTurned) for m in ones):
            return None
        turned_back = all(isinstance(m, FromTurned) for m in others)
        scopes = [m.use.cell.scope for m in (*ones, *others) if isinstance(m, FromCell) and m.role == "h"]
        both_cells = len(scopes) == len(ones) + len(others) and len(set(scopes)) == 2
        return FromPair(one, other, mode) if turned_back or both_cells else None

    def _kinds(self, output: Output) -> frozenset[object]:
        return frozenset(map(self._kind, self.marks(output)))

    def _kind(self, mark: Mark) -> object:
        """What all steps of an unrolled loop have in common."""
        match mark:
            case FromCell(use, role, residual, highway):
                return use.cell.scope, role, residual, highway
            case FromAffine(part, _) | FromIds(part):
                return part
            case FromTurned(below, axis):
                return "turned", axis, self._kinds(below)
            case FromPair(one, other, mode):
                return mode, self._kinds(one), self._kinds(other)
        return mark

    def _noted(self, part: _P, node: Node) -> _P:
        self.where.setdefault(part, Fact(None, "read", self.walker.source(node)))
        return part


def _cells(marks: Sequence[Mark]) -> list[FromCell]:
    """`marks` where all are outputs of cells with nothing around them."""
    cells = [m for m in marks if isinstance(m, FromCell) and m.role == "h" and not m.residual and not m.highway]
    return cells if len(cells) == len(marks) else []
