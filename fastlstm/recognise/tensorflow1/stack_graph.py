"""The LSTM stacks of a TensorFlow 1 graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fastlstm.errors import RecognitionError
from fastlstm.formats.graph import Graph, Output
from fastlstm.recognise.overrides import KNOWN_OVERRIDES, Book
from fastlstm.recognise.tensorflow1.beginnings import Beginnings
from fastlstm.recognise.tensorflow1.bidirectional import apart, joined
from fastlstm.recognise.tensorflow1.cell_use import CellUse, NotThisCell
from fastlstm.recognise.tensorflow1.directions import pairs_of
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.head_graph import (
    Beyond,
    around_after,
    beyond,
    gives_state,
    heads_above,
)
from fastlstm.recognise.tensorflow1.keras_names import GRU_KIND, LSTM_KIND
from fastlstm.recognise.tensorflow1.kinds import KINDS
from fastlstm.recognise.tensorflow1.marks import FromCell, Unknown
from fastlstm.recognise.tensorflow1.names import Candidates, CellVariables, within
from fastlstm.recognise.tensorflow1.parts import (
    Affine,
    Both,
    Cell,
    Chain,
    Fact,
    Hot,
    Lookup,
    Part,
    Stack,
    Turn,
    below_each,
    cells_in,
    covers,
    flat,
    head_names,
    layers_in,
)
from fastlstm.recognise.tensorflow1.topology import Topology, layers_of


class _Rest(NamedTuple):
    """Variables that the graph computes with and that are in no part: before the first cell, for the state, after."""

    before: list[str]
    state: list[str]
    after: list[str]


class GraphStacks:
    """Finds the stacks first (`tops`), and looks closely at one when it has been chosen (`stack`)."""

    def __init__(self, graph: Graph, shapes: dict[str, tuple[int, ...]], candidates: Candidates) -> None:
        self.walker = Walker(graph, shapes)
        self.cells: dict[str, CellVariables] = {}
        self.rejected: dict[str, str] = {}
        uses: list[CellUse] = []
        for scope, cell in candidates.cells.items():
            try:
                uses.extend(KINDS[cell.kind].uses(cell, self.walker))
                self.cells[scope] = cell
            except NotThisCell as why:
                self.rejected[scope] = str(why)
                if why.near:
                    raise RecognitionError(
                        f"{graph.source}: {why}. fastlstm runs LSTMs only as TensorFlow's BasicLSTMCell, LSTMCell and "
                        f"LSTMBlockCell compute them; scope= picks another stack of the file, if it has one"
                    ) from None
        self.topology = Topology(self.walker, uses)
        self.layers: Mapping[Chain, list[CellUse]] = layers_of(self.topology)
        self.pairs = pairs_of(self.topology, self.topology.directions, self.layers)

    @property
    def tops(self) -> list[Chain]:
        """The chains of the stacks: the layers above which there is no other."""
        every = [*self.layers, *self.pairs]
        tops = [chain for chain in every if not any(covers(other, chain) for other in every)]
        for forward, backward in apart(tops):
            tops[tops.index(forward)] = joined(forward, backward, "concat")
            tops.remove(backward)
        return tops

    def stack(self, top: Chain, scope: str | None, book: Book) -> Stack:
        uses = [self.layers[chain] for chain in below_each(top)]
        for layer in uses:
            for use in layer:
                if (why := self.topology.foreign_state(use)) is not None:
                    if self._is_masked(use):
                        raise RecognitionError(
                            f"{self.walker.graph.source}: {use.cell.scope!r}: {why}: a mask (of a Masking layer, or of "
                            f"an Embedding with mask_zero) chooses between the state of the step and of the one "
                            f"before. fastlstm reads masks in a model's configuration, not in its graph: load the "
                            f".keras or .h5 file of the same model"
                        )
                    raise RecognitionError(
                        f"{self.walker.graph.source}: {use.cell.scope!r}: {why}; fastlstm runs LSTMs whose state is "
                        f"what the step before has computed, and no wrapper that changes it (zoneout)"
                    )
        ends = heads_above(self.topology, top)
        heads = list(ends)
        chain = (*top[:-1], self._top(top, heads, uses[-1][0], book)) if isinstance(top[-1], Cell) else top
        rest = self._left_over(chain, heads, [layer[0] for layer in uses], scope)
        self._refuse_parts_of_nets(rest, ends, uses, book)
        chain, turned = self._unturned(chain)
        front, notes = self._front(chain, uses[0], book)
        first = uses[0][0].cell
        reverse = turned and scope is None and first.kind in (LSTM_KIND, GRU_KIND)  # go_backwards, no direction of two
        after = [part for head in heads for part in head[len(top) :]]
        if (reverse or not turned) and not book.given("head") and any(isinstance(part, Turn) for part in after):
            raise RecognitionError(
                f"{self.walker.graph.source}: after {uses[-1][0].cell.scope!r} the graph turns time round, before "
                f"{head_names(heads[0])[0]!r}, which fastlstm does not run; pass head=None to run the LSTM layers alone"
            )
        if reverse:
            notes = (*notes, f"{first.scope!r} goes backwards: its outputs are in reversed time, as Keras leaves them")
        elif turned and not self.topology.directions.runs_back(uses[0][0]):
            notes = (
                *notes,
                f"the graph runs {first.scope!r} from the sequence's end; the model takes the steps in the "
                f"order in which it reads them, and gives its outputs in that order",
            )
        notes = (*notes, *Beginnings(self.topology).notes(top, uses))
        dropped = self._dropouts([place for places in ends.values() for place in places] or [u.h for u in uses[-1]])
        if dropped:
            notes = (*notes, f"dropout is left out, as it does nothing at inference: {_some(dropped)}")
        if rest.state:
            notes = (*notes, f"the graph computes its initial state with {_some(rest.state)}; zero_state is zeros")
        outputs = self.pairs.get(top) or [use.h for layer in uses[-1:] for use in layer]
        notes = (*notes, *self._after(ends, uses, outputs, scope, book))
        return Stack(
            chain=chain,
            cells=self.cells,
            facts=[
                {what: _agreed(what, layer, book, self.walker.graph.source) for what in layer[0].facts}
                | self._around(cell, layer[0])
                for cell, layer in zip(cells_in(chain), uses, strict=True)
            ],
            heads=[tuple(p for p in head[len(top) :] if isinstance(p, Affine)) for head in heads],
            front=front,
            order=Fact(len(layers_in(chain)), "read", f"what feeds what in {self.walker.graph.source}"),
            where=self.topology.landmarks.where | self._where_joined(chain),
            notes=notes,
            turned=reverse,
        )

    def _is_masked(self, use: CellUse) -> bool:
        """Whether the state is chosen by comparing for being a padding: x != value, not time < length."""
        state = self.walker.loop_variable(use.h_before)
        choice = self.walker.node(self.walker.plain(state[0])) if state else None
        if choice is None or choice.op not in ("Select", "SelectV2"):
            return False
        names = self.walker.everything_before([choice.inputs[0]])
        return any(self.walker.node(Output(name, 0)).op == "NotEqual" for name in names)

    def _unturned(self, chain: Chain) -> tuple[Chain, bool]:
        """`chain` without time turned round before its first cell, and whether it was."""
        turns = [k for k, part in enumerate(chain) if isinstance(part, Turn)]
        if not turns:
            return chain, False
        first = chain.index(layers_in(chain)[0])
        if turns != [first - 1]:
            raise RecognitionError(
                f"{self.walker.graph.source}: time is turned round between the layers "
                f"{', '.join(repr(cell.scope) for cell in cells_in(chain))}, which fastlstm runs only where a forward "
                f"and a backward stack read the same; scope= picks a part that it runs"
            )
        return (*chain[: first - 1], *chain[first:]), True

    def _where_joined(self, chain: Chain) -> dict[Part, Fact]:
        """How it is known in which way two directions are put together."""
        every = {place.node: part for pair, places in self.pairs.items() for part in pair[-1:] for place in places}
        known = {part: Fact(None, "read", self.walker.source(node)) for node, part in every.items()}
        guess = Fact(None, "assumed", "the graph does not join the two outputs; side by side, as tf.concat does")
        return {part: known.get(part, guess) for part in chain if isinstance(part, Both)}

    def _dropouts(self, outputs: list[Output]) -> list[str]:
        """The places where the graph drops elements of what these depend on."""
        before = self.walker.everything_before(outputs)
        nodes = [self.walker.graph.nodes[name] for name in before if name in self.walker.graph.nodes]
        return sorted(node.name for node in nodes if self.walker.before_dropout(node) is not None)

    def _left_over(self, top: Chain, heads: list[Chain], first: list[CellUse], scope: str | None) -> _Rest:
        parts = [part for chain in (top, *heads) for part in flat(chain) if isinstance(part, Lookup | Affine)]
        taken = {name for cell in self.cells.values() for name in cell.names}
        taken |= {name for part in parts for name in part if isinstance(name, str)}
        taken |= {name for chain in (top, *heads) for cell in cells_in(chain) for name in cell.highway}
        left = [name for name in self.walker.shapes if name not in taken and within(name, scope)]
        if not left:
            return _Rest([], [], [])
        x = self.walker.everything_before([first[0].x])
        state = self.walker.everything_before([output for use in first for output in (use.h_before, use.c_before)])
        left = [name for name in left if self.walker.takes_part(name)]
        return _Rest(
            [name for name in left if name in x],
            [name for name in left if name in state and name not in x],
            [name for name in left if name not in state and name not in x],
        )

    def _refuse_parts_of_nets(
        self, rest: _Rest, ends: Mapping[Chain, list[Output]], uses: list[list[CellUse]], book: Book
    ) -> None:
        """Refuse a stack whose outputs would silently be something else than what the graph computes.

        What feeds it from a fed value forward is no such case: then the model begins later, and a note says so.
        """
        first, last, source = uses[0][0], uses[-1][0].cell.scope, self.walker.graph.source
        recurrent = [name for name in rest.before if self.walker.is_recurrent(name)]
        if recurrent and not (book.given("embedding") or book.given("one_hot")):
            raise RecognitionError(
                f"{source}: what feeds {first.cell.scope!r} depends on its own steps before, through "
                f"{_some(recurrent)}: a recurrent cell of another kind, or attention, which fastlstm does not run; "
                f"pass embedding=None to run the LSTM layers alone on vectors of {first.cell.input_size} elements"
            )
        if book.given("head"):
            return
        if rest.after and not ends:
            raise RecognitionError(
                f"{source}: after {last!r} the graph goes on in a way that fastlstm does not run, with the variables "
                f"{_some(rest.after)}; pass head=None to run the LSTM layers alone, or head=(kernel, bias) to take one "
                f"dense layer with them"
            )
        if len(ends) == 1 and rest.after:
            ((head, places),) = ends.items()
            read = self.walker.read_after(places, rest.after)
            if read:
                raise self._goes_on(head_names(head), last, read)

    def _goes_on(self, head: tuple[str, ...], last: str, variables: list[str]) -> RecognitionError:
        return RecognitionError(
            f"{self.walker.graph.source}: after {(head or (last,))[0]!r} the graph goes on in a way that fastlstm does "
            f"not run, with the variables {_some(variables)}; pass head={head or None!r} if that is where the model is "
            f"to end"
        )

    def _after(
        self,
        ends: Mapping[Chain, list[Output]],
        uses: list[list[CellUse]],
        outputs: list[Output],
        scope: str | None,
        book: Book,
    ) -> Iterator[str]:
        """What to say of what the graph makes of the last cell's output that the model does not.

        outputs  of the last layer
        Raises RecognitionError where variables take part in it, unless head= says where the model ends.
        """
        last = uses[-1][0].cell.scope
        given = book.value("head") if book.given("head") else ()
        names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list | tuple) else None
        if names is not None and not all(isinstance(name, str) for name in names):
            return
        if names is None or (not names and len(ends) > 1):  # the caller ends the model here, or is asked for a head
            return
        chain = next((c for c in ends if not names or names[0] == head_names(c)[0]), None)
        if names and chain is None:
            yield from self._before_given(names[0], uses[-1])
            return
        starts = ends[chain] if chain else outputs
        found = beyond(self.topology, starts, uses[0][0].x)
        variables = [name for name in found.variables if within(name, scope)]
        if variables and not names:
            raise self._goes_on(head_names(chain or ()), last, variables)
        if found.nodes:
            yield f"the graph goes on with the model's output in ways that are not run: {_named(found)}"
        if not chain and gives_state(self.walker, uses[-1][0]):
            yield f"the graph collects c of {last!r} as its outputs, not h; the model gives h"

    def _before_given(self, kernel: str, uses: list[CellUse]) -> Iterator[str]:
        """What to say where something lies between the last cell and the dense layer that head= names."""
        for use in self.walker.uses_of_variable(kernel) if kernel in self.walker.shapes else ():
            if use.node.op != "MatMul" or use.input != 1:
                continue
            if not self.walker.everything_before([use.node.inputs[0]]) & {cell.h.node for cell in uses}:
                continue
            marks = self.topology.landmarks.marks(use.node.inputs[0])
            if not all(isinstance(m, FromCell) and m.role == "h" for m in marks):
                ops = ", ".join(f"{m.op} {m.node!r}" for m in marks if isinstance(m, Unknown))
                ops = "it reads c, not h" if any(isinstance(m, FromCell) and m.role == "c" for m in marks) else ops
                between = f"what lies between {uses[0].cell.scope!r} and {kernel!r} is not run"
                yield f"{between}: {ops}" if ops else between
                return

    def _top(self, top: Chain, heads: list[Chain], use: CellUse, book: Book) -> Cell:
        """The last cell, with its input added or mixed in if that is so before the graph goes on."""
        if not heads:
            return around_after(self.topology, use)
        given = book.value("head") if book.given("head") else None
        names = given if isinstance(given, list | tuple) else (given,)
        mine = [head for head in heads if head_names(head)[0] in names] or heads
        cells = {part for head in mine for part in [head[len(top) - 1]] if isinstance(part, Cell)}
        if len(cells) > 1 and not book.given("residual"):
            raise RecognitionError(
                f"{self.walker.graph.source}: what follows {use.cell.scope!r} reads its output both with and "
                f"without its input added; pass residual=True or residual=False, or head= to choose"
            )
        return cells.pop()

    def _around(self, cell: Cell, use: CellUse) -> dict[str, Fact]:
        """Whether the cell's input is added to its output, or mixed into it."""
        known = self.topology.landmarks.where.get(cell)
        none = Fact(False, "read", f"{self.walker.source(use.h.node)}: no input is added")
        found = {"residual": known._replace(value=True) if known and cell.residual else none}
        if cell.highway and known is not None:
            found["highway"] = known._replace(value=cell.highway)
        return found

    def _front(self, chain: Chain, first: list[CellUse], book: Book) -> tuple[Fact, tuple[str, ...]]:
        """How the model's input is known, and what to say of it."""
        if isinstance(chain[0], Lookup | Hot):
            return self.topology.landmarks.where[chain[0]], ()
        entries = [self.topology.entries[use] for use in first if use in self.topology.entries]
        entry = next((e for e in entries if e.feed), entries[0])
        source = self.walker.graph.source
        if entry.sharded and not book.given("embedding"):
            raise RecognitionError(
                f"{source}: the embedding is kept in several shards ({entry.text}), which fastlstm does not join; "
                f"pass embedding=None and feed vectors of {first[0].cell.input_size} elements"
            )
        note = f"the graph computes the first layer's input with {entry.text}; the model takes that result as its input"
        return Fact(None, "read", f"{entry.text} of {source}"), () if entry.feed else (note,)


def _agreed(what: str, uses: list[CellUse], book: Book, source: str) -> Fact:
    """The one value that all uses of a cell give `what`."""
    facts = {use.facts[what].value: use.facts[what] for use in uses}
    if len(facts) > 1 and not book.given(what):
        seen = "; ".join(f"{fact.value!r} ({fact.source})" for fact in facts.values())
        how = f"say which one to run, e.g. load(..., {what}={next(iter(facts))!r})"
        raise RecognitionError(
            f"{source} uses {uses[0].cell.scope!r} in ways that contradict each other: {what} is {seen}; "
            f"{how if what in KNOWN_OVERRIDES else 'save the graph of one of them alone'}"
        )
    return next(iter(facts.values()))


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _named(found: Beyond) -> str:
    ops = ", ".join(f"{node.op} {node.name!r}" for node in found.nodes[:3])
    more = f" and {len(found.nodes) - 3} more" if len(found.nodes) > 3 else ""
    return ops + more + (f", with the variables {_some(found.variables)}" if found.variables else "")
