"""One use of an LSTM cell in a graph: what it computes, told from the dataflow alone.

From the cell's kernel forward:

    MatMul([x, h], kernel) + bias -> Split in 4 -> each part [+ constant] [+ w * c] -> its nonlinearity

which part is which gate follows from what becomes of it: the two that are multiplied with each other are i and the
candidate j, the one that meets the old cell state is f, the one that meets phi of the new is o.

    c' = clip(f * c + i * j);  m = o * phi(c');  h' = m, or clip(m projection)

Sources: rnn_cell_impl.BasicLSTMCell.call, rnn_cell_impl.LSTMCell.call. Fused operations are read in `block_cell`; what
cells of other kinds do otherwise is said by subclasses of `Matcher`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from fastlstm.formats.graph import Node, Output
from fastlstm.recognise.tensorflow1.block_cell import BLOCK_OPS, block_use
from fastlstm.recognise.tensorflow1.cell_use import CellUse, NotThisCell, activation_fact, is_silu
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import ADDS
from fastlstm.recognise.tensorflow1.names import CellVariables
from fastlstm.recognise.tensorflow1.parts import Fact

#: Read a value without computing anything that a forward pass goes on with.
_BYSTANDERS = frozenset(
    (
        *("Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "StackPush", "StackPushV2", "L2Loss", "NoOp"),
        *("HistogramSummary", "ScalarSummary", "TensorSummary", "Assert", "Enter", "Exit", "Reshape"),
        *("Pack", "ConcatV2", "Concat", "TensorArrayWriteV3"),
    )
)


class Gate(NamedTuple):
    """One part of the split, followed to its nonlinearity (op None: it has none)."""

    part: int
    bias: Fact | None
    peephole: tuple[str, Output] | None  # the variable, and what it is multiplied with
    op: str | None
    node: Node | None
    out: Output


def uses_of_cell(cell: CellVariables, walker: Walker, kind: type[Matcher] | None = None) -> list[CellUse]:
    """Every forward use of `cell`, as `kind` has it.  Raises NotThisCell, also where there is none."""
    found, elsewhere = [], None
    for use in walker.uses_of_variable(cell.kernel):
        node = use.node
        if node.op in BLOCK_OPS and use.input == BLOCK_OPS[node.op].kernel:
            found.append(block_use(cell, node, walker))
        elif node.op == "MatMul":
            matcher = (kind or Matcher)(cell, walker)
            joined = matcher.input_and_state(node) if use.input == 1 else None
            if joined is not None:
                found.append(matcher.match(node, *joined))
            else:
                elsewhere = elsewhere or node  # a gradient's, unless there is no other
    if not found:
        what = f"not [input, state], but what {elsewhere.name!r} reads" if elsewhere else "nothing"
        raise NotThisCell(f"{cell.kernel!r} is no cell's kernel there: {what} is multiplied with it", near=False)
    return found


class Matcher:
    """Follows one MatMul through a cell, step by step; each step raises NotThisCell where the graph does otherwise.

    parts  into how many gates the product is split
    """

    parts = 4

    def __init__(self, cell: CellVariables, walker: Walker) -> None:
        self.cell = cell
        self.walker = walker

    def match(self, product: Node, x: Output, h_before: Output) -> CellUse:
        split = self._split(product)
        gates = [self._gate(Output(split.name, part)) for part in range(self.parts)]
        (i, j), write = self._writing_pair(gates, split)
        f, c_before, total = self._forgetting([g for g in gates if g != j], write)
        c, cell_clip = self._clipped(self._stored(total))
        left = [g for g in gates if g not in (i, j, f)]
        if len(left) != 1:
            raise self._fail(f"of the gates of {split.name!r} one is both input and forget gate, others are none")
        (o,) = left
        m, activation = self._output(o, j, c)
        h, proj_clip = self._projected(m)
        facts = {
            "forget_bias": f.bias or Fact(0.0, "read", f"{self.walker.source(split)}: nothing is added to gate f"),
            "activation": activation,
            "recurrent_activation": self._recurrent(i, f, o),
            "cell_clip": cell_clip,
            "proj_clip": proj_clip,
            "use_peepholes": self._peepholes(i, f, o, c_before, c),
            "gate_order": self._order(split, i=i, j=j, f=f, o=o),
            **self._more(i=i, j=j, f=f, o=o),
        }
        self._no_other_bias(*(gate for gate in (i, j, o) if gate != f))
        return CellUse(self.cell, x, h_before, c_before, h, c, facts)

    def _fail(self, why: str, near: bool = True) -> NotThisCell:
        return NotThisCell(f"{self.cell.scope!r} is not an LSTM as TensorFlow computes it: {why}", near=near)

    def input_and_state(self, product: Node) -> tuple[Output, Output] | None:
        """x and h where `product` is MatMul(concat([x, h], 1), kernel).

        The gradient multiplies with the kernel too, transposed, and may join the gradients of four gates for that.
        """
        joined = self.walker.node(self.walker.plain(product.inputs[0]))
        parts = {"ConcatV2": joined.inputs[:-1], "Concat": joined.inputs[1:]}.get(joined.op, ())
        if len(parts) == 2:
            return parts[0], parts[1]
        if parts and not product.attrs.get("transpose_b"):
            raise self._fail(f"{joined.name!r} joins {len(parts)} values, not an input and a state")
        return None

    def _more(self, **gates: Gate) -> dict[str, Fact]:
        """Facts that only this kind of cell has."""
        return {}

    def _stored(self, total: Output) -> Output:
        """The new cell state, before it is clipped, where a cell makes something else of f * c + i * j."""
        return total

    def _begins(self, out: Output) -> Output:
        """A part of the split past what a cell does with it first."""
        return out

    def _split(self, product: Node) -> Node:
        """The Split in gates of product + bias, or of product alone where the cell has no bias."""
        number = {3: "three", 4: "four"}[self.parts]
        added = (
            self._adding_variable(Output(product.name, 0), self.cell.bias)
            if self.cell.bias
            else [Output(product.name, 0)]
        )
        for summed in added:
            for use in self.walker.readers(summed):
                if use.node.op == "Split" and use.input == 1:
                    read = [k for k in range(6) if Output(use.node.name, k) in self.walker.uses]
                    if read == list(range(self.parts)):
                        return use.node
                    raise self._fail(f"of the outputs of {use.node.name!r} {read} are read, not {number}", near=False)
            readers = ", ".join(sorted({u.node.op for u in self.walker.readers(summed)} - _BYSTANDERS)) or "nothing"
            raise self._fail(
                f"[input, state] x kernel + bias is not split in {number} gates; it goes to {readers}", near=False
            )
        raise self._fail(f"{self.cell.bias!r} is not added to what {product.name!r} gives", near=False)

    def _adding_variable(self, output: Output, variable: str) -> Iterator[Output]:
        for use in self.walker.readers(output):
            if use.node.op in ADDS:
                read = self.walker.variable(use.node.inputs[1 - use.input])
                if read is not None and read.name == variable:
                    yield Output(use.node.name, 0)

    def _gate(self, out: Output) -> Gate:
        """One output of the split, past additions, to its nonlinearity."""
        part, out = out.index, self._begins(out)
        bias: Fact | None = None
        peephole: tuple[str, Output] | None = None
        while True:
            onward = self._forward_readers(out)
            product = next((node for node, _ in onward if is_silu(self.walker, node, out)), None)
            if product is not None:
                return Gate(part, bias, peephole, "Silu", product, Output(product.name, 0))
            if all(node.op == "Mul" for node, _ in onward):
                return Gate(part, bias, peephole, None, None, out)
            if len(onward) != 1:
                names = ", ".join(f"{n.op} {n.name!r}" for n, _ in onward[:3])
                raise self._fail(
                    f"gate {out.node}:{out.index} is read by {names}, where an LSTM's goes to one nonlinearity"
                )
            node, position = onward[0]
            if node.op not in ADDS:
                if len(node.inputs) != 1:
                    raise self._fail(f"{node.op} {node.name!r} follows gate {out.node}:{out.index}")
                return Gate(part, bias, peephole, node.op, node, self._past_dropout(Output(node.name, 0)))
            other = node.inputs[1 - position]
            number = self.walker.scalar(other)
            diagonal = self._diagonal(other)
            if number is not None and bias is None:
                bias = Fact(number, "read", self.walker.source(self.walker.plain(other).node))
            elif diagonal is not None and peephole is None:
                peephole = diagonal
            else:
                raise self._fail(f"{node.name!r} adds {self.walker.node(other).op} {other.node!r} to a gate")
            out = Output(node.name, 0)

    def _past_dropout(self, out: Output) -> Output:
        """`out`, or what a dropout gives of it."""
        for use in self.walker.readers(out):
            for node in (use.node, *(u.node for u in self.walker.readers(Output(use.node.name, 0)))):
                if node.op in ("Mul", "SelectV2") and self.walker.carried(node) is not None:
                    (kept, *others) = self.walker.carried(node) or ()
                    if not others and self.walker.plain(kept) == out:
                        return Output(node.name, 0)
        return out

    def _forward_readers(self, out: Output) -> list[tuple[Node, int]]:
        """Who computes on with `out`; where that is not clear, without what a gradients scope holds."""
        found = [(n, k) for n, k in self.walker.readers(out) if n.op not in _BYSTANDERS and not n.op.endswith("Grad")]
        if len(found) > 1:
            ahead = [(n, k) for n, k in found if not any(p.startswith("gradients") for p in n.name.split("/"))]
            found = ahead or found
        return found

    def _diagonal(self, output: Output) -> tuple[str, Output] | None:
        """(w, c) where `output` is w * c with one of the cell's peepholes."""
        node = self.walker.node(self.walker.plain(output))
        if node.op == "Mul":
            for weight, state in (node.inputs, node.inputs[::-1]):
                read = self.walker.variable(weight)
                if read is not None and read.name in (self.cell.peepholes or ()):
                    return read.name, state
        return None

    def _products(self, out: Output) -> Iterator[tuple[Node, Output]]:
        """Every Mul of `out` with something, and that."""
        for node, position in self.walker.readers(out):
            if node.op == "Mul":
                yield node, self.walker.plain(node.inputs[1 - position])

    def _writing_pair(self, gates: list[Gate], split: Node) -> tuple[tuple[Gate, Gate], Node]:
        """i and j, whose product is written to the cell, and that product.

        Of the two, j is the one whose nonlinearity is not the other gates'; where all are alike, the later.
        """
        for a, b in combinations(gates, 2):
            for node, other in self._products(a.out):
                if other == b.out:
                    rest = [g.op for g in gates if g not in (a, b)]
                    return ((b, a) if a.op != b.op and a.op not in rest else (a, b)), node
        raise self._fail(f"of the four gates of {split.name!r} no two are multiplied with each other (i and j are)")

    def _forgetting(self, rest: list[Gate], write: Node) -> tuple[Gate, Output, Output]:
        """f, the old cell state, and f * c + i * j."""
        for node, position in self.walker.readers(Output(write.name, 0)):
            if node.op in ADDS:
                kept = self.walker.node(self.walker.plain(node.inputs[1 - position]))
                if kept.op != "Mul":
                    continue
                for gate in rest:
                    for product, state in self._products(gate.out):
                        if product.name == kept.name:
                            return gate, state, Output(node.name, 0)
        raise self._fail(f"{write.name!r}, i * j, is not added to a third gate times the old cell state")

    def _clipped(self, output: Output) -> tuple[Output, Fact]:
        """`output` after tf.clip_by_value, where it is clipped: Maximum(Minimum(output, v), -v)."""
        for use in self.walker.readers(output):
            end = use.node
            if end.op == "ClipByValue":
                low, high = self.walker.scalar(end.inputs[1]), self.walker.scalar(end.inputs[2])
            elif end.op == "Minimum":
                high = self.walker.scalar(end.inputs[1 - use.input])
                above = [u for u in self.walker.readers(Output(end.name, 0)) if u.node.op == "Maximum"]
                if high is None or not above:
                    continue
                end = above[0].node
                low = self.walker.scalar(end.inputs[1 - above[0].input])
            else:
                continue
            if high is None or low is None or high != -low:
                raise self._fail(f"{end.name!r} clips to [{low}, {high}], which is not symmetric about 0")
            return Output(end.name, 0), Fact(high, "read", self.walker.source(use.node))
        return output, Fact(None, "read", f"{self.walker.source(output.node)}: nothing clips it")

    def _output(self, o: Gate, j: Gate, c: Output) -> tuple[Output, Fact]:
        """m = o * phi(c'), and phi, which is j's nonlinearity too."""
        for product, other in self._products(o.out):
            node = self.walker.node(other)
            op = None
            if is_silu(self.walker, node, c):
                op = "Silu"
            elif other != c:
                if len(node.inputs) != 1 or self.walker.plain(node.inputs[0]) != c:
                    continue
                op = node.op
            if op != j.op:
                raise self._fail(
                    f"the candidate goes through {j.op or 'nothing'}, the cell state through {op or 'nothing'}"
                )
            phi = Fact("linear", "read", f"{self.walker.source(product)}: there is no function before it")
            return Output(product.name, 0), phi if j.node is None else activation_fact(j.node, self.walker, op)
        raise self._fail(
            f"the last gate {o.out.node!r} is not multiplied with a function of the new cell state {c.node!r}"
        )

    def _recurrent(self, i: Gate, f: Gate, o: Gate) -> Fact:
        if len({i.op, f.op, o.op}) != 1 or i.node is None:
            raise self._fail(
                f"its gates i, f, o go through {i.op}, {f.op}, {o.op}; an LSTM's through one and the same function"
            )
        return activation_fact(i.node, self.walker)

    def _projected(self, m: Output) -> tuple[Output, Fact]:
        if self.cell.projection is None:
            return m, Fact(None, "read", "no projection")
        for node, position in self.walker.readers(m):
            if node.op == "MatMul" and position == 0:
                read = self.walker.variable(node.inputs[1])
                if read == (self.cell.projection, False):
                    return self._clipped(Output(node.name, 0))
        raise self._fail(f"{m.node!r} is not multiplied with its projection {self.cell.projection!r}")

    def _peepholes(self, i: Gate, f: Gate, o: Gate, c_before: Output, c: Output) -> Fact:
        """Whether i and f see the old cell state and o the new, each through its own diagonal."""
        return self._peepholes_of((i, f, o), (c_before, c_before, c))

    def _peepholes_of(self, gates: tuple[Gate, ...], states: tuple[Output, ...]) -> Fact:
        seen = [gate.peephole for gate in gates]
        if not any(seen):
            return Fact(False, "read", "no gate sees the cell state in the graph")
        for name, pair, state in zip(self.cell.peepholes or (), seen, states, strict=True):
            if pair is None or pair[0] != name or self.walker.plain(pair[1]) != self.walker.plain(state):
                raise self._fail(f"peephole {name!r} is not where an LSTM has it")
        return Fact(True, "read", f"variables {', '.join(self.cell.peepholes or ())}")

    def _order(self, split: Node, **gates: Gate) -> Fact:
        letters = {gate.part: letter for letter, gate in gates.items()}
        return Fact(
            "".join(letters[k] for k in range(self.parts)),
            "read",
            f"what becomes of the outputs of {self.walker.source(split)}",
        )

    def _no_other_bias(self, *gates: Gate) -> None:
        for gate in gates:
            if gate.bias is not None and gate.bias.value != 0:
                raise self._fail(f"{gate.bias.value} is added to a gate other than f ({gate.bias.source})")
