"""How the cells of a graph are connected: layers in a row, from the model's input upwards.

A chain of parts names a layer, so that the uses of one cell in fifty unrolled time steps are one layer, and the uses of
one cell in two layers of a stack are two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fastlstm.formats.graph import Node, Output
from fastlstm.recognise.tensorflow1.cell_use import ACTIVATIONS, CellUse
from fastlstm.recognise.tensorflow1.directions import Directions
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import ADDS, FEEDS
from fastlstm.recognise.tensorflow1.landmarks import Landmarks
from fastlstm.recognise.tensorflow1.marks import (
    FromAffine,
    FromCell,
    FromIds,
    FromPair,
    FromTurned,
    Mark,
    Place,
    Unknown,
)
from fastlstm.recognise.tensorflow1.parts import TURNED, Affine, Both, Cell, Chain, Hot, Lookup, Part, Turn

_FAR = 64  # nodes between a step's input and what it is a step of, far more than there are
_SHARDS = frozenset({"DynamicStitch", "ParallelDynamicStitch"})


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
        self._order = {use: k for k, use in enumerate(self.uses)}
        self._state: dict[CellUse, frozenset[CellUse]] = {}
        self._before: dict[CellUse, list[CellUse]] = {}
        self._places: dict[CellUse, Place] = {}
        self._twins: dict[tuple[Chain, CellUse | None], list[CellUse]] | None = None
        self._below: dict[CellUse, frozenset[CellUse]] = {}
        self.directions = Directions(self)
        for use in self.uses:  # in the order of time, so that no step waits for all that came before it
            self._uses_below(use)

    def layer(self, use: CellUse) -> Chain:
        """The chain that ends in this use's cell."""
        if use not in self._keys:
            self._keys[use] = ()  # met again on the way down, it is no layer below itself
            below = self.chain(use.x, use.cell.input_size, use)
            turned = (TURNED,) if self.directions.runs_back(use) else ()
            self._keys[use] = (*below, *turned, Cell(use.cell.scope))
        return self._keys[use]

    def chain(self, output: Output, size: int, reader: CellUse | None = None) -> Chain:
        """What computes `output`, which has `size` elements; () where the model's input begins.

        reader  whose input it is; what comes from the reader's own previous step is feedback, no layer
        """
        marks = [m for m in self.landmarks.marks(output) if reader is None or not self.is_feedback(m, reader)]
        chains = {self.chain_of(m, reader, size) for m in marks}
        if len(chains) == 1:
            (chain,) = chains
            given = next((part for part in reversed(chain) if not isinstance(part, Turn)), None)
            if chain and (given is None or self.size(given) == size):
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
        feed = all(isinstance(m, Unknown) and m.op in FEEDS for m in marks)
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
            case Both(forward, backward, mode):
                return self.size(forward[-1]) + (self.size(backward[-1]) if mode == "concat" else 0)
        return 0

    def _rows(self, part: Affine) -> int:
        return self.walker.shapes[part.kernel][1 if part.transposed else 0]

    def chain_of(self, mark: Mark, reader: CellUse | None, size: int) -> Chain:
        match mark:
            case FromCell(use, "h", residual, highway):
                return (*self.layer(use)[:-1], Cell(use.cell.scope, residual, highway))
            case FromTurned(below, _):
                return (*self.chain(below, size, reader), TURNED)
            case FromPair(one, other, mode):
                return self.directions.joined(FromPair(one, other, mode), reader)
            case FromAffine(part, below):
                return (*self.chain(below, self._rows(part), reader), part)
            case FromIds(part):
                return (part,)
        return ()

    # Feedback

    def is_feedback(self, mark: Mark, reader: CellUse) -> bool:
        """Whether `mark` comes from the cell use whose state `reader` goes on with, or from layers above that.

        A generating loop feeds the model's output back as its next input. A layer below gives its output to a cell,
        but never the cell's state.
        """
        before = self.state_sources(reader) | {reader}
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
            below = [m for m in self.landmarks.marks(use.x) if not self.is_feedback(m, use)]
            self._below[use] = frozenset(cell for m in below for cell in self._cells_of(m))
        return self._below[use]

    def state_sources(self, use: CellUse) -> frozenset[CellUse]:
        """The uses of the same cell whose state `use` goes on with: itself in a loop, else the step before."""
        if use not in self._state:
            self._state[use] = frozenset((*self._roles(use, use.h_before), *self._roles(use, use.c_before)))
        return self._state[use]

    def _roles(self, use: CellUse, before: Output) -> dict[CellUse, set[str]]:
        """The uses of the same cell that `before` comes from, and what it takes of each: h, c, or both in one."""
        return _uses_among(self.landmarks.walk_back(before, side_by_side=True), use)

    def _cells_of(self, mark: Mark) -> list[CellUse]:
        """The cells that `mark` comes from, through any dense layers."""
        pending, seen, cells = [mark], set(), []
        while pending:
            match pending.pop():
                case FromCell(use):
                    cells.append(use)
                case FromAffine(_, below) | FromTurned(below, _) if below not in seen:
                    seen.add(below)
                    pending.extend(self.landmarks.marks(below))
                case FromPair(one, other):
                    for below in {one, other} - seen:
                        seen.add(below)
                        pending.extend(self.landmarks.marks(below))
        return cells

    # What the state is

    def foreign_state(self, use: CellUse) -> str | None:
        """How the state that `use` reads differs from what the cell computed a step before; None if it does not.

        Wrappers such as zoneout give the cell another state than it has computed; a cell of one's own may take them
        in another order.
        """
        roles: dict[str, dict[CellUse, set[str]]] = {}
        for role, before in (("h", use.h_before), ("c", use.c_before)):
            carried = self.walker.loop_variable(before)
            onward, around = carried or (before, None)
            marks = self.landmarks.walk_back(onward, around, side_by_side=True)
            if carried is None:
                roles[role] = _uses_among(marks, use)
            else:
                roles[role] = self._roles(use, before)
            strange = [m for m in marks if self._is_computed(m, use) and (carried or self._follows(m, use))]
            if strange or (carried and use not in (m.use for m in marks if isinstance(m, FromCell))):
                by = ", ".join(map(self._name, strange)) or f"{onward.node!r}"
                return f"the {role} of the next step is computed by {by}, which is not the cell's own"
        h, c = roles["h"], roles["c"]
        if use.h != use.c and (
            h.keys() != c.keys()
            or not all("h" in roles for roles in h.values())
            or not all("c" in r for r in c.values())
        ):
            return f"{use.h_before.node!r} and {use.c_before.node!r} are not the h and c of one step"
        return self._out_of_step(use)

    def _is_computed(self, mark: Mark, use: CellUse) -> bool:
        """Whether a state that comes from `mark` is more than what a cell has given."""
        return (
            isinstance(mark, Unknown | FromAffine | FromTurned | FromPair)
            or (isinstance(mark, FromCell) and (mark.residual or mark.highway) and mark.use.cell == use.cell)
        )  # fmt: skip

    def _follows(self, mark: Mark, use: CellUse) -> bool:
        """Whether `mark` is computed from an earlier use of `use`'s cell."""
        if isinstance(mark, FromCell):
            return True
        match mark:
            case FromAffine(_, below) | FromTurned(below, _):
                outputs = [below]
            case FromPair(one, other):
                outputs = [one, other]
            case _:
                outputs = [Output(getattr(mark, "node", ""), 0)]
        before = self.walker.everything_before(outputs)
        return any(u.h.node in before or u.c.node in before for u in self.uses if u.cell == use.cell)

    def _name(self, mark: Mark) -> str:
        match mark:
            case Unknown(node, op):
                return f"{op} {node!r}"
            case FromAffine(part, _):
                return f"the dense layer {part.kernel!r}"
            case FromCell(use):
                return f"{use.h.node!r} and the input"
            case FromTurned(below, _):
                return f"{below.node!r} in another order"
            case FromPair(one, other):
                return f"{one.node!r} and {other.node!r}"
        return "a lookup"

    # Which step follows which, where a loop is unrolled

    def steps_before(self, use: CellUse) -> list[CellUse]:
        """The uses in the same layer whose state `use` goes on with, the latest last; with `use` itself in a loop."""
        if use not in self._before:
            mine = self.layer(use)
            same = (u for u in self.state_sources(use) if self.layer(u) == mine)
            self._before[use] = sorted(same, key=self._order.__getitem__)
        return self._before[use]

    def step_before(self, use: CellUse) -> CellUse | None:
        before = self.steps_before(use)
        return before[-1] if before else None

    def is_step(self, use: CellUse) -> bool:
        """Whether `use` is one step of an unrolled loop, and not all steps in one."""
        whole = self.walker.node(use.h).op.startswith("BlockLSTM")
        return not whole and use not in self.state_sources(use)

    def place(self, use: CellUse) -> Place:
        """Which step of what `use` reads."""
        if use not in self._places:
            self._places[use] = self._placed(use.x)
        return self._places[use]

    def _placed(self, output: Output) -> Place:
        for _ in range(_FAR):
            output = self.walker.plain(output)
            cell = self.landmarks.cell_at(output) or self._mixed_at(output)
            if cell is not None:
                return Place(output, None, cell)
            step = self.walker.step(output)
            if step is not None:
                return Place(step.source, step.at[0], None)
            node = self.walker.node(output)
            onward = self._computed_from(node) or self.walker.carried(node, output.index)
            if not onward or len(onward) != 1:
                break
            output = onward[0]
        return Place(output, None, None)

    def _mixed_at(self, output: Output) -> CellUse | None:
        """The cell whose output `output` is, with its input added or mixed in."""
        marks = self.landmarks.marks(output) if self.walker.node(output).op in ADDS else []
        mixed = [m.use for m in marks if isinstance(m, FromCell) and (m.residual or m.highway)]
        return mixed[0] if len(mixed) == len(marks) == 1 else None

    def _computed_from(self, node: Node) -> tuple[Output, ...]:
        """What a dense layer, a lookup or one-hot rows are computed from, each step by itself."""
        match node.op:
            case "Gather" | "GatherV2" | "ResourceGather" if self.walker.variable(node.inputs[0]):
                return node.inputs[1:2]
            case "MatMul" if self.walker.variable(node.inputs[1]):
                return node.inputs[:1]
            case op if op in ADDS:
                return tuple(i for i in node.inputs if not self.walker.variable(i))
            case op if op == "OneHot" or op in ACTIVATIONS:
                return node.inputs[:1]
        return ()

    def _out_of_step(self, use: CellUse) -> str | None:
        """How an unrolled use of the cell is not the next step after the one whose state it goes on with."""
        if not self.is_step(use):
            return None
        before = self.step_before(use)
        for other in self._siblings(use, before):
            if self._are_steps_of_one(self.place(use), self.place(other)):
                whose = "an initial state" if before is None else f"the state of {before.h.node!r}"
                return f"{other.h.node!r} and {use.h.node!r} both go on with {whose}, and read two steps of one input"
        if before is None or not self.is_step(before):
            return None
        earlier = [u for u in self.steps_before(use) if u != before]
        if not set(earlier) <= set(self.steps_before(before)):
            names = ", ".join(repr(u.h.node) for u in (*earlier[:2], before))
            return f"{use.h.node!r} goes on with the state of several steps, {names}"
        here, there = self.place(use), self.place(before)
        if here == there and (here.cell or here.step is not None):
            return f"{use.h.node!r} reads the same input as the step before, {here.source.node!r}"
        if here.cell and there.cell and self.layer(here.cell) == self.layer(there.cell):
            if self.is_step(here.cell) and self.step_before(here.cell) != there.cell:
                return f"{use.h.node!r} reads the steps of the layer below in another order"
        elif self.turns(use, before) and self._after_cell(here.source):
            return f"{use.h.node!r} reads the steps of {here.source.node!r} in another order"
        return None

    def _siblings(self, use: CellUse, before: CellUse | None) -> list[CellUse]:
        """The other steps of the layer that go on with the same state."""
        if self._twins is None:
            self._twins = {}
            for one in self.uses:
                if self.is_step(one):
                    self._twins.setdefault((self.layer(one), self.step_before(one)), []).append(one)
        twins = self._twins[self.layer(use), before]
        return [twins[0]] if twins[0] != use else []

    def _are_steps_of_one(self, one: Place, other: Place) -> bool:
        if one.cell and other.cell:
            return one.cell != other.cell and (self._leads(one.cell, other.cell) or self._leads(other.cell, one.cell))
        return one.source == other.source and None not in (one.step, other.step) and one.step != other.step

    def _leads(self, first: CellUse, last: CellUse) -> bool:
        """Whether `last` is a later step than `first` in the same unrolled loop."""
        use: CellUse | None = last
        while use is not None and self.is_step(use) and use != first:
            use = self.step_before(use)
        return use == first

    def turns(self, use: CellUse, before: CellUse) -> bool:
        """Whether `use` reads another step than the one after what the step before has read."""
        here, there = self.place(use), self.place(before)
        known = here.step is not None and there.step is not None
        return known and here.source == there.source and here.step != (there.step or 0) + 1

    def _after_cell(self, output: Output) -> bool:
        before = self.walker.everything_before([output])
        return any(use.h.node in before for use in self.uses)


def _uses_among(marks: Sequence[Mark], use: CellUse) -> dict[CellUse, set[str]]:
    """The uses of the same cell among `marks`, and what is taken of each."""
    found: dict[CellUse, set[str]] = {}
    for mark in marks:
        if isinstance(mark, FromCell) and mark.use.cell is use.cell:
            found.setdefault(mark.use, set()).add(mark.role)
    return found


def layers_of(topology: Topology) -> Mapping[Chain, list[CellUse]]:
    """Every layer, with the uses of its cell."""
    layers: dict[Chain, list[CellUse]] = {}
    for use in topology.uses:
        layers.setdefault(topology.layer(use), []).append(use)
    return layers
