"""tests/data/keras1.2 and keras2.1, by the genuine Keras 1.2.2 and 2.1.6 on TensorFlow 1.15.

    pip install --no-deps --target /somewhere keras==1.2.2
    KERAS_BACKEND=tensorflow PYTHONPATH=/somewhere <TF 1.15.5> tools/make_fixtures_old_keras.py [lstm] [layers]

Keras 1 writes an LSTM as twelve arrays and a GRU as nine (consume_less "cpu"), or both as three ("gpu"). Keras 2.1
lists a Sequential's layers without a dictionary around them; it needs PyYAML and SciPy.
"""

import os
import sys

import keras
import numpy as np
from fixtures_common import B, T, fresh_folder, rng_for, write_expect, write_golden
from keras.layers import GRU, LSTM, Activation, Dense, Dropout, Embedding, Masking, TimeDistributed
from keras.models import Sequential

try:
    from keras.layers import Bidirectional
except ImportError:  # Keras 1
    from keras.layers.wrappers import Bidirectional

DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "data")
ERA = "keras" + keras.__version__.rsplit(".", 1)[0]
MODES = {"_cpu": {"consume_less": "cpu"}, "_gpu": {"consume_less": "gpu"}} if ERA == "keras1.2" else {"": {}}
SIGMOID = dict(inner_activation="sigmoid") if ERA == "keras1.2" else dict(recurrent_activation="sigmoid")


def drawn(model, rng):
    """The model with random weights, biases too."""
    model.set_weights([rng.normal(0, 0.5, w.shape).astype("f") for w in model.get_weights()])
    return model


def lstm():
    for mode, more in MODES.items():
        rng = np.random.RandomState(3)
        model = Sequential(
            [
                Embedding(7, 5, input_length=9),
                LSTM(6, return_sequences=True, **more),
                Dropout(0.2),
                LSTM(4, return_sequences=True, **more),
                TimeDistributed(Dense(3)),
                Activation("softmax"),
            ]
        )
        drawn(model, rng)
        x = rng.randint(0, 7, (2, 9))
        folder = os.path.join(DATA, ERA)
        model.save(os.path.join(folder, f"model{mode}.h5"))
        model.save_weights(os.path.join(folder, f"weights{mode}.h5"))
        np.savez_compressed(os.path.join(folder, f"golden{mode}.npz"), x=x, y=model.predict(x))


def bidirectional(more):
    """Every format; the gates are hard_sigmoid, which was the default."""
    return Sequential(
        [
            Embedding(7, 5, input_length=T),
            Bidirectional(LSTM(5, return_sequences=True, **more)),
            Dropout(0.2),
            GRU(5, return_sequences=True, **more),
            Bidirectional(GRU(4, return_sequences=True, **more)),
            TimeDistributed(Dense(3)),
            Activation("softmax"),
        ]
    )


def masking(more):
    """Masked steps, merge modes, go_backwards, and the last output only."""
    return Sequential(
        [
            Masking(-1.0, input_shape=(T, 4)),
            Bidirectional(
                LSTM(5, return_sequences=True, activation="softsign", **dict(SIGMOID, **more)), merge_mode="ave"
            ),
            LSTM(6, return_sequences=True, **more),
            Bidirectional(GRU(4, **more), merge_mode="mul"),
            Dense(3, activation="tanh"),
        ]
    )


def go_backwards(more):
    return Sequential(
        [
            LSTM(6, return_sequences=True, go_backwards=True, input_shape=(T, 4), **more),
            GRU(5, return_sequences=True, go_backwards=True, activation="linear", **dict(SIGMOID, **more)),
            LSTM(3, return_sequences=True, **more),
        ]
    )


def reset_after(more):
    return Sequential([GRU(5, reset_after=True, return_sequences=True, input_shape=(T, 4)), Dense(3)])


LAYERS = {  # build, whether ids go in, cells
    "bidirectional": (bidirectional, True, ["Keras Bidirectional", "Keras LSTM", "Keras GRU"]),
    "masking": (masking, False, ["Keras Masking", "Keras Bidirectional", "Keras LSTM", "Keras GRU"]),
    "go_backwards": (go_backwards, False, ["Keras go_backwards", "Keras LSTM", "Keras GRU"]),
    "reset_after": (reset_after, False, ["Keras GRU (reset_after)"]),
}


def layers():
    import tensorflow

    for name, (build, ids, cells) in LAYERS.items():
        if name == "reset_after" and ERA == "keras1.2":
            continue
        for mode, more in MODES.items():
            folder, rng = fresh_folder(ERA, name + mode), rng_for("old keras " + name)
            model = drawn(build(more), rng)
            x = rng.randint(0, 7, (B, T)) if ids else rng.normal(size=(B, T, 4)).astype("f")
            if name == "masking":
                x[0, 7:11] = x[0, 30] = x[0, 90:] = x[1, :3] = x[2, 5:] = -1
            y = model.predict(x)
            write_golden(folder, {"x": x, "y" if y.ndim == 3 else "y_last": y.reshape(B, -1, y.shape[-1])})
            files = ["model.h5", "weights.h5"] if ids else ["model.h5"]
            for file in files:
                (model.save_weights if "weights" in file else model.save)(os.path.join(folder, file))
            extra = dict(load=dict(recurrent_activation="hard_sigmoid", head_activation="softmax")) if ids else {}
            described = [dict(type=type(layer).__name__, name=layer.name) for layer in model.layers]
            write_expect(
                folder,
                described,
                "float32",
                tensorflow.__version__,
                keras=keras.__version__,
                models=files,
                cells=cells,
                **extra,
            )


if __name__ == "__main__":
    for part in sys.argv[1:] or ["lstm", "layers"]:
        {"lstm": lstm, "layers": layers}[part]()
