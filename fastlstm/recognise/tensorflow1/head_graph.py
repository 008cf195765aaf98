"""What follows the last cell of a stack in the graph: its dense layers, and whether a residual is added first.

Candidates are found from the variables, and each is checked by walking back from it (`topology`): a head is a row of
dense layers whose input is the stack's output. A loss is no dense layer, so nothing else needs to keep it out.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import NamedTuple

from fastlstm.formats.graph import Node, Output, Use
from fastlstm.recognise.tensorflow1.cell_use import ACTIVATIONS, CellUse, activation_fact
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import ADDS, is_upkeep, outputs_of
from fastlstm.recognise.tensorflow1.marks import FromAffine, FromCell
from fastlstm.recognise.tensorflow1.parts import Affine, Cell, Chain, Fact, extends
from fastlstm.recognise.tensorflow1.topology import Topology

#: Take some of the elements, or choose among several values.
_PARTS_OF = frozenset(
    ["Split", "SplitV", "Slice", "Unpack", "Gather", "GatherV2", "GatherNd", "Select", "SelectV2", "ConcatV2", "Concat"]
)
#: Dense layers of an attention mechanism read a stack's output too (tf.contrib.seq2seq.AttentionWrapper).
_ATTENTION = re.compile(r"(^|/)(memory_layer|query_layer|attention_layer|attention_[vgb])(_\d+)?/")
_DROPS = frozenset({"Mul", "RealDiv", "Div", "SelectV2"})  # what a dropout is made of
#: Read the model's output without making another one of it: losses' sums, metrics, decisions, summaries.
_ASIDE = frozenset(
    (
        *("Sum", "Mean", "Prod", "Max", "Min", "All", "Any", "EuclideanNorm", "L2Loss", "Shape", "ShapeN", "Size"),
        *("Rank", "Round", "Rint", "Floor", "Ceil", "Sign", "IsNan", "IsInf", "IsFinite", "ZerosLike", "OnesLike"),
        *("Assert", "QueueEnqueue", "QueueEnqueueV2", "QueueEnqueueMany", "QueueEnqueueManyV2", "Bucketize"),
        *("TensorArraySize", "TensorArraySizeV2", "TensorArraySizeV3"),
    )
)
_NO_VALUES = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})  # look at shapes only
#: Take logits, as the model's output is: what stands before them changes the prediction.
_PREDICT = frozenset(
    (
        *("Softmax", "LogSoftmax", "ArgMax", "ArgMin", "TopK", "TopKV2", "Multinomial", "InTopK", "InTopKV2"),
        *("SparseSoftmaxCrossEntropyWithLogits", "SoftmaxCrossEntropyWithLogits", "CTCLoss", "CTCGreedyDecoder"),
        "CTCBeamSearchDecoder",
    )
)
_MASKS = frozenset(
    ("Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalOr", "LogicalNot")
)
_FEEDS = ("Placeholder", "IteratorGetNext", "QueueDequeue", "Parse", "ReaderRead")  # beginnings
_VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})
_RANDOM = frozenset({"RandomStandardNormal", "RandomUniform", "TruncatedNormal"})
_PROBABILITIES = frozenset({"Softmax", "LogSoftmax"})
_FAR = 2000  # nodes visited on the way on, far more than a head needs
_IN_CELL = 400  # steps back through one cell, far more than it has


def heads_above(topology: Topology, top: Chain) -> dict[Chain, list[Output]]:
    """Every chain of dense layers on `top`, whole: nothing dense follows.  With each, where the graph computes it."""
    found: dict[Chain, list[Output]] = {}
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
                        found.setdefault((*chain[:-1], part), []).append(end)
    return {chain: ends for chain, ends in found.items() if not any(extends(other, chain) for other in found)}


def around_after(topology: Topology, use: CellUse) -> Cell:
    """A top cell without a head, with its input added or mixed in if the graph goes on so."""
    for node in _onward(topology.walker, use.h, through_dropout=True):
        for added in _sums_after(topology.walker, node):
            mark = mixed_cell(topology, added)
            if mark is not None and mark.use == use:
                return Cell(use.cell.scope, mark.residual, mark.highway)
    return Cell(use.cell.scope)


def mixed_cell(topology: Topology, added: Node) -> FromCell | None:
    """The cell whose input is added to, or mixed into, its output by the sum `added`."""
    marks = topology.landmarks.marks(Output(added.name, 0))
    mixed = [m for m in marks if isinstance(m, FromCell) and (m.residual or m.highway)]
    return mixed[0] if mixed and len(mixed) == len(marks) else None


def _sums_after(walker: Walker, node: Node) -> list[Node]:
    """`node` where it is a sum; the sums that read it where it is a product."""
    if node.op == "Mul":
        return [use.node for use in walker.uses.get(Output(node.name, 0), ()) if use.node.op in ADDS]
    return [node] if node.op in ADDS else []


class Beyond(NamedTuple):
    """Operations that make something else of the model's output, and the variables that they do so with."""

    nodes: list[Node]
    variables: list[str]


def beyond(topology: Topology, ends: list[Output], x: Output) -> Beyond:
    """What the graph computes from the model's output before a result: a fetch, a softmax, a loss.

    ends  the model's output, wherever the graph computes it
    x     the model's input
    """
    return _After(topology, ends, x).found()


class _After:
    """Follows the model's output, element by element, to where it ends or is summed up.

    A sum over elements, a comparison or a decision is a loss's or a metric's and leads to no result, but what is set
    against a label is a prediction.
    """

    def __init__(self, topology: Topology, ends: list[Output], x: Output) -> None:
        self.topology = topology
        self.walker = topology.walker
        self.starts = {end.node for end in ends}
        self.before = self.walker.everything_before([*ends, x])
        self.known = set(self.before)  # with all that was reached
        self.feeds = {output for output in self._all_before([*ends, x], frozenset()) if self._is_feed(output)}
        self.inside = _inside_cells(topology)
        self.fed: set[str] = set()  # of `computing`, what reads a fed value that the model does not depend on
        self.computing: dict[str, Node] = {}  # what is no mere moving, in the order it is met
        self.readers: dict[str, list[str]] = {}
        self.reached: set[str] = set()
        self.leads: dict[str, set[str]] = {}  # the kinds of results that a node leads to: "logits", "values"
        self._walk(ends)
        self._spread()

    def found(self) -> Beyond:
        nodes = [node for name, node in self.computing.items() if self.leads.get(name, set()) - self._harmless(node)]
        inputs = [output for node in nodes for output in node.inputs]
        names = {output.node for output in self._all_before(inputs, self.before)} - self.before
        return Beyond(nodes, [n for n in sorted(names) if _is_variable(self.walker, self.walker.node(Output(n, 0)))])

    def _walk(self, ends: list[Output]) -> None:
        indices: dict[str, list[int]] = {}
        for output in self.walker.uses:
            indices.setdefault(output.node, []).append(output.index)
        pending = list(dict.fromkeys(ends))
        while pending:
            output = pending.pop(0)
            for use in self.walker.uses.get(output, ()):
                name = use.node.name
                if _trains(use.node):
                    continue
                self.readers.setdefault(output.node, []).append(name)
                if self._follows(output, use) and name not in self.reached:
                    self.reached.add(name)
                    self.known.add(name)
                    onward = outputs_of(use) if use.node.op == "IdentityN" else indices.get(name, ())
                    pending.extend(Output(name, k) for k in onward)

    def _follows(self, output: Output, use: Use) -> bool:
        """Whether to go on with what `use` makes of `output`."""
        node = use.node
        if node.name in self.inside or node.op in _ASIDE or node.op.endswith(("Summary", "SummaryV2")):
            return False
        if node.op == "Cast" and self.walker.carried(node) is None:
            return False  # rounding is a decision too
        if node.op in ("Merge", "RefMerge") and self.walker.node(output).op in ("Enter", "RefEnter"):
            return False  # another loop starts from it: a decoder
        if node.op in _PREDICT:
            if use.input == 0:
                self.leads.setdefault(output.node, set()).add("logits")
            return False
        if self.walker.carries(use) or node.op in _MASKS or self._adds_input(node):
            return True
        if node.op == "Mul" and any(self._is_ones(other) for other in node.inputs):
            return True  # repeats its elements, as Categorical.log_prob does
        masked = self.walker.node(output).op in _MASKS
        if masked or self.walker.carried(node) is not None:  # read as a mask, a shape or an index
            if not (masked and node.op in ("Select", "SelectV2") and use.input == 0):
                return False
        else:
            besides = self._all_before([other for k, other in enumerate(node.inputs) if k != use.input], self.known)
            apart = not any(b.node in self.starts or b.node in self.reached for b in besides)
            fed = apart and any(self._is_feed(b) for b in besides - self.feeds)
            if fed and node.op in ("Sub", "SquaredDifference"):
                self.leads.setdefault(output.node, set()).add("values")
                return False
            if any(self.walker.node(b).op in _RANDOM and b.node not in self.before for b in besides):
                return False  # sampling
            if fed:
                self.fed.add(node.name)
        self.computing[node.name] = node
        return True

    def _is_ones(self, output: Output) -> bool:
        node = self.walker.node(self.walker.plain(output))
        return node.op == "OnesLike" or (node.op == "Fill" and self.walker.scalar(node.inputs[-1]) == 1)

    def _adds_input(self, node: Node) -> bool:
        """Whether `node` is part of a cell's residual or highway, which is part of the model."""
        return any(mixed_cell(self.topology, added) is not None for added in _sums_after(self.walker, node))

    def _spread(self) -> None:
        """Complete `leads` backwards; what nothing reads is a result."""
        for name in self.reached:
            if not self.readers.get(name) and self.walker.graph.nodes[name].op not in _MASKS:
                self.leads.setdefault(name, set()).add("values")
        before: dict[str, set[str]] = {}
        for name, readers in self.readers.items():
            for reader in readers:
                before.setdefault(reader, set()).add(name)
        pending = [name for name in self.leads if name in self.reached]
        while pending:
            name = pending.pop()
            for earlier in before.get(name, ()):
                kinds = self.leads.setdefault(earlier, set())
                if not self.leads[name] <= kinds:
                    kinds |= self.leads[name]
                    pending.append(earlier)

    def _harmless(self, node: Node) -> set[str]:
        """A temperature that is fed changes nothing but what is sampled."""
        return {"logits"} if node.op in ("RealDiv", "Div", "Mul") and node.name in self.fed else set()

    def _is_feed(self, output: Output) -> bool:
        return self.walker.node(output).op.startswith(_FEEDS)

    def _all_before(self, outputs: list[Output], known: Container[str]) -> set[Output]:
        """All values that `outputs` depend on.  known: nodes to look no further back from"""
        pending, seen = list(outputs), set[Output]()
        while pending:
            output = pending.pop()
            if output not in seen:
                seen.add(output)
                node = self.walker.node(output)
                if output.node not in known and node.op not in _NO_VALUES:
                    pending.extend(node.inputs)
        return seen


def gives_state(walker: Walker, use: CellUse) -> bool:
    """Whether the outputs that a loop collects are the cell's c, and not its h."""

    def collected(output: Output) -> bool:
        return any(node.op.startswith(("TensorArrayWrite", "TensorListSetItem")) for node in _onward(walker, output))

    return collected(use.c) and not collected(use.h)


def _inside_cells(topology: Topology) -> set[str]:
    """The names of the nodes that compute a cell's h and c from what it reads."""
    found: set[str] = set()
    for use in topology.uses:
        edge = {use.x, use.h_before, use.c_before}
        pending = [use.h, use.c]
        for _ in range(_IN_CELL):
            if not pending:
                break
            output = pending.pop(0)
            if output in edge or output.node in found:
                continue
            node = topology.walker.node(output)
            if node.op in ("Merge", "NextIteration", "TensorArrayReadV3", "Placeholder"):
                continue
            if _is_variable(topology.walker, node):
                continue
            found.add(output.node)
            pending.extend(node.inputs)
    return found


def _is_variable(walker: Walker, node: Node) -> bool:
    """Also what was one before the graph was frozen."""
    return node.op in _VARIABLES or node.name in walker.shapes


def _trains(node: Node) -> bool:
    """Whether the node is no part of the forward pass."""
    return is_upkeep(node) or any(part.endswith("_grad") for part in node.name.split("/"))


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
    elif probabilities is not None and _is_served(topology.walker, probabilities):
        part = part._replace(activation="softmax")
        topology.landmarks.where[part] = Fact(None, "read", f"{source(probabilities)}, which the signature gives")
        return Output(probabilities.name, 0), part
    elif probabilities is not None:
        text = f"{source(probabilities)}: probabilities are the softmax of the logits; outputs are logits"
        topology.landmarks.where[part] = Fact(None, "read", text)
    return end, part


def _is_served(walker: Walker, node: Node) -> bool:
    """Whether a function of TensorFlow 2 gives what a Softmax gives; a graph of TensorFlow 1 is run for its logits."""
    outputs = {walker.plain(output) for output in walker.graph.outputs}
    return node.op == "Softmax" and walker.graph.tensorflow_version.startswith("2") and Output(node.name, 0) in outputs


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
