"""Walking a TensorFlow graph: from a value back to where it comes from, and on to what reads it.

Gradients need no special treatment as long as one walks back from forward nodes: nothing that is computed forward
reads a gradient. Where a walk goes on to readers, what it finds is checked by walking back from there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import RecognitionError
from fastlstm.formats.graph import Graph, Node, Output, Use
from fastlstm.recognise.tensorflow1.graph_ops import (
    CARRIES,
    COMPARES,
    FEEDS,
    FILLS,
    INPUTS,
    LOGIC,
    READS,
    READS_AND_RESHAPES,
    SAME_VALUE,
    SEVERAL,
    is_upkeep,
    outputs_of,
)

_END = 1 << 40  # as long as no value is
_MANY = 1 << 20  # elements of one value repeated, which take no room in a file
_LIMIT = 64  # steps back through reads, far more than any real graph has


class VariableRead(NamedTuple):
    """A variable's value, or its transpose."""

    name: str
    transposed: bool


class Piece(NamedTuple):
    """The part of `source` that begins at `at`: an index for each axis, or the number of an output."""

    source: Output
    at: tuple[int, ...]


class Walker:
    """A graph and the variables in it.

    shapes  variable -> shape
    Raises RecognitionError for a graph with an operation that has too few or too many inputs.
    """

    def __init__(self, graph: Graph, shapes: dict[str, tuple[int, ...]]) -> None:
        for node in graph.nodes.values():
            if len(node.inputs) != INPUTS.get(node.op, len(node.inputs)):
                raise RecognitionError(
                    f"{graph.source}: {node.op} {node.name!r} has {len(node.inputs)} inputs, expected "
                    f"{INPUTS[node.op]}; the graph is damaged"
                )
        self.graph = graph
        self.shapes = shapes
        self.uses = graph.uses

    def node(self, output: Output) -> Node:
        node = self.graph.nodes.get(output.node)
        return node if node is not None else Node(output.node, "(missing)", (), dict)

    def source(self, node: Node | str) -> str:
        """What to quote when `node` decided something."""
        name = node if isinstance(node, str) else node.name
        return f"node {name!r} of {self.graph.source}"

    def plain(self, output: Output) -> Output:
        """`output` before any operation that gives on the same value."""
        for _ in range(_LIMIT):
            node = self.node(output)
            if node.op not in SAME_VALUE or output.index >= len(node.inputs):
                break
            output = node.inputs[output.index]
        return output

    def constant(self, output: Output) -> NDArray[Any] | None:
        """The value of a constant, also one that entered a loop; None if it is not of numbers, or endless."""
        for _ in range(_LIMIT):
            node = self.node(output)
            if node.op == "Const":
                value = node.attrs.get("value")
                if not isinstance(value, np.ndarray) or value.dtype == object:
                    return None
                return None if 0 in value.strides and value.size > _MANY else value
            if node.op not in READS or not node.inputs:
                return None
            output = node.inputs[0]
        return None

    def scalar(self, output: Output) -> float | None:
        """The value of a constant number; a float32's exact value."""
        value = self.constant(output)
        return float(value.reshape(())) if value is not None and value.size == 1 and value.dtype.kind != "c" else None

    def variable(self, output: Output) -> VariableRead | None:
        """The variable that `output` is the value of; tf.tensordot reshapes and transposes it on the way."""
        transposed, reshaped = False, None
        for _ in range(_LIMIT):
            node = self.node(output)
            if node.name in self.shapes:
                shape = self.shapes[node.name][:: -1 if transposed else 1]
                same = reshaped is None or len(shape) != 2 or _fits(reshaped, shape)
                return VariableRead(node.name, transposed) if same else None
            if node.op == "Transpose":
                order = self.constant(node.inputs[1])
                if order is None or order.size != 2:
                    return None
                transposed ^= order.tolist() == [1, 0]
            elif node.op == "Reshape":
                shape_given = self.constant(node.inputs[1])
                if shape_given is None:
                    return None
                reshaped = shape_given.reshape(-1).tolist()
            elif node.op not in READS or not node.inputs:
                return None
            output = node.inputs[0]
        return None

    def uses_of_variable(self, name: str) -> list[Use]:
        """Who uses the variable's value, past everything that only reads, reshapes or transposes it."""
        return self.uses_of_value(Output(name, 0))

    def uses_of_value(self, output: Output) -> list[Use]:
        """Who uses `output`, past the same."""
        return self._onward(output, READS_AND_RESHAPES)

    def readers(self, output: Output) -> list[Use]:
        """Who reads `output`, past everything that gives on the same value."""
        return self._onward(output, SAME_VALUE)

    def _onward(self, output: Output, through: frozenset[str]) -> list[Use]:
        found: list[Use] = []
        pending, seen = [output], {output}
        while pending:
            for use in self.uses.get(pending.pop(), ()):
                node = use.node
                if node.op not in through or (use.input and node.op != "IdentityN"):
                    found.append(use)
                    continue
                for index in outputs_of(use):
                    onward = Output(node.name, index)
                    if onward not in seen:
                        seen.add(onward)
                        pending.append(onward)
        return found

    def carried(self, node: Node, index: int = 0) -> tuple[Output, ...] | None:
        """The inputs whose elements output `index` of `node` gives on, or None where it computes new ones."""
        if node.op == "IdentityN":
            return node.inputs[index : index + 1]
        kept = self.before_dropout(node) or self._before_mask(node)
        if kept is not None:
            return (kept,)
        if self._changes(node):
            return None
        if node.op in SEVERAL:
            return node.inputs[SEVERAL[node.op]]
        positions = CARRIES.get(node.op)
        return None if positions is None else tuple(node.inputs[k] for k in positions if k < len(node.inputs))

    def _changes(self, node: Node) -> bool:
        """Whether an operation that can move values whole changes them, or the order of their elements or steps."""
        match node.op:
            case "Cast":
                return _is_float(node.attrs.get("SrcT")) and not _is_float(node.attrs.get("DstT"))
            case "StridedSlice":
                return self._skips(node)
            case "Transpose":
                order = self.constant(node.inputs[1])
                return order is not None and order.size > 2 and order.reshape(-1)[-1] not in (-1, order.size - 1)
            case "GatherV2":
                axis, wanted = self.scalar(node.inputs[2]), self.constant(node.inputs[1])
                picks = wanted is not None and wanted.ndim == 1 and bool((np.diff(wanted) != 1).any())
                return axis is not None and (axis >= 2 or axis < 0 or (axis == 1 and picks))
            case "Select" | "SelectV2":
                return not self._is_mask(node.inputs[0])
            case "Concat" | "ConcatV2" | "Pack":
                return self._disorders(node)
        return False

    def _skips(self, node: Node) -> bool:
        """Whether a slice such as x[:, ::-1] reverses time, or x[:, ::2] leaves steps out."""
        strides = self.constant(node.inputs[3]) if len(node.inputs) > 3 else None
        if strides is None:
            return False
        single = node.attrs.get("shrink_axis_mask", 0)
        return any(step != 1 and not single >> k & 1 for k, step in enumerate(strides.reshape(-1).tolist()))

    def _is_mask(self, condition: Output) -> bool:
        """Whether a condition is told from lengths, ids, a fed mask or random numbers: not from computed values."""
        pending, seen = [condition], set[Output]()
        while pending:
            output = pending.pop()
            if output in seen:
                continue
            seen.add(output)
            node = self.node(output)
            if node.op in COMPARES:
                if _is_float(node.attrs.get("T")) and not any(map(self._is_random, node.inputs)):
                    return False
            elif node.op in LOGIC:
                pending.extend(node.inputs[:1] if node.op in ("All", "Any", "Tile", "BroadcastTo") else node.inputs)
            elif node.op in SEVERAL:
                pending.extend(node.inputs[SEVERAL[node.op]])
            elif node.op in CARRIES and not (node.op == "Cast" and _is_float(node.attrs.get("SrcT"))):
                pending.extend(node.inputs[k] for k in CARRIES[node.op] if k < len(node.inputs))
            elif node.op not in FEEDS and node.op not in FILLS:
                return False
        return True

    def _disorders(self, node: Node) -> bool:
        """Whether a Concat puts pieces of one value together in another order than they had."""
        last: dict[Output, tuple[int, ...]] = {}
        for part in node.inputs[SEVERAL[node.op]]:
            piece = self.piece(part)
            if piece is not None:
                if piece.source in last and piece.at <= last[piece.source]:
                    return True
                last[piece.source] = piece.at
        return False

    def piece(self, output: Output) -> Piece | None:
        """Which part of another value `output` is; what begins at the n-th element from the end comes late."""
        output = self.plain(output)
        node = self.node(output)
        if not node.inputs or (node.op in ("StridedSlice", "Slice") and len(node.inputs) < 3):
            return None
        if node.op == "Split":
            return Piece(self.plain(node.inputs[1]), (output.index,))
        if node.op in ("Unpack", "SplitV"):
            return Piece(self.plain(node.inputs[0]), (output.index,))
        if node.op not in ("StridedSlice", "Slice"):
            return None
        begin = self.constant(node.inputs[1])
        if begin is None:
            return None
        all_of = node.attrs.get("begin_mask", 0) if node.op == "StridedSlice" else 0
        at = [0 if all_of >> k & 1 else b for k, b in enumerate(begin.reshape(-1).tolist())]
        return Piece(self.plain(node.inputs[0]), tuple(b if b >= 0 else b + _END for b in at))

    def step(self, output: Output) -> Piece | None:
        """`output` as one step of another value: what is taken is one wide, in one axis."""
        output = self.plain(output)
        node, piece = self.node(output), self.piece(output)
        if piece is None or node.op in ("Split", "Unpack", "SplitV"):
            return piece
        wide: list[bool] = []
        size = self.constant(node.inputs[2])
        if size is None:
            return None
        for k, (begin, value) in enumerate(zip(piece.at, size.reshape(-1).tolist(), strict=False)):
            if node.op == "Slice":
                wide.append(value != 1)
            elif node.attrs.get("shrink_axis_mask", 0) >> k & 1:
                wide.append(False)
            else:
                wide.append(bool(node.attrs.get("end_mask", 0) >> k & 1) or value - begin != 1)
        return Piece(piece.source, (piece.at[wide.index(False)],)) if wide.count(False) == 1 else None

    def loop_variable(self, output: Output) -> tuple[Output, Output] | None:
        """For a value that a loop hands from step to step: what the step before computed, and the loop's Merge."""
        for _ in range(32):
            node = self.node(output)
            if node.op in ("Exit", "RefExit"):
                return None  # what another loop has ended with
            if node.op == "Merge":
                for source in node.inputs:
                    if self.node(source).op == "NextIteration":
                        return self.node(source).inputs[0], Output(node.name, 0)
            carried = self.carried(node, output.index)
            if not carried:
                return None
            output = carried[0]
        return None

    def carries(self, use: Use) -> bool:
        """Whether `use.node` gives on what it reads there."""
        return use.node.inputs[use.input] in (self.carried(use.node, use.input) or ())

    def everything_before(self, outputs: list[Output]) -> set[str]:
        """The names of all nodes that any of `outputs` depends on."""
        pending, seen = [output.node for output in outputs], set[str]()
        while pending:
            name = pending.pop()
            if name not in seen:
                seen.add(name)
                pending.extend(source.node for source in self.node(Output(name, 0)).inputs)
        return seen

    def takes_part(self, name: str) -> bool:
        """Whether the graph computes with the variable, and does not only initialise, train and save it."""
        return any(not is_upkeep(use.node) for use in self.uses_of_variable(name))

    def is_recurrent(self, name: str) -> bool:
        """Whether the variable is multiplied with something that depends on an earlier product with it."""
        uses = list(self.uses_of_variable(name))
        pieces = [use.node for use in uses if (use.node.op, use.input) in (("Split", 1), ("StridedSlice", 0))]
        uses += [use for node in pieces for k in range(4) for use in self.readers(Output(node.name, k))]
        products = [use.node for use in uses if use.node.op == "MatMul" and use.input == 1]
        names = {node.name for node in products if not is_upkeep(node)}
        return any(names & self.everything_before([node.inputs[0]]) for node in products if node.name in names)

    def read_after(self, starts: list[Output], names: list[str]) -> list[str]:
        """Those of the variables that are read where any of `starts` is needed too, training aside."""
        pending = [output.node for output in starts]
        seen = set(pending)
        outputs: dict[str, list[Use]] = {}
        for source, uses in self.uses.items():
            outputs.setdefault(source.node, []).extend(uses)
        while pending:
            for use in outputs.get(pending.pop(), ()):
                if use.node.name not in seen and not is_upkeep(use.node):
                    seen.add(use.node.name)
                    pending.append(use.node.name)
        return [name for name in names if any(use.node.name in seen for use in self.uses_of_variable(name))]

    def before_dropout(self, node: Node) -> Output | None:
        """x where `node` is tf.nn.dropout(x): x / keep_prob, where random numbers let it through.

        Up to TF 1.12 Mul(RealDiv(x, keep_prob), Floor(keep_prob + random)), then
        Mul(Mul(x, 1 / keep_prob), Cast(random >= rate)), in TF 2 SelectV2(random >= rate, x / keep_prob, 0).
        At inference a dropout does nothing.
        """
        pairs: tuple[tuple[Output, Output], ...] = ()
        if node.op == "Mul":
            pairs = ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0]))
        elif node.op == "SelectV2":
            pairs = ((node.inputs[1], node.inputs[0]),)
        for scaled, mask in pairs:
            scaling = self.node(scaled)
            if self.node(mask).op in ("Floor", "Cast", "GreaterEqual") and self._is_random(mask):
                return scaling.inputs[0] if scaling.op in ("RealDiv", "Div", "Mul") else scaled
        return None

    def _before_mask(self, node: Node) -> Output | None:
        """x where `node` is x * mask, zeros past each sequence's end (LSTMBlockFusedCell)."""
        for value, mask in (node.inputs, node.inputs[::-1]) if node.op == "Mul" else ():
            if self._is_comparison(mask) and self._is_mask(mask):
                return value
        return None

    def _is_comparison(self, output: Output) -> bool:
        """Whether a number is a converted answer to a comparison, repeated or moved."""
        for _ in range(_LIMIT):
            node = self.node(output)
            if node.op in COMPARES:
                return True
            if node.op not in ("Cast", "Tile", "ExpandDims", "Transpose", "Reshape", "Identity") or not node.inputs:
                return False
            output = node.inputs[0]
        return False

    def _is_random(self, output: Output) -> bool:
        pending = [output]
        for _ in range(16):
            if not pending:
                break
            node = self.node(pending.pop())
            if node.op == "RandomUniform":
                return True
            if node.op in ("Floor", "Cast", "Add", "AddV2", "Mul", "GreaterEqual"):
                pending.extend(reversed(node.inputs))
        return False


def _is_float(dtype: object) -> bool:
    return isinstance(dtype, str) and "float" in dtype


def _fits(given: list[int], shape: tuple[int, ...]) -> bool:
    return len(given) == len(shape) and all(g in (-1, n) for g, n in zip(given, shape, strict=True))
