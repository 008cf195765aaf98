"""For the tests of Keras recognition: a NumPy oracle in float64, and artefacts made by hand."""

from pathlib import Path

import numpy as np

from fastlstm.formats.artefact import Artefact, KerasConfig, Tensors, TensorSpec
from fastlstm.layers import LSTM, Embedding, OneHot
from fastlstm.recognise import recognise

DATA = Path(__file__).parents[1] / "data"
REAL = Path(__file__).parents[2].parent / "shared" / "real"


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


FUNCTIONS = {
    "linear": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hard_sigmoid_keras3": lambda x: np.clip(x + 3, 0, 6) / 6,
    "softmax": softmax,
}


def oracle(layers, xs):
    """ys (B, T, V) and [(c, h)] of `layers`, canonical gates i f g o, in float64."""
    ys, states = np.asarray(xs), []
    for layer in layers:
        if isinstance(layer, (Embedding, OneHot)):
            ys = (layer.table if isinstance(layer, Embedding) else np.eye(layer.vocabulary_size))[ys].astype(np.float64)
            continue
        phi = FUNCTIONS[layer.activation.label]
        if not isinstance(layer, LSTM):
            ys = phi(ys @ layer.kernel.astype(np.float64) + layer.bias)
            continue
        sigma = FUNCTIONS[layer.recurrent_activation.label]
        c = h = np.zeros((len(ys), layer.hidden_size))
        outputs = []
        for x in np.moveaxis(ys, 1, 0):
            i, f, g, o = np.split(x @ layer.kernel.astype(np.float64) + h @ layer.recurrent_kernel + layer.bias, 4, -1)
            c = sigma(f) * c + sigma(i) * phi(g)
            h = sigma(o) * phi(c)
            outputs.append(h)
        ys = np.stack(outputs, 1)
        states.append((c, h))
    return ys, states


def tensors(arrays):
    specs = {name: TensorSpec(a.shape, a.dtype.name) for name, a in arrays.items()}
    return Tensors(specs, arrays.__getitem__)


def sequential(*layers):
    return {"class_name": "Sequential", "config": {"name": "model", "layers": list(layers)}}


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}


def functional(*layers, inputs=("in",), outputs=("out",)):
    """A Keras 2 model of (layer, names of the layers it reads)."""
    entries = [
        dict(entry, name=entry["config"]["name"], inbound_nodes=[[[name, 0, 0, {}] for name in names]] if names else [])
        for entry, names in layers
    ]
    ends = {"input_layers": [[n, 0, 0] for n in inputs], "output_layers": [[n, 0, 0] for n in outputs]}
    return {"class_name": "Model", "config": {"name": "model", "layers": entries, **ends}}


def weights_of(kind, size, units, seed=0):
    """Random weights of a layer in Keras' order."""
    rng = np.random.default_rng(seed)
    shapes = {
        "LSTM": [(size, 4 * units), (units, 4 * units), (4 * units,)],
        "CuDNNLSTM": [(size, 4 * units), (units, 4 * units), (8 * units,)],
        "Dense": [(size, units), (units,)],
        "Embedding": [(size, units)],
    }[kind]
    return [rng.normal(0, 0.5, shape).astype(np.float32) for shape in shapes]


ROLES = {1: ["embeddings:0"], 2: ["kernel:0", "bias:0"], 3: ["kernel:0", "recurrent_kernel:0", "bias:0"]}


def legacy(model, version="2.2.4", **weights):
    """An artefact in legacy HDF5's layout: layer name -> its arrays."""
    arrays, listed = {}, {}
    for name, values in weights.items():
        roles = ROLES.get(len(values)) or [f"weight_{k}:0" for k in range(len(values))]
        listed[name] = tuple(f"{name}/{name}/{role}" for role in roles)
        arrays |= dict(zip(listed[name], values, strict=True))
    return Artefact(Path("made.h5"), "keras-h5", tensors(arrays), keras=KerasConfig(model, version, listed))


def folders(model, version="3.4.1", **weights):
    """An artefact in Keras 3's layout: "layers/lstm/cell" -> its arrays."""
    arrays = {f"{folder}/vars/{k}": a for folder, values in weights.items() for k, a in enumerate(values)}
    listed = {folder: tuple(f"{folder}/vars/{k}" for k in range(len(v))) for folder, v in weights.items()}
    return Artefact(Path("made.keras"), "keras", tensors(arrays), keras=KerasConfig(model, version, listed))


def recognised(artefact, **overrides):
    return recognise(artefact, overrides=overrides)


def findings(found, what):
    return [(f.value, f.how) for f in found.findings if f.what == what]


LSTM4 = layer("LSTM", "lstm", units=4, activation="tanh", recurrent_activation="sigmoid", return_sequences=True)
DENSE2 = layer("Dense", "dense", units=2, activation="linear")


def small(*layers_, version="2.2.4"):
    """An artefact of `layers_` with weights of LSTM "lstm" 3 -> 4 and Dense "dense" 4 -> 2."""
    return legacy(sequential(*layers_), version, lstm=weights_of("LSTM", 3, 4), dense=weights_of("Dense", 4, 2))
