"""Which parts of a stack are run: what was found, against what the caller of `load` says.

Three questions: how many LSTM layers, what stands before them, and which head follows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastlstm.errors import ArgumentError, RecognitionError
from fastlstm.recognise.overrides import Book
from fastlstm.recognise.tensorflow1.bidirectional import scope_of_both
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
    head_names,
    input_size,
    output_size,
)

Shapes = Mapping[str, tuple[int, ...]]
Facts = Sequence[Mapping[str, Fact]]


@dataclass(frozen=True)
class Choices:
    """front  what stands before the first cell
    body   from the first cell to the last
    facts  of each cell in body
    head   the dense layers after the last
    """

    front: Chain
    body: Chain
    facts: Facts
    head: tuple[Affine, ...]


def choose(stack: Stack, shapes: Shapes, book: Book, path: str) -> Choices:
    """What to run of `stack`.

    Raises ArgumentError for an override that does not fit, RecognitionError where there are several heads.
    """
    front, body, facts, whole = _layers(stack, book)
    body = tuple(_merged(part, stack, book) if isinstance(part, Both) else part for part in body)
    front = _front(front, stack, input_size(body[0], stack.cells, shapes), shapes, book)
    size = output_size(body[-1], stack.cells, shapes)
    return Choices(front, body, facts, _head(stack, size, shapes, book, path, whole=whole))


def _merged(part: Both, stack: Stack, book: Book) -> Both:
    known = stack.where[part]
    name = part.forward[-1].scope if isinstance(part.forward[-1], Cell) else cells_in((part,))[0].scope
    return part._replace(mode=book.note(scope_of_both(name), "merge_mode", part.mode, known.how, known.source))


def _layers(stack: Stack, book: Book) -> tuple[Chain, Chain, Facts, bool]:
    """What stands before the cells, as many cells as the caller wants, and whether the last of them is the stack's."""
    found = stack.order.value
    wanted = book.note("", "num_layers", *stack.order)
    places = [k for k, part in enumerate(stack.chain) if isinstance(part, Cell | Both)]
    front, body = stack.chain[: places[0]], stack.chain[places[0] :]
    if wanted == found:
        return front, body, stack.facts, True
    if not isinstance(wanted, int) or wanted < 1:
        raise ArgumentError(f"num_layers is {wanted!r}; expected a whole number of at least 1")
    if wanted < found:
        body = stack.chain[places[0] : places[wanted - 1] + 1]
        return front, body, stack.facts[: len(cells_in(body))], False
    cells = [stack.cells[cell.scope] for cell in cells_in(stack.chain)]
    if len(cells) > 1 or cells[0].input_size != cells[0].output_size:
        raise ArgumentError(
            f"num_layers is {wanted}, but the file holds {found} LSTM layer{'s' * (found > 1)} "
            f"({', '.join(cell.sizes for cell in cells)}); only one cell whose output fits its input can be repeated, "
            f"as MultiRNNCell([cell] * n) does"
        )
    return front, body * wanted, [*stack.facts] * wanted, True


def _front(front: Chain, stack: Stack, size: int, shapes: Shapes, book: Book) -> Chain:
    """What stands before the first cell, whose input has `size` elements."""
    _, how, source = stack.front
    table = next((part.table for part in front if isinstance(part, Lookup)), None)
    hot = any(isinstance(part, Hot) for part in front)
    chosen = book.note("", "embedding", table, how, source)
    if chosen != table:
        if chosen is not None:
            must_exist([chosen], "embedding", shapes)
            if len(shapes[chosen]) != 2 or shapes[chosen][1] != size:
                raise ArgumentError(
                    f"embedding={chosen!r} has shape {shapes[chosen]}; the first LSTM layer takes {size} elements, so "
                    f"expected (V, {size})"
                )
        front = () if chosen is None else (Lookup(chosen),)
    if chosen is not None:
        if book.given("one_hot") and book.value("one_hot"):
            raise ArgumentError(
                f"one_hot=True, but ids go through the embedding {chosen!r}; pass embedding=None as well"
            )
        return front
    wanted = book.note("", "one_hot", hot, how, source)
    if wanted == hot:
        return front
    if not wanted:
        return tuple(part for part in front if not isinstance(part, Hot))
    first = front[0] if front else None
    return (Hot(shapes[first.kernel][first.transposed] if isinstance(first, Affine) else size), *front)


def _head(stack: Stack, size: int, shapes: Shapes, book: Book, path: str, *, whole: bool) -> tuple[Affine, ...]:
    """The dense layers after the last cell, which gives `size` elements.

    whole  the last cell is the stack's: it has the heads that were found
    """
    heads = stack.heads if whole else ()
    if book.given("head"):
        book.note(
            "", "head", head_names(heads[0]) if heads else None, *_known(heads[0] if heads else (), stack, shapes)
        )
        return _given_head(book.value("head"), heads, size, shapes)
    if len(heads) > 1:
        rows = "".join(
            f"\n  head={head_names(head)!r}: {' -> '.join(f'{part.kernel} {shapes[part.kernel]}' for part in head)}"
            for head in heads
        )
        raise RecognitionError(f"{path}: {len(heads)} heads follow the LSTM; pick one, or head=None:{rows}")
    head = heads[0] if heads else ()
    book.note("", "head", head_names(head) or None, *_known(head, stack, shapes))
    return head


def _known(head: Sequence[Affine], stack: Stack, shapes: Shapes) -> tuple[Any, str]:
    """How a head is known, and where from."""
    graph = stack.order.how == "read"
    if not head:
        return ("read", "no dense layer reads the last cell") if graph else ("inferred", "no variables of a head fit")
    known = stack.where.get(head[-1])
    return ("read", known.source) if known else ("inferred", f"its name and its shape {shapes[head[-1].kernel]}")


def _given_head(given: Any, heads: Sequence[tuple[Affine, ...]], size: int, shapes: Shapes) -> tuple[Affine, ...]:
    if given is None:
        return ()
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else []
    if not 1 <= len(names) <= 2 or not all(isinstance(name, str) for name in names):
        raise ArgumentError(
            f"head is {given!r}; expected the names of its kernel and bias, e.g. ('softmax_w', 'softmax_b')"
        )
    must_exist(names, "head", shapes)
    for head in heads:
        if head[-1].kernel == names[0] and names[1:] in ([], [head[-1].bias]):
            return head
    shape = shapes[names[0]]
    if len(shape) != 2 or size not in shape:
        raise ArgumentError(
            f"head: {names[0]!r} has shape {shape}; the last LSTM layer gives {size} elements, so expected ({size}, V)"
        )
    return (Affine(names[0], *names[1:], transposed=shape[0] != size),)


def must_exist(names: Sequence[str], what: str, shapes: Shapes) -> None:
    """Raises ArgumentError, with the names there are, for a name that is no variable."""
    for name in names:
        if name not in shapes:
            raise ArgumentError(f"{what}: there is no variable {name!r}; variables: {', '.join(sorted(shapes))}")
