"""CudnnLSTM's weights in one buffer, taken apart into the variables that its saver writes otherwise.

The buffer (`opaque_kernel`, or whatever the graph's CudnnRNN reads) holds for each layer and direction W_i, W_f, W_c,
W_o (u, in) and R_i, R_f, R_c, R_o (u, u); after all of these, for each again, the biases of W and then of R, 8 u.
Joined they are the variables of a CudnnCompatibleLSTMCell: kernel [x; h] (in + u, 4 u), gates i c f o, and one bias.

Source: contrib/cudnn_rnn/python/ops/cudnn_rnn_ops.py, CudnnOpaqueParamsSaveable; ops/cudnn_rnn_ops.cc.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import ArgumentError, RecognitionError
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.graph import Graph, Node
from fastlstm.formats.tensors import Tensors, TensorSpec
from fastlstm.recognise.overrides import Book
from fastlstm.recognise.tensorflow1.graph import Walker

_NAMED = re.compile(r"(^|/)(opaque_kernel|opaque_params|cudnn_params|rnn_params|params)$")
_CANONICAL = {1: "rnn/multi_rnn_cell/cell_{}", 2: "stack_bidirectional_rnn/cell_{}/bidirectional_rnn/{}"}
_OPERATIONS = re.compile(r"CudnnRNN(V2|V3)?$")
#: Have the number of layers, of units and of inputs as their first three inputs.
_SIZED = re.compile(r"CudnnRNN(ParamsSize|ParamsToCanonical(V2)?|CanonicalToParams(V2)?)$")


class _Piece(NamedTuple):
    """One layer and direction: where in the buffer its weights and its biases begin."""

    scope: str
    inputs: int
    weights: int
    biases: int


@dataclass(frozen=True)
class _Sizes:
    layers: int
    units: int
    inputs: int
    directions: int

    def pieces(self, scope: str) -> tuple[list[_Piece], int]:
        """The pieces in the buffer's order, and how many numbers they are."""
        found, at = [], 0
        for layer in range(self.layers):
            inputs = self.inputs if layer == 0 else self.units * self.directions
            for way in ("fw", "bw")[: self.directions]:
                inner = _CANONICAL[self.directions].format(layer, way)
                found.append((f"{scope}/{inner}/cudnn_compatible_lstm_cell".lstrip("/"), inputs, at))
                at += 4 * self.units * (inputs + self.units)
        pieces = [_Piece(*piece, at + 8 * self.units * k) for k, piece in enumerate(found)]
        return pieces, at + 8 * self.units * len(found)


def with_buffers_unpacked(artefact: Artefact, book: Book) -> tuple[Artefact, list[str]]:
    """`artefact` with its cuDNN buffers as the variables that they stand for, and what to tell of it.

    Raises RecognitionError for a buffer whose sizes are not known, ArgumentError for sizes that do not fit it.
    """
    buffers = _buffers(artefact)
    if not buffers:
        return artefact, []
    specs, made, notes = dict(artefact.tensors.specs), dict[str, tuple[str, _Piece, int, bool]](), []
    for name, node in buffers.items():
        spec = specs.pop(name)
        sizes = _sizes(artefact, name, spec.shape[0], node, book)
        pieces, _ = sizes.pieces(name.rpartition("/")[0])
        for piece in pieces:
            made[f"{piece.scope}/kernel"] = name, piece, sizes.units, True
            made[f"{piece.scope}/bias"] = name, piece, sizes.units, False
            specs[f"{piece.scope}/kernel"] = TensorSpec((piece.inputs + sizes.units, 4 * sizes.units), spec.dtype)
            specs[f"{piece.scope}/bias"] = TensorSpec((4 * sizes.units,), spec.dtype)
        notes.append(
            f"{name!r} is a cuDNN buffer: {sizes.layers} layers of {sizes.units} units over {sizes.inputs} inputs, "
            f"{('unidirectional', 'bidirectional')[sizes.directions - 1]}"
        )

    def fetch(name: str) -> NDArray[Any]:
        if name not in made:
            return artefact.tensors[name]
        buffer, piece, units, is_kernel = made[name]
        data = artefact.tensors[buffer]
        return _kernel(data, piece, units) if is_kernel else _bias(data, piece, units)

    return replace(artefact, tensors=Tensors(specs, fetch), graph=None), notes


def _buffers(artefact: Artefact) -> dict[str, Node | None]:
    """The variables of one axis that are cuDNN buffers, by their names or by what the graph does with them."""
    flat = {name: spec.shape for name, spec in artefact.tensors.specs.items() if len(spec.shape) == 1}
    found: dict[str, Node | None] = {name: None for name in flat if _NAMED.search(name)}
    graph = artefact.graph
    for node in graph.nodes.values() if graph else ():
        if _OPERATIONS.match(node.op) and len(node.inputs) > 3:
            read = Walker(graph, flat).variable(node.inputs[3]) if graph else None
            if read is not None:
                found[read.name] = node
    return found


def _sizes(artefact: Artefact, name: str, total: int, node: Node | None, book: Book) -> _Sizes:
    known = _from_graph(artefact.graph, node, total) if artefact.graph is not None and node is not None else {}
    if node is not None:
        mode, skips = (node.attrs.get(key) for key in ("rnn_mode", "input_mode"))
        if node.attrs.get("direction") not in (None, b"unidirectional", b"bidirectional"):
            raise RecognitionError(
                f"{artefact.path}: {node.name!r} has no direction that is known; the graph is damaged"
            )
        if mode not in (None, b"lstm") or skips == b"skip_input" or node.attrs.get("num_proj"):
            raise RecognitionError(
                f"{artefact.path}: {node.name!r} is a CudnnRNN of mode {mode!r}, input_mode {skips!r}; fastlstm runs "
                f"lstm without skip_input and without a projection"
            )
    missing = [what for what in ("num_units",) if not book.given(what) and what not in known]
    if missing:
        raise RecognitionError(
            f"{artefact.path}: {name!r} is a cuDNN buffer of {total} numbers, which says nothing of its layers; pass "
            f"num_units= (of one layer), and num_layers= where it is not 1 and direction='bidirectional' where it is so"
        )
    directions = {"unidirectional": 1, "bidirectional": 2}
    source = f"{artefact.graph.source if artefact.graph else artefact.path}"
    units = book.note(name, "num_units", known.get("num_units"), "read" if known else "assumed", source)
    way = book.note(name, "direction", known.get("direction", "unidirectional"), "read" if known else "assumed", source)
    layers = book.value("num_layers") if book.given("num_layers") else known.get("num_layers", 1)
    if not isinstance(layers, int) or not 1 <= layers <= total:
        raise ArgumentError(f"num_layers is {layers!r}; expected a whole number of at least 1")
    ways = directions[way]
    # the size grows by 4 u for each input of the first layer, once a direction
    without = _total(layers, units, 0, ways)
    inputs, left = divmod(total - without, 4 * units * ways)
    if left or inputs < 1:
        raise ArgumentError(
            f"{artefact.path}: {name!r} has {total} numbers, which are not {layers} {way} layers of {units} units; "
            f"num_units=, num_layers= and direction= say what they are"
        )
    return _Sizes(layers, units, inputs, ways)


def _total(layers: int, units: int, inputs: int, ways: int) -> int:
    """How many numbers a buffer has."""
    first, others = 4 * units * (inputs + units), 4 * units * (units * ways + units)
    return ways * (first + (layers - 1) * others + layers * 8 * units)


def _from_graph(graph: Graph, node: Node, total: int) -> dict[str, Any]:
    """What the graph says of the buffer of `total` numbers that `node` reads."""
    walker = Walker(graph, {})
    direction = {b"bidirectional": "bidirectional"}.get(node.attrs.get("direction"), "unidirectional")
    for other in graph.nodes.values():
        if _SIZED.match(other.op) and len(other.inputs) >= 3:
            layers, units = (walker.scalar(value) for value in other.inputs[:2])
            if layers and units and 1 <= layers <= total and 1 <= units <= total:
                return {"num_layers": int(layers), "num_units": int(units), "direction": direction}
    return {}


def _kernel(data: NDArray[Any], piece: _Piece, units: int) -> NDArray[Any]:
    """(in + u, 4 u), gates i c f o, of a buffer's i f c o."""
    at, size = piece.weights, 4 * units * piece.inputs
    inputs = data[at : at + size].reshape(4, units, piece.inputs)
    recurrent = data[at + size : at + size + 4 * units * units].reshape(4, units, units)
    return np.concatenate([np.concatenate([inputs[g].T, recurrent[g].T]) for g in (0, 2, 1, 3)], axis=1)


def _bias(data: NDArray[Any], piece: _Piece, units: int) -> NDArray[Any]:
    """(4 u,), the sum of the two that cuDNN has."""
    both = data[piece.biases : piece.biases + 8 * units].reshape(2, 4, units)
    return (both[0] + both[1])[[0, 2, 1, 3]].reshape(-1)
