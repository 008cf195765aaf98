"""Weights in canonical layout and the hyper-parameters that go with them; one file a layer."""

from __future__ import annotations

from collections.abc import Iterable

from fastlstm.layers.activations import Activation, activation_named
from fastlstm.layers.bidirectional import Bidirectional
from fastlstm.layers.dense import Dense
from fastlstm.layers.embedding import Embedding, OneHot
from fastlstm.layers.gates import CANONICAL_GATES, GATE_ORDERS, GRU_GATE_ORDERS
from fastlstm.layers.gru import GRU
from fastlstm.layers.highway import Highway
from fastlstm.layers.layer_norm import LayerNorm
from fastlstm.layers.lstm import LSTM
from fastlstm.layers.masking import Masking
from fastlstm.layers.reverse import Reverse

Layer = LSTM | GRU | Dense | Embedding | OneHot | Masking | Bidirectional | Reverse
Recurrent = LSTM | GRU

#: By the name that a saved model gives the layer's kind; also what the tests of all layers run over.
LAYER_TYPES: dict[str, type[Layer]] = {
    "LSTM": LSTM,
    "GRU": GRU,
    "Dense": Dense,
    "Embedding": Embedding,
    "OneHot": OneHot,
    "Masking": Masking,
    "Bidirectional": Bidirectional,
    "Reverse": Reverse,
}


def recurrent_layers(layers: Iterable[Layer]) -> list[Recurrent]:
    """The layers that have a state, in the state's order: of a Bidirectional forward's, then backward's."""
    found: list[Recurrent] = []
    for layer in layers:
        if isinstance(layer, Bidirectional):
            found += recurrent_layers([*layer.forward, *layer.backward])
        elif isinstance(layer, Recurrent):
            found.append(layer)
    return found


__all__ = [
    "CANONICAL_GATES",
    "GATE_ORDERS",
    "GRU",
    "GRU_GATE_ORDERS",
    "LAYER_TYPES",
    "LSTM",
    "Activation",
    "Bidirectional",
    "Dense",
    "Embedding",
    "Highway",
    "Layer",
    "LayerNorm",
    "Masking",
    "OneHot",
    "Recurrent",
    "Reverse",
    "activation_named",
    "recurrent_layers",
]
