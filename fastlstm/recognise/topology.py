"""How the cells of a graph are connected: layers in a row, from the model's input upwards.

A chain of parts names a layer, so that the uses of one cell in fifty unrolled time steps are one layer, and the uses of
one cell in two layers of a stack are two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fastlstm.formats.graph import Output
from fastlstm.recognise.cell_use import CellUse
from fastlstm.recognise.graph import Walker
from fastlstm.recognise.landmarks import FromAffine, FromCell, FromIds, Landmarks, Mark, Unknown
from fastlstm.recognise.tf1_parts import Affine, Cell, Chain, Hot, Lookup, Part

_SHARDS = frozenset({"DynamicStitch", "ParallelDynamicStitch"})
#: Where a graph's inputs come in.
_FEEDS = (
    *("Placeholder", "PlaceholderV2", "PlaceholderWithDefault", "IteratorGetNext", "Variable", "VariableV2"),
    *("QueueDequeue", "QueueDequeueV2", "QueueDequeueMany", "QueueDequeueManyV2", "QueueDequeueUpToV2"),
    *("ParseExample", "ParseSingleExample"),
)


class Entry(NamedTuple):
    """Where the input of a model's first layer comes from.

    text     what to call it
    feed     it is fed, or read from a queue; otherwise the graph computes it, and fastlstm does not
    sharded  it comes from a table in several pieces
    """

    text: str
    feed: bool
    sharded: bool


class Topology:
    """uses  every use of every cell that may belong to the stack

    entries  use -> where its input comes from, for uses with nothing below
    """

    def __init__(self, walker: Walker, uses: Iterable[CellUse]) -> None:
        order = {name: k for k, name in enumerate(walker.graph.nodes)}
        self.walker = walker
        self.uses = sorted(uses, key=lambda use: order[use.h.node])
        self.landmarks = Landmarks(walker, self.uses)
        self.entries: dict[CellUse | None, Entry] = {}
        self._keys: dict[CellUse, Chain] = {}
        self._state: dict[CellUse, frozenset[CellUse]] = {}
        self._below: dict[CellUse, frozenset[CellUse]] = {}
        for use in self.uses:  # in the order of time, so that no step waits for all that came before it
            self._uses_below(use)

    def layer(self, use: CellUse) -> Chain:
        """The chain that ends in this use's cell."""
        if use not in self._keys:
            self._keys[use] = ()  # met again on the way down, it is no layer below itself
            below = self.chain(use.x, use.cell.input_size, use)
            self._keys[use] = (*below, Cell(use.cell.scope))
        return self._keys[use]

    def chain(self, output: Output, size: int, reader: CellUse | None = None) -> Chain:
        """What computes `output`, which has `size` elements; () where the model's input begins.

        reader  whose input it is; what comes from the reader's own previous step is feedback, no layer
        """
        marks = [m for m in self.landmarks.marks(output) if reader is None or not self._is_feedback(m, reader)]
        chains = {self._chain_of(m, reader) for m in marks}
        if len(chains) == 1:
            (chain,) = chains
            if chain and self.size(chain[-1]) == size:
                return chain
        self.entries[reader] = self._entry(output, marks)
        return ()

    def _entry(self, output: Output, marks: Sequence[Mark]) -> Entry:
        unknown = [m for m in marks if isinstance(m, Unknown)]
        text = ", ".join(f"{m.op} {m.node!r}" for m in unknown[:3])
        if len(unknown) < len(marks):
            text = f"several values side by side, at {output.node!r}"
        elif not marks:
            text = f"{self.walker.node(output).op} {output.node!r}"
        feed = all(isinstance(m, Unknown) and m.op in _FEEDS for m in marks)
        return Entry(text, feed, any(m.op in _SHARDS for m in unknown))

    def size(self, part: Part) -> int:
        """The number of elements that `part` gives."""
        match part:
            case Lookup(table):
                return self.walker.shapes[table][1]
            case Hot(size):
                return size
            case Affine():
                return self.walker.shapes[part.kernel][0 if part.transposed else 1]
            case Cell(scope):
                return next(u.cell.output_size for u in self.uses if u.cell.scope == scope)

    def _rows(self, part: Affine) -> int:
        return self.walker.shapes[part.kernel][1 if part.transposed else 0]

    def _chain_of(self, mark: Mark, reader: CellUse | None) -> Chain:
        match mark:
            case FromCell(use, "h", residual):
                return (*self.layer(use)[:-1], Cell(use.cell.scope, residual))
            case FromAffine(part, below):
                return (*self.chain(below, self._rows(part), reader), part)
            case FromIds(part):
                return (part,)
        return ()

    # Feedback

    def _is_feedback(self, mark: Mark, reader: CellUse) -> bool:
        """Whether `mark` comes from the cell use whose state `reader` goes on with, or from layers above that.

        A generating loop feeds the model's output back as its next input. A layer below gives its output to a cell,
        but never the cell's state.
        """
        before = self._state_sources(reader) | {reader}
        pending, seen = self._cells_of(mark), set[CellUse]()
        while pending:
            use = pending.pop()
            if use in before:
                return True
            if use not in seen:
                seen.add(use)
                pending.extend(self._uses_below(use))
        return False

    def _uses_below(self, use: CellUse) -> frozenset[CellUse]:
        """The cells whose outputs `use` reads, feedback left out."""
        if use not in self._below:
            self._below[use] = frozenset()  # met again on the way down, it is no layer below itself
            below = [m for m in self.landmarks.marks(use.x) if not self._is_feedback(m, use)]
            self._below[use] = frozenset(cell for m in below for cell in self._cells_of(m))
        return self._below[use]

    def _state_sources(self, use: CellUse) -> frozenset[CellUse]:
        """The uses of the same cell whose state `use` goes on with: itself in a loop, else the step before."""
        if use not in self._state:
            self._state[use] = frozenset((*self._roles(use, use.h_before), *self._roles(use, use.c_before)))
        return self._state[use]

    def _roles(self, use: CellUse, before: Output) -> dict[CellUse, set[str]]:
        """The uses of the same cell that `before` comes from, and what it takes of each: h, c, or both in one."""
        found: dict[CellUse, set[str]] = {}
        for mark in self.landmarks.walk_back(before, side_by_side=True):
            if isinstance(mark, FromCell) and mark.use.cell == use.cell:
                found.setdefault(mark.use, set()).add(mark.role)
        return found

    def _cells_of(self, mark: Mark) -> list[CellUse]:
        """The cells that `mark` comes from, through any dense layers."""
        pending, seen, cells = [mark], set(), []
        while pending:
            match pending.pop():
                case FromCell(use, _, _):
                    cells.append(use)
                case FromAffine(_, below) if below not in seen:
                    seen.add(below)
                    pending.extend(self.landmarks.marks(below))
        return cells

    # What the state is

    def foreign_state(self, use: CellUse) -> str | None:
        """How the state that `use` reads differs from what the cell computed a step before; None if it does not.

        Wrappers such as zoneout give the cell another state than it has computed; a cell of one's own may take them
        in another order.
        """
        for role, before in (("h", use.h_before), ("c", use.c_before)):
            carried = self._loop_variable(before)
            if carried is None:
                continue
            onward, around = carried
            marks = self.landmarks.walk_back(onward, around, side_by_side=True)
            strange = [m for m in marks if isinstance(m, Unknown)]
            if strange or use not in (m.use for m in marks if isinstance(m, FromCell)):
                by = ", ".join(f"{m.op} {m.node!r}" for m in strange) or f"{onward.node!r}"
                return f"the {role} of the next step is computed by {by}, which is not the cell's own"
        h, c = self._roles(use, use.h_before), self._roles(use, use.c_before)
        if (
            h.keys() != c.keys()
            or not all("h" in roles for roles in h.values())
            or not all("c" in r for r in c.values())
        ):
            return f"{use.h_before.node!r} and {use.c_before.node!r} are not the h and c of one step"
        return None

    def _loop_variable(self, output: Output) -> tuple[Output, Output] | None:
        """For a value that a loop hands from step to step: what the step before computed, and the loop's Merge."""
        for _ in range(32):
            node = self.walker.node(output)
            if node.op == "Merge":
                for source in node.inputs:
                    if self.walker.node(source).op == "NextIteration":
                        return self.walker.node(source).inputs[0], Output(node.name, 0)
            carried = self.walker.carried(node, output.index)
            if not carried:
                return None
            output = carried[0]
        return None


def layers_of(topology: Topology) -> Mapping[Chain, list[CellUse]]:
    """Every layer, with the uses of its cell."""
    layers: dict[Chain, list[CellUse]] = {}
    for use in topology.uses:
        layers.setdefault(topology.layer(use), []).append(use)
    return layers
