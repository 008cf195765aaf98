"""The LSTM stacks of a TensorFlow 1 checkpoint without its graph: names, shapes, and TensorFlow's defaults.

What no name or shape tells is assumed to be as TensorFlow's constructors have it by default, and reported as assumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise

from fastlstm.errors import RecognitionError
from fastlstm.recognise.findings import How
from fastlstm.recognise.overrides import Book
from fastlstm.recognise.tensorflow1.cell_defaults import may_be_clipped
from fastlstm.recognise.tensorflow1.chains_by_name import variables_of
from fastlstm.recognise.tensorflow1.kinds import KINDS
from fastlstm.recognise.tensorflow1.names import CellVariables
from fastlstm.recognise.tensorflow1.parts import (
    Affine,
    Both,
    Cell,
    Chain,
    Fact,
    Lookup,
    Part,
    Stack,
    cells_in,
    input_size,
    layers_in,
    output_size,
)

Shapes = Mapping[str, tuple[int, ...]]

#: Leaf names of a dense layer's kernel and bias, by who gives them.
_DENSE_LEAVES = {
    "kernel": "bias",  # tf.layers.dense
    "weights": "biases",  # tf.contrib.layers.fully_connected
    "softmax_w": "softmax_b",  # the PTB tutorial
    "softmax_weights": "softmax_biases",
    "output_w": "output_b",
    "W": "b",
    "w": "b",
}
_EMBEDDINGS = re.compile(r"(^|/)(embeddings?|word_embeddings?|embedding_matrix|EmbeddingWrapper/embedding)$")


def stack_from_names(chain: Chain, cells: Mapping[str, CellVariables], shapes: Shapes, book: Book, path: str) -> Stack:
    """The stack `chain` with everything that is not in its names assumed.

    Raises RecognitionError where two layers do not fit, or where what is not in the names changes the numbers and
    nothing decides it.
    """
    mine = [cells[cell.scope] for cell in cells_in(chain)]
    _refuse_what_may_be_clipped(mine, book, path)
    taken = {name for cell in mine for name in cell.names} | variables_of(chain)
    taken |= {name for cell in cells_in(chain) for name in cell.highway}
    left = {name: shape for name, shape in shapes.items() if name not in taken}
    chain, head = _split_head(chain)
    chain, where = _modes(chain, cells, shapes, left)
    layers = layers_in(chain)
    for below, above in pairwise(chain):
        gives, takes = output_size(below, cells, shapes), input_size(above, cells, shapes)
        if gives != takes:
            raise RecognitionError(
                f"{path}: {_name(below)!r} gives {gives} elements and {_name(above)!r} takes {takes}: they are no two "
                f"layers of one stack in this order; pass num_layers= or scope=, or keep the .meta file beside the "
                f"checkpoint, which tells what feeds what"
            )
    size = input_size(chain[0], cells, shapes)
    decided = book.given("embedding") or (book.given("one_hot") and book.value("one_hot"))
    table = None if decided else _embedding(left, size, path)
    front = Fact(table, "inferred", f"its name and its {size} columns")
    if table is None:
        front = Fact(None, "assumed", "no embedding variable fits; if ids are fed as one-hot rows, pass one_hot=True")
    order = "the numbers in the cells' scopes" if len(layers) > 1 else "one cell's variables"
    return Stack(
        chain=(*((Lookup(table),) if table else ()), *chain),
        cells={cell.scope: cell for cell in mine},
        facts=[_facts(part, cells[part.scope], book) for part in cells_in(chain)],
        heads=[head] if head else _heads(left, output_size(chain[-1], cells, shapes)),
        front=front,
        order=Fact(len(layers), "inferred", order),
        where=where,
    )


def _refuse_what_may_be_clipped(cells: list[CellVariables], book: Book, path: str) -> None:
    """Refuse the names that TF 1.0 and 1.1 gave to LSTMCell and to LSTMBlockCell alike."""
    unclear = [cell for cell in cells if cell.kind == "LSTM" and may_be_clipped(cell)]
    if unclear and not book.given("cell_clip") and not book.given("cell"):
        raise RecognitionError(
            f"{path}: {unclear[0].kernel!r} is what TensorFlow 1.0 and 1.1 call the kernel of an LSTMCell and of an "
            f"LSTMBlockCell, which clips its cell state at 3; without the graph (.meta) nothing tells them apart. Pass "
            f"cell='LSTMCell' or cell='LSTMBlockCell' (or cell_clip=None or cell_clip=3.0)"
        )


def _facts(part: Cell, cell: CellVariables, book: Book) -> dict[str, Fact]:
    defaults = KINDS[cell.kind].defaults
    assert defaults is not None, cell
    facts = defaults(cell)
    facts["residual"] = Fact(False, "assumed", "a ResidualWrapper leaves no trace in the variables")
    if cell.kind == "LSTM" and may_be_clipped(cell) and book.given("cell"):
        known = book.note(cell.scope, "cell", None, "assumed", "LSTMCell and LSTMBlockCell have these names")
        clip = 3.0 if known == "LSTMBlockCell" else None
        facts["cell_clip"] = Fact(clip, "assumed", f"cell={known!r}: its default up to TF 1.1")
    if part.highway:
        facts["residual"] = Fact(False, "inferred", "a highway is around it")
        facts["highway"] = Fact(part.highway, "inferred", "its name and its shape")
    return facts


def _split_head(chain: Chain) -> tuple[Chain, tuple[Affine, ...]]:
    """`chain` up to its last recurrent layer, and the dense layers after it."""
    end = len(chain)
    while isinstance(chain[end - 1], Affine):
        end -= 1
    return chain[:end], tuple(part for part in chain[end:] if isinstance(part, Affine))


def _modes(
    chain: Chain, cells: Mapping[str, CellVariables], shapes: Shapes, left: Shapes
) -> tuple[Chain, dict[Part, Fact]]:
    """`chain` with two directions added where only that fits what reads them, and how it is known."""
    parts: list[Part] = []
    where: dict[Part, Fact] = {}
    for k, part in enumerate(chain):
        if isinstance(part, Both):
            side_by_side = output_size(part, cells, shapes)
            added = part._replace(mode="sum")
            size = output_size(added, cells, shapes)
            if k + 1 < len(chain):
                wanted = {input_size(chain[k + 1], cells, shapes)}
            else:
                wanted = {n for n in (side_by_side, size) if _heads(left, n)}
            if wanted == {size}:
                part = added
            how: How = "inferred" if wanted == {size} or wanted == {side_by_side} else "assumed"
            which = "what reads them takes that many elements" if how == "inferred" else "put side by side"
            where[part] = Fact(None, how, f"{which}; merge_mode= says otherwise")
        parts.append(part)
    return tuple(parts), where


def _name(part: Part) -> str:
    return part.kernel if isinstance(part, Affine) else cells_in((part,))[0].scope


def _embedding(shapes: Mapping[str, tuple[int, ...]], size: int, path: str) -> str | None:
    """The embedding table (V, `size`) among `shapes`, by its name."""
    found = [
        name for name, shape in shapes.items() if _EMBEDDINGS.search(name) and len(shape) == 2 and shape[1] == size
    ]
    if len(found) > 1:
        raise RecognitionError(
            f"{path}: several variables could be the embedding: {', '.join(found)}; pass embedding={found[0]!r} or "
            f"another, or embedding=None to feed vectors"
        )
    return found[0] if found else None


def _heads(shapes: Mapping[str, tuple[int, ...]], size: int) -> list[tuple[Affine, ...]]:
    """Dense layers by their leaf names that take `size` elements; with what could follow each, up to the last."""
    dense = list(_dense(shapes))
    first = [part for part in dense if shapes[part.kernel][0] == size]
    heads: list[tuple[Affine, ...]] = []
    for part in first:
        after = [p for p in dense if p not in first and shapes[p.kernel][0] == shapes[part.kernel][1]]
        heads.extend([(part,), *((part, other) for other in after)])
    return heads


def _dense(shapes: Mapping[str, tuple[int, ...]]) -> Iterable[Affine]:
    for name, shape in shapes.items():
        scope, _, leaf = name.rpartition("/")
        if len(shape) == 2 and leaf in _DENSE_LEAVES:
            bias = f"{scope}/{_DENSE_LEAVES[leaf]}" if scope else _DENSE_LEAVES[leaf]
            if shapes.get(bias) == shape[1:]:
                yield Affine(name, bias)
            elif bias not in shapes and leaf in ("kernel", "weights"):
                yield Affine(name)
