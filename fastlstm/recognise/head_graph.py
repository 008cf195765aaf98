"""What follows the last cell of a stack in the graph: its dense layers, and whether a residual is added first.

Candidates are found from the variables, and each is checked by walking back from it (`topology`): a head is a row of
dense layers whose input is the stack's output. A loss is no dense layer, so nothing else needs to keep it out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fastlstm.formats.graph import Node, Output
from fastlstm.recognise.cell_use import ACTIVATIONS, CellUse, activation_fact
from fastlstm.recognise.graph import Walker
from fastlstm.recognise.graph_ops import ADDS, is_upkeep, outputs_of
from fastlstm.recognise.landmarks import FromAffine, FromCell
from fastlstm.recognise.tf1_parts import Affine, Cell, Chain, Fact, extends
from fastlstm.recognise.topology import Topology

#: Take some of the elements, or choose among several values.
_PARTS_OF = frozenset(
    ["Split", "SplitV", "Slice", "Unpack", "Gather", "GatherV2", "GatherNd", "Select", "SelectV2", "ConcatV2", "Concat"]
)
#: Dense layers of an attention mechanism read a stack's output too (tf.contrib.seq2seq.AttentionWrapper).
_ATTENTION = re.compile(r"(^|/)(memory_layer|query_layer|attention_layer|attention_[vgb])(_\d+)?/")
_DROPS = frozenset({"Mul", "RealDiv", "Div", "SelectV2"})  # what a dropout is made of
_ARITHMETIC = frozenset({"Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "Neg", "Pow"})
_PROBABILITIES = frozenset({"Softmax", "LogSoftmax"})
_FAR = 2000  # nodes visited on the way on, far more than a head needs


def heads_above(topology: Topology, top: Chain) -> dict[Chain, Output]:
    """Every chain of dense layers on `top`, whole: nothing dense follows.  With each, what it gives."""
    found: dict[Chain, Output] = {}
    taken = {name for use in topology.uses for name in use.cell.names}
    for name, shape in topology.walker.shapes.items():
        if len(shape) != 2 or name in taken or _ATTENTION.search(name):
            continue
        for use in topology.walker.uses_of_variable(name):
            if use.node.op == "MatMul" and use.input == 1:
                end, part = _outermost(topology, use.node)
                if part is not None:
                    chain = topology.chain(end, topology.size(part))
                    if chain and extends((*chain[:-1], part), top):
                        found[(*chain[:-1], part)] = end
    return {chain: end for chain, end in found.items() if not any(extends(other, chain) for other in found)}


def residual_after(topology: Topology, use: CellUse) -> bool:
    """Whether the graph goes on with the cell's input + output; asked of a top cell without a head."""
    for node in _onward(topology.walker, use.h, through_dropout=True):
        if node.op in ADDS and topology.landmarks.marks(Output(node.name, 0)) == [FromCell(use, "h", True)]:
            return True
    return False


def arithmetic_after(walker: Walker, end: Output) -> list[Node]:
    """Operations that go on with the model's output and a constant, such as 2 * y: no layer holds them."""
    return [
        node
        for node in _onward(walker, end)
        if node.op in _ARITHMETIC
        and not is_upkeep(node)
        and any(walker.constant(other) is not None for other in node.inputs)
    ]


def _outermost(topology: Topology, product: Node) -> tuple[Output, Affine | None]:
    """The last output that still belongs to `product`'s dense layer, and the layer; None where it is none."""
    end = Output(product.name, 0)
    part = _affine(topology, end)
    if part is None:
        return end, None
    for node in _onward(topology.walker, end):
        if node.op in ADDS:
            biased = _affine(topology, Output(node.name, 0))
            if biased is not None and biased == part._replace(bias=biased.bias):
                end, part = Output(node.name, 0), biased
                break
    activations, probabilities = {}, None
    for node in _onward(topology.walker, end):
        if node.op in ACTIVATIONS:
            activations.setdefault(activation_fact(node, topology.walker).value, node)
        elif node.op in _PROBABILITIES:
            probabilities = node
    source = topology.walker.source
    if len(activations) == 1:
        ((name, node),) = activations.items()
        part = part._replace(activation=name)
        topology.landmarks.where[part] = Fact(None, "read", source(node))
        return Output(node.name, 0), part
    if activations:
        part = part._replace(activation="?" + " and ".join(n.op for n in activations.values()))
    elif probabilities is not None:
        text = f"{source(probabilities)}: probabilities are the softmax of the logits; outputs are logits"
        topology.landmarks.where[part] = Fact(None, "read", text)
    return end, part


def _affine(topology: Topology, output: Output) -> Affine | None:
    """The one dense layer that gives `output`."""
    marks = topology.landmarks.marks(output)
    parts = {m.part for m in marks if isinstance(m, FromAffine)}
    return parts.pop() if len(parts) == 1 and all(isinstance(m, FromAffine) for m in marks) else None


def _onward(walker: Walker, output: Output, through_dropout: bool = False) -> Iterator[Node]:
    """Who reads `output` whole, past whatever only moves it."""
    pending, seen = [output], {output.node}
    while pending and len(seen) < _FAR:
        for use in walker.uses.get(pending.pop(0), ()):
            if use.node.name in seen:
                continue
            seen.add(use.node.name)
            yield use.node
            whole = use.node.op not in _PARTS_OF and (use.node.op != "StridedSlice" or _keeps_elements(use.node))
            if (walker.carries(use) and whole) or (through_dropout and use.node.op in _DROPS):
                pending.extend(Output(use.node.name, k) for k in outputs_of(use))


def _keeps_elements(node: Node) -> bool:
    """Whether a slice such as y[:, -1, :] takes the last axis whole; y[:, -1] does not say."""
    begin, end = node.attrs.get("begin_mask", 0), node.attrs.get("end_mask", 0)
    last = max(begin, end).bit_length() - 1
    return last >= 0 and bool(begin >> last & end >> last & 1) and not node.attrs.get("shrink_axis_mask", 0) >> last


def top_residual(top: Chain, residual: bool) -> Chain:
    """`top` with its last cell's residual set."""
    last = top[-1]
    return (*top[:-1], Cell(last.scope, residual)) if isinstance(last, Cell) else top
