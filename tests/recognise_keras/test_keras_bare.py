"""Files of weights without a configuration: the chain comes from names and shapes, and the rest is asked for."""

import numpy as np
import pytest
from keras_helpers import findings, folders, legacy, recognised, weights_of

from fastlstm.errors import RecognitionError

LSTM, DENSE, TABLE = "LSTM", "Dense", "Embedding"


def kinds(found):
    return [repr(layer) for layer in found.layers]


def test_legacy_weights_come_in_order():
    weights = {"e": weights_of(TABLE, 7, 3), "a": weights_of(LSTM, 3, 4), "d": [], "out": weights_of(DENSE, 4, 2)}
    found = recognised(legacy(None, "2.2.4-tf", **weights), recurrent_activation="hard_sigmoid")
    assert kinds(found) == ["Embedding(7, 3)", "LSTM(3, 4)", "Dense(4, 2, linear)"]
    assert findings(found, "activation") == [("tanh", "assumed")]
    assert findings(found, "recurrent_activation") == [("hard_sigmoid", "given")]
    assert findings(found, "units") == [(4, "inferred"), (2, "inferred")]
    assert "head_activation" in found.notes[0]
    given = recognised(legacy(None, **weights), recurrent_activation="sigmoid", head_activation="softmax")
    assert not given.notes


def test_recurrent_activation_is_asked_for():
    weights = {"lstm": weights_of(LSTM, 3, 4)}
    for artefact in (legacy(None, "2.15.0", **weights), folders(None, **{"layers/lstm/cell": weights["lstm"]})):
        with pytest.raises(RecognitionError, match="Pass recurrent_activation='sigmoid' or 'hard_sigmoid'"):
            recognised(artefact)


def test_cudnn_is_seen_by_its_bias():
    found = recognised(legacy(None, lstm=weights_of("CuDNNLSTM", 3, 4)))
    assert findings(found, "recurrent_activation") == [("sigmoid", "inferred")]


def test_keras1_names():
    artefact = legacy(None, "1", lstm=[np.ones(s) for s in [(3, 4), (4, 4), (4,)] * 4])
    assert kinds(recognised(artefact, recurrent_activation="hard_sigmoid")) == ["LSTM(3, 4)"]


def test_folders_are_ordered_by_number_and_shape():
    arrays = {
        "layers/dense": weights_of(DENSE, 4, 9, 1),
        "layers/embedding": weights_of(TABLE, 9, 5, 2),
        **{f"layers/lstm_{k}/cell": weights_of(LSTM, 4, 4, k) for k in range(10, 1, -1)},
        "layers/lstm_1/cell": weights_of(LSTM, 4, 4, 20),
        "layers/lstm/cell": weights_of(LSTM, 5, 4, 3),
    }
    found = recognised(folders(None, **arrays), recurrent_activation="sigmoid")
    names = ["layers/lstm/cell", *(f"layers/lstm_{k}/cell" for k in range(1, 11))]
    assert [layer.name for layer in found.layers] == ["layers/embedding", *names, "layers/dense"]
    assert [how for _, how in findings(found, "order")] == ["inferred"]


def test_shapes_decide_the_order_of_classes():
    arrays = {
        "layers/dense": weights_of(DENSE, 3, 4),
        "layers/dense_1": weights_of(DENSE, 6, 2),
        "layers/time_distributed/layer": weights_of(DENSE, 5, 6),
        "layers/lstm/cell": weights_of(LSTM, 4, 5),
    }
    found = recognised(folders(None, **arrays), recurrent_activation="sigmoid")
    assert kinds(found) == ["Dense(3, 4, linear)", "LSTM(4, 5)", "Dense(5, 6, linear)", "Dense(6, 2, linear)"]
    assert [how for _, how in findings(found, "order")] == ["inferred"]


def test_several_orders_are_an_assumption():
    arrays = {"head": weights_of(DENSE, 4, 4), "rnn/cell": weights_of(LSTM, 4, 4)}
    found = recognised(folders(None, **arrays), recurrent_activation="sigmoid")
    assert kinds(found) == ["LSTM(4, 4)", "Dense(4, 4, linear)"]
    assert findings(found, "order") == [("LSTM first", "assumed")]


@pytest.mark.parametrize(
    ("artefact", "says"),
    [
        (legacy(None, rnn=[np.ones((3, 12)), np.ones((5, 12)), np.ones(12)]), "rnn: the weights .* are not those"),
        (legacy(None, norm=[np.ones(4)] * 4), "norm: the weights .* are not those"),
        (folders(None, **{"layers/bidirectional/forward_layer/cell": weights_of(LSTM, 3, 4)}), "not those of an LSTM"),
        (
            folders(None, **{"layers/lstm/cell": weights_of(LSTM, 3, 4), "layers/dense": weights_of(DENSE, 9, 2)}),
            "no order",
        ),
        (
            folders(None, **{"layers/gru/cell": [np.ones((3, 12)), np.ones((4, 12)), np.ones((3, 12))]}),
            "not those of an LSTM",
        ),
        (legacy(None), "no LSTM"),
    ],
)
def test_weights_of_something_else(artefact, says):
    with pytest.raises(RecognitionError, match=says):
        recognised(artefact, recurrent_activation="sigmoid")


def test_orders_without_end():
    arrays = {f"x{k}/cell": weights_of(LSTM, 4, 4) for k in range(30)}
    arrays["head"] = weights_of(DENSE, 5, 2)
    with pytest.raises(RecognitionError, match="no order"):
        recognised(folders(None, **arrays), recurrent_activation="sigmoid")
