"""Configurations made by hand: what is read, and in which order the layers run."""

import numpy as np
import pytest
from keras_helpers import (
    DENSE2,
    LSTM4,
    findings,
    folders,
    functional,
    layer,
    legacy,
    oracle,
    recognised,
    sequential,
    small,
    weights_of,
)

from fastlstm.errors import ArgumentError, FormatError, RecognitionError
from fastlstm.layers import LSTM


def kinds(found):
    return [repr(layer) for layer in found.layers]


def test_small_model():
    found = recognised(small(LSTM4, DENSE2))
    assert kinds(found) == ["LSTM(3, 4)", "Dense(4, 2, linear)"]
    assert findings(found, "activation") == [("tanh", "read")]
    assert findings(found, "recurrent_activation") == [("sigmoid", "read")]
    assert findings(found, "forget_bias") == [(0.0, "inferred")]
    assert findings(found, "head_activation") == [("linear", "read")]
    assert not found.notes


def test_identity_layers_are_skipped():
    dropout = layer("Dropout", "dropout", rate=0.5)
    noise = layer("GaussianNoise", "noise", stddev=1.0)
    found = recognised(small(layer("InputLayer", "in"), noise, LSTM4, dropout, DENSE2))
    assert kinds(found) == ["LSTM(3, 4)", "Dense(4, 2, linear)"]


def test_sequential_as_a_list():
    """Keras up to 2.2.2."""
    found = recognised(legacy({"class_name": "Sequential", "config": [LSTM4]}, "2.1.6", lstm=weights_of("LSTM", 3, 4)))
    assert kinds(found) == ["LSTM(3, 4)"]


@pytest.mark.parametrize(
    ("after", "activation"),
    [
        (layer("Activation", "a", activation="softmax"), "softmax"),
        (layer("Softmax", "a", axis=-1), "softmax"),
        (layer("ReLU", "a", max_value=None, negative_slope=0.0, threshold=0.0), "relu"),
        (layer("ReLU", "a", max_value=6.0), "relu6"),
        (layer("TimeDistributed", "a", layer=layer("Activation", "b", activation="tanh")), "tanh"),
    ],
)
def test_activation_layers_are_folded(after, activation):
    found = recognised(small(LSTM4, DENSE2, after))
    assert kinds(found) == ["LSTM(3, 4)", f"Dense(4, 2, {activation})"]
    assert "layer 'a' after it" in [f.source for f in found.findings if f.what == "head_activation"]


@pytest.mark.parametrize(
    ("written", "version", "meant"),
    [
        ("hard_sigmoid", "2.2.4-tf", "hard_sigmoid"),
        ("hard_sigmoid", "2.15.0", "hard_sigmoid"),
        ("hard_sigmoid", "1", "hard_sigmoid"),
        ("hard_sigmoid", "3.4.1", "hard_sigmoid_keras3"),
        ({"class_name": "function", "config": "sigmoid", "module": "builtins"}, "3.4.1", "sigmoid"),
        ({"class_name": "function", "config": "hard_sigmoid"}, "3.0.0", "hard_sigmoid_keras3"),
        ("swish", "2.15.0", "silu"),
        (None, "2.15.0", "linear"),
    ],
)
def test_recurrent_activation(written, version, meant):
    config = dict(LSTM4["config"], recurrent_activation=written)
    found = recognised(small({"class_name": "LSTM", "config": config}, DENSE2, version=version))
    assert found.layers[0].recurrent_activation.label == meant


def test_defaults_are_assumed():
    bare = layer("LSTM", "lstm", units=4)
    found = recognised(small(bare, layer("Dense", "dense", units=2), version="2.4.0"))
    assert findings(found, "activation") == [("tanh", "assumed")]
    assert findings(found, "recurrent_activation") == [("sigmoid", "assumed")]
    assert findings(found, "head_activation") == [("linear", "assumed")]
    assert findings(found, "return_sequences") == [(False, "assumed")]
    with pytest.raises(RecognitionError, match="recurrent_activation='sigmoid' or 'hard_sigmoid'"):
        recognised(small(bare, version="2.2.4-tf"))
    assert findings(recognised(small(bare, version="2.2.4"), recurrent_activation="relu"), "recurrent_activation") == [
        ("relu", "given")
    ]


def test_functional_order_comes_from_the_connections():
    keras2 = functional((layer("Dense", "out", units=2), ["lstm"]), (LSTM4, ["in"]), (layer("InputLayer", "in"), []))
    found = recognised(legacy(keras2, lstm=weights_of("LSTM", 3, 4), out=weights_of("Dense", 4, 2)))
    assert kinds(found) == ["LSTM(3, 4)", "Dense(4, 2, linear)"]


def keras3_entry(entry, *reads, output=0, **keywords):
    tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, output]}} for name in reads]
    nodes = [{"args": tensors, "kwargs": {"training": False, **keywords}}] if reads else []
    return dict(entry, name=entry["config"]["name"], inbound_nodes=nodes)


def keras3_model(*entries, outputs=("dense", 0, 0)):
    config = {"layers": list(entries), "input_layers": ["in", 0, 0], "output_layers": list(outputs)}
    return {"class_name": "Functional", "config": config}


def test_keras3_connections():
    model = keras3_model(
        keras3_entry(DENSE2, "drop"),
        keras3_entry(layer("InputLayer", "in")),
        keras3_entry(layer("Dropout", "drop"), "lstm"),
        keras3_entry(LSTM4, "in"),
    )
    arrays = {"layers/lstm/cell": weights_of("LSTM", 3, 4), "layers/dense": weights_of("Dense", 4, 2)}
    assert kinds(recognised(folders(model, **arrays))) == ["LSTM(3, 4)", "Dense(4, 2, linear)"]
    state = keras3_model(
        keras3_entry(layer("InputLayer", "in")), keras3_entry(LSTM4, "in"), keras3_entry(DENSE2, "lstm", output=1)
    )
    with pytest.raises(RecognitionError, match="output 1 of layer 'lstm'"):
        recognised(folders(state, **arrays))
    given = keras3_entry(LSTM4, "in", initial_state=keras3_entry(LSTM4, "h")["inbound_nodes"][0]["args"])
    with pytest.raises(RecognitionError, match="initial state"):
        recognised(folders(keras3_model(keras3_entry(layer("InputLayer", "in")), given, keras3_entry(DENSE2, "lstm"))))


def test_keras3_folders_are_counted_by_class():
    layers = [
        layer("Embedding", "words", input_dim=5, output_dim=3),
        dict(LSTM4, config=dict(LSTM4["config"], name="lstm_7")),
        layer("TimeDistributed", "td_3", layer=layer("Dense", "x", units=6)),
        dict(LSTM4, config=dict(LSTM4["config"], name="lstm_9")),
        layer("Dense", "dense_5", units=2),
    ]
    arrays = {
        "layers/dense": weights_of("Dense", 4, 2, 1),
        "layers/embedding": weights_of("Embedding", 5, 3, 2),
        "layers/lstm_1/cell": weights_of("LSTM", 6, 4, 3),
        "layers/lstm/cell": weights_of("LSTM", 3, 4, 4),
        "layers/time_distributed/layer": weights_of("Dense", 4, 6, 5),
    }
    found = recognised(folders(sequential(*layers), **arrays))
    assert kinds(found) == [
        "Embedding(5, 3)", "LSTM(3, 4)", "Dense(4, 6, linear)", "LSTM(6, 4)", "Dense(4, 2, linear)",
    ]  # fmt: skip
    np.testing.assert_array_equal(found.layers[3].kernel, arrays["layers/lstm_1/cell"][0])
    assert [f.what for f in found.findings if f.layer == "td_3"] == ["units", "dense_activation"]
    del arrays["layers/lstm_1/cell"]
    with pytest.raises(RecognitionError, match=r"'lstm_9': the file holds 1 layers .*expected at least 2"):
        recognised(folders(sequential(*layers), **arrays))


def test_keras_2_12_names_its_folders_otherwise():
    root = "_layer_checkpoint_dependencies"
    arrays = {f"{root}/lstm/cell": weights_of("LSTM", 3, 4), f"{root}/dense_2": weights_of("Dense", 4, 2)}
    assert kinds(recognised(folders(sequential(LSTM4, DENSE2), "2.12.0", **arrays))) == [
        "LSTM(3, 4)", "Dense(4, 2, linear)",
    ]  # fmt: skip


def test_nested_models():
    inner = sequential(LSTM4, DENSE2)
    inner["config"]["name"] = "inner"
    lstm, dense = weights_of("LSTM", 3, 4, 1), weights_of("Dense", 4, 2, 2)
    kept = folders(
        sequential(layer("InputLayer", "in"), inner),
        **{"layers/sequential/layers/lstm/cell": lstm, "layers/sequential/layers/dense": dense},
    )
    for artefact in (kept, legacy(sequential(inner), inner=lstm + dense)):
        found = recognised(artefact)
        assert kinds(found) == ["LSTM(3, 4)", "Dense(4, 2, linear)"]
        np.testing.assert_array_equal(found.layers[0].kernel, lstm[0])
    frozen = dict(LSTM4, config=dict(LSTM4["config"], trainable=False))
    inner["config"]["layers"] = [frozen, DENSE2]
    found = recognised(legacy(sequential(inner), inner=dense + lstm))  # Keras lists trainable weights first
    np.testing.assert_array_equal(found.layers[0].kernel, lstm[0])


def test_rnn_of_cells():
    cells = [layer("LSTMCell", f"cell_{k}", units=4, activation="tanh", recurrent_activation="sigmoid") for k in (0, 1)]
    stacked = layer("RNN", "rnn", cell=layer("StackedRNNCells", "stack", cells=cells), return_sequences=True)
    first, second = weights_of("LSTM", 3, 4, 1), weights_of("LSTM", 4, 4, 2)
    kept = {"layers/rnn/cell/cells/lstm_cell": first, "layers/rnn/cell/cells/lstm_cell_1": second}
    for artefact in (folders(sequential(stacked), **kept), legacy(sequential(stacked), rnn=first + second)):
        found = recognised(artefact)
        assert kinds(found) == ["LSTM(3, 4)", "LSTM(4, 4)"]
        np.testing.assert_array_equal(found.layers[1].kernel, second[0])
    with pytest.raises(RecognitionError, match=r"Keras 3 leaves out the weights"):
        recognised(folders(sequential(stacked), **{"layers/rnn/cell/cells/lstm_cell": first}))
    one = layer("RNN", "rnn", cell=cells[0], return_sequences=False)
    assert kinds(recognised(legacy(sequential(one), rnn=first))) == ["LSTM(3, 4)"]
    other = layer("RNN", "rnn", cell=layer("SimpleRNNCell", "cell", units=4))
    with pytest.raises(RecognitionError, match=r"'rnn' is a RNN\(SimpleRNNCell\)"):
        recognised(legacy(sequential(other), rnn=first))


def test_keras1_has_twelve_arrays():
    rng = np.random.default_rng(0)
    parts = {(w, g): rng.normal(size=s) for g in "icfo" for w, s in (("W", (3, 4)), ("U", (4, 4)), ("b", (4,)))}
    config = layer("LSTM", "lstm", output_dim=4, inner_activation="hard_sigmoid", activation="tanh")
    found = recognised(legacy(sequential(config), "1", lstm=list(parts.values())))
    kernel, recurrent, bias = (np.concatenate([parts[w, g] for g in "ifco"], -1) for w in "WUb")
    np.testing.assert_array_equal(found.layers[0].kernel, kernel)
    np.testing.assert_array_equal(found.layers[0].recurrent_kernel, recurrent)
    np.testing.assert_array_equal(found.layers[0].bias, bias)
    assert findings(found, "units") == [(4, "read")]
    assert findings(found, "recurrent_activation") == [("hard_sigmoid", "read")]


def test_cudnn_weights_become_plain_ones():
    weights = weights_of("CuDNNLSTM", 3, 4, 5)
    found = recognised(legacy(sequential(layer("CuDNNLSTM", "c", units=4, return_sequences=True)), c=weights))
    assert findings(found, "recurrent_activation") == [("sigmoid", "inferred")]
    layer_ = found.layers[0]
    xs = np.random.default_rng(1).normal(size=(2, 6, 3))
    c = h = np.zeros((2, 4))
    for x in np.moveaxis(xs, 1, 0):  # cuDNN: W (H, D) and R (H, H) by gate, a bias for each
        w = [np.ravel(gate).reshape(4, 3) for gate in np.split(weights[0], 4, 1)]
        r, biases = np.split(weights[1], 4, 1), np.split(weights[2], 8)
        i, f, g, o = (x @ w[k].T + biases[k] + h @ r[k].T + biases[k + 4] for k in range(4))
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
    ys, _ = oracle([layer_], xs)
    np.testing.assert_allclose(ys[:, -1], h, atol=1e-6)


def test_cudnn_weights_against_keras():
    hdf5_format = pytest.importorskip("tf_keras.src.saving.legacy.hdf5_format")
    keras = pytest.importorskip("tf_keras")
    plain = keras.layers.LSTM(4)
    plain.build((None, None, 3))
    weights = weights_of("CuDNNLSTM", 3, 4, 6)
    kernel, recurrent, bias = hdf5_format.preprocess_weights_for_loading(plain, weights)
    found = recognised(legacy(sequential(layer("CuDNNLSTM", "c", units=4)), c=weights))
    np.testing.assert_array_equal(found.layers[0].kernel, kernel)
    np.testing.assert_array_equal(found.layers[0].recurrent_kernel, recurrent)
    np.testing.assert_array_equal(found.layers[0].bias, bias)


def test_notes():
    last = layer(
        "LSTM", "lstm", units=4, recurrent_activation="sigmoid", stateful=True, time_major=True, dtype="float16"
    )
    notes = " ".join(recognised(small(last, DENSE2)).notes)
    assert "ys[:, -1]" in notes
    assert "lstm is stateful" in notes
    assert "time-major" in notes
    assert "float16" in notes
    mixed = {"class_name": "DTypePolicy", "config": {"name": "mixed_bfloat16"}}
    found = recognised(small(dict(LSTM4, config=dict(LSTM4["config"], dtype=mixed)), DENSE2))
    assert "mixed_bfloat16" in found.notes[0]


def test_overrides():
    found = recognised(small(LSTM4, DENSE2), activation="relu", forget_bias=1.0, cell_clip=3.0, head_activation="tanh")
    lstm, dense = found.layers
    plain = recognised(small(LSTM4, DENSE2)).layers[0]
    assert (lstm.activation.label, lstm.cell_clip, dense.activation.label) == ("relu", 3.0, "tanh")
    np.testing.assert_array_equal(lstm.bias[4:8], plain.bias[4:8] + np.float32(1))
    assert findings(found, "cell_clip") == [(3.0, "given")]
    assert kinds(recognised(small(LSTM4, DENSE2), head=None)) == ["LSTM(3, 4)"]
    assert kinds(recognised(small(LSTM4, DENSE2), head="dense", num_layers=1)) == ["LSTM(3, 4)", "Dense(4, 2, linear)"]
    assert kinds(recognised(small(LSTM4, DENSE2), one_hot=True))[0] == "OneHot(3)"


def test_residual_override():
    square = legacy(sequential(LSTM4), lstm=weights_of("LSTM", 4, 4))
    assert recognised(square, residual=True).layers[0].residual


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"num_layers": 2}, "has 1 recurrent layers"),
        ({"head": ("w", "b")}, "says itself what its head is"),
        ({"embedding": "words"}, "says itself what its embedding is"),
        ({"activation": "glu"}, "not one that fastlstm can run"),
        ({"proj_clip": 1.0}, "no projection to clip"),
        ({"nonsense": 1}, "no hyper-parameter"),
    ],
)
def test_overrides_that_do_not_apply(overrides, says):
    with pytest.raises(ArgumentError, match=says):
        recognised(small(LSTM4, DENSE2), **overrides)


def test_scope_does_not_apply():
    from fastlstm.recognise import recognise

    with pytest.raises(ArgumentError, match="holds one model"):
        recognise(small(LSTM4), scope="lstm")


def test_embedding_overrides():
    model = sequential(layer("Embedding", "words", input_dim=5, output_dim=3), LSTM4)
    artefact = legacy(model, words=weights_of("Embedding", 5, 3), lstm=weights_of("LSTM", 3, 4))
    assert kinds(recognised(artefact)) == ["Embedding(5, 3)", "LSTM(3, 4)"]
    assert kinds(recognised(artefact, embedding=None)) == ["LSTM(3, 4)"]
    assert kinds(recognised(artefact, embedding="words")) == ["Embedding(5, 3)", "LSTM(3, 4)"]
    with pytest.raises(ArgumentError, match="has an embedding"):
        recognised(artefact, one_hot=True)


@pytest.mark.parametrize(
    "model",
    [
        {"class_name": "Sequential", "config": {"layers": [{"class_name": "LSTM", "config": 3}]}},
        sequential(layer("RNN", "rnn", cell=5)),
        sequential(layer("TimeDistributed", "td", layer="x"), LSTM4),
        sequential(layer("LSTM", "lstm", activation={"class_name": "function"}, recurrent_activation="sigmoid")),
        sequential(layer("LSTM", "lstm", dtype={"config": 4}, recurrent_activation="sigmoid")),
    ],
)
def test_damaged_configurations(model):
    with pytest.raises((FormatError, RecognitionError)):
        recognised(legacy(model, lstm=weights_of("LSTM", 3, 4)))


def test_a_configuration_nested_without_end():
    model = sequential(LSTM4)
    for _ in range(5000):
        model = sequential(model)
    with pytest.raises(FormatError, match="not one that Keras writes"):
        recognised(legacy(model, lstm=weights_of("LSTM", 3, 4)))


def test_use_bias_false():
    config = layer("LSTM", "lstm", units=4, recurrent_activation="sigmoid", use_bias=False, return_sequences=True)
    found = recognised(legacy(sequential(config), lstm=weights_of("LSTM", 3, 4)[:2]))
    assert isinstance(found.layers[0], LSTM)
    assert not found.layers[0].bias.any()
    assert findings(found, "use_bias") == [(False, "read")]
