"""One place in a graph where an LSTM cell runs, as plain data, and what both readers of such places need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fastlstm.formats.graph import Node, Output
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.names import CellVariables
from fastlstm.recognise.tensorflow1.parts import Fact

#: Operation -> activation. LeakyRelu counts only with its usual slope.
ACTIVATIONS = {
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Relu": "relu",
    "Relu6": "relu6",
    "Elu": "elu",
    "Selu": "selu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Exp": "exponential",
    "LeakyRelu": "leaky_relu",
    "Silu": "silu",  # our name for x * sigmoid(x), which TensorFlow 1 spells out
}


class NotThisCell(Exception):
    """The dataflow is not an LSTM cell's; the text says where it differs.  near: it has a cell's four gates."""

    def __init__(self, why: str, *, near: bool) -> None:
        super().__init__(why)
        self.near = near


@dataclass(frozen=True, eq=False)
class CellUse:
    """One place in the graph where the cell runs: once for a dynamic_rnn, once a time step for a static_rnn.

    x, h_before, c_before  what it reads
    h, c                   what it gives
    facts                  hyper-parameter -> Fact
    """

    cell: CellVariables
    x: Output
    h_before: Output
    c_before: Output
    h: Output
    c: Output
    facts: Mapping[str, Fact]


def is_silu(walker: Walker, node: Node, of: Output) -> bool:
    """Whether `node` is of * sigmoid(of), or of * sigmoid(1 * of) (tf.nn.swish, tf.nn.silu)."""
    for one, other in (node.inputs, node.inputs[::-1]) if node.op == "Mul" else ():
        gate = walker.node(walker.plain(other))
        if walker.plain(one) != of or gate.op != "Sigmoid":
            continue
        inside = walker.plain(gate.inputs[0])
        scaled = walker.node(inside)
        if inside != of and scaled.op == "Mul" and 1 in map(walker.scalar, scaled.inputs):
            inside = next((i for i in map(walker.plain, scaled.inputs) if i == of), inside)
        if inside == of:
            return True
    return False


def activation_fact(node: Node, walker: Walker, op: str | None = None) -> Fact:
    """The activation that `node` applies; its value is "?Op" where fastlstm does not have it.

    op  what it amounts to together with the nodes before it, where it is not one operation
    """
    name = ACTIVATIONS.get(op or node.op, f"?{op or node.op}")
    if node.op == "LeakyRelu" and (alpha := np.float32(node.attrs.get("alpha", 0.2))) != np.float32(0.2):
        name = f"?LeakyRelu(alpha={alpha:g})"
    return Fact(name, "read", walker.source(node))
