"""A use of Keras' GRU cell in a graph, told from the dataflow alone, from its output backwards.

    h' = z * h + (1 - z) * c
    z, r = sigma(x K_z + h R_z + b_z [+ rb_z]), sigma(x K_r + h R_r + b_r [+ rb_r])
    c = phi(x K_h + b_h + r * (h R_h + rb_h)), or phi(x K_h + b_h + (r * h) R_h)

Every sum is looked at as the products and biases it is made of, and each of these as the columns that it takes of a
weight: whether kernels are split before their products or the products after is then all one.

Source: keras.layers.GRUCell.call (implementation 1 and 2, reset_after or not), keras.layers.gru.standard_gru.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

from fastlstm.formats.graph import Graph, Node, Output
from fastlstm.recognise.tensorflow1.cell_use import ACTIVATIONS, CellUse, NotThisCell, activation_fact, is_silu
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import ADDS, READS
from fastlstm.recognise.tensorflow1.hard_sigmoid import hard_sigmoid_before
from fastlstm.recognise.tensorflow1.keras_names import GRU_KIND, RECURRENT, find_pairs, scope_of_reads
from fastlstm.recognise.tensorflow1.names import Candidates, CellVariables
from fastlstm.recognise.tensorflow1.parts import Fact

KIND, RECURRENT_BIAS = GRU_KIND, "recurrent bias"
_FAR = 32  # operations between a weight and its use, or terms of a sum, far more than there are


class Columns(NamedTuple):
    """Columns start to stop of a weight, or of one row of it."""

    name: str
    row: int | None
    start: int
    stop: int


class Term(NamedTuple):
    """What a sum is made of: a product `of` @ weight, a bias (of: None), or `of` as it is (weight: None)."""

    of: Output | None
    weight: Columns | None


class Found(NamedTuple):
    """A cell's use, before its variables have a scope.  weights: kernel, recurrent kernel, bias, recurrent bias"""

    weights: tuple[Columns, Columns, Columns | None, Columns | None]
    x: Output
    h_before: Output
    h: Output
    facts: dict[str, Fact]


def find_keras_gru(shapes: Mapping[str, tuple[int, ...]], taken: Set[str] = frozenset()) -> Candidates:
    """Every kernel (D, 3H) with a recurrent_kernel (H, 3H) beside it, and a bias (3H,) or (2, 3H) if it has one."""
    return find_pairs(shapes, taken, KIND)


def keras_grus_in_graph(graph: Graph, shapes: dict[str, tuple[int, ...]], taken: Set[str]) -> dict[str, CellVariables]:
    """Cells that their dataflow alone shows, whatever their variables are called."""
    cells: dict[str, CellVariables] = {}
    if not any(len(shape) == 2 and shape[1] == 3 * shape[0] for shape in shapes.values()):
        return cells
    for found in _grus(Walker(graph, shapes)):
        kernel, recurrent, bias, recurrent_bias = found.weights
        if kernel.name in taken:
            continue
        taken = taken | {kernel.name}
        scope = scope_of_reads(kernel.name, cells)
        more = {RECURRENT: recurrent.name}
        if recurrent_bias is not None and bias is not None and recurrent_bias.name != bias.name:
            more[RECURRENT_BIAS] = recurrent_bias.name
        size, hidden = shapes[kernel.name][0], shapes[recurrent.name][0]
        cells[scope] = CellVariables(
            scope, kernel.name, bias and bias.name, size, hidden, hidden, None, None, True, (), KIND, more
        )
    return cells


def uses_of_keras_gru(cell: CellVariables, walker: Walker) -> list[CellUse]:
    """Every forward use of `cell`.  Raises NotThisCell where there is none."""
    uses = []
    for found in _grus(walker):
        kernel, recurrent, bias, _ = found.weights
        if (kernel.name, recurrent.name) != (cell.kernel, cell.more[RECURRENT]):
            continue
        if (bias and bias.name) != cell.bias:
            raise NotThisCell(f"{cell.scope!r}: {found.h.node!r} adds the bias {bias}, not {cell.bias!r}", near=True)
        uses.append(CellUse(cell, found.x, found.h_before, found.h_before, found.h, found.h, found.facts))
    if not uses:
        raise NotThisCell(
            f"{cell.kernel!r} and {cell.more[RECURRENT]!r} are not multiplied with an input and a state as Keras' GRU "
            "does",
            near=False,
        )
    read = [use for use in uses if walker.uses.get(use.h)]  # not the trial step by which Keras learns a shape
    return read or uses


def _grus(walker: Walker) -> Iterator[Found]:
    reader = _Reader(walker)
    for node in walker.graph.nodes.values():
        if node.op in ADDS:
            found = reader.gru(node)
            if found is not None:
                yield found


class _Reader:
    def __init__(self, walker: Walker) -> None:
        self.walker = walker

    def gru(self, node: Node) -> Found | None:
        """The cell whose output `node` is; None where it is none's."""
        for kept, written in (node.inputs, node.inputs[::-1]):
            for rest, c in self._factors(written):
                one_less = self.walker.node(rest)
                if one_less.op != "Sub" or self.walker.scalar(one_less.inputs[0]) != 1:
                    continue
                z = self.walker.plain(one_less.inputs[1])
                for gate, h in self._factors(kept):
                    if gate == z:
                        return self._cell(Output(node.name, 0), z, c, h)
        return None

    def _cell(self, out: Output, z: Output, c: Output, h: Output) -> Found | None:
        activation, candidate = self._function(c)
        terms = self.terms(candidate)
        states = [t for t in terms if t.weight is None or (t.of is not None and self._reset(t.of, h) is not None)]
        if len(states) != 1:
            return None
        (state,) = states
        inputs = [t for t in terms if t != state]
        if state.weight is not None and state.of is not None:  # (r * h) R_h
            r, after, products = self._reset(state.of, h), False, [Term(h, state.weight)]
        else:
            r, after, products = None, True, []
            for gate, other in self._factors(state.of) if state.of is not None else ():
                inner = self.terms(other)
                if any(t.weight is not None and t.of == h for t in inner):
                    r, products = gate, inner
        if r is None:
            return None
        parts = {}
        for letter, gate in (("z", z), ("r", r)):
            function, before = self._function(gate)
            parts[letter] = self._split(self.terms(before), h), function
        parts["h"] = self._split([*inputs, *products], h), activation
        return self._checked(out, h, after, parts)

    def _checked(
        self, out: Output, h: Output, after: bool, parts: Mapping[str, tuple[Mapping[str, Term] | None, Fact]]
    ) -> Found | None:
        """The cell where all gates read the same x and h, through thirds of the same weights in the same order."""
        split = {letter: terms for letter, (terms, _) in parts.items() if terms is not None}
        if len(split) != 3 or len({terms["kernel"].of for terms in split.values()}) != 1:
            return None
        units = self.walker.shapes[split["h"]["recurrent"].weight.name][0]  # type: ignore[union-attr]
        order = sorted(split, key=lambda letter: split[letter]["kernel"].weight.start)  # type: ignore[union-attr]
        whole: dict[str, Columns] = {}
        for k, letter in enumerate(order):
            if set(split[letter]) != set(split["h"]):
                return None
            for what, term in split[letter].items():
                columns = term.weight
                assert columns is not None
                if (columns.start, columns.stop) != (k * units, (k + 1) * units):
                    return None
                if whole.setdefault(what, columns)[:2] != columns[:2]:
                    return None
        if parts["z"][1].value != parts["r"][1].value or (not after and "recurrent bias" in whole):
            return None
        source = self.walker.source(out.node)
        facts = {
            "activation": parts["h"][1],
            "recurrent_activation": parts["z"][1],
            "gate_order": Fact("".join(order), "read", f"what becomes of the gates of {source}"),
            "reset_after": Fact(after, "read", f"what the reset gate is multiplied with, before {source}"),
        }
        x = split["h"]["kernel"].of
        assert x is not None
        weights = whole["kernel"], whole["recurrent"], whole.get("bias"), whole.get("recurrent bias")
        return Found(weights, x, h, out, facts)

    def _split(self, terms: list[Term], h: Output) -> dict[str, Term] | None:
        """The terms of one gate by what they are; None where they are more or less than a gate's.

        A bias that is added to h R is told from the other by its row, or by coming after it.
        """
        found: dict[str, Term] = {}
        biases = []
        for term in terms:
            if term.weight is None:
                return None
            if term.of is None:
                biases.append(term)
                continue
            what = "recurrent" if self.walker.plain(term.of) == h or self._reset(term.of, h) else "kernel"
            if what in found:
                return None
            found[what] = term
        biases.sort(key=lambda term: (term.weight.row or 0) if term.weight else 0)
        if len(biases) > 2 or len(found) != 2:
            return None
        return found | dict(zip(("bias", "recurrent bias"), biases, strict=False))

    def _factors(self, output: Output) -> list[tuple[Output, Output]]:
        """(a, b) and (b, a) where `output` is a * b."""
        node = self.walker.node(self.walker.plain(output))
        if node.op != "Mul":
            return []
        one, other = map(self.walker.plain, node.inputs)
        return [(one, other), (other, one)]

    def _reset(self, output: Output, h: Output) -> Output | None:
        """r where `output` is r * h."""
        return next((gate for gate, state in self._factors(output) if state == h), None)

    def _function(self, output: Output) -> tuple[Fact, Output]:
        """The activation that gives `output`, and what it is applied to."""
        output = self.walker.plain(output)
        node = self.walker.node(output)
        hard = hard_sigmoid_before(self.walker, output)
        if hard is not None:
            return Fact(hard[0], "read", self.walker.source(node)), hard[1]
        for value, _ in self._factors(output):
            if is_silu(self.walker, node, value):
                return activation_fact(node, self.walker, "Silu"), value
        if node.op in ACTIVATIONS or (len(node.inputs) == 1 and node.op not in ("Split", "Unpack")):
            return activation_fact(node, self.walker), self.walker.plain(node.inputs[0])
        return Fact("linear", "read", f"{self.walker.source(node)}: no function follows"), output

    # Sums of products

    def terms(self, output: Output, far: int = _FAR) -> list[Term]:
        """What `output` is the sum of."""
        output = self.walker.plain(output)
        bias = self.columns(output)
        if bias is not None:
            return [Term(None, bias)]
        node = self.walker.node(output)
        if far <= 0:
            return [Term(output, None)]
        if node.op in ADDS:
            return [term for value in node.inputs for term in self.terms(value, far - 1)]
        if node.op == "MatMul" and not node.attrs.get("transpose_a") and not node.attrs.get("transpose_b"):
            weight = self.columns(node.inputs[1])
            if weight is not None and weight.row is None:
                return [Term(self.walker.plain(node.inputs[0]), weight)]
        if node.op == "Split" and self.walker.scalar(node.inputs[0]) in (1, -1):
            parts = int(node.attrs.get("num_split") or 0)
            return self._narrowed(node.inputs[1], far, output, lambda size: _share(size, output.index, parts))
        if node.op == "SplitV":
            return self._narrowed(node.inputs[0], far, output, lambda size: self._portion(node, output.index, size))
        if node.op == "StridedSlice":
            return self._narrowed(node.inputs[0], far, output, lambda size: self._slice(node, 1, size))
        return [Term(output, None)]

    def _narrowed(self, value: Output, far: int, output: Output, part: object) -> list[Term]:
        """The terms of `value`, some columns of each."""
        found = []
        for term in self.terms(value, far - 1):
            narrow = term.weight and self._part_of(term.weight, part)
            if narrow is None:
                return [Term(output, None)]
            found.append(Term(term.of, narrow))
        return found

    def _part_of(self, columns: Columns, part: object) -> Columns | None:
        at = part(columns.stop - columns.start)  # type: ignore[operator]
        return at and columns._replace(start=columns.start + at[0], stop=columns.start + at[1])

    def columns(self, output: Output) -> Columns | None:
        """The columns of a variable that `output` is."""
        for _ in range(_FAR):
            node = self.walker.node(output)
            if node.name in self.walker.shapes:
                shape = self.walker.shapes[node.name]
                return Columns(node.name, None, 0, shape[-1]) if len(shape) in (1, 2) else None
            if node.op in ("Split", "Unpack", "StridedSlice", "Squeeze") and node.inputs:
                return self._piece(node, output.index)
            if node.op not in READS or not node.inputs:
                return None
            output = node.inputs[0]
        return None

    def _piece(self, node: Node, index: int) -> Columns | None:
        whole = self.columns(node.inputs[1 if node.op == "Split" else 0])
        if whole is None:
            return None
        rows = self.walker.shapes[whole.name][:-1] if whole.row is None else ()
        if node.op == "Squeeze":
            return whole
        if node.op == "Unpack" or (node.op == "Split" and rows and self.walker.scalar(node.inputs[0]) == 0):
            fits = rows == (2,) and node.attrs.get("num_split" if node.op == "Split" else "num", 2) == 2
            return whole._replace(row=index) if fits else None
        if node.op == "Split":
            parts = int(node.attrs.get("num_split") or 0)
            return self._part_of(whole, lambda size: _share(size, index, parts))
        row = self._row(node) if rows == (2,) else None
        if row is not None:
            return whole._replace(row=row)
        return self._part_of(whole, lambda size: self._slice(node, len(rows), size))

    def _row(self, node: Node) -> int | None:
        """k where `node` is value[k]."""
        begin = self.walker.constant(node.inputs[1])
        if node.attrs.get("shrink_axis_mask") != 1 or begin is None or begin.size < 1:
            return None
        return int(begin.reshape(-1)[0])

    def _portion(self, node: Node, index: int, size: int) -> tuple[int, int] | None:
        """Where a SplitV along the last axis begins and ends an output; one of its sizes may be -1, the rest."""
        given = self.walker.constant(node.inputs[1])
        if given is None or self.walker.scalar(node.inputs[2]) not in (1, -1) or not 0 <= index < given.size:
            return None
        sizes = given.reshape(-1).tolist()
        if sizes.count(-1) == 1:
            sizes[sizes.index(-1)] = size - sum(sizes) - 1
        start = sum(sizes[:index])
        return (start, start + sizes[index]) if min(sizes) >= 0 and sum(sizes) == size else None

    def _slice(self, node: Node, axis: int, size: int) -> tuple[int, int] | None:
        """Where a slice of `axis` alone begins and ends."""
        ends = [self.walker.constant(value) for value in node.inputs[1:4]]
        if len(ends) != 3 or any(value is None or value.size != axis + 1 for value in ends):
            return None
        begin, end, strides = (value.reshape(-1).tolist() for value in ends)  # type: ignore[union-attr]
        first, last = node.attrs.get("begin_mask") or 0, node.attrs.get("end_mask") or 0
        others = (1 << axis) - 1
        masks = node.attrs.get("shrink_axis_mask") or node.attrs.get("new_axis_mask") or node.attrs.get("ellipsis_mask")
        if masks or any(step != 1 for step in strides) or first & others != others or last & others != others:
            return None
        start = 0 if first >> axis & 1 else begin[axis]
        stop = size if last >> axis & 1 else end[axis]
        start, stop = (at + size if at < 0 else at for at in (start, stop))
        return (start, stop) if 0 <= start < stop <= size else None


def _share(size: int, index: int, parts: int) -> tuple[int, int] | None:
    if parts < 1 or size % parts:
        return None
    return index * (size // parts), (index + 1) * (size // parts)
