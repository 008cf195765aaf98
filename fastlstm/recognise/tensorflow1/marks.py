"""What a value in a graph may come from: the landmarks that `landmarks` finds on the way back."""

from __future__ import annotations

from typing import NamedTuple

from fastlstm.formats.graph import Output
from fastlstm.recognise.tensorflow1.cell_use import CellUse
from fastlstm.recognise.tensorflow1.parts import Affine, Hot, Lookup


class FromCell(NamedTuple):
    """A cell's output ("h") or state ("c").  residual: with the cell's input added.  highway: mixed with it."""

    use: CellUse
    role: str
    residual: bool
    highway: tuple[str, ...] = ()


class FromAffine(NamedTuple):
    """A dense layer over `below`."""

    part: Affine
    below: Output


class FromIds(NamedTuple):
    """Ids as vectors."""

    part: Lookup | Hot


class FromTurned(NamedTuple):
    """The steps of `below` in the reversed order.  axis: of time, as the operation counts it"""

    below: Output
    axis: int


class FromPair(NamedTuple):
    """What may be the outputs of a forward and a backward stack.  mode: how they are put together"""

    one: Output
    other: Output
    mode: str


class Unknown(NamedTuple):
    """A node that is no landmark."""

    node: str
    op: str


class Place(NamedTuple):
    """Where a step's input comes from: a step of `source`, where `step` is known, or what a cell gives."""

    source: Output
    step: int | None
    cell: CellUse | None


Mark = FromCell | FromAffine | FromIds | FromTurned | FromPair | Unknown
