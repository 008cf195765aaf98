"""GRU cells: GRUCell, and GRUBlockCell in one fused operation.

    r, u = split(sigmoid([x, h] W_gates + b_gates));  c = phi([x, r * h] W_candidate + b_candidate)
    h' = u * h + (1 - u) * c

Variables: <scope>/{gates, candidate}/{kernel, bias} (weights, biases in TF 1.0 and 1.1; Gates/Linear/Matrix ... up to
0.12); of the fused one w_ru, b_ru, w_c, b_c up to TF 1.1.  Sources: rnn_cell_impl.GRUCell.call, ops/gru_ops.cc.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from fastlstm.formats.graph import Node, Output
from fastlstm.recognise.tensorflow1.cell_use import CellUse, NotThisCell, activation_fact
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import ADDS
from fastlstm.recognise.tensorflow1.names import Candidates, CellVariables, above, join
from fastlstm.recognise.tensorflow1.parts import Fact

#: Leaf names of the gates' kernel and bias and the candidate's.
_LEAVES = (
    ("gates/kernel", "gates/bias", "candidate/kernel", "candidate/bias"),
    ("gates/weights", "gates/biases", "candidate/weights", "candidate/biases"),
    ("Gates/Linear/Matrix", "Gates/Linear/Bias", "Candidate/Linear/Matrix", "Candidate/Linear/Bias"),
    ("w_ru", "b_ru", "w_c", "b_c"),
)


def find_gru(shapes: Mapping[str, tuple[int, ...]], taken: Set[str] = frozenset()) -> Candidates:
    """Every scope with a GRU cell's variables: (D + H, 2H) for the gates and (D + H, H) for the candidate."""
    cells: dict[str, CellVariables] = {}
    rejected: dict[str, str] = {}
    for kernel in shapes:
        for leaves in _LEAVES:
            scope = above(kernel, leaves[0])
            if scope is None or kernel in taken:
                continue
            names = [kernel, *(join(scope, leaf) for leaf in leaves[1:])]
            if not all(name in shapes for name in names):
                continue
            rows, hidden = shapes[kernel][0], shapes[kernel][-1] // 2
            wanted = [(rows, 2 * hidden), (2 * hidden,), (rows, hidden), (hidden,)]
            if [shapes[name] for name in names] != wanted or rows <= hidden:
                rejected[scope] = f"{kernel!r} {shapes[kernel]} and {names[2]!r} {shapes[names[2]]} are no GRU's"
                continue
            below = {name for name in shapes if scope and name.startswith(scope + "/")}
            cells[scope] = CellVariables(
                scope=scope,
                kernel=kernel,
                bias=names[1],
                input_size=rows - hidden,
                hidden_size=hidden,
                output_size=hidden,
                projection=None,
                peepholes=None,
                named=True,
                extras=tuple(sorted(below - set(names))),
                kind="GRU",
                more={"candidate kernel": names[2], "candidate bias": names[3]},
            )
    return Candidates(cells, rejected)


def uses_of_gru(cell: CellVariables, walker: Walker) -> list[CellUse]:
    """Every forward use of `cell`.  Raises NotThisCell, also where there is none."""
    found = []
    for use in walker.uses_of_variable(cell.kernel):
        if use.node.op == "GRUBlockCell" and use.input == 2:
            found.append(_fused(cell, use.node, walker))
        elif use.node.op == "MatMul" and use.input == 1 and not use.node.attrs.get("transpose_b"):  # a gradient is
            reading = _Reading(cell, walker)
            joined = reading.joined(use.node)
            if joined is not None:
                found.append(reading.use(use.node, *joined))
    if not found:
        raise NotThisCell(f"{cell.kernel!r} is no GRU's there: nothing is multiplied with it as in one", near=False)
    return found


def _fused(cell: CellVariables, node: Node, walker: Walker) -> CellUse:
    """GRUBlockCell(x, h_prev, w_ru, w_c, b_ru, b_c) -> r, u, c, h."""
    wired = [read and read.name for read in map(walker.variable, node.inputs[2:])]
    wanted = [cell.kernel, cell.more["candidate kernel"], cell.bias, cell.more["candidate bias"]]
    if wired != wanted:
        raise NotThisCell(f"{cell.scope!r}: {walker.source(node)} reads {wired}, expected {wanted}", near=True)
    source = f"{node.op} has no other ({walker.source(node)})"
    facts = {
        "activation": Fact("tanh", "read", source),
        "recurrent_activation": Fact("sigmoid", "read", source),
        "gate_order": Fact("ruc", "read", source),
        "reset_after": Fact(False, "read", source),
    }
    x, h = node.inputs[:2]
    out = Output(node.name, 3)
    return CellUse(cell, x, h, h, out, out, facts)


class _Reading:
    """Follows one MatMul with the gates' kernel through a cell."""

    def __init__(self, cell: CellVariables, walker: Walker) -> None:
        self.cell = cell
        self.walker = walker

    def use(self, product: Node, x: Output, h: Output) -> CellUse:
        walker, before = self.walker, self.walker.plain(h)
        gates = self._gates(product)
        for r in gates:
            for reset in self._product_of(r, before):
                candidate = self._candidate(Output(reset.name, 0), x)
                if candidate is None:
                    continue
                (u,) = (gate for gate in gates if gate != r)
                c, activation = candidate
                out = self._mixed(u, before, c)
                letters = "".join("r" if gate == r else "u" for gate in gates)
                facts = {
                    "activation": activation,
                    "recurrent_activation": Fact("sigmoid", "read", walker.source(product)),
                    "gate_order": Fact(f"{letters}c", "read", f"what becomes of the gates of {walker.source(product)}"),
                    "reset_after": Fact(False, "read", f"{walker.source(reset)} resets h before its product"),
                }
                return CellUse(self.cell, x, h, h, out, out, facts)
        raise self._fail("neither gate is multiplied with h and joined with x for the candidate")

    def _fail(self, why: str) -> NotThisCell:
        return NotThisCell(f"{self.cell.scope!r} is not a GRU as TensorFlow computes it: {why}", near=True)

    def joined(self, product: Node) -> tuple[Output, Output] | None:
        """x and h where `product` is MatMul(concat([x, h], 1), kernel)."""
        node = self.walker.node(self.walker.plain(product.inputs[0]))
        parts = {"ConcatV2": node.inputs[:-1], "Concat": node.inputs[1:]}.get(node.op, ())
        return (parts[0], parts[1]) if len(parts) == 2 else None

    def _biased(self, product: Node, bias: str | None) -> Output:
        for use in self.walker.readers(Output(product.name, 0)):
            if use.node.op in ADDS:
                read = self.walker.variable(use.node.inputs[1 - use.input])
                if read is not None and read.name == bias:
                    return Output(use.node.name, 0)
        raise self._fail(f"{bias!r} is not added to what {product.name!r} gives")

    def _gates(self, product: Node) -> list[Output]:
        """The two gates: sigmoid and then split, or split and then sigmoid of each."""
        pending = [self._biased(product, self.cell.bias)]
        for out in pending:
            for use in self.walker.readers(out):
                if use.node.op == "Sigmoid" and len(pending) == 1:
                    pending.append(Output(use.node.name, 0))
                if use.node.op == "Split" and use.input == 1:
                    parts = [Output(use.node.name, k) for k in range(2)]
                    return parts if len(pending) == 2 and out == pending[1] else [self._sigmoid(p) for p in parts]
        raise self._fail(f"what {product.name!r} gives is not split in two gates")

    def _sigmoid(self, out: Output) -> Output:
        for use in self.walker.readers(out):
            if use.node.op == "Sigmoid":
                return Output(use.node.name, 0)
        raise self._fail(f"{out.node}:{out.index} goes through no sigmoid")

    def _product_of(self, one: Output, other: Output) -> Iterator[Node]:
        for use in self.walker.readers(one):
            if use.node.op == "Mul" and self.walker.plain(use.node.inputs[1 - use.input]) == other:
                yield use.node

    def _candidate(self, reset: Output, x: Output) -> tuple[Output, Fact] | None:
        """c = phi([x, reset] W + b), and phi; None where `reset` is not joined with x."""
        for use in self.walker.readers(reset):
            for onward in self.walker.readers(Output(use.node.name, 0)):
                product = onward.node
                read = self.walker.variable(product.inputs[1]) if product.op == "MatMul" and not onward.input else None
                if read is None or read.name != self.cell.more["candidate kernel"]:
                    continue
                parts = self.joined(product)
                if parts is None or [self.walker.plain(p) for p in parts] != [self.walker.plain(x), reset]:
                    raise self._fail(f"{product.name!r} does not read x and the h that is reset")
                out = self._biased(product, self.cell.more["candidate bias"])
                return self._activated(out)
        return None

    def _activated(self, out: Output) -> tuple[Output, Fact]:
        readers = [use.node for use in self.walker.readers(out) if not use.node.op.endswith("Grad")]
        if all(node.op in ("Mul", "Shape", "ShapeN") for node in readers):
            return out, Fact("linear", "read", f"{self.walker.source(out.node)}: no function follows")
        node = next((n for n in readers if len(n.inputs) == 1 and n.op not in ("Shape", "ShapeN")), None)
        if node is None:
            raise self._fail(f"the candidate {out.node!r} goes to {', '.join(n.op for n in readers[:3])}")
        return Output(node.name, 0), activation_fact(node, self.walker)

    def _mixed(self, u: Output, h: Output, c: Output) -> Output:
        """u * h + (1 - u) * c."""
        for kept in self._product_of(u, h):
            for use in self.walker.readers(Output(kept.name, 0)):
                other = (
                    self.walker.node(self.walker.plain(use.node.inputs[1 - use.input])) if use.node.op in ADDS else None
                )
                if other is None or other.op != "Mul":
                    continue
                for one, candidate in (other.inputs, other.inputs[::-1]):
                    rest = self.walker.node(self.walker.plain(one))
                    if self.walker.plain(candidate) != c or rest.op != "Sub":
                        continue
                    if self.walker.scalar(rest.inputs[0]) == 1 and self.walker.plain(rest.inputs[1]) == u:
                        return Output(use.node.name, 0)
        raise self._fail("its output is not u * h + (1 - u) * c")


def gru_defaults(cell: CellVariables) -> dict[str, Fact]:
    """Hyper-parameters as GRUCell has them by default."""
    return {
        "activation": Fact("tanh", "assumed", "the default of GRUCell; no graph (.meta) says otherwise"),
        "recurrent_activation": Fact("sigmoid", "inferred", "TensorFlow 1 cells have no other"),
        "gate_order": Fact("ruc", "inferred", "TensorFlow 1 cells have no other"),
        "reset_after": Fact(False, "inferred", "GRUCell resets h before the candidate's product"),
    }
