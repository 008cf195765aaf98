"""Files that genuine Keras wrote: the layers are those that were saved and compute what Keras computed."""

import json
from pathlib import Path

import numpy as np
import pytest
from keras_helpers import DATA, REAL, findings, oracle

from fastlstm.formats import open_artefact
from fastlstm.layers import LSTM, Dense, Embedding
from fastlstm.recognise import recognise

ERAS = ("keras2", "tf_keras", "keras3")
CASES = {"sequential", "last_step", "functional_no_bias", "hard_sigmoid", "float64"}  # the others: test_keras_layers
FILES = [
    path
    for era in ERAS
    for ending in ("h5", "keras")
    for path in sorted((DATA / era).glob(f"*/*.{ending}"))
    if path.parent.name in CASES
]


def hints(path, expected):
    """What a file of weights alone does not say."""
    if not path.name.endswith("weights.h5"):
        return {}
    activations = {layer["recurrent_activation"] for layer in expected["layers"] if layer["type"] == "LSTM"}
    return {"recurrent_activation": activations.pop(), "head_activation": expected["layers"][-1]["activation"]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DATA)))
def test_golden(path):
    expected = json.loads((path.parent / "expect.json").read_text())
    golden = np.load(path.parent / "golden.npz")
    found = recognise(open_artefact(path), overrides=hints(path, expected))

    assert [type(layer).__name__ for layer in found.layers] == [layer["type"] for layer in expected["layers"]]
    for layer, want in zip(found.layers, expected["layers"], strict=True):
        if not path.name.endswith("weights.h5"):
            assert layer.name == want["name"]
        if isinstance(layer, LSTM):
            assert (layer.input_size, layer.hidden_size) == (want["input"], want["hidden"])
            assert layer.kernel.dtype == expected["dtype"]
        if isinstance(layer, Dense):
            assert layer.activation.label == (want["activation"] or "linear")
        if isinstance(layer, Embedding):
            assert layer.table.shape == (want["vocab"], want["dim"])

    ys, states = oracle(found.layers, golden["x"])
    tolerance = 1e-12 if expected["dtype"] == "float64" else 2e-5
    if "y" in golden:
        np.testing.assert_allclose(ys, golden["y"], rtol=0, atol=tolerance)
    else:
        np.testing.assert_allclose(ys[:, -1:], golden["y_last"], rtol=0, atol=tolerance)
        assert any("ys[:, -1]" in note for note in found.notes)
    for k, (c, h) in enumerate(states):
        np.testing.assert_allclose(c, golden[f"c_{k}"], rtol=0, atol=tolerance)
        np.testing.assert_allclose(h, golden[f"h_{k}"], rtol=0, atol=tolerance)


OLD = Path(__file__).parents[1] / "data"
OLD_FILES = sorted([*OLD.glob("keras1.2/*.h5"), *OLD.glob("keras2.1/*.h5")])


@pytest.mark.parametrize("path", OLD_FILES, ids=lambda path: str(path.relative_to(OLD)))
def test_old_keras(path):
    """Keras 1.2.2 and 2.1.6, see data/make_old_keras.py."""
    bare = path.name.startswith("weights")
    hints = {"recurrent_activation": "hard_sigmoid", "head_activation": "softmax"} if bare else {}
    golden = np.load(path.with_name(path.stem.replace("weights", "golden").replace("model", "golden") + ".npz"))
    found = recognise(open_artefact(path), overrides=hints)
    kinds = ["Embedding(7, 5)", "LSTM(5, 6)", "LSTM(6, 4)", "Dense(4, 3, softmax)"]
    assert [repr(layer) for layer in found.layers] == kinds
    np.testing.assert_allclose(oracle(found.layers, golden["x"])[0], golden["y"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
def test_keras_2_13(name):
    """Its own names for the folders, and numbers that skip, see data/make_keras213.py."""
    path = OLD / "keras2.13" / name
    hints = {"recurrent_activation": "sigmoid"} if "weights" in name else {}
    golden = np.load(path.with_name("golden.npz"))
    found = recognise(open_artefact(path), overrides=hints)
    assert [repr(layer)[:4] for layer in found.layers] == ["Embe", "LSTM", "LSTM", "LSTM", "Dens", "Dens", "Dens"]
    np.testing.assert_allclose(oracle(found.layers, golden["x"])[0], golden["y"], rtol=0, atol=1e-6)


def test_every_era_is_there():
    assert {path.parent.parent.name for path in FILES} == set(ERAS)
    assert len(OLD_FILES) == 6


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_one_name_is_two_functions(era, name):
    path = DATA / era / "hard_sigmoid" / name
    if not path.exists():
        pytest.skip("this era has no such file")
    found = recognise(open_artefact(path))
    value = "hard_sigmoid_keras3" if era == "keras3" else "hard_sigmoid"
    assert findings(found, "recurrent_activation") == [(value, "read")]


def test_real_keras2():
    path = REAL / "shakespeare_keras2" / "shakespeare.h5"
    if not path.exists():
        pytest.skip("the real checkpoints are not beside this checkout")
    found = recognise(open_artefact(path))
    assert [repr(layer) for layer in found.layers] == ["LSTM(60, 120)", "Dense(120, 60, softmax)"]
    assert findings(found, "recurrent_activation") == [("hard_sigmoid", "read")]
    assert any("ys[:, -1]" in note for note in found.notes)
    one_hot = recognise(open_artefact(path), overrides={"one_hot": True})
    assert [repr(layer) for layer in one_hot.layers] == ["OneHot(60)", "LSTM(60, 120)", "Dense(120, 60, softmax)"]


def test_real_keras3():
    path = REAL / "weather_keras3" / "model_50_sens.keras"
    if not path.exists():
        pytest.skip("the real checkpoints are not beside this checkout")
    found = recognise(open_artefact(path))
    assert [repr(layer) for layer in found.layers] == ["LSTM(1, 50)", "LSTM(50, 50)", "Dense(50, 1, linear)"]
    assert [layer.name for layer in found.layers] == ["lstm_4", "lstm_5", "dense_2"]
