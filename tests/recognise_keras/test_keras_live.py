"""Models that TensorFlow's Keras 3 and tf_keras build, save and run here: what the golden files do not cover."""

import numpy as np
import pytest
from keras_helpers import findings, oracle

from fastlstm.formats import open_artefact
from fastlstm.recognise import recognise

B, T, D = 2, 12, 3


@pytest.fixture(scope="module", params=["keras", "tf_keras"])
def keras(request):
    return pytest.importorskip(request.param)


def nested(keras):
    """Models in a model, the inner one partly frozen, so that its weights are listed out of order."""
    L = keras.layers
    first = L.LSTM(5, return_sequences=True)
    inner = keras.Sequential([L.Input((None, D)), first, L.Dropout(0.5), L.Dense(4, activation="relu")])
    outer = keras.Sequential([L.Input((None, D)), L.Dense(D), inner, L.LSTM(6, return_sequences=True), L.Dense(2)])
    first.trainable = False
    return outer


def cells(keras):
    L = keras.layers
    made = [L.LSTMCell(4), L.LSTMCell(5, recurrent_activation="hard_sigmoid")]
    last = L.RNN(L.LSTMCell(3, activation="relu", use_bias=False), return_sequences=True)
    return keras.Sequential([L.Input((None, D)), L.RNN(made, return_sequences=True), last])


def functional(keras):
    """Layers created in another order than they run, so that their numbers and the order in the file differ."""
    L = keras.layers
    late, early = L.LSTM(4, return_sequences=True, dropout=0.2, recurrent_dropout=0.1), L.LSTM(6, return_sequences=True)
    x = keras.Input((None, D))
    y = L.TimeDistributed(L.Dense(5))(late(L.SpatialDropout1D(0.1)(early(x))))
    return keras.Model(x, L.Activation("softmax")(y))


def stateful(keras):
    L = keras.layers
    return keras.Sequential(
        [keras.Input((T, D), batch_size=B), L.LSTM(4, stateful=True, return_sequences=True), L.Dense(2)]
    )


def nested_functional(keras):
    L = keras.layers
    entry = keras.Input((None, 5))
    inner = keras.Model(entry, L.Dense(2)(L.LSTM(4, return_sequences=True)(entry)))
    x = keras.Input((None, D))
    return keras.Model(x, L.Dense(3)(inner(L.LSTM(5, return_sequences=True)(x))))


MODELS = [nested, cells, functional, stateful, nested_functional]


@pytest.mark.parametrize("ending", ["h5", "keras"])
@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_same_numbers(keras, tmp_path, build, ending):
    rng = np.random.default_rng(5)
    model = build(keras)
    model.set_weights([rng.normal(0, 0.6, w.shape).astype(w.dtype) for w in model.get_weights()])
    xs = rng.normal(size=(B, T, D)).astype(np.float32)
    ys = np.asarray(model(xs))
    path = tmp_path / f"model.{ending}"
    model.save(path)
    found = recognise(open_artefact(path))
    np.testing.assert_allclose(oracle(found.layers, xs)[0], ys, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ending", ["h5", "weights.h5"])
def test_weights_alone(keras, tmp_path, ending):
    L = keras.layers
    model = keras.Sequential([L.Input((None, D)), L.LSTM(5, return_sequences=True), L.LSTM(6), L.Dense(2)])
    xs = np.random.default_rng(2).normal(size=(B, T, D)).astype(np.float32)
    if keras.__name__ == "keras" and ending == "h5":
        pytest.skip("Keras 3 writes .weights.h5 only")
    path = tmp_path / f"saved.{ending}"
    model.save_weights(path)
    found = recognise(open_artefact(path), overrides={"recurrent_activation": "sigmoid"})
    np.testing.assert_allclose(oracle(found.layers, xs)[0][:, -1], np.asarray(model(xs)), rtol=0, atol=1e-5)
    assert findings(found, "activation") == [("tanh", "assumed")] * 2
