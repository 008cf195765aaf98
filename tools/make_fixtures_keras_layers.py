"""Golden fixtures of Keras' other layers: GRU, Bidirectional, masks, go_backwards, cells, stateful, nested, cuDNN.

    python tools/make_fixtures_keras_layers.py keras2              # under TensorFlow 1.15.5
    python tools/make_fixtures_keras_layers.py keras2.15           # under TensorFlow 2.15.1
    python tools/make_fixtures_keras_layers.py tf_keras keras3     # under TensorFlow 2.21

Weights are drawn as in make_fixtures_keras.py. The final states come from a second model: every recurrent layer made
again with return_state=True and the same weights, so that masks go through it as through the first. They are numbered
in the order of the layers, a Bidirectional's forward ones before its backward ones; a GRU has h only.
"""

import inspect
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from fixtures_common import B, T, fresh_folder, rng_for, write_expect, write_golden

IDS = 9
ERAS = ("keras2", "keras2.15", "tf_keras", "keras3")


def load_keras(era):
    import tensorflow as tf

    if era in ("keras2", "keras2.15"):
        return tf.keras, tf.__version__
    import keras
    import tf_keras

    return (keras if era == "keras3" else tf_keras), tf.__version__


def gates(keras):
    """recurrent_activation of every layer of a case whose weights are saved alone: the file does not say."""
    return dict(recurrent_activation="sigmoid", return_sequences=True)


def gru(keras):
    """Both reset_after."""
    L = keras.layers
    return keras.Sequential(
        [
            L.GRU(7, reset_after=True, input_shape=(None, 4), **gates(keras)),
            L.GRU(6, reset_after=False, **gates(keras)),
            L.Dense(3),
        ]
    )


def gru_settings(keras):
    L = keras.layers
    x = keras.Input((None, 4))
    y = L.GRU(6, reset_after=True, use_bias=False, recurrent_activation="hard_sigmoid", return_sequences=True)(x)
    y = L.GRU(5, reset_after=False, use_bias=False, activation="softsign", return_sequences=True)(y)
    y = L.GRU(5, reset_after=True, activation="relu", recurrent_activation="sigmoid", implementation=1)(y)
    return keras.Model(x, L.Dense(3, activation="softmax")(y))


def cells(keras):
    """RNN over LSTMCell and GRUCell, mixed and alone."""
    L = keras.layers
    mixed = [
        L.LSTMCell(6, recurrent_activation="sigmoid"),
        L.GRUCell(5, recurrent_activation="sigmoid", reset_after=True),
        L.LSTMCell(4, activation="softsign", use_bias=False),
        L.GRUCell(5, reset_after=False),
        L.LSTMCell(4),
    ]
    one = L.GRUCell(5, recurrent_activation="hard_sigmoid", reset_after=False)
    return keras.Sequential(
        [keras.Input((None, 4)), L.RNN(mixed, return_sequences=True), L.RNN(one, return_sequences=True), L.Dense(2)]
    )


def bidirectional(keras):
    """Stacked, merge modes that concatenate, in every format."""
    L = keras.layers
    return keras.Sequential(
        [
            L.Embedding(IDS, 5),
            L.Bidirectional(L.LSTM(6, **gates(keras))),
            L.Dropout(0.2),
            L.Bidirectional(L.GRU(4, reset_after=True, **gates(keras))),
            L.TimeDistributed(L.Dense(3, activation="tanh")),
        ]
    )


def bidirectional_merges(keras):
    """sum, mul, ave, and a backward layer of its own, with other units."""
    L = keras.layers
    own = L.LSTM(3, activation="softsign", return_sequences=True, go_backwards=True)
    return keras.Sequential(
        [
            L.Bidirectional(L.LSTM(5, return_sequences=True), merge_mode="sum", input_shape=(None, 4)),
            L.Bidirectional(L.GRU(5, return_sequences=True), merge_mode="mul"),
            L.Bidirectional(L.LSTM(5, return_sequences=True), merge_mode="ave"),
            L.Dense(6),
            L.Bidirectional(L.LSTM(6, return_sequences=True), backward_layer=own),  # 6 + 3: Keras takes it for 12
        ]
    )


def bidirectional_apart(keras):
    """merge_mode None: the model has two outputs; y has them side by side."""
    L = keras.layers
    x = keras.Input((None, 4))
    return keras.Model(x, L.Bidirectional(L.GRU(5, reset_after=True, return_sequences=True), merge_mode=None)(x))


def bidirectional_last(keras):
    """The usual classifier: the last output of the forward half, the first of the backward half, under a mask."""
    L = keras.layers
    return keras.Sequential(
        [
            L.Embedding(IDS, 5, mask_zero=True),
            L.Bidirectional(L.LSTM(5, return_sequences=True)),
            L.Bidirectional(L.LSTM(6)),
            L.Dense(4, activation="relu"),
            L.Dense(3, activation="softmax"),
        ]
    )


def bidirectional_cells(keras):
    L = keras.layers
    both = L.RNN([L.LSTMCell(5), L.GRUCell(4, reset_after=True)], return_sequences=True)
    return keras.Sequential([keras.Input((None, 4)), L.Bidirectional(both), L.Dense(2)])


def masking(keras):
    """A mask within and at the end of the rows, through layers that hand it on."""
    L = keras.layers
    return keras.Sequential(
        [
            L.Masking(-1.0, input_shape=(None, 4)),
            L.Dense(5),
            L.LSTM(6, return_sequences=True),
            L.Dropout(0.5),
            L.TimeDistributed(L.Dense(5, activation="tanh")),
            L.GRU(5, reset_after=True, return_sequences=True),
            L.Activation("linear"),
            L.LSTM(4, return_sequences=True, zero_output_for_mask=True),
            L.Dense(3),
        ]
    )


def mask_zero(keras):
    L = keras.layers
    x = keras.Input((None,))
    y = L.LSTM(6, return_sequences=True)(L.Embedding(IDS, 5, mask_zero=True)(x))
    return keras.Model(x, L.Dense(3, activation="softmax")(L.LSTM(5)(y)))


def bidirectional_masked(keras):
    L = keras.layers
    return keras.Sequential(
        [
            L.Masking(input_shape=(None, 4)),
            L.Bidirectional(L.LSTM(5, return_sequences=True)),
            L.Bidirectional(L.GRU(4, reset_after=True, return_sequences=True), merge_mode="sum"),
            L.Dense(3),
        ]
    )


def go_backwards(keras):
    L = keras.layers
    return keras.Sequential(
        [
            L.LSTM(6, go_backwards=True, return_sequences=True, input_shape=(None, 4)),
            L.GRU(5, reset_after=True, return_sequences=True),
            L.GRU(5, reset_after=False, go_backwards=True, return_sequences=True),
            L.Dense(2),
        ]
    )


def stateful(keras):
    """Called five times with 20 steps each, the states carried from call to call."""
    L = keras.layers
    size = (
        dict(batch_shape=(B, 20, 4)) if "batch_shape" in signature(keras.Input) else dict(shape=(20, 4), batch_size=B)
    )
    return keras.Sequential(
        [
            keras.Input(**size),
            L.LSTM(6, stateful=True, return_sequences=True, unroll=True),
            L.GRU(5, reset_after=True, stateful=True, return_sequences=True),
            L.Dense(2),
        ]
    )


def nested(keras):
    """A Sequential and a functional model in a functional one; the first is partly frozen."""
    L = keras.layers
    frozen = L.Bidirectional(L.LSTM(3, return_sequences=True), trainable=False)
    first = keras.Sequential([keras.Input((None, 4)), frozen, L.Dropout(0.1), L.GRU(5, return_sequences=True)])
    inner = keras.Input((None, 5))
    second = keras.Model(inner, L.Dense(4)(L.Bidirectional(L.GRU(4, return_sequences=True), merge_mode="ave")(inner)))
    x = keras.Input((None, 4))
    return keras.Model(x, L.Dense(2)(L.LSTM(4, return_sequences=True)(second(first(x)))))


def float64(keras):
    L = keras.layers
    return keras.Sequential(
        [
            L.Bidirectional(L.GRU(6, reset_after=True, **gates(keras)), input_shape=(None, 4)),
            L.LSTM(5, **gates(keras)),
            L.Dense(2),
        ]
    )


def cudnn(keras):
    """Stands for the CuDNN layers of `cudnn_twin`; only a GPU could run those."""
    L = keras.layers
    return keras.Sequential(
        [
            L.Bidirectional(L.LSTM(4, **gates(keras)), input_shape=(None, 3)),
            L.GRU(5, reset_after=True, **gates(keras)),
            L.LSTM(6, **gates(keras)),
            L.Dense(2),
        ]
    )


def cudnn_twin(keras):
    import tensorflow as tf

    L = tf.compat.v1.keras.layers
    return keras.Sequential(
        [
            L.Bidirectional(L.CuDNNLSTM(4, return_sequences=True), input_shape=(None, 3)),
            L.CuDNNGRU(5, return_sequences=True),
            L.CuDNNLSTM(6, return_sequences=True),
            L.Dense(2),
        ]
    )


def without_kernels(keras):
    """A session that does not look for a GPU for what it does not run."""
    import tensorflow as tf

    options = tf.compat.v1.GraphOptions(place_pruned_graph=True)
    keras.backend.set_session(tf.compat.v1.Session(config=tf.compat.v1.ConfigProto(graph_options=options)))


WHOLE = {"keras2": ["model.h5"], "keras2.15": ["model.h5", "model.keras"], "keras3": ["model.h5", "model.keras"]}
EVERY = {
    "keras2": ["model.h5", "weights.h5"],
    "keras2.15": ["model.h5", "model.keras", "weights.h5", "model.weights.h5"],
    "tf_keras": ["model.h5", "model.keras", "weights.h5", "model.weights.h5"],
    "keras3": ["model.h5", "model.keras", "model.weights.h5"],
}
SHARDED = dict(EVERY, keras3=[*EVERY["keras3"], "sharded.weights.json", "folder"])
SIGMOID = {"recurrent_activation": "sigmoid"}
TANH = {"head_activation": "tanh"}
FLOATS, NUMBERS = (B, T, 4), (B, T)
LSTM, GRU, GRU_AFTER, BIDIRECTIONAL = "Keras LSTM", "Keras GRU", "Keras GRU (reset_after)", "Keras Bidirectional"
CELLS, MASKING = "Keras RNN(LSTMCell)", "Keras Masking"
CASES = {  # build, shape of the input, files written in each era, overrides that files of weights need, cells
    "gru": (gru, FLOATS, SHARDED, SIGMOID, [GRU, GRU_AFTER]),
    "gru_settings": (gru_settings, FLOATS, WHOLE, {}, [GRU, GRU_AFTER]),
    "cells": (cells, FLOATS, WHOLE, {}, [CELLS, GRU, GRU_AFTER]),
    "bidirectional": (bidirectional, NUMBERS, EVERY, dict(SIGMOID, **TANH), [BIDIRECTIONAL, LSTM, GRU_AFTER]),
    "bidirectional_merges": (bidirectional_merges, FLOATS, WHOLE, {}, [BIDIRECTIONAL, LSTM, GRU]),
    "bidirectional_apart": (bidirectional_apart, FLOATS, WHOLE, {}, [BIDIRECTIONAL, GRU_AFTER]),
    "bidirectional_last": (bidirectional_last, NUMBERS, WHOLE, {}, [BIDIRECTIONAL, LSTM, MASKING]),
    "bidirectional_cells": (bidirectional_cells, FLOATS, WHOLE, {}, [BIDIRECTIONAL, CELLS]),
    "bidirectional_masked": (bidirectional_masked, FLOATS, WHOLE, {}, [BIDIRECTIONAL, LSTM, GRU_AFTER, MASKING]),
    "masking": (masking, FLOATS, WHOLE, {}, [MASKING, LSTM, GRU_AFTER]),
    "mask_zero": (mask_zero, NUMBERS, WHOLE, {}, [MASKING, LSTM]),
    "go_backwards": (go_backwards, FLOATS, WHOLE, {}, ["Keras go_backwards", LSTM, GRU, GRU_AFTER]),
    "stateful": (stateful, (B, 20, 4), WHOLE, {}, ["Keras stateful", LSTM, GRU_AFTER]),
    "nested_models": (nested, FLOATS, WHOLE, {}, [BIDIRECTIONAL, LSTM]),
    "float64_bidirectional": (
        float64,
        (B, T, 4),
        {"keras2.15": ["model.keras"], "keras3": ["model.keras", "model.weights.h5"]},
        SIGMOID,
        [BIDIRECTIONAL, GRU_AFTER, LSTM],
    ),
    "cudnn": (cudnn, (B, T, 3), {"keras2": ["model.h5", "weights.h5"]}, SIGMOID, ["Keras CuDNNLSTM", BIDIRECTIONAL]),
}


def version_of(keras):
    if not hasattr(keras, "__version__"):  # tf.keras of TensorFlow 2.15
        import keras
    return keras.__version__


def signature(function):
    return inspect.signature(function).parameters


def write(keras, version, era, name):
    build, shape, files, overrides, names = CASES[name]
    folder, rng = fresh_folder(era, name), rng_for("keras layers " + name)
    dtype = "float64" if name.startswith("float64") else "float32"
    keras.backend.clear_session()
    keras.backend.set_floatx(dtype)
    model = build(keras)
    x = inputs(rng, shape, dtype, name)
    if name != "stateful":
        model.predict(x)  # creates the weights
    scale = 0.2 if name == "bidirectional_merges" else 0.4  # sums grow from layer to layer
    model.set_weights([rng.normal(0, scale, w.shape).astype(w.dtype) for w in model.get_weights()])
    saved = model
    if name == "cudnn":
        without_kernels(keras)
        saved = cudnn_twin(keras)
        saved.set_weights([rng.normal(0, 0.4, w.shape).astype(w.dtype) for w in saved.get_weights()])
    for file in files[era]:
        save(keras, saved, os.path.join(folder, file))
    if name == "cudnn":
        model.load_weights(os.path.join(folder, "weights.h5"))  # Keras converts them
    if name == "stateful":
        x = rng.normal(size=(B, T, 4)).astype(dtype)
        y = np.concatenate([side_by_side(model.predict(part)) for part in np.split(x, 5, axis=1)], axis=1)
        golden = {"x": x, "y": y}
    else:
        y = side_by_side(model.predict(x))
        golden = {"x": x, "y" if y.ndim == 3 else "y_last": y.reshape(B, -1, y.shape[-1])}
        if name != "nested_models":
            golden.update(final_states(keras, model, x))
    write_golden(folder, golden)
    extra = dict(scope=None, keras=version_of(keras), models=files[era], cells=names)
    if any("weights" in file for file in files[era]):
        extra["load"] = overrides
    write_expect(folder, described(saved), dtype, version, **extra)
    size = sum(os.path.getsize(os.path.join(at, f)) for at, _, found in os.walk(folder) for f in found)
    return {key: value.shape for key, value in golden.items()}, size


def inputs(rng, shape, dtype, name):
    """Numbers, or ids; some steps masked: within the rows, at their ends, and nearly all of the last row."""
    ids = len(shape) == 2
    x = rng.randint(1, IDS, size=shape).astype(np.int32) if ids else rng.normal(size=shape).astype(dtype)
    if name in ("masking", "mask_zero", "bidirectional_last", "bidirectional_masked"):
        value = -1 if name == "masking" else 0
        x[0, 7:11] = x[0, 30] = x[0, 90:] = x[1, :3] = x[1, 50:70:3] = x[2, 5:] = value
    return x


def save(keras, model, path):
    if path.endswith("folder"):
        keras.saving.save_model(model, path, zipped=False)
    elif path.endswith(".json"):
        model.save_weights(path, max_shard_size=1000 / 1024**3)
    else:
        (model.save_weights if "weights" in path else model.save)(path)


def side_by_side(y):
    return np.concatenate(y, axis=-1) if isinstance(y, (list, tuple)) else y


def final_states(keras, model, x):
    """c_k, h_k of every recurrent layer and cell."""
    entry = y = keras.Input(x.shape[1:], dtype=x.dtype.name)
    outputs, kinds, copies = [], [], []
    for layer in model.layers:
        if type(layer).__name__ == "InputLayer":
            continue
        parts = recurrent_parts(layer)
        if not parts:
            y = layer(y)
            continue
        copy = with_state(layer)
        copies.append((copy, layer))
        y = copy(y)
        states, y = flat(y)[-sum(map(len, parts)) :], y[0]
        outputs += states
        kinds += parts
    second = keras.Model(entry, outputs)
    for copy, layer in copies:
        copy.set_weights(layer.get_weights())
    values, states = iter(flat(second.predict(x))), {}
    for k, names in enumerate(kinds):
        for letter in names:
            states[f"{letter}_{k}"] = next(values)
    return states


def with_state(layer):
    config = layer.get_config()
    for part in [config, *(config[key] for key in ("layer", "backward_layer") if key in config)]:
        if part is config and "layer" in config:
            continue
        part.get("config", part)["return_state"] = True
    return type(layer).from_config(config)


def recurrent_parts(layer):
    """The letters of the states of a layer's cells, in Keras' order: "hc" for an LSTM, "h" for a GRU."""
    kind = type(layer).__name__
    if kind == "Bidirectional":
        return recurrent_parts(layer.forward_layer) + recurrent_parts(layer.backward_layer)
    if kind == "RNN":
        cells = getattr(layer.cell, "cells", [layer.cell])
        return ["hc" if "LSTM" in type(cell).__name__ else "h" for cell in cells]
    return {"LSTM": ["hc"], "GRU": ["h"]}.get(kind, [])


def flat(nested):
    if not isinstance(nested, (list, tuple)):
        return [nested]
    return [leaf for part in nested for leaf in flat(part)]


def described(model):
    """expect.json's layers: class and name, of the model's own layers."""
    return [dict(type=type(layer).__name__, name=layer.name) for layer in model.layers]


def main(eras, names):
    for era in eras:
        keras, version = load_keras(era)
        for name in names or CASES:
            if era in CASES[name][2]:
                print(era, name, *write(keras, version, era, name), flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    main([era for era in given if era in ERAS], [name for name in given if name in CASES])
