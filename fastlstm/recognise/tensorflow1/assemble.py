"""The chosen parts of a stack to layers, with a finding for every hyper-parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastlstm.errors import ArgumentError, RecognitionError
from fastlstm.formats.artefact import Artefact
from fastlstm.layers import GRU, LSTM, Bidirectional, Dense, Embedding, Layer, OneHot, Reverse
from fastlstm.recognise.findings import Finding, Recognised
from fastlstm.recognise.overrides import Book
from fastlstm.recognise.tensorflow1.bidirectional import scope_of_both
from fastlstm.recognise.tensorflow1.cell_use import ACTIVATIONS
from fastlstm.recognise.tensorflow1.choices import Shapes, choose
from fastlstm.recognise.tensorflow1.kinds import KINDS
from fastlstm.recognise.tensorflow1.names import CellVariables
from fastlstm.recognise.tensorflow1.parts import (
    Affine,
    Both,
    Cell,
    Chain,
    Fact,
    Hot,
    Lookup,
    Stack,
    cells_in,
    input_size,
)

_SHOWN = 12


def assemble(stack: Stack, artefact: Artefact, shapes: Shapes, book: Book, notes: Sequence[str]) -> Recognised:
    """Layers and findings.

    notes  what else to tell
    Raises RecognitionError for what is unknown or ambiguous and not given, ArgumentError for what is given wrongly.
    """
    choices = choose(stack, shapes, book, str(artefact.path))
    assembly = _Assembly(stack, artefact, book)
    facts = iter(choices.facts)
    front = [*assembly.layers(choices.front, facts)]
    if stack.turned:
        front.append(Reverse(input_size(choices.body[0], stack.cells, shapes)))
    layers = [*front, *assembly.layers(choices.body, facts), *assembly.head(choices.head)]
    if book.given("proj_clip") and all(cell.scope in assembly.unprojected for cell in cells_in(choices.body)):
        raise ArgumentError("proj_clip was given, but no LSTM layer of the file has a projection to clip")
    left = sorted(set(shapes) - assembly.used)
    if left:
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        notes = [*notes, f"variables that no layer uses: {', '.join(left[:_SHOWN])}{more}"]
    return Recognised(layers, list(book.findings), notes)


class _Assembly:
    """used         the variables that went into a layer
    unprojected  scopes of cells without a projection
    """

    def __init__(self, stack: Stack, artefact: Artefact, book: Book) -> None:
        self.stack = stack
        self.artefact = artefact
        self.book = book
        self.used: set[str] = set()
        self.unprojected: set[str] = set()

    def layers(self, chain: Chain, facts: Iterator[Mapping[str, Fact]]) -> Iterator[Layer]:
        for part in chain:
            match part:
                case Lookup(table):
                    yield Embedding(self.tensor(table), name=table)
                case Hot(size):
                    yield OneHot(size)
                case Cell(scope):
                    yield self._cell(self.stack.cells[scope], next(facts))
                case Affine():
                    yield self._hidden(part)
                case Both(forward, backward, mode):
                    ways = list(self.layers(forward, facts)), list(self.layers(backward, facts))
                    yield Bidirectional(*ways, mode, name=scope_of_both(cells_in(forward)[0].scope))  # type: ignore[arg-type]

    def head(self, parts: Sequence[Affine]) -> Iterator[Layer]:
        """The dense layers after the last cell; the last of them is the one that head_activation speaks of."""
        if not parts:
            if self.book.given("head_activation"):
                raise ArgumentError(
                    "head_activation was given, but the model has no head; name its variables with head="
                )
            return
        yield from map(self._hidden, parts[:-1])
        last = parts[-1]
        known = self._known(last)
        name = self.book.note(_name(last), "head_activation", last.activation, known.how, known.source)
        yield self._dense(last, self.runnable(name, "head_activation", known.source))

    def _hidden(self, part: Affine) -> Dense:
        known = self._known(part)
        self.book.findings.append(Finding(_name(part), "activation", part.activation, known.how, known.source))
        return self._dense(part, part.activation)

    def _known(self, part: Affine) -> Fact:
        known = self.stack.where.get(part)
        if known is not None:
            return known
        if part.kernel.endswith("/weights"):
            return Fact(
                None, "assumed", "none; but fully_connected has relu by default: check, and say head_activation="
            )
        return Fact(None, "assumed", "none: no graph (.meta) shows this layer; head_activation= says otherwise")

    def _cell(self, cell: CellVariables, facts: Mapping[str, Fact]) -> LSTM | GRU:
        if cell.projection is None:
            self.unprojected.add(cell.scope)
            projected = Fact(None, "inferred", "no projection variable")
        else:
            projected = Fact(cell.output_size, "inferred", f"the shape of {cell.projection!r}")
        return KINDS[cell.kind].layer(cell, _Reading(self, cell, {**facts, "num_proj": projected}))

    def _dense(self, part: Affine, activation: str) -> Dense:
        kernel = self.tensor(part.kernel)
        bias = self.tensor(part.bias) if part.bias else None
        return Dense(kernel.T if part.transposed else kernel, bias, activation, name=_name(part))

    def runnable(self, name: Any, what: str, source: str) -> Any:
        """`name`, unless it stands for an operation that fastlstm does not have ("?Atan")."""
        if isinstance(name, str) and name.startswith("?"):
            raise RecognitionError(
                f"{self.artefact.path}: {what} is {name[1:]} ({source}), which fastlstm does not run; it runs "
                f"{', '.join(sorted(ACTIVATIONS.values()))}. {what}= takes one of these in its place"
            )
        return name

    def tensor(self, name: str) -> Any:
        self.used.add(name)
        return self.artefact.tensors[name]


class _Reading:
    """What one cell's layer is made from; see `cell_layers.Reading`."""

    def __init__(self, assembly: _Assembly, cell: CellVariables, facts: Mapping[str, Fact]) -> None:
        self.assembly = assembly
        self.cell = cell
        self.facts = facts

    def knows(self, what: str) -> bool:
        return what in self.facts

    def note(self, what: str) -> Any:
        return self.assembly.book.note(self.cell.scope, what, *self.facts[what])

    def function(self, what: str) -> Any:
        return self.assembly.runnable(self.note(what), what, self.facts[what].source)

    def tensor(self, name: str) -> Any:
        return self.assembly.tensor(name)


def _name(part: Affine) -> str:
    """The layer's name: its scope, or its kernel's name where that is the user's own ("softmax_w")."""
    scope, _, leaf = part.kernel.rpartition("/")
    return scope if scope and leaf in ("kernel", "weights") else part.kernel
