"""Keras models as their own `save` writes them: `run` gives what `predict` gives. Keras 2 (tf_keras) and Keras 3."""

import numpy as np
import pytest

import fastlstm
from tests.live.networks import difference
from tests.tolerances import TOLERANCES

STEPS, INPUTS, IDS = 60, 5, 30


def sequential(k, dtype):
    lstm = k.layers.LSTM
    return [lstm(14, return_sequences=True, dtype=dtype), lstm(9, return_sequences=True, dtype=dtype),
            k.layers.Dense(4, activation="tanh", dtype=dtype)]  # fmt: skip


def hard_sigmoid(k, dtype):
    return [k.layers.LSTM(12, recurrent_activation="hard_sigmoid", return_sequences=True, dtype=dtype)]


def no_bias(k, dtype):
    return [
        k.layers.LSTM(12, use_bias=False, return_sequences=True, dtype=dtype),
        k.layers.Dense(3, use_bias=False, dtype=dtype),
    ]


def other_activations(k, dtype):
    lstm = k.layers.LSTM(11, activation="softsign", unit_forget_bias=False, return_sequences=True, dtype=dtype)
    return [lstm, k.layers.Dropout(0.4, dtype=dtype), k.layers.Dense(6, activation="softmax", dtype=dtype)]


def tokens(k, dtype):
    return [k.layers.Embedding(IDS, 8, dtype=dtype), k.layers.LSTM(16, return_sequences=True, dtype=dtype),
            k.layers.TimeDistributed(k.layers.Dense(IDS, dtype=dtype), dtype=dtype)]  # fmt: skip


BUILDERS = [sequential, hard_sigmoid, no_bias, other_activations, tokens]


def built(k, layers, dtype, *, functional):
    """The layers as a model, every weight drawn anew, biases too; and inputs that fit float32: predict rounds them."""
    ids = type(layers[0]).__name__ == "Embedding"
    x = k.Input((None,), dtype="int32") if ids else k.Input((None, INPUTS), dtype=dtype)
    if functional:
        y = x
        for layer in layers:
            y = layer(y)
        model = k.Model(x, y)
    else:
        model = k.Sequential([x, *layers])
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    return model, rng.integers(0, IDS, (3, STEPS)) if ids else rng.normal(size=(3, STEPS, INPUTS)).astype("float32")


@pytest.mark.parametrize("ending", [".h5", ".keras"])
@pytest.mark.parametrize("functional", [False, True], ids=["sequential", "functional"])
@pytest.mark.parametrize("layers", BUILDERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("module", ["tf_keras", "keras3"])
def test_run_is_predict(module, layers, functional, ending, request, tmp_path):
    k = request.getfixturevalue(module)
    keras_model, xs = built(k, layers(k, "float32"), "float32", functional=functional)
    path = tmp_path / f"model{ending}"
    keras_model.save(path)
    ys, _ = fastlstm.load(path).run(xs)
    assert difference(keras_model.predict(xs, verbose=0), ys) <= TOLERANCES["float32"]


@pytest.mark.parametrize("layers", [sequential, hard_sigmoid, no_bias], ids=lambda f: f.__name__)
@pytest.mark.parametrize("module", ["tf_keras", "keras3"])
def test_float64(module, layers, request, tmp_path):
    k = request.getfixturevalue(module)
    keras_model, xs = built(k, layers(k, "float64"), "float64", functional=True)
    keras_model.save(tmp_path / "model.keras")
    model = fastlstm.load(tmp_path / "model.keras")
    assert model.dtype == np.float64
    assert difference(keras_model.predict(xs, verbose=0), model.run(xs)[0]) <= TOLERANCES["float64"]
