"""What the caller says against the file."""

import numpy as np
import pytest
from tf1_graphs import Builder, artefact, found, recognise

from fastlstm.errors import ArgumentError
from fastlstm.layers import LSTM, Dense, Embedding, OneHot


def model():
    """Ids, an embedding, two layers, a head."""
    build = Builder()
    x = build.add("Gather", "lookup", build.variable("embedding", 11, 5), build.placeholder())
    x, _ = build.dynamic_rnn("rnn/multi_rnn_cell/cell_0/lstm_cell", x, (5, 5))
    x, _ = build.dynamic_rnn("rnn/multi_rnn_cell/cell_1/lstm_cell", x, (5, 5))
    build.dense("logits", x, (5, 11))
    build.variable("other_table", 7, 5)
    build.variable("other_w", 5, 3)
    build.variable("other_b", 3)
    return build.artefact()


@pytest.fixture(params=["graph", "names"])
def what(request):
    whole = model()
    return whole if request.param == "graph" else artefact({n: s.shape for n, s in whole.tensors.specs.items()})


def kinds(recognised):
    return [type(layer) for layer in recognised.layers]


def test_as_it_is(what):
    assert kinds(recognise(what)) == [Embedding, LSTM, LSTM, Dense]


def test_a_given_value_is_reported_beside_the_files_own(what):
    recognised = recognise(what, forget_bias=0.0, cell_clip=3.0, activation="relu", residual=True)
    for finding in (f for f in recognised.findings if f.what in ("forget_bias", "cell_clip", "activation", "residual")):
        assert finding.how == "given" and finding.source.startswith(f"load({finding.what}=")
    for layer in recognised.layers[1:3]:
        assert (layer.cell_clip, layer.activation.label, layer.residual) == (3.0, "relu", True)
    plain = recognise(what).layers[1].bias
    np.testing.assert_allclose(recognised.layers[1].bias[5:10], plain[5:10] - 1, atol=1e-6)


def test_head(what):
    assert recognise(what, head=("other_w", "other_b")).layers[-1].output_size == 3
    assert recognise(what, head="other_w").layers[-1].output_size == 3
    assert kinds(recognise(what, head=None)) == [Embedding, LSTM, LSTM]
    assert recognise(what, head_activation="softmax").layers[-1].activation.label == "softmax"


def test_embedding_and_one_hot(what):
    assert recognise(what, embedding="other_table").layers[0].vocabulary_size == 7
    assert kinds(recognise(what, embedding=None)) == [LSTM, LSTM, Dense]
    assert kinds(recognise(what, embedding=None, one_hot=True)) == [OneHot, LSTM, LSTM, Dense]


def test_num_layers(what):
    recognised = recognise(what, num_layers=1)
    assert kinds(recognised) == [Embedding, LSTM]  # the head belongs to the layer that was cut off
    assert found(recognised, "num_layers").source.startswith("load(num_layers=1); the file: 2")
    assert kinds(recognise(what, num_layers=1, head=("logits/kernel", "logits/bias")))[-1] is Dense


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            {"head": ("nothing", "logits/bias")},
            "head: there is no variable 'nothing'; variables: embedding, logits/bias",
        ),
        ({"head": ("embedding/Adam",)}, "there is no variable"),
        ({"head": 7}, "expected the names of its kernel and bias"),
        ({"head": ("logits/bias",)}, r"has shape \(11,\); the last LSTM layer gives 5 elements"),
        ({"head": None, "head_activation": "tanh"}, "the model has no head"),
        ({"embedding": "nothing"}, "embedding: there is no variable 'nothing'"),
        ({"embedding": "other_w"}, r"has shape \(5, 3\); the first LSTM layer takes 5 elements"),
        ({"embedding": "embedding", "one_hot": True}, "pass embedding=None as well"),
        ({"num_layers": 0}, "expected a whole number of at least 1"),
        ({"num_layers": 3}, "only one cell whose output fits its input can be repeated"),
        ({"proj_clip": 1.0}, "no LSTM layer of the file has a projection to clip"),
        ({"cell_clip": -1}, "expected a number above 0"),
        ({"activation": "tahn"}, "it can run: linear, tanh"),
        ({"forgetbias": 1}, "no hyper-parameter that can be overridden"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_an_argument_error(what, overrides, says):
    with pytest.raises(ArgumentError, match=says):
        recognise(what, **overrides)
