"""Models that TensorFlow's Keras 3 and tf_keras build, save and run here: what the golden files do not cover."""

import numpy as np
import pytest
from keras_helpers import findings, oracle

from fastlstm.errors import RecognitionError
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


def masked(keras):
    """A mask that goes through a wrapper, an activation and a model in the model. Keras 3 writes it as layers."""
    L = keras.layers
    entry = keras.Input((None, 2))
    inner = keras.Model(entry, L.LSTM(3, return_sequences=True)(entry))
    x = keras.Input((None, D))
    y = L.Dense(5)(L.Dropout(0.1)(L.Masking(-1.0)(x)))
    y = L.TimeDistributed(L.Dense(3))(L.Bidirectional(L.LSTM(3, return_sequences=True))(y))
    y = inner(L.Activation("tanh")(L.Dense(2)(y)))
    return keras.Model(x, L.GRU(4, return_sequences=True)(y))


def masked_backwards(keras):
    L = keras.layers
    backwards = L.LSTM(4, return_sequences=True, go_backwards=True)
    return keras.Sequential([L.Input((None, D)), L.Masking(-1.0), backwards, L.Dense(2)])


def turned_halves(keras):
    """The forward layer goes backwards, and the backward layer forwards."""
    L = keras.layers
    one, other = L.GRU(4, go_backwards=True, return_sequences=True), L.GRU(3, return_sequences=True)
    return keras.Sequential([L.Input((None, D)), L.Bidirectional(one, backward_layer=other)])


MODELS = [nested, cells, functional, stateful, nested_functional, masked, masked_backwards, turned_halves]


@pytest.mark.parametrize("ending", ["h5", "keras"])
@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_same_numbers(keras, tmp_path, build, ending):
    if build is masked and keras.__name__ == "tf_keras":
        pytest.skip("the golden files have it; eager, it takes seconds")
    rng = np.random.default_rng(5)
    model = build(keras)
    model.set_weights([rng.normal(0, 0.6, w.shape).astype(w.dtype) for w in model.get_weights()])
    xs = rng.normal(size=(B, T, D)).astype(np.float32)
    if build.__name__.startswith("masked"):
        xs[0, 3:5] = xs[0, 9:] = xs[1, 0] = -1
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


def test_names_that_are_split(keras, tmp_path):
    """HDF5 takes 64512 bytes an attribute: Keras then writes layer_names0, layer_names1 ..."""
    L = keras.layers
    long = [L.Dropout(0.1, name=f"{k}_" + "long" * 500) for k in range(40)]
    model = keras.Sequential([L.Input((None, D)), *long, L.LSTM(4, return_sequences=True), L.Dense(2)])
    path = tmp_path / "model.h5"
    model.save(path)
    import h5py

    with h5py.File(path) as file:
        assert "layer_names1" in file["model_weights"].attrs
    xs = np.random.default_rng(2).normal(size=(B, T, D)).astype(np.float32)
    np.testing.assert_allclose(oracle(recognise(open_artefact(path)).layers, xs)[0], np.asarray(model(xs)), atol=1e-5)


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_sixteen_bits_are_told(keras, tmp_path, ending):
    L = keras.layers
    old = keras.mixed_precision.global_policy() if keras.__name__ == "tf_keras" else keras.config.dtype_policy()
    change = getattr(keras.mixed_precision, "set_global_policy", None) or keras.config.set_dtype_policy
    try:
        change("mixed_bfloat16")
        model = keras.Sequential([L.Input((None, D)), L.Bidirectional(L.LSTM(4, return_sequences=True)), L.Dense(2)])
    finally:
        change(old)
    model.save(tmp_path / f"model.{ending}")
    found = recognise(open_artefact(tmp_path / f"model.{ending}"))
    assert sum("mixed_bfloat16" in note for note in found.notes) == 1
    xs = np.random.default_rng(2).normal(size=(B, T, D)).astype(np.float32)
    np.testing.assert_allclose(oracle(found.layers, xs)[0], np.asarray(model(xs), np.float32), atol=0.02)


def test_settings_without_effect_are_told(keras, tmp_path):
    L = keras.layers
    layer = L.LSTM(4, unit_forget_bias=False, unroll=True, return_sequences=True, stateful=True)
    model = keras.Sequential([keras.Input((T, D), batch_size=B), layer])
    model.save(tmp_path / "model.h5")
    found = recognise(open_artefact(tmp_path / "model.h5"))
    assert findings(found, "unit_forget_bias") == [(False, "read")]
    assert findings(found, "unroll") == [(True, "read")]
    assert findings(found, "stateful") == [(True, "read")]
    assert f"the model was made for batches of {B} rows; run takes any number" in found.notes


@pytest.fixture
def keras3():
    return pytest.importorskip("keras")


def test_a_mask_of_its_own(keras3, tmp_path):
    L = keras3.layers
    x = keras3.Input((None, D))
    given = keras3.ops.not_equal(keras3.ops.sum(x, axis=-1), 0.0)
    keras3.Model(x, L.LSTM(4, return_sequences=True)(x, mask=given)).save(tmp_path / "model.keras")
    with pytest.raises(RecognitionError, match=r"LSTM with a mask \('not_equal.*'\) of its own"):
        recognise(open_artefact(tmp_path / "model.keras"))


def test_a_mask_of_what_was_cast(keras3, tmp_path):
    """Keras looks for masked steps in its own dtype where a layer runs in another than its input has."""
    L = keras3.layers
    x = keras3.Input((None, D))
    mixed = "mixed_float16"
    masked = L.Masking(-1.0, dtype=mixed)(x)
    model = keras3.Model(x, L.LSTM(4, return_sequences=True, dtype=mixed)(masked))
    assert any(type(operation).__name__ == "Cast" for operation in model.operations)
    model.save(tmp_path / "model.keras")
    xs = np.random.default_rng(3).integers(-1, 2, (B, T, D)).astype(np.float32)
    xs[0, 4:6] = -1
    found = recognise(open_artefact(tmp_path / "model.keras"))
    np.testing.assert_allclose(oracle(found.layers, xs)[0], np.asarray(model(xs)), atol=5e-3)


def test_another_mask_than_the_embeddings(keras3, tmp_path):
    L = keras3.layers
    x = keras3.Input((None,))
    y = L.Embedding(7, 3, mask_zero=True)(x)
    keras3.Model(x, L.LSTM(4)(y, mask=keras3.ops.not_equal(x, 1))).save(tmp_path / "model.keras")
    with pytest.raises(RecognitionError, match="expected the mask of the Embedding or Masking before it"):
        recognise(open_artefact(tmp_path / "model.keras"))


def test_low_rank_adaptation(keras3, tmp_path):
    """In .keras Keras saves the sum of both; in .h5 it lists four arrays."""
    L = keras3.layers
    model = keras3.Sequential([L.Input((None, D)), L.LSTM(4, return_sequences=True), L.Dense(2)])
    model.layers[-1].enable_lora(2)
    model.set_weights([np.random.default_rng(k).normal(0, 0.5, w.shape) for k, w in enumerate(model.get_weights())])
    for ending in ("keras", "h5"):
        model.save(tmp_path / f"model.{ending}")
    xs = np.random.default_rng(2).normal(size=(B, T, D)).astype(np.float32)
    found = recognise(open_artefact(tmp_path / "model.keras"))
    np.testing.assert_allclose(oracle(found.layers, xs)[0], np.asarray(model(xs)), atol=1e-5)
    with pytest.raises(RecognitionError, match=r"'dense.*Dense with LoRA weights.*load it as \.keras"):
        recognise(open_artefact(tmp_path / "model.h5"))


def test_quantised(keras3, tmp_path):
    L = keras3.layers
    model = keras3.Sequential([L.Input((None, D)), L.LSTM(4, return_sequences=True), L.Dense(2)])
    model.quantize("int8")
    model.save(tmp_path / "model.keras")
    with pytest.raises(RecognitionError, match="Dense quantised to int8"):
        recognise(open_artefact(tmp_path / "model.keras"))


def test_a_subclassed_model_says_what_its_weights_look_like(keras, tmp_path):
    L = keras.layers

    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.rnn = L.LSTM(4, return_sequences=True)
            self.head = L.Dense(2)

        def call(self, x):
            return self.head(self.rnn(x))

    model = Mine()
    xs = np.random.default_rng(2).normal(size=(B, T, D)).astype(np.float32)
    ys = np.asarray(model(xs))
    model.save(tmp_path / "model.keras")
    with pytest.raises(RecognitionError, match=r"lists no layers.*save_weights.*look like LSTM\(3, 4\) in '.*cell'"):
        recognise(open_artefact(tmp_path / "model.keras"))
    model.save_weights(tmp_path / "model.weights.h5")
    found = recognise(open_artefact(tmp_path / "model.weights.h5"), overrides={"recurrent_activation": "sigmoid"})
    np.testing.assert_allclose(oracle(found.layers, xs)[0], ys, atol=1e-5)


@pytest.fixture
def tf_keras():
    return pytest.importorskip("tf_keras")


def random_weights(model):
    model.set_weights([np.random.default_rng(k).normal(0, 0.5, w.shape) for k, w in enumerate(model.get_weights())])
    return model


def test_a_frozen_half_stays_in_its_place_in_a_saved_model(tf_keras, tmp_path):
    """Keras lists frozen weights last; the graph of objects has them where they are."""
    L = tf_keras.layers
    frozen = L.LSTM(4, return_sequences=True, trainable=False)
    own = L.LSTM(4, return_sequences=True, go_backwards=True)
    model = tf_keras.Sequential([L.Input((None, D)), L.Bidirectional(frozen, backward_layer=own), L.Dense(2)])
    random_weights(model).save(tmp_path / "model", save_format="tf")
    xs = np.random.default_rng(3).normal(size=(B, T, D)).astype(np.float32)
    found = recognise(open_artefact(tmp_path / "model"))
    np.testing.assert_allclose(oracle(found.layers, xs)[0], np.asarray(model(xs)), atol=1e-5)


def test_go_backwards_in_an_export(tf_keras, tmp_path):
    L = tf_keras.layers
    backwards = L.LSTM(4, return_sequences=True, go_backwards=True)
    model = random_weights(tf_keras.Sequential([L.Input((None, D)), backwards, L.Dense(2)]))
    model.export(tmp_path / "model")
    xs = np.random.default_rng(3).normal(size=(B, T, D)).astype(np.float32)
    found = recognise(open_artefact(tmp_path / "model"))
    np.testing.assert_allclose(oracle(found.layers, xs)[0], np.asarray(model(xs)), atol=1e-5)
    assert any("reversed time" in note for note in found.notes)


def test_time_that_is_turned_before_the_head(tf_keras, tmp_path):
    L = tf_keras.layers
    turn = L.Lambda(lambda x: tf_keras.backend.reverse(x, 1))
    model = tf_keras.Sequential([L.Input((None, D)), L.LSTM(4, return_sequences=True), turn, L.Dense(2)])
    model.export(tmp_path / "model")
    with pytest.raises(RecognitionError, match=r"turns time round, before .*pass head=None"):
        recognise(open_artefact(tmp_path / "model"))
    assert len(recognise(open_artefact(tmp_path / "model"), overrides={"head": None}).layers) == 1
