"""Hard sigmoids, which a graph spells out: clip(0.2 z + 0.5, 0, 1) before Keras 3 and relu6(z + 3) / 6 since.

What is followed is a z + b, clipped.  Source: keras.activations, backend.hard_sigmoid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from fastlstm.formats.graph import Node, Output
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import ADDS

#: (a, b, low, high) of clip(a z + b, low, high) -> the activation
_KNOWN = {(0.2, 0.5, 0.0, 1.0): "hard_sigmoid", (1 / 6, 0.5, 0.0, 1.0): "hard_sigmoid_keras3"}
NAMES = frozenset(_KNOWN.values())
_ALIKE = 1e-6  # of constants that were rounded to float32
_FAR = 8  # operations that a hard sigmoid is spelled out in, and more


class Clipped(NamedTuple):
    """clip(a z + b, low, high)."""

    a: float = 1.0
    b: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    def name(self) -> str | None:
        for known, name in _KNOWN.items():
            if all(abs(x - y) < _ALIKE for x, y in zip(self, known, strict=True)):
                return name
        return None

    def then(self, walker: Walker, node: Node, position: int) -> Clipped | None:
        """After `node`, which reads this as input `position`; None where it is no more of this form."""
        a, b, low, high = self
        number = walker.scalar(node.inputs[1 - position]) if len(node.inputs) == 2 else None
        if node.op in ("Mul", "RealDiv", "Div") and number and (position == 0 or node.op == "Mul"):
            factor = number if node.op == "Mul" else 1 / number
            return Clipped(a * factor, b * factor, low * factor, high * factor)
        if node.op in ADDS and number is not None:
            return Clipped(a, b + number, low + number, high + number)
        if node.op == "Minimum" and number is not None:
            return self._replace(high=min(high, number))
        if node.op == "Maximum" and number is not None:
            return self._replace(low=max(low, number))
        if node.op == "Relu6":
            return self._replace(low=max(low, 0.0), high=min(high, 6.0))
        if node.op == "ClipByValue" and position == 0:
            least, most = (walker.scalar(value) for value in node.inputs[1:])
            if least is not None and most is not None:
                return self._replace(low=max(low, least), high=min(high, most))
        return None


def hard_sigmoid_after(
    walker: Walker, out: Output, readers: Callable[[Output], list[tuple[Node, int]]]
) -> tuple[str, Node] | None:
    """The hard sigmoid that `out` goes through, and the node that ends it.  readers: who computes on with a value"""
    so_far: Clipped | None = Clipped()
    for _ in range(_FAR):
        onward = readers(out)
        if len(onward) != 1 or so_far is None:
            return None
        node, position = onward[0]
        so_far = so_far.then(walker, node, position)
        if so_far is not None and (name := so_far.name()):
            return name, node
        out = Output(node.name, 0)
    return None


def hard_sigmoid_before(walker: Walker, out: Output) -> tuple[str, Output] | None:
    """The hard sigmoid that gives `out`, and what it is applied to."""
    steps: list[tuple[Node, int]] = []
    for _ in range(_FAR):
        node = walker.node(walker.plain(out))
        position = 1 if len(node.inputs) == 2 and walker.scalar(node.inputs[0]) is not None else 0
        if not node.inputs or Clipped().then(walker, node, position) is None:
            return None
        steps.insert(0, (node, position))
        out = walker.plain(node.inputs[position])
        whole: Clipped | None = Clipped()
        for step in steps:
            whole = whole and whole.then(walker, *step)
        if whole is not None and (name := whole.name()):
            return name, out
    return None
