"""What a graph does before a stack's first layer and first step, and leaves to who calls the model."""

from __future__ import annotations

from collections.abc import Sequence

from fastlstm.formats.graph import Node, Output
from fastlstm.recognise.tensorflow1.cell_use import CellUse
from fastlstm.recognise.tensorflow1.graph_ops import FEEDS, FILLS
from fastlstm.recognise.tensorflow1.parts import Chain, Hot, Lookup
from fastlstm.recognise.tensorflow1.topology import Topology

_FAR = 64  # nodes between a state and the zeros that it is made of, far more than there are
_REPEATS = frozenset({"Tile", "BroadcastTo"})
_ZERO_FROM_ZERO = _REPEATS | {"Sum", "ExpandDims", "Reshape", "Identity"}


class Beginnings:
    """Of the stacks in `topology`."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.walker = topology.walker
        self.landmarks = topology.landmarks

    def notes(self, chain: Chain, layers: Sequence[Sequence[CellUse]]) -> list[str]:
        """What a stack's graph does before its first layer and its first step, which the model leaves to who calls it.

        layers  the uses of each layer
        """
        found = []
        first = chain[0]
        ids = self.landmarks.ids_computed(first) if isinstance(first, Lookup | Hot) else []
        if ids:
            sees = "the table sees them" if isinstance(first, Lookup) else "they are made one-hot"
            found.append(f"the graph computes the ids first ({_named(ids)}), the model takes them as {sees}")
        for use in layers[0]:
            before = self.topology.step_before(use) if self.topology.is_step(use) else None
            if before is not None and self.topology.is_step(before) and self.topology.turns(use, before):
                node = self.walker.node(self.topology.place(use).source)
                found.append(
                    f"the graph takes the steps of {node.op} {node.name!r} in another order; the model takes them in "
                    f"the order in which the first layer reads them"
                )
                break
        shifted = self._filled_up(layers[0])
        if shifted:
            found.append(f"the graph shifts its input or fills it up ({_named(shifted)}), which the model does not")
        begins = {node.name: node for uses in layers for use in uses for node in self._beginnings(use)}
        if begins:
            found.append(
                f"the graph begins with a state that is not zero ({_named(list(begins.values()))}); pass it as state="
            )
        return found

    def _filled_up(self, uses: Sequence[CellUse]) -> list[Node]:
        """Where the input is made of a part of something and of constants, such as x[:, :-1] after a zero."""
        pending, seen, found = [use.x for use in uses], set[Output](), dict[str, Node]()
        while pending:
            output = pending.pop()
            if output in seen or self.landmarks.cell_at(output) is not None:
                continue
            seen.add(output)
            node = self.walker.node(output)
            onward = self.walker.carried(node, output.index) or ()
            filled = node.op in ("Concat", "ConcatV2") and any(self.walker.node(i).op in FILLS for i in onward)
            parts = [i for i in onward if self.walker.node(i).op in ("StridedSlice", "Slice")]
            if filled and any(self.walker.step(part) is None for part in parts):
                found[node.name] = node
            pending.extend(onward)
        return list(found.values())

    def _beginnings(self, use: CellUse) -> list[Node]:
        """What the state begins with, where that is neither fed nor zero; variables are told elsewhere."""
        starts: list[Output] = []
        for before in (use.h_before, use.c_before):
            carried = self.walker.loop_variable(before)
            if carried is not None:
                merge = self.walker.node(carried[1])
                starts += [i for i in merge.inputs if self.walker.node(i).op != "NextIteration"]
            elif not self.topology.steps_before(use):
                starts.append(before)
        pending, seen, found = starts, set[Output](), dict[str, Node]()
        while pending:
            output = pending.pop()
            if output in seen:
                continue
            seen.add(output)
            node = self.walker.node(output)
            if self.landmarks.cell_at(output) is not None:
                found[node.name] = node
            elif node.op in FILLS:
                if not self._is_zero(output):
                    found[node.name] = node
            elif node.op in FEEDS or node.name in self.walker.shapes or self._is_zero(output):
                continue
            elif node.op in _REPEATS:
                pending.extend(node.inputs[:1])
            elif (onward := self.walker.carried(node, output.index)) is not None:
                pending.extend(onward)
            else:
                found[node.name] = node
        return list(found.values())

    def _is_zero(self, output: Output) -> bool:
        """Whether a value is zero for certain, or a constant whose value the file does not show."""
        for _ in range(_FAR):
            node = self.walker.node(output)
            if node.op in ("Const", "Fill"):
                value = self.walker.constant((output, *node.inputs)[-1]) if node.inputs or node.op == "Const" else None
                return value is None or not value.any()
            if node.op not in _ZERO_FROM_ZERO or not node.inputs:
                return node.op in ("ZerosLike", "TensorArray", "TensorArrayV2", "TensorArrayV3")
            output = node.inputs[0]
        return False


def _named(nodes: Sequence[Node]) -> str:
    more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
    return ", ".join(f"{node.op} {node.name!r}" for node in nodes[:3]) + more
