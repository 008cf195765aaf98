"""tests/data/keras2.13, by the genuine Keras of TensorFlow 2.13.1: folders are called _layer_checkpoint_dependencies
there, and a layer with weights counts twice, so that the second LSTM is lstm_2.

    <TF 2.13.1> tools/make_fixtures_keras213.py
"""

import os

import numpy as np
import tensorflow as tf

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "data", "keras2.13")


def main():
    rng, layers = np.random.RandomState(1), tf.keras.layers
    inner = tf.keras.Sequential([layers.LSTM(5, return_sequences=True), layers.Dense(4)])
    model = tf.keras.Sequential(
        [
            layers.Embedding(9, 3), layers.LSTM(6, return_sequences=True), layers.Dropout(0.1),
            layers.LSTM(4, return_sequences=True), inner, layers.TimeDistributed(layers.Dense(3)), layers.Dense(2),
        ]
    )  # fmt: skip
    x = rng.randint(0, 9, (2, 8))
    model(x)
    model.set_weights([rng.normal(0, 0.5, w.shape).astype("f") for w in model.get_weights()])
    model.save(os.path.join(FOLDER, "model.keras"))
    model.save_weights(os.path.join(FOLDER, "model.weights.h5"))
    np.savez_compressed(os.path.join(FOLDER, "golden.npz"), x=x, y=model(x).numpy())


if __name__ == "__main__":
    main()
