"""Two stacks over one sequence: how a graph turns time round and puts the two outputs together, and what names say.

    bidirectional_dynamic_rnn   ReverseSequence (with lengths) or ReverseV2, before the backward stack and after it
    static_bidirectional_rnn    the backward cell runs over the list of steps from its end
    stack_bidirectional_dynamic_rnn   several of the first, each over the outputs of the one below, side by side

Sources: ops/rnn.py, contrib/rnn/python/ops/rnn.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastlstm.formats.graph import Node, Output
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.marks import FromTurned
from fastlstm.recognise.tensorflow1.parts import Affine, Both, Cell, Chain, Turn, cells_in

#: The scopes of the two directions; up to TF 0.12 in capitals.
_WAYS = re.compile(r"(^|/)(fw|bw|FW|BW)(?=/|$)")


def turned(walker: Walker, node: Node) -> Sequence[FromTurned] | None:
    """What a reversal in time is of; None for a reversal of anything else."""
    axis = None
    if node.op == "ReverseSequence":
        axis = node.attrs.get("seq_dim")
    elif len(node.inputs) > 1:
        which = walker.constant(node.inputs[1])
        if which is None or which.dtype.kind not in "iub":
            return None
        if node.op == "ReverseV2" and which.size == 1:
            axis = int(which.reshape(-1)[0])
        elif node.op == "Reverse" and which.astype(bool).sum() == 1:
            axis = int(which.reshape(-1).argmax())
    return [FromTurned(node.inputs[0], axis)] if axis in (0, 1) and node.inputs else None


def is_time(walker: Walker, mark: FromTurned) -> bool:
    """Whether it is time that a loop's outputs are turned round in: axis 1 once they are made batch-major."""
    node = walker.node(walker.plain(mark.below))
    order = walker.constant(_first(walker, node.inputs[1])) if node.op == "Transpose" else None
    batch_major = order is not None and order.reshape(-1)[:2].tolist() == [1, 0]
    return mark.axis == int(batch_major)


def _first(walker: Walker, output: Output) -> Output:
    """The first part where a list of axes is put together from [1, 0] and the others."""
    node = walker.node(output)
    parts = {"ConcatV2": node.inputs[:-1], "Concat": node.inputs[1:]}.get(node.op, ())
    return parts[0] if parts else output


def joined(forward: Chain, backward: Chain, mode: str) -> Chain:
    """The chain of both, where `backward` is `forward`'s beginning, then turned round, then cells; else ()."""
    shared = 0
    while shared < min(len(forward), len(backward)) and forward[shared] == backward[shared]:
        shared += 1
    if shared == len(backward) or not isinstance(backward[shared], Turn):
        return ()
    ways = forward[shared:], backward[shared + 1 :]
    if not all(isinstance(part, Cell | Affine) for way in ways for part in way) or not all(map(cells_in, ways)):
        return ()
    return (*forward[:shared], Both(*ways, mode))  # type: ignore[arg-type]


def way_of(scope: str) -> tuple[str, str] | None:
    """("encoder/bidirectional_rnn", "fw") for a scope below that of a direction."""
    found = list(_WAYS.finditer(scope))
    return (scope[: found[-1].start()], found[-1][2].lower()) if found else None


def scope_of_both(scope: str) -> str:
    """What to call the two directions of which `scope` is in one."""
    way = way_of(scope)
    return way[0] if way and way[0] else "bidirectional"


def apart(tops: Sequence[Chain]) -> list[tuple[Chain, Chain]]:
    """Those of `tops` that are the two directions of one scope, which nothing puts together."""
    by_scope: dict[str, dict[str, Chain]] = {}
    for top in tops:
        way = way_of(cells_in(top)[0].scope)
        if way is not None:
            by_scope.setdefault(way[0], {})[way[1]] = top
    pairs = [(ways["fw"], ways["bw"]) for ways in by_scope.values() if set(ways) == {"fw", "bw"}]
    return [pair for pair in pairs if joined(*pair, "concat")]
