"""A use of Keras' LSTM cell in a graph, told from the dataflow alone.

    MatMul(x, kernel) + MatMul(h, recurrent_kernel) + bias -> Split in 4
    or for each gate MatMul(x, Split(kernel)) + Split(bias) + MatMul(h, a slice of recurrent_kernel)

and from there on as in `cell_graph`.

Sources: keras.layers.LSTMCell.call (implementation 1 and 2), keras.layers.lstm.standard_lstm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

from fastlstm.formats.graph import Graph, Node, Output
from fastlstm.recognise.tensorflow1.cell_graph import Gate, Matcher
from fastlstm.recognise.tensorflow1.cell_use import CellUse, NotThisCell, is_silu
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import ADDS
from fastlstm.recognise.tensorflow1.hard_sigmoid import NAMES as HARD_SIGMOIDS
from fastlstm.recognise.tensorflow1.hard_sigmoid import hard_sigmoid_after
from fastlstm.recognise.tensorflow1.keras_names import LSTM_KIND, RECURRENT, find_pairs, scope_of_reads
from fastlstm.recognise.tensorflow1.names import Candidates, CellVariables
from fastlstm.recognise.tensorflow1.parts import Fact

KIND = LSTM_KIND


class Product(NamedTuple):
    """Four gates before their nonlinearities, the x and h that they come from, and the node to quote."""

    gates: tuple[Output, ...]
    x: Output
    h_before: Output
    node: Node


def find_keras(shapes: Mapping[str, tuple[int, ...]], taken: Set[str] = frozenset()) -> Candidates:
    """Every kernel (D, 4H) with a recurrent_kernel (H, 4H) beside it, and a bias (4H,) if it has one."""
    return find_pairs(shapes, taken, KIND)


def keras_in_graph(graph: Graph, shapes: dict[str, tuple[int, ...]], taken: Set[str]) -> dict[str, CellVariables]:
    """Cells that their dataflow alone shows, whatever their variables are called; those of a frozen graph are called
    after what reads them.

    Where kernel and recurrent kernel have the same shape, the one whose product is added to the other's is recurrent.
    """
    found: dict[str, CellVariables] = {}
    square = {name: s for name, s in shapes.items() if name not in taken and len(s) == 2 and s[1] == 4 * s[0]}
    if not square:
        return found
    walker = Walker(graph, shapes)
    for recurrent, shape in square.items():
        for use in walker.uses_of_variable(recurrent):
            if use.node.op != "MatMul" or use.input != 1:
                continue
            for reader in walker.readers(Output(use.node.name, 0)):
                other = walker.node(walker.plain(reader.node.inputs[0])) if reader.input == 1 else None
                if reader.node.op not in ADDS or other is None or other.op != "MatMul":
                    continue
                read = walker.variable(other.inputs[1])
                if read is None or read.transposed or shapes[read.name][1:] != shape[1:]:
                    continue
                bias = _bias_after(walker, Output(reader.node.name, 0), shape[1])
                scope = scope_of_reads(read.name, found)
                found[scope] = CellVariables(
                    scope, read.name, bias, shapes[read.name][0], shape[0], shape[0], None, None, True, (), KIND,
                    {RECURRENT: recurrent},
                )  # fmt: skip
                taken = taken | {recurrent}
                break
            if recurrent in taken:
                break
    return found


def _bias_after(walker: Walker, total: Output, size: int) -> str | None:
    """The variable (`size`,) that is added to `total`."""
    for use in walker.readers(total):
        read = walker.variable(use.node.inputs[1 - use.input]) if use.node.op in ADDS else None
        if read is not None and walker.shapes[read.name] == (size,):
            return read.name
    return None


def uses_of_keras(cell: CellVariables, walker: Walker) -> list[CellUse]:
    """Every forward use of `cell`.  Raises NotThisCell, also where there is none."""
    matcher = _KerasMatcher(cell, walker)
    products = [*matcher.joint_products(), *matcher.products_by_gate()]
    if not products:
        raise NotThisCell(
            f"{cell.kernel!r} and {cell.more[RECURRENT]!r} are not multiplied with an input and a state, and added, as "
            "Keras' LSTM does",
            near=False,
        )
    found = [matcher.match_product(product) for product in products]
    read = [use for use in found if walker.uses.get(use.h)]  # not the trial step by which Keras learns a shape
    return read or found


class _KerasMatcher(Matcher):
    def joint_products(self) -> Iterator[Product]:
        """Where the whole recurrent kernel is multiplied with h."""
        for use in self.walker.uses_of_variable(self.cell.more[RECURRENT]):
            if use.node.op != "MatMul" or use.input != 1:
                continue
            for total, x in self._with_input(Output(use.node.name, 0), self._is_kernel):
                for biased in self._with_bias(total):
                    for reader in self.walker.readers(biased):
                        if reader.node.op == "Split" and reader.input == 1:
                            gates = tuple(Output(reader.node.name, k) for k in range(4))
                            yield Product(gates, x, use.node.inputs[0], reader.node)

    def products_by_gate(self) -> Iterator[Product]:
        """Where each gate has its own slice of the recurrent kernel."""
        rows: dict[Output, dict[int, tuple[Output, Output, Node]]] = {}
        for use in self.walker.uses_of_variable(self.cell.more[RECURRENT]):
            part = self._slice(use.node) if use.input == 0 else None
            for reader in self.walker.readers(Output(use.node.name, 0)) if part is not None else ():
                if reader.node.op != "MatMul" or reader.input != 1:
                    continue
                number = part
                for total, x in self._with_input(
                    Output(reader.node.name, 0), lambda weight, number=number: self._is_piece(weight, number)
                ):
                    h_before = self.walker.plain(reader.node.inputs[0])
                    rows.setdefault(h_before, {})[number] = (total, x, reader.node)
        for h_before, gates in rows.items():
            if sorted(gates) == [0, 1, 2, 3] and len({self.walker.plain(x) for _, x, _ in gates.values()}) == 1:
                yield Product(tuple(gates[k][0] for k in range(4)), gates[0][1], h_before, gates[0][2])

    def match_product(self, product: Product) -> CellUse:
        gates = [self._nonlinear(part, out) for part, out in enumerate(product.gates)]
        (i, j), write = self._writing_pair(gates, product.node)
        f, c_before, total = self._forgetting([g for g in gates if g not in (i, j)], write)
        c, cell_clip = self._clipped(total)
        (o,) = (g for g in gates if g not in (i, j, f))
        h, activation = self._output(o, j, c)
        source = self.walker.source(product.node)
        letters = {i.part: "i", j.part: "j", f.part: "f", o.part: "o"}
        facts = {
            "forget_bias": Fact(0.0, "read", f"{source}: nothing is added to gate f"),
            "activation": activation,
            "recurrent_activation": self._gates_activation(i, f, o),
            "cell_clip": cell_clip,
            "proj_clip": Fact(None, "read", "no projection"),
            "use_peepholes": Fact(False, "read", "no gate sees the cell state in the graph"),
            "gate_order": Fact("".join(letters[k] for k in range(4)), "read", f"what becomes of the gates of {source}"),
        }
        return CellUse(self.cell, product.x, product.h_before, c_before, h, c, facts)

    def _with_input(self, state_part: Output, is_kernel: object) -> Iterator[tuple[Output, Output]]:
        """(state_part + x kernel [+ bias], x) wherever it is added."""
        for use in self.walker.readers(state_part):
            if use.node.op not in ADDS:
                continue
            other = self.walker.node(self.walker.plain(use.node.inputs[1 - use.input]))
            if other.op in ADDS:
                other = next(
                    (self.walker.node(self.walker.plain(o)) for o, b in self._pairs(other) if self._is_bias(b)), other
                )
            if other.op == "MatMul" and is_kernel(other.inputs[1]):  # type: ignore[operator]
                yield Output(use.node.name, 0), other.inputs[0]

    def _with_bias(self, total: Output) -> Iterator[Output]:
        """`total` after the bias, which may have been added already, or not be there."""
        yield total
        for use in self.walker.readers(total):
            if use.node.op in ADDS and self._is_bias(use.node.inputs[1 - use.input]):
                yield Output(use.node.name, 0)

    def _pairs(self, node: Node) -> tuple[tuple[Output, ...], tuple[Output, ...]]:
        return node.inputs, node.inputs[::-1]

    def _is_kernel(self, weight: Output) -> bool:
        read = self.walker.variable(weight)
        return read is not None and not read.transposed and read.name == self.cell.kernel

    def _is_bias(self, output: Output) -> bool:
        plain = self.walker.plain(output)
        node = self.walker.node(plain)
        read = self.walker.variable(node.inputs[1] if node.op == "Split" else output)
        return read is not None and read.name == self.cell.bias

    def _is_piece(self, weight: Output, number: int) -> bool:
        """Whether `weight` is the gate `number` of the kernel."""
        plain = self.walker.plain(weight)
        node = self.walker.node(plain)
        if node.op == "Split":
            return plain.index == number and self._is_kernel(node.inputs[1])
        return node.op == "StridedSlice" and self._slice(node) == number and self._is_kernel(node.inputs[0])

    def _slice(self, node: Node) -> int | None:
        """Which gate's columns a slice takes; a Split's outputs are told apart by their numbers."""
        piece = self.walker.piece(Output(node.name, 0)) if node.op == "StridedSlice" else None
        units = self.cell.hidden_size
        if piece is None or len(piece.at) != 2 or piece.at[0] != 0 or piece.at[1] % units:
            return None
        return piece.at[1] // units if piece.at[1] // units < 4 else None

    def _nonlinear(self, part: int, out: Output) -> Gate:
        """A gate past its nonlinearity."""
        hard = hard_sigmoid_after(self.walker, out, self._forward_readers)
        if hard is not None:
            name, node = hard
            return Gate(part, None, None, name, node, Output(node.name, 0))
        onward = self._forward_readers(out)
        product = next((node for node, _ in onward if is_silu(self.walker, node, out)), None)
        if product is not None:
            return Gate(part, None, None, "Silu", product, Output(product.name, 0))
        if onward and all(node.op == "Mul" for node, _ in onward):
            return Gate(part, None, None, None, None, out)
        if len(onward) != 1 or len(onward[0][0].inputs) != 1:
            names = ", ".join(f"{n.op} {n.name!r}" for n, _ in onward[:3]) or "nothing"
            raise self._fail(
                f"gate {out.node}:{out.index} is read by {names}, where an LSTM's goes to one nonlinearity"
            )
        node = onward[0][0]
        return Gate(part, None, None, node.op, node, Output(node.name, 0))

    def _gates_activation(self, i: Gate, f: Gate, o: Gate) -> Fact:
        if i.op in HARD_SIGMOIDS and i.op == f.op == o.op and i.node is not None:
            return Fact(i.op, "read", self.walker.source(i.node))
        return self._recurrent(i, f, o)
