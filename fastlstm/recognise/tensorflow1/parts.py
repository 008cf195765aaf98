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
    """A recurrent cell, by the scope of its variables.

    residual  what goes on is input + output
    highway   names of the variables of gates that mix the input with the output, in the order of `layers.Highway`
    """

    scope: str
    residual: bool = False
    highway: tuple[str, ...] = ()


class Turn(NamedTuple):
    """The steps in the reversed order.  axis: of the operation that does it; None where a loop is unrolled so"""

    axis: int | None
    turns: bool = True


class Both(NamedTuple):
    """Two stacks over one sequence, the second from its end; mode is how their outputs are put together."""

    forward: tuple[Cell | Affine, ...]
    backward: tuple[Cell | Affine, ...]
    mode: str


Part = Lookup | Hot | Affine | Cell | Turn | Both

#: Parts in the order they run. Two layers with the same weights are two equal cells in one chain.
Chain = tuple[Part, ...]


def bare(chain: Chain) -> Chain:
    """`chain` without what stands around its last cell."""
    return (*chain[:-1], Cell(chain[-1].scope)) if chain and isinstance(chain[-1], Cell) else chain


def extends(longer: Chain, shorter: Chain) -> bool:
    """Whether `longer` begins with all of `shorter`; what stands around the last cell does not matter."""
    return len(longer) > len(shorter) > 0 and bare(longer[: len(shorter)]) == bare(shorter)


def covers(longer: Chain, shorter: Chain) -> bool:
    """Whether `shorter` is a part of `longer`: its beginning, or one direction of it."""
    if extends(longer, shorter):
        return True
    ways = [way for k, part in enumerate(longer) if isinstance(part, Both) for way in _ways(longer[:k], part)]
    return any(extends(way, shorter) or bare(way) == bare(shorter) for way in ways)


def _ways(below: Chain, both: Both) -> tuple[Chain, Chain]:
    """The chains of the two directions, as far as it is known how time is turned round."""
    return (*below, *both.forward), (*below, TURNED, *both.backward)


#: The Turn of every chain: how it is made does not tell two chains apart.
TURNED = Turn(None)


def cells_in(chain: Chain) -> tuple[Cell, ...]:
    """The cells in the order of their states: of a Both those forward, then those backward."""
    return tuple(part for part in flat(chain) if isinstance(part, Cell))


def flat(chain: Chain) -> list[Part]:
    """The parts, in place of a Both those inside."""
    inside = [(*part.forward, *part.backward) if isinstance(part, Both) else (part,) for part in chain]
    return [part for parts in inside for part in parts]


def layers_in(chain: Chain) -> list[Part]:
    """The recurrent layers, a Both being one."""
    return [part for part in chain if isinstance(part, Cell | Both)]


def below_each(chain: Chain) -> list[Chain]:
    """For each of `cells_in` the chain that ends in it."""
    found: list[Chain] = []
    for k, part in enumerate(chain):
        for way in _ways(chain[:k], part) if isinstance(part, Both) else ((*chain[:k], part),):
            found += [bare(way[: j + 1]) for j in range(k, len(way)) if isinstance(way[j], Cell)]
    return found


def output_size(part: Part, cells: Mapping[str, CellVariables], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The elements that a layer gives."""
    match part:
        case Cell(scope):
            return cells[scope].output_size
        case Both(forward, backward, mode):
            size = output_size(forward[-1], cells, shapes)
            return size + (output_size(backward[-1], cells, shapes) if mode in ("concat", None) else 0)
        case Affine():
            return shapes[part.kernel][0 if part.transposed else 1]
        case Lookup(table):
            return shapes[table][1]
        case Hot(size):
            return size
    return 0


def input_size(part: Part, cells: Mapping[str, CellVariables], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The elements that a recurrent or dense layer takes."""
    match part:
        case Cell(scope):
            return cells[scope].input_size
        case Both(forward, _, _):
            return input_size(forward[0], cells, shapes)
        case Affine():
            return shapes[part.kernel][1 if part.transposed else 0]
    return 0


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
    turned  the first cell reads the sequence from its end
    """

    chain: Chain
    cells: Mapping[str, CellVariables]
    facts: Sequence[Mapping[str, Fact]]
    heads: Sequence[tuple[Affine, ...]]
    front: Fact
    order: Fact
    where: Mapping[Part, Fact] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    turned: bool = False
