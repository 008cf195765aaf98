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


#: Keras' activations that are not run, and what the error says of them
REFUSED = {
    "glu": "it gives half as many elements as it takes",
    "sparsemax": "Keras sums up what it should look up",
    "threshold": "it needs two numbers, which a name does not hold",
}
NO_FUNCTIONS = {"serialize", "deserialize", "get", "keras_export", "Mish", "PReLU"}


def activations(k):
    """Every name by which this Keras knows an activation function."""
    module = k.src.activations
    found = set()
    for name in {*getattr(module, "ALL_OBJECTS_DICT", ()), *vars(module), *vars(k.activations)} - NO_FUNCTIONS:
        try:
            if callable(k.activations.get(name)) and not name.startswith("_"):
                found.add(name)
        except (ValueError, TypeError):
            continue
    return found


@pytest.mark.parametrize("module", ["tf_keras", "keras3"])
def test_every_activation_that_keras_knows(module, request, tmp_path):
    """An LSTM's and a GRU's own, their gates', and a Dense layer's: Keras' numbers, or a refusal with its reason."""
    k = request.getfixturevalue(module)
    names = activations(k)
    assert {"gelu", "mish", "swish", "relu6", "log_softmax", "softmax", "hard_sigmoid", "exponential"} <= names
    assert module == "tf_keras" or {*REFUSED, "hard_swish", "squareplus", "celu"} <= names
    xs = np.random.default_rng(6).normal(size=(2, 3, INPUTS)).astype("float32")
    lstm, gru = k.layers.LSTM, k.layers.GRU
    for name in sorted(names - set(REFUSED)):
        layers = [
            kind(units, **{what: name}, return_sequences=True)
            for units, what in ((4, "activation"), (5, "recurrent_activation"))
            for kind in (lstm, gru)
        ]
        model = k.Sequential([k.Input((3, INPUTS)), *layers, k.layers.Dense(6, activation=name)])
        rng = np.random.default_rng(7)
        model.set_weights([rng.normal(0, 0.2, w.shape) for w in model.get_weights()])
        expected = np.asarray(model(xs))
        model.save(tmp_path / "model.h5")
        ys = fastlstm.load(tmp_path / "model.h5", device="numpy").run(xs)[0]
        limit = TOLERANCES["float32"]
        np.testing.assert_allclose(ys, expected, rtol=limit, atol=limit, err_msg=name)
    for name in names & set(REFUSED):
        model = k.Sequential([k.Input((3, INPUTS)), lstm(4), k.layers.Dense(6, activation=name)])
        model.save(tmp_path / "model.keras")
        with pytest.raises(fastlstm.RecognitionError, match=f"{name!r} is not one .*{REFUSED[name]}"):
            fastlstm.load(tmp_path / "model.keras")
