"""Shared by the fixture makers: seeded numbers, the words of expect.json, and how a case is written to disk.

Runs on Python 3.6 (TensorFlow 1.0) to 3.11 (Keras 3) and needs NumPy only.
"""

import json
import os
import shutil
import zlib

import numpy as np

DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "data")
B, T = 3, 100


#: What the README's table calls the cells and wrappers of a case, by the case's name in every era.
CELLS = {
    "basic": ["BasicLSTMCell"],
    "basic_f64_tanh_head": ["BasicLSTMCell"],
    "basic_forget_bias": ["BasicLSTMCell"],
    "block": ["LSTMBlockCell"],
    "dense_around": ["LSTMCell"],
    "float64": ["Keras LSTM"],
    "functional_no_bias": ["Keras LSTM"],
    "half": ["BasicLSTMCell"],
    "hard_sigmoid": ["Keras LSTM"],
    "last_step": ["Keras LSTM"],
    "lstm_forget0": ["LSTMCell"],
    "lstm_peephole_proj_clip": ["LSTMCell"],
    "multi": ["BasicLSTMCell", "MultiRNNCell"],
    "multi_v1": ["BasicLSTMCell", "MultiRNNCell"],
    "named_cell": ["BasicLSTMCell"],
    "onehot_softmax": ["BasicLSTMCell", "MultiRNNCell"],
    "partitioned": ["LSTMCell"],
    "residual_dropout": ["BasicLSTMCell", "MultiRNNCell", "ResidualWrapper", "DropoutWrapper"],
    "reused_scope": ["BasicLSTMCell"],
    "same_cell_twice": ["BasicLSTMCell", "MultiRNNCell"],
    "sequential": ["Keras LSTM"],
    "state_array": ["BasicLSTMCell", "MultiRNNCell"],
    "state_list": ["LSTMCell", "MultiRNNCell"],
    "static": ["BasicLSTMCell"],
    "training": ["BasicLSTMCell"],
    "two_stacks": ["BasicLSTMCell"],
    "user_scope": ["BasicLSTMCell"],
}


def rng_for(case):
    """A generator seeded by the case's name, the same in every TensorFlow."""
    return np.random.RandomState(zlib.crc32(case.encode()) & 0x7FFFFFFF)


def lstm(name, input_size, hidden, projection=None, **changed):
    layer = dict(
        type="LSTM",
        input=input_size,
        hidden=hidden,
        projection=projection,
        forget_bias=1.0,
        cell_clip=None,
        proj_clip=None,
        activation="tanh",
        recurrent_activation="sigmoid",
        peepholes=False,
        residual=False,
        name=name,
    )
    assert set(changed) <= set(layer), changed
    return dict(layer, **changed)


def dense(name, inputs, outputs, activation=None, **more):
    return dict({"type": "Dense", "in": inputs, "out": outputs, "activation": activation, "name": name}, **more)


def embedding(name, vocab, dim, **more):
    return dict(type="Embedding", vocab=vocab, dim=dim, name=name, **more)


def onehot(vocab):
    return dict(type="OneHot", vocab=vocab)


def masked(y, lengths):
    """y (B, T, V) with zeros past each row's length."""
    valid = np.arange(y.shape[1]) < np.asarray(lengths)[:, None]
    return np.where(valid[:, :, None], y, np.zeros_like(y))


def fresh_folder(era, case):
    """tests/data/<era>/<case>, empty; relative to DATA, so that `checkpoint` files hold relative paths."""
    os.makedirs(DATA, exist_ok=True)
    os.chdir(DATA)
    folder = os.path.join(era, case)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


def write_golden(folder, arrays, name="golden.npz"):
    for key, value in arrays.items():
        assert value.dtype != object, key
        assert value.dtype.kind != "f" or np.isfinite(value).all(), (folder, key)
    np.savez_compressed(os.path.join(folder, name), **arrays)


def write_expect(folder, layers, dtype, tensorflow, **more):
    expect = dict({"layers": layers, "dtype": dtype, "tensorflow": tensorflow, "scope": None}, **more)
    if os.path.basename(folder) in CELLS:
        expect.setdefault("cells", CELLS[os.path.basename(folder)])
    with open(os.path.join(folder, "expect.json"), "w") as f:
        json.dump(expect, f, indent=1)
        f.write("\n")
    return expect
