"""The LSTM stacks of a TensorFlow 1 checkpoint without its graph: names, shapes, and TensorFlow's defaults.

What no name or shape tells is assumed to be as TensorFlow's constructors have it by default, and reported as assumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise

from fastlstm.errors import RecognitionError
from fastlstm.recognise.overrides import Book
from fastlstm.recognise.tensorflow1.names import CellVariables, stack_of
from fastlstm.recognise.tensorflow1.parts import Affine, Cell, Fact, Lookup, Stack

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


def stacks_by_name(cells: Mapping[str, CellVariables]) -> dict[str, list[CellVariables]]:
    """Cells by the scope of the stack that their names put them in, bottom layer first."""
    stacks: dict[str, list[CellVariables]] = {}
    for scope, cell in cells.items():
        stacks.setdefault(stack_of(scope), []).append(cell)
    return stacks


def stack_from_names(cells: list[CellVariables], shapes: Mapping[str, tuple[int, ...]], book: Book, path: str) -> Stack:
    """The stack of `cells` with everything that is not in their names assumed."""
    for below, above in pairwise(cells):
        if below.output_size != above.input_size:
            raise RecognitionError(
                f"{path}: {below.scope!r} gives {below.output_size} elements and {above.scope!r} takes "
                f"{above.input_size}: they are no two layers of one stack in this order; pass num_layers= or scope=, "
                f"or keep the .meta file beside the checkpoint, which tells what feeds what"
            )
    taken = {name for cell in cells for name in cell.names}
    left = {name: shape for name, shape in shapes.items() if name not in taken}
    decided = book.given("embedding") or (book.given("one_hot") and book.value("one_hot"))
    table = None if decided else _embedding(left, cells[0].input_size, path)
    front = Fact(table, "inferred", f"its name and its {cells[0].input_size} columns")
    if table is None:
        front = Fact(None, "assumed", "no embedding variable fits; if ids are fed as one-hot rows, pass one_hot=True")
    order = "the numbers in the cells' scopes" if len(cells) > 1 else "one cell's variables"
    return Stack(
        chain=(*((Lookup(table),) if table else ()), *(Cell(cell.scope) for cell in cells)),
        cells={cell.scope: cell for cell in cells},
        facts=[_defaults(cell) for cell in cells],
        heads=_heads(left, cells[-1].output_size),
        front=front,
        order=Fact(len(cells), "inferred", order),
    )


def _defaults(cell: CellVariables) -> dict[str, Fact]:
    """Hyper-parameters as the cell's constructor has them by default."""
    last = cell.scope.rpartition("/")[2].lower()
    kind = "LSTMCell" if cell.peepholes or cell.projection else "BasicLSTMCell and LSTMCell"
    forget_bias = Fact(1.0, "assumed", f"the default of {kind}; no graph (.meta) says otherwise")
    cell_clip = Fact(
        None, "assumed", f"the default of {kind}; an LSTMBlockCell of TF 1.0 or 1.1 clips at 3: cell_clip=3.0"
    )
    if "cudnn_compatible" in last:
        forget_bias = Fact(0.0, "assumed", "CudnnCompatibleLSTMCell adds none")
    if cell.kernel.endswith("/W") or last.startswith(("lstm_block_wrapper", "lstmblockfusedcell")):
        cell_clip = Fact(3.0, "assumed", "the default of LSTMBlockCell up to TF 1.1")
    return {
        "forget_bias": forget_bias,
        "activation": Fact("tanh", "assumed", f"the default of {kind}"),
        "recurrent_activation": Fact("sigmoid", "inferred", "TensorFlow 1 cells have no other"),
        "cell_clip": cell_clip,
        "proj_clip": Fact(None, "assumed", "the default of LSTMCell"),
        "use_peepholes": Fact(
            cell.peepholes is not None,
            "inferred",
            "variables " + ", ".join(cell.peepholes or ("w_i_diag ... are not there",)),
        ),
        "gate_order": Fact("ijfo", "inferred", "TensorFlow 1 cells have no other"),
        "residual": Fact(False, "assumed", "a ResidualWrapper leaves no trace in the variables"),
    }


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
