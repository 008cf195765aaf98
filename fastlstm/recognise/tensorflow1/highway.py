"""A cell whose input is mixed into its output by gates: tf.contrib.rnn.HighwayWrapper.

y = x * carry + h * (1 - carry), or h * transform;  carry = sigmoid(x carry_w + carry_b)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fastlstm.formats.graph import Output
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.marks import FromAffine, FromCell, Mark


class Marked(Protocol):
    """What is asked of landmarks, whose methods of these names say what they give."""

    walker: Walker

    def marks(self, start: Output) -> list[Mark]: ...
    def cells_of(self, output: Output) -> list[FromCell]: ...
    def are_inputs(self, marks: Sequence[Mark], cells: Sequence[FromCell]) -> bool: ...


#: The variables beside the cell's own scope, in the order of `layers.Highway`'s arguments.
LEAVES = ("carry_w", "carry_b", "transform_w", "transform_b")


def highway(landmarks: Marked, one: Output, other: Output) -> list[FromCell]:
    """The cells that are so mixed where a sum is `one` + `other`, x * carry + h * transform; else none."""
    walker = landmarks.walker
    carried, let_through = (walker.node(walker.plain(output)) for output in (one, other))
    if carried.op != "Mul" or let_through.op != "Mul":
        return []
    for x, carry in (carried.inputs, carried.inputs[::-1]):
        for h, transform in (let_through.inputs, let_through.inputs[::-1]):
            cells = landmarks.cells_of(h)
            if not cells or not landmarks.are_inputs(landmarks.marks(x), cells):
                continue
            gates = _gate(landmarks, carry, x)
            rest = walker.node(walker.plain(transform))
            coupled = rest.op == "Sub" and walker.scalar(rest.inputs[0]) == 1
            if gates and coupled and walker.plain(rest.inputs[1]) == walker.plain(carry):
                return [cell._replace(highway=gates) for cell in cells]
            second = _gate(landmarks, transform, x)
            if gates and second:
                return [cell._replace(highway=(*gates, *second)) for cell in cells]
    return []


def _gate(landmarks: Marked, output: Output, x: Output) -> tuple[str, str] | None:
    """The kernel and bias of sigmoid(x kernel + bias); None where `output` is no such gate."""
    gates = set()
    for mark in landmarks.marks(output):
        if not isinstance(mark, FromAffine):
            return None
        part = mark.part
        if part.activation != "sigmoid" or part.transposed or not part.bias:
            return None
        if set(landmarks.marks(mark.below)) != set(landmarks.marks(x)):
            return None
        gates.add((part.kernel, part.bias))
    return gates.pop() if len(gates) == 1 else None
