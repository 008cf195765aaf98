"""Weights in canonical layout and the hyper-parameters that go with them; one file a layer."""

from __future__ import annotations

from fastlstm.layers.activations import Activation, activation_named
from fastlstm.layers.dense import Dense
from fastlstm.layers.embedding import Embedding, OneHot
from fastlstm.layers.lstm import CANONICAL_GATES, GATE_ORDERS, LSTM

Layer = LSTM | Dense | Embedding | OneHot

#: By the name that a saved model gives the layer's kind; also what the tests of all layers run over.
LAYER_TYPES: dict[str, type[LSTM] | type[Dense] | type[Embedding] | type[OneHot]] = {
    "LSTM": LSTM,
    "Dense": Dense,
    "Embedding": Embedding,
    "OneHot": OneHot,
}

__all__ = [
    "CANONICAL_GATES",
    "GATE_ORDERS",
    "LAYER_TYPES",
    "LSTM",
    "Activation",
    "Dense",
    "Embedding",
    "Layer",
    "OneHot",
    "activation_named",
]
