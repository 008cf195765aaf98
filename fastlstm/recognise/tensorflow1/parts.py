"""What a TensorFlow 1 network is made of, as plain data: the vocabulary shared by the files that recognise one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fastlstm.recognise.findings import How
from fastlstm.recognise.tensorflow1.names import CellVariables


class Fact(NamedTuple):
    """A hyper-parameter's value, how it is known and where from; see `findings.Finding`."""

    value: Any
    how: How
    source: str


class Lookup(NamedTuple):
    """Rows of a table (V, D), the variable called `table`, chosen by ids."""

    table: str


class Hot(NamedTuple):
    """ids as one-hot rows of `size` elements."""

    size: int


class Affine(NamedTuple):
    """A dense layer.  transposed: the variable is stored as (V, D), e.g. an embedding table used as head."""

    kernel: str
    bias: str | None = None
    activation: str = "linear"
    transposed: bool = False


class Cell(NamedTuple):
    """An LSTM cell, by the scope of its variables.  residual: what goes on is input + output."""

    scope: str
    residual: bool = False


Part = Lookup | Hot | Affine | Cell

#: Parts in the order they run. Two layers with the same weights are two equal cells in one chain.
Chain = tuple[Part, ...]


def extends(longer: Chain, shorter: Chain) -> bool:
    """Whether `longer` begins with all of `shorter`; whether the last cell's input is added to it does not matter."""
    if len(longer) <= len(shorter) or not shorter:
        return False
    last, met = shorter[-1], longer[len(shorter) - 1]
    same = last == met or (isinstance(last, Cell) and isinstance(met, Cell) and last.scope == met.scope)
    return same and longer[: len(shorter) - 1] == shorter[:-1]


def cells_in(chain: Chain) -> tuple[Cell, ...]:
    return tuple(part for part in chain if isinstance(part, Cell))


def head_names(head: Sequence[Part]) -> tuple[str, ...]:
    """A head as `head=` takes it: the last layer's kernel and bias; () where there is none."""
    last = head[-1] if head else None
    return tuple(name for name in (last.kernel, last.bias) if name) if isinstance(last, Affine) else ()


@dataclass(frozen=True)
class Stack:
    """One LSTM stack, before overrides.

    chain   from the input up to the last LSTM cell
    cells   scope -> its variables
    facts   for each Cell of `chain`, in order: hyper-parameter -> Fact
    heads   what may follow the last cell: none, one, or several to choose from; each a row of dense layers
    front   how it is known what stands before the first cell
    order   how it is known which cells there are, and in which order
    where   what to quote as the source of a part
    notes   anything else that was seen
    """

    chain: Chain
    cells: Mapping[str, CellVariables]
    facts: Sequence[Mapping[str, Fact]]
    heads: Sequence[tuple[Affine, ...]]
    front: Fact
    order: Fact
    where: Mapping[Part, Fact] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
