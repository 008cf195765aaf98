"""Golden fixtures from three genuine Keras: tf.keras of TensorFlow 1.15, tf_keras (Keras 2) and Keras 3.

    python tools/make_fixtures_keras.py keras2              # under TensorFlow 1.15.5
    python tools/make_fixtures_keras.py tf_keras keras3     # under TensorFlow 2.21

Every weight, biases too, is drawn from normal(0, scale) by a generator seeded with the case's name. Keras adds no
forget bias when it runs, so forget_bias is 0 in expect.json; hard_sigmoid is clip(0.2 x + 0.5, 0, 1) in keras2 and
tf_keras, and relu6(x + 3) / 6 in keras3. A case returns a model; its layers' configuration makes expect.json.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from fixtures_common import B, T, dense, embedding, fresh_folder, lstm, rng_for, write_expect, write_golden


def load_keras(era):
    import tensorflow as tf

    if era == "keras2":
        return tf.keras, tf.__version__
    import keras
    import tf_keras

    return (keras if era == "keras3" else tf_keras), tf.__version__


def sequential(keras):
    """Embedding, LSTM, Dropout, LSTM, softmax at every step, with Keras' default activations."""
    L = keras.layers
    return keras.Sequential(
        [
            L.Embedding(11, 8),
            L.LSTM(12, return_sequences=True),
            L.Dropout(0.3),
            L.LSTM(10, return_sequences=True),
            L.TimeDistributed(L.Dense(11, activation="softmax")),
        ]
    )


def last_step(keras):
    """return_sequences=False, compiled and trained for one step, so optimizer weights are in the file."""
    L = keras.layers
    return keras.Sequential([L.LSTM(9, activation="relu", input_shape=(T, 3)), L.Dense(3)])


def functional_no_bias(keras):
    x = keras.Input((None, 5))
    y = keras.layers.LSTM(12, use_bias=False, return_sequences=True)(x)
    return keras.Model(x, keras.layers.Dense(4, activation="tanh")(y))


def hard_sigmoid(keras):
    L = keras.layers
    return keras.Sequential([L.LSTM(10, recurrent_activation="hard_sigmoid", return_sequences=True), L.Dense(2)])


def float64(keras):
    L = keras.layers
    return keras.Sequential([L.LSTM(10, return_sequences=True), L.Dense(2)])


BOTH = {"keras2": ["model.h5"], "tf_keras": ["model.h5", "model.keras"], "keras3": ["model.h5", "model.keras"]}
CASES = {  # build, shape of the input, scale of the weights, files written in each era
    "sequential": (
        sequential,
        (B, T),
        0.4,
        {
            "keras2": ["model.h5", "weights.h5"],
            "tf_keras": ["model.h5", "weights.h5", "model.keras", "model.weights.h5"],
            "keras3": ["model.h5", "model.keras", "model.weights.h5"],
        },
    ),
    "last_step": (last_step, (B, T, 3), 0.15, BOTH),
    "functional_no_bias": (functional_no_bias, (1, T, 5), 0.4, BOTH),
    "hard_sigmoid": (hard_sigmoid, (1, T, 4), 0.7, {"tf_keras": BOTH["tf_keras"], "keras3": BOTH["keras3"]}),
    "float64": (float64, (B, 7, 3), 0.4, {"tf_keras": ["model.keras"], "keras3": ["model.keras"]}),
}


def write(keras, version, era, name):
    build, shape, scale, files = CASES[name]
    folder, rng = fresh_folder(era, name), rng_for("keras " + name)
    dtype = "float64" if name == "float64" else "float32"
    keras.backend.clear_session()
    keras.backend.set_floatx(dtype)  # layers of dtype="float64" alone would still see inputs rounded to float32
    model = build(keras)
    x = rng.randint(11, size=shape).astype(np.int32) if len(shape) == 2 else rng.normal(size=shape).astype(dtype)
    model.predict(x)  # creates the weights
    model.set_weights([rng.normal(0, scale, w.shape).astype(w.dtype) for w in model.get_weights()])
    if name == "last_step":
        model.compile("adam", "mse")
        model.train_on_batch(x, np.ones((B, 3), np.float32))
    y = model.predict(x)
    golden = {"x": x, "y" if y.ndim == 3 else "y_last": y.reshape(y.shape[0], -1, y.shape[-1])}
    golden.update(final_states(keras, model, x))
    for file in files[era]:
        (model.save_weights if "weights" in file else model.save)(os.path.join(folder, file))
    write_golden(folder, golden)
    extra = dict(scope=None, keras=keras.__version__, files=files[era])
    write_expect(folder, expected(model), dtype, version, **extra)
    return {key: value.shape for key, value in golden.items()}


def final_states(keras, model, x):
    """c_k, h_k of every LSTM: a copy of the layer that returns its state, run on what the layer sees."""
    states, k = {}, 0
    for layer in model.layers:
        if type(layer).__name__ != "LSTM":
            if type(layer).__name__ != "InputLayer":
                x = run_layer(keras, layer, x)
            continue
        copy = type(layer).from_config(dict(layer.get_config(), return_state=True, name="with_state"))
        x, states[f"h_{k}"], states[f"c_{k}"] = run_layer(keras, copy, x, layer.get_weights())
        k += 1
    return states


def run_layer(keras, layer, x, weights=None):
    entry = keras.Input(x.shape[1:], dtype=x.dtype.name)
    model = keras.Model(entry, layer(entry))
    if weights:
        layer.set_weights(weights)
    return model.predict(x)


def expected(model):
    """expect.json's layers from the layers' configuration and weight shapes."""
    found = []
    for layer in model.layers:
        config, shapes = layer.get_config(), [w.shape for w in layer.get_weights()]
        if config.get("layer"):  # TimeDistributed
            config = dict(config["layer"]["config"], name=config["name"])
        if "units" in config and "recurrent_activation" in config:
            found.append(
                dict(
                    lstm(
                        layer.name,
                        shapes[0][0],
                        config["units"],
                        forget_bias=0.0,
                        activation=config["activation"],
                        recurrent_activation=config["recurrent_activation"],
                    ),
                    use_bias=config["use_bias"],
                    return_sequences=config["return_sequences"],
                )
            )
        elif "units" in config:
            activation = None if config["activation"] == "linear" else config["activation"]
            found.append(dense(layer.name, shapes[0][0], config["units"], activation, use_bias=config["use_bias"]))
        elif "input_dim" in config:
            found.append(embedding(layer.name, config["input_dim"], config["output_dim"]))
    return found


def main(eras):
    for era in eras:
        keras, version = load_keras(era)
        for name in CASES:
            if era in CASES[name][3]:
                print(era, name, write(keras, version, era, name), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
