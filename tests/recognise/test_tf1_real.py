"""Checkpoints that other people trained, where they are at hand: no hints, and fast enough."""

import dataclasses

import pytest
from tf1_graphs import found, recognise

from fastlstm.formats import open_artefact
from fastlstm.layers import LSTM, Dense, Embedding

COMPANIES = ("companynames_tf14/model.ckpt-4199", 78, "rnnlm/multi_rnn_cell/cell_1/basic_lstm_cell", "embedding")
ART = ("artclasses_tf012/model.ckpt-46499", 67, "rnnlm/MultiRNNCell/Cell1/BasicLSTMCell", "rnnlm/embedding")


@pytest.mark.parametrize(("path", "vocabulary", "top", "embedding"), [COMPANIES, ART])
def test_character_models(real, path, vocabulary, top, embedding):
    artefact = open_artefact(real / path)
    for graph in (artefact.graph, None):
        recognised = recognise(dataclasses.replace(artefact, graph=graph))
        assert [type(layer) for layer in recognised.layers] == [Embedding, LSTM, LSTM, Dense]
        assert recognised.layers[0].table.shape == (vocabulary, 128)
        assert recognised.layers[2].name == top
        assert recognised.layers[-1].output_size == vocabulary
        assert found(recognised, "embedding").value == embedding
        assert found(recognised, "forget_bias", top).value == 1.0
        assert found(recognised, "forget_bias", top).how == ("assumed" if graph is None else "read")
        assert found(recognised, "head").value == ("rnnlm/softmax_w", "rnnlm/softmax_b")
