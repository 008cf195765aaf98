"""Checkpoints that other people trained, where they are at hand: no hints, and fast enough."""

import dataclasses
import json

import numpy as np
import pytest
from tf1_graphs import found, recognise

import fastlstm
from fastlstm.formats import open_artefact
from fastlstm.layers import LSTM, Dense, Embedding

COMPANIES = ("companynames_tf14/model.ckpt-4199", 78, "rnnlm/multi_rnn_cell/cell_1/basic_lstm_cell", "embedding")
POEMS = ("poems_tf08_v1/model.ckpt-481000", 159, "rnnlm/MultiRNNCell/Cell1/BasicLSTMCell", "rnnlm/embedding")
ART = ("artclasses_tf012/model.ckpt-46499", 67, "rnnlm/MultiRNNCell/Cell1/BasicLSTMCell", "rnnlm/embedding")


@pytest.mark.parametrize(("path", "vocabulary", "top", "embedding"), [COMPANIES, ART, POEMS])
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


@pytest.mark.parametrize("name", ["model.ckpt-481000", "model.ckpt-481000.meta", ""])
def test_poems_of_2016_are_korean(real, name):
    """TensorFlow 0.8, V1: ids are bytes, and those of a trained model are UTF-8 (README beside the file)."""
    folder = real / "poems_tf08_v1"
    vocabulary = json.loads((folder / "vocab.json").read_text())
    model = fastlstm.load(folder / name, device="numpy")
    assert list(model.report.notes) == ["17 tensors left aside: optimizer slots, moving averages, counters"]
    assert {finding.how for finding in model.report} <= {"read", "inferred"}
    ids, _ = model.generate(400, prime=np.array([vocabulary.index("\n")]), sample="greedy")
    text = "".join(vocabulary[k] for k in ids).encode("latin-1").decode("utf-8", errors="replace").rstrip("\ufffd")
    assert "\ufffd" not in text
    letters = [letter for letter in text if not letter.isspace()]
    assert len(letters) > 50
    assert np.mean(["\uac00" <= letter <= "\ud7a3" for letter in letters]) > 0.9


def test_art_classes_of_tensorflow_012(real):
    folder = real / "artclasses_tf012"
    vocabulary = json.loads((folder / "vocab.json").read_text())
    model = fastlstm.load(folder, device="numpy")
    ids, _ = model.generate(200, prime=np.array([vocabulary.index("A")]), sample="greedy")
    text = "".join(vocabulary[k] for k in ids)
    assert any(word in text for word in ("Prerequisite", "Course Information", "semester hours"))
