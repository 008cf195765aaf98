"""Files of weights without a configuration: the chain comes from names and shapes, and the rest is asked for."""

from dataclasses import replace

import numpy as np
import pytest
from keras_helpers import findings, folders, legacy, recognised, tensors, weights_of

from fastlstm.errors import ArgumentError, RecognitionError

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


SIGMOID = {"recurrent_activation": "sigmoid"}


@pytest.mark.parametrize("build", [legacy, folders], ids=["legacy", "folders"])
@pytest.mark.parametrize(
    ("kind", "after"), [("GRU", False), ("GRU reset_after", True), ("CuDNNGRU", True)], ids=lambda v: str(v)
)
def test_reset_after_is_seen_by_the_bias(build, kind, after):
    found = recognised(build(None, **{"layers/gru/cell": weights_of(kind, 3, 4)}), **SIGMOID)
    assert [how for what, how in findings(found, "reset_after")] == ["inferred"]
    assert found.layers[0].reset_after is after
    with pytest.raises(ArgumentError, match=f"is that of a GRU with reset_after={after}|is one with"):
        recognised(build(None, **{"layers/gru/cell": weights_of(kind, 3, 4)}), reset_after=not after, **SIGMOID)


def test_reset_after_is_asked_for_where_there_is_no_bias():
    arrays = dict(zip(["gru/gru/kernel:0", "gru/gru/recurrent_kernel:0"], weights_of("GRU", 3, 4), strict=False))
    empty = legacy(None, "2.15.0")
    keras = replace(empty.keras, layer_weights={"gru": tuple(arrays)})
    artefact = replace(empty, tensors=tensors(arrays), keras=keras)
    with pytest.raises(RecognitionError, match="Pass reset_after=True or reset_after=False"):
        recognised(artefact, **SIGMOID)
    assert recognised(artefact, reset_after=True, **SIGMOID).layers[0].reset_after
    with pytest.raises(ArgumentError, match=r"load\(reset_after=True\): no layer"):
        recognised(legacy(None, lstm=weights_of(LSTM, 3, 4)), reset_after=True, **SIGMOID)


def test_reset_after_is_said_of_the_gru_without_a_bias_alone():
    """Of two: the other's bias says what it is."""
    known = weights_of("GRU reset_after", 4, 5)
    found = recognised(folders(None, gru=weights_of("GRU", 3, 4)[:2], gru_1=known), reset_after=False, **SIGMOID)
    assert [layer.reset_after for layer in found.layers] == [False, True]
    assert findings(found, "reset_after") == [(False, "given"), (True, "inferred")]


def halves(kind, size, units, other=None):
    return {
        "layers/bidirectional/forward_layer/cell": weights_of(kind, size, units, 1),
        "layers/bidirectional/backward_layer/cell": weights_of(kind, size, other or units, 2),
    }


def test_a_bidirectional_is_seen_by_its_names():
    arrays = {**halves(LSTM, 3, 4, 5), "layers/dense": weights_of(DENSE, 9, 2)}
    found = recognised(folders(None, **arrays), **SIGMOID)
    assert kinds(found) == ["Bidirectional([LSTM(3, 4)], [LSTM(3, 5)], concat)", "Dense(9, 2, linear)"]
    assert findings(found, "merge_mode") == [("concat", "inferred")]
    assert findings(recognised(folders(None, **halves(LSTM, 3, 4)), **SIGMOID), "merge_mode") == [("concat", "assumed")]


def test_the_merge_mode_is_asked_for():
    artefact = folders(None, **halves("GRU", 3, 4), **{"layers/dense": weights_of(DENSE, 4, 2)})
    with pytest.raises(RecognitionError, match="Pass merge_mode='sum', 'mul' or 'ave'"):
        recognised(artefact, **SIGMOID)
    found = recognised(artefact, merge_mode="ave", **SIGMOID)
    assert kinds(found) == ["Bidirectional([GRU(3, 4)], [GRU(3, 4)], ave)", "Dense(4, 2, linear)"]
    with pytest.raises(ArgumentError, match=r"load\(merge_mode='add'\): expected how"):
        recognised(artefact, merge_mode="add", **SIGMOID)


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
