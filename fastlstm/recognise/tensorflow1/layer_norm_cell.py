"""LSTM cells that normalise their gates: LayerNormBasicLSTMCell, LayerNormLSTMCell.

    z = [x, h] kernel, no bias;  gate = phi_gate(gamma norm(z_gate) + beta [+ forget_bias] [+ w * c])
    c' = gamma norm(f * c + i * j) + beta, which is the state that is kept

Variables: <scope>/{kernel or weights or linear/weights, {input, transform, forget, output, state}/{gamma, beta}}.
Source: contrib/rnn/python/ops/rnn_cell.py (TF 0.12 to 1.15), contrib/layers layer_norm, nn_impl.batch_normalization.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import NamedTuple

from fastlstm.formats.graph import Output
from fastlstm.recognise.tensorflow1.cell_graph import Gate, Matcher
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import ADDS
from fastlstm.recognise.tensorflow1.names import Candidates, CellVariables, above, cell_below, join
from fastlstm.recognise.tensorflow1.parts import Fact

#: The scope of each gate's norm, and of the cell state's.
NORMS = {"i": "input", "j": "transform", "f": "forget", "o": "output", "c": "state"}
_KERNELS = ("kernel", "linear/weights", "weights")
EPSILON = 1e-12  # of tf.contrib.layers.layer_norm


def norms_below(scope: str, shapes: Mapping[str, tuple[int, ...]], letters: str = "ijfoc") -> dict[str, str]:
    """{"i/gamma": variable, ...} of a cell's norms; empty where it has none of them."""
    names = {f"{k}/{leaf}": join(scope, f"{NORMS[k]}/{leaf}") for k in letters for leaf in ("gamma", "beta")}
    return names if all(name in shapes for name in names.values()) else {}


def find_layer_norm(shapes: Mapping[str, tuple[int, ...]], taken: Set[str] = frozenset()) -> Candidates:
    """Every scope with the variables of such a cell."""
    cells: dict[str, CellVariables] = {}
    rejected: dict[str, str] = {}
    for gamma in shapes:
        scope = above(gamma, "transform/gamma")
        norms = norms_below(scope, shapes) if scope is not None else {}
        kernel = next((name for leaf in _KERNELS if (name := join(scope or "", leaf)) in shapes), None)
        if scope is None or not norms or kernel is None or kernel in taken:
            continue
        (hidden, *_), shape = shapes[gamma], shapes[kernel]
        if shape[1:] != (4 * hidden,) or any(shapes[name] != (hidden,) for name in norms.values()):
            rejected[scope] = f"{kernel!r} has shape {shape}; norms of {hidden} units go with (D + H, {4 * hidden})"
            continue
        more = dict(norms)
        if (bias := join(scope, "bias")) in shapes:
            more["unused bias"] = bias  # LayerNormLSTMCell makes one
        found = cell_below(scope, kernel, None, hidden, shapes, kind="LayerNorm", more=more)
        if isinstance(found, CellVariables):
            cells[scope] = found
        elif found:
            rejected[scope] = found
    return Candidates(cells, rejected)


class Normed(NamedTuple):
    """gamma norm(v) + beta: what it is, its variables, and what is added to the variance."""

    out: Output
    gamma: str
    beta: str
    epsilon: Fact


class LayerNormMatcher(Matcher):
    """Follows each gate and the new cell state through its norm too."""

    def __init__(self, cell: CellVariables, walker: Walker) -> None:
        super().__init__(cell, walker)
        self._norms: dict[Output, Normed] = {}

    def _begins(self, out: Output) -> Output:
        return self._normalised(out).out

    def _stored(self, total: Output) -> Output:
        self._state = self._normalised(total)
        return self._state.out

    def _normalised(self, out: Output) -> Normed:
        """The norm that `out` goes through: out * (rsqrt(variance + epsilon) * gamma) + (beta - mean * ...)."""
        for product, scale in self._products(out):
            rsqrt_and_gamma = self.walker.node(scale)
            if rsqrt_and_gamma.op != "Mul":
                continue
            for rsqrt, gamma in (rsqrt_and_gamma.inputs, rsqrt_and_gamma.inputs[::-1]):
                read, root = self.walker.variable(gamma), self.walker.node(self.walker.plain(rsqrt))
                if read is None or root.op != "Rsqrt" or not root.inputs:
                    continue
                epsilon = self._epsilon(root.inputs[0])
                for use in self.walker.readers(Output(product.name, 0)):
                    beta = self._shift(use.node.inputs[1 - use.input], scale) if use.node.op in ADDS else None
                    if beta is not None and epsilon is not None:
                        found = Normed(Output(use.node.name, 0), read.name, beta, epsilon)
                        self._norms[out] = found
                        return found
        raise self._fail(f"{out.node}:{out.index} goes through no layer norm")

    def _epsilon(self, output: Output) -> Fact | None:
        added = self.walker.node(self.walker.plain(output))
        for number in added.inputs if added.op in ADDS else ():
            value = self.walker.scalar(number)
            if value is not None:
                return Fact(value, "read", self.walker.source(self.walker.plain(number).node))
        return None

    def _shift(self, output: Output, scale: Output) -> str | None:
        """beta where `output` is beta - mean * scale."""
        node = self.walker.node(self.walker.plain(output))
        if node.op != "Sub":
            return None
        read, product = self.walker.variable(node.inputs[0]), self.walker.node(self.walker.plain(node.inputs[1]))
        scaled = product.op == "Mul" and scale in map(self.walker.plain, product.inputs)
        return read.name if read is not None and scaled else None

    def _more(self, **gates: Gate) -> dict[str, Fact]:
        """Whether each gate has its own norm, and what these add to the variance."""
        by_part = {out.index: norm for out, norm in self._norms.items() if norm is not self._state}
        seen = {letter: by_part[gate.part] for letter, gate in gates.items() if f"{letter}/gamma" in self.cell.more}
        seen["c"] = self._state
        for letter, norm in seen.items():
            wanted = self.cell.more[f"{letter}/gamma"], self.cell.more[f"{letter}/beta"]
            if (norm.gamma, norm.beta) != wanted:
                raise self._fail(f"gate {letter} is normalised by {norm.gamma!r} and {norm.beta!r}, expected {wanted}")
        epsilons = {norm.epsilon.value for norm in seen.values()}
        if len(epsilons) > 1:
            raise self._fail(f"its norms add {sorted(epsilons)} to their variances; expected one number")
        return {
            "layer_norm": Fact(True, "read", f"{self.walker.source(self._state.out.node)} and the gates' norms"),
            "epsilon": self._state.epsilon,
        }


def layer_norm_defaults(source: str) -> dict[str, Fact]:
    """What names alone leave open of the norms."""
    return {
        "layer_norm": Fact(True, "inferred", source),
        "epsilon": Fact(EPSILON, "assumed", "what tf.contrib.layers.layer_norm adds to a variance"),
    }
