"""LSTM cells whose input gate is 1 - forget gate: CoupledInputForgetGateLSTMCell, with layer_norm and without.

    z = [x, h] W + B, split in j, f, o;  f = sigmoid(z_f + forget_bias [+ w_f * c]);  c' = f * c + (1 - f) * phi(z_j)

Variables: <scope>/{W_0, B, W_F_diag, W_O_diag, W_P_0, {transform, forget, output, state}/{gamma, beta}}, in every TF 1.
Source: contrib/rnn/python/ops/rnn_cell.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set

from fastlstm.formats.graph import Node, Output
from fastlstm.recognise.tensorflow1.cell_graph import Gate, Matcher, uses_of_cell
from fastlstm.recognise.tensorflow1.cell_use import CellUse
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.layer_norm_cell import LayerNormMatcher, norms_below
from fastlstm.recognise.tensorflow1.names import Candidates, CellVariables, above, cell_below, join
from fastlstm.recognise.tensorflow1.parts import Fact

_NAMED = re.compile(r"coupled_?input_?forget_?gate", re.IGNORECASE)


def find_coupled(shapes: Mapping[str, tuple[int, ...]], taken: Set[str] = frozenset()) -> Candidates:
    """Every scope with such a cell's variables: 3H columns, where a name or another variable tells them from 4H."""
    cells: dict[str, CellVariables] = {}
    rejected: dict[str, str] = {}
    for kernel, shape in shapes.items():
        scope = above(kernel, "W_0")
        if scope is None or len(shape) != 2 or shape[1] % 3 or kernel in taken:
            continue
        bias, hidden = join(scope, "B"), shape[1] // 3
        named = bool(_NAMED.search(scope.rpartition("/")[2]))
        norms = norms_below(scope, shapes, "jfoc")
        known = [(join(scope, leaf), shapes.get(join(scope, leaf), ())) for leaf in ("W_F_diag", "W_P_0")]
        told = named or norms or any(s[:1] == (hidden,) for _, s in known)
        if shapes.get(bias, shape[1:] if norms else None) != shape[1:] or not told:
            continue
        more = dict(norms)
        if norms and bias in shapes:
            more["unused bias"] = bias  # which a frozen graph leaves out
        found = cell_below(
            scope,
            kernel,
            None if norms else bias,
            hidden,
            shapes,
            kind="Coupled",
            more=more,
            diagonals=[("W_F_diag", "W_O_diag")],
        )
        if isinstance(found, CellVariables):
            cells[scope] = found
        elif found:
            rejected[scope] = found
    return Candidates(cells, rejected)


class CoupledMatcher(Matcher):
    """Finds (1 - f) * j where other cells have i * j; i is f then."""

    parts = 3

    def _writing_pair(self, gates: list[Gate], split: Node) -> tuple[tuple[Gate, Gate], Node]:
        for f in gates:
            for use in self.walker.readers(f.out):
                if use.node.op != "Sub" or use.input != 1 or self.walker.scalar(use.node.inputs[0]) != 1:
                    continue
                for product, other in self._products(Output(use.node.name, 0)):
                    for j in gates:
                        if j != f and j.out == other:
                            return (f, j), product
        raise self._fail(f"of the three gates of {split.name!r} no two are multiplied as (1 - f) and j are")

    def _peepholes(self, i: Gate, f: Gate, o: Gate, c_before: Output, c: Output) -> Fact:
        return self._peepholes_of((f, o), (c_before, c))

    def _more(self, **gates: Gate) -> dict[str, Fact]:
        coupled = Fact(True, "read", "the graph multiplies the candidate with 1 - f")
        return {**super()._more(**gates), "coupled_gates": coupled}

    def _order(self, split: Node, **gates: Gate) -> Fact:
        return super()._order(split, **{letter: gate for letter, gate in gates.items() if letter != "i"})


class CoupledLayerNormMatcher(CoupledMatcher, LayerNormMatcher):
    """Both."""


def uses_of_coupled(cell: CellVariables, walker: Walker) -> list[CellUse]:
    """Every forward use of `cell`.  Raises NotThisCell, also where there is none."""
    return uses_of_cell(cell, walker, CoupledLayerNormMatcher if "f/gamma" in cell.more else CoupledMatcher)
