"""TensorFlow 1 checkpoints: named variables, and with the `.meta` file the graph, to layers."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from fastlstm.errors import RecognitionError
from fastlstm.formats.artefact import Artefact
from fastlstm.recognise.averages import has_averages
from fastlstm.recognise.findings import Recognised
from fastlstm.recognise.overrides import Book
from fastlstm.recognise.tensorflow1.assemble import assemble
from fastlstm.recognise.tensorflow1.chains_by_name import stacks_by_name
from fastlstm.recognise.tensorflow1.cudnn import with_buffers_unpacked
from fastlstm.recognise.tensorflow1.frozen import weights_among
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import CALLS
from fastlstm.recognise.tensorflow1.keras_cell import KIND as KERAS
from fastlstm.recognise.tensorflow1.keras_cell import keras_in_graph
from fastlstm.recognise.tensorflow1.keras_gru_cell import KIND as KERAS_GRU
from fastlstm.recognise.tensorflow1.keras_gru_cell import keras_grus_in_graph
from fastlstm.recognise.tensorflow1.kinds import find_cells
from fastlstm.recognise.tensorflow1.missing import no_lstm
from fastlstm.recognise.tensorflow1.names import (
    Candidates,
    CellVariables,
    stack_of,
    trained,
    within,
)
from fastlstm.recognise.tensorflow1.parts import Chain, Stack, cells_in
from fastlstm.recognise.tensorflow1.row_shards import with_rows_joined
from fastlstm.recognise.tensorflow1.saved_names import with_graph_names
from fastlstm.recognise.tensorflow1.stack_graph import GraphStacks
from fastlstm.recognise.tensorflow1.stack_names import stack_from_names
from fastlstm.recognise.tensorflow1.strangers import stranger
from fastlstm.recognise.tensorflow1.topology import Topology

_FORWARD, _BACKWARD = {"fw", "FW"}, {"bw", "BW"}  # the scopes of tf.nn.bidirectional_dynamic_rnn, up to 0.12 capitals


def recognise_tensorflow1(artefact: Artefact, *, scope: str | None, book: Book) -> Recognised:
    """The LSTM stack of a TensorFlow 1 checkpoint, with what stands before it and its head.

    scope  picks one stack: only cells whose variables lie below it are looked at; None where there is only one
    book   the caller's overrides; gets a finding for every hyper-parameter
    Raises RecognitionError where there is no LSTM, more than one stack, or a cell that computes something else;
    ArgumentError for an override that does not fit.
    """
    try:
        named, renamed = with_graph_names(artefact)
        whole, told = with_buffers_unpacked(with_rows_joined(named), book)
        found = _Recognition(whole, scope, book).run()
        return replace(found, notes=[*found.notes, *renamed, *told])
    except RecursionError:
        raise RecognitionError(
            f"{artefact.path}: the graph has more layers upon each other than can be followed"
        ) from None


def topology_of(artefact: Artefact, names: Container[str]) -> Topology:
    """How the cells of those names are connected in the graph of `artefact`.  Raises RecognitionError."""
    found = _Recognition(with_rows_joined(with_graph_names(artefact)[0]), None, Book({}))
    assert found.artefact.graph is not None
    cells = {name: cell for name, cell in found.every.cells.items() if name in names}
    stacks = GraphStacks(found.artefact.graph, found.shapes, Candidates(cells, {}))
    return stacks.topology


class _Recognition:
    def __init__(self, artefact: Artefact, scope: str | None, book: Book) -> None:
        self.artefact = artefact
        self.path = str(artefact.path)
        self.scope = scope
        self.book = book
        self.shapes, self.aside = trained(artefact.tensors.specs)
        if artefact.graph is not None and artefact.format == "frozen-graph":
            self.shapes = weights_among(artefact.graph, self.shapes)
        self.every = find_cells(self.shapes, with_graph=artefact.graph is not None)
        if artefact.graph is not None:
            for shown in (keras_in_graph, keras_grus_in_graph):
                taken = {name for cell in self.every.cells.values() for name in cell.names}
                self.every.cells.update(shown(artefact.graph, self.shapes, taken))
        self.mine = Candidates(
            {name: cell for name, cell in self.every.cells.items() if within(name, scope)},
            {name: why for name, why in self.every.rejected.items() if within(name, scope)},
        )

    def run(self) -> Recognised:
        useless = self._useless_graph()
        with_graph = self.artefact.graph is not None and useless is None
        stack = self._from_graph() if with_graph else self._from_names()
        notes = [*stack.notes, *([useless] if useless else [])]
        if self.aside:
            notes.append(f"{len(self.aside)} tensors left aside: optimizer slots, moving averages, counters")
        if has_averages(self.aside) and not self.book.given("ema"):
            notes.append(
                "the file has moving averages of the weights too (ExponentialMovingAverage); they are not used, "
                "ema=True takes them"
            )
        return assemble(stack, self.artefact, self.shapes, self.book, notes)

    def _useless_graph(self) -> str | None:
        """Says so where the graph does not show the cells; then names and shapes are all there is."""
        graph = self.artefact.graph
        if graph is None:
            return None
        kernels = [cell.kernel for cell in self.mine.cells.values()]
        missing = [name for name in kernels if name not in graph.nodes]
        if missing:
            return (
                f"{graph.source} has no variable {missing[0]!r}: it is another model's, or the variables were renamed "
                f"when they were saved; it is not used"
            )
        if any(node.op in CALLS for node in graph.nodes.values()):
            walker = Walker(graph, self.shapes)
            for name in kernels:
                call = next((use.node for use in walker.uses_of_variable(name) if use.node.op in CALLS), None)
                if call is not None:
                    return (
                        f"{graph.source}: {name!r} is used in a function, by {call.op} {call.name!r}; functions are "
                        f"not looked into, so the graph is not used"
                    )
        return None

    def _from_graph(self) -> Stack:
        assert self.artefact.graph is not None
        stacks = GraphStacks(self.artefact.graph, self.shapes, self.mine)
        tops = self._distinct(stacks.tops)
        if not tops:
            raise self._no_lstm(self.mine.rejected | stacks.rejected)
        if len(tops) > 1:
            tops = self._served(tops, stacks) or tops
        if len(tops) > 1:
            rows = [[stacks.cells[cell.scope] for cell in cells_in(top)] for top in tops]
            if len({tuple(cell.scope for cell in row) for row in rows}) == 1:
                ways = "; ".join(" -> ".join(map(str, top)) for top in tops)
                raise RecognitionError(
                    f"{self.path}: the graph uses {rows[0][0].scope!r} in {len(tops)} ways: {ways}; say which to "
                    f"run with embedding=, one_hot= or residual="
                )
            raise self._several(rows)
        return stacks.stack(tops[0], self.scope, self.book)

    def _served(self, tops: list[Chain], stacks: GraphStacks) -> list[Chain]:
        """Those that a SavedModel's signature gives something of."""
        before = stacks.walker.everything_before(list(stacks.walker.graph.outputs))
        return [top for top in tops if any(use.h.node in before for use in stacks.layers.get(top, ()))]

    def _distinct(self, tops: list[Chain]) -> list[Chain]:
        """`tops`; one is enough where they differ in nothing but what the caller gives anyway."""
        input_given = self.book.given("embedding") or self.book.given("one_hot")
        distinct: dict[object, Chain] = {}
        for top in tops:
            cells = tuple(cell.scope if self.book.given("residual") else cell for cell in cells_in(top))
            distinct.setdefault(cells if input_given else (top[: -len(cells)], cells), top)
        return list(distinct.values())

    def _from_names(self) -> Stack:
        chosen = (self.scope or "").strip("/")
        cells: dict[str, CellVariables] = {}
        rejected = dict(self.mine.rejected)
        for name, cell in self.mine.cells.items():
            if cell.kind in (KERAS, KERAS_GRU):
                layer = "LSTM" if cell.kind == KERAS else "GRU"
                rejected[name] = (
                    f"{name!r} holds a Keras {layer}'s weights; its activations are in no graph of this file"
                )
            elif (why := stranger(cell.scope)) is not None:
                rejected[name] = why
            elif cell.extras:
                rejected[name] = f"{name!r} has more than an LSTM cell's variables: {', '.join(cell.extras[:4])}"
            elif cell.named or name == chosen:
                cells[name] = cell
            else:
                rejected[name] = (
                    f"{cell.kernel!r} {self.shapes[cell.kernel]} could be an LSTM of {cell.hidden_size} units or a "
                    f"dense layer, which only a graph (.meta) can tell; scope={name!r} takes it for an LSTM"
                )
        stacks = stacks_by_name(cells, self.shapes)
        if not stacks:
            raise self._no_lstm(rejected)
        if len(stacks) > 1:
            raise self._several([[cells[cell.scope] for cell in cells_in(chain)] for chain in stacks.values()])
        (stack,) = stacks.values()
        return stack_from_names(stack, cells, self.shapes, self.book, self.path)

    def _no_lstm(self, rejected: dict[str, str]) -> RecognitionError:
        return no_lstm(self.path, self.shapes, self.every, rejected, self.scope)

    def _several(self, stacks: list[list[CellVariables]]) -> RecognitionError:
        """The error that lists the candidates."""
        lines = "".join(
            f"\n  scope={_label(row, stacks)!r}: {len(row)} layer{'s' * (len(row) > 1)} "
            f"({', '.join(cell.sizes for cell in row)})"
            for row in stacks
        )
        parts = {part for row in stacks for cell in row for part in cell.scope.split("/")}
        if parts & _FORWARD and parts & _BACKWARD:
            return RecognitionError(
                f"{self.path}: this LSTM is bidirectional, so its output at a step depends on all later inputs and "
                f"cannot be computed one step at a time. One direction alone can be picked by its scope:{lines}"
            )
        inside = f" below {self.scope!r}" if self.scope else ""
        return RecognitionError(f"{self.path}: {len(stacks)} LSTM stacks{inside}; pick one:{lines}")


def _label(row: list[CellVariables], stacks: list[list[CellVariables]]) -> str:
    """The shortest scope that says it: all of this stack's cells lie within, and none of another's."""
    others = [cell.scope for other in stacks if other is not row for cell in other]
    common = row[0].scope.split("/")
    while common and not all(within(cell.scope, "/".join(common)) for cell in row):
        common.pop()
    scope = "/".join(common)
    for shorter in (stack_of(scope), scope.rpartition("/")[0]):
        if shorter and shorter != scope and not any(within(name, shorter) for name in others):
            return shorter
    return scope
