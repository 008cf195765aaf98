"""tests/data/keras1.2 and keras2.1, by the genuine Keras 1.2.2 and 2.1.6 on TensorFlow 1.15.

    pip install --no-deps --target /somewhere keras==1.2.2
    KERAS_BACKEND=tensorflow PYTHONPATH=/somewhere <TF 1.15.5> tools/make_fixtures_old_keras.py

Keras 1 writes an LSTM as twelve arrays (consume_less "cpu") or as three ("gpu"); Keras 2.1 lists a Sequential's layers
without a dictionary around them.
"""

import os

import keras
import numpy as np
from keras.layers import LSTM, Activation, Dense, Dropout, Embedding, TimeDistributed
from keras.models import Sequential

DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "data")


def main():
    era = "keras" + keras.__version__.rsplit(".", 1)[0]
    modes = {"_cpu": {"consume_less": "cpu"}, "_gpu": {"consume_less": "gpu"}} if era == "keras1.2" else {"": {}}
    for mode, more in modes.items():
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
        model.set_weights([rng.normal(0, 0.5, w.shape).astype("f") for w in model.get_weights()])
        x = rng.randint(0, 7, (2, 9))
        folder = os.path.join(DATA, era)
        model.save(os.path.join(folder, f"model{mode}.h5"))
        model.save_weights(os.path.join(folder, f"weights{mode}.h5"))
        np.savez_compressed(os.path.join(folder, f"golden{mode}.npz"), x=x, y=model.predict(x))


if __name__ == "__main__":
    main()
