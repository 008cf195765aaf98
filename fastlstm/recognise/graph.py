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
from fastlstm.recognise.graph_ops import (
    CARRIES,
    INPUTS,
    READS,
    READS_AND_RESHAPES,
    SAME_VALUE,
    SEVERAL,
    is_upkeep,
    outputs_of,
)

_LIMIT = 64  # steps back through reads, far more than any real graph has


class VariableRead(NamedTuple):
    """A variable's value, or its transpose."""

    name: str
    transposed: bool


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
        """The value of a constant, also one that entered a loop."""
        for _ in range(_LIMIT):
            node = self.node(output)
            if node.op == "Const":
                value = node.attrs.get("value")
                return None if value is None else np.asarray(value)
            if node.op not in READS or not node.inputs:
                return None
            output = node.inputs[0]
        return None

    def scalar(self, output: Output) -> float | None:
        """The value of a constant number; a float32's exact value."""
        value = self.constant(output)
        return float(value.reshape(())) if value is not None and value.size == 1 else None

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
        return self._onward(Output(name, 0), READS_AND_RESHAPES)

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
        if node.op in SEVERAL:
            return node.inputs[SEVERAL[node.op]]
        kept = self._before_dropout(node)
        if kept is not None:
            return (kept,)
        if node.op == "StridedSlice" and self._goes_backwards(node):
            return None
        positions = CARRIES.get(node.op)
        return None if positions is None else tuple(node.inputs[k] for k in positions if k < len(node.inputs))

    def _goes_backwards(self, node: Node) -> bool:
        """Whether a slice such as x[:, ::-1] reverses time."""
        strides = self.constant(node.inputs[3]) if len(node.inputs) > 3 else None
        return strides is not None and bool((strides < 0).any())

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
        products = [use.node for use in self.uses_of_variable(name) if use.node.op == "MatMul" and use.input == 1]
        names = {node.name for node in products if not is_upkeep(node)}
        return any(names & self.everything_before([node.inputs[0]]) for node in products if node.name in names)

    def read_after(self, output: Output, names: list[str]) -> list[str]:
        """Those of the variables that are read where `output` is needed too, training aside."""
        pending, seen = [output.node], {output.node}
        outputs: dict[str, list[Use]] = {}
        for source, uses in self.uses.items():
            outputs.setdefault(source.node, []).extend(uses)
        while pending:
            for use in outputs.get(pending.pop(), ()):
                if use.node.name not in seen and not is_upkeep(use.node):
                    seen.add(use.node.name)
                    pending.append(use.node.name)
        return [name for name in names if any(use.node.name in seen for use in self.uses_of_variable(name))]

    def _before_dropout(self, node: Node) -> Output | None:
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


def _fits(given: list[int], shape: tuple[int, ...]) -> bool:
    return len(given) == len(shape) and all(g in (-1, n) for g, n in zip(given, shape, strict=True))
