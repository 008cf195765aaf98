"""For the tests of Keras recognition: a NumPy oracle in float64, and artefacts made by hand."""

from pathlib import Path

import numpy as np

from fastlstm.formats.artefact import Artefact, KerasConfig
from fastlstm.formats.tensors import Tensors, TensorSpec
from fastlstm.layers import LSTM, Bidirectional, Dense, Embedding, Masking, OneHot, Reverse
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
    "sigmoid": lambda x: (1 + np.tanh(x / 2)) / 2,
    "silu": lambda x: x * (1 + np.tanh(x / 2)) / 2,
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hard_sigmoid_keras3": lambda x: np.clip(x + 3, 0, 6) / 6,
    "softmax": softmax,
    "softsign": lambda x: x / (1 + np.abs(x)),
}


def oracle(layers, xs):
    """ys (B, T, V) and [(c, h)] of `layers`, canonical gates i f g o and z r h, in float64."""
    return oracle_of(layers, np.asarray(xs), np.ones(np.shape(xs)[:2], bool))


def oracle_of(layers, ys, valid):
    """valid (B, T) is False where a step is masked."""
    states = []
    for layer in layers:
        if isinstance(layer, (Embedding, OneHot)):
            valid = valid & (ys != 0) if getattr(layer, "mask_zero", False) else valid
            ys = (layer.table if isinstance(layer, Embedding) else np.eye(layer.vocabulary_size))[ys].astype(np.float64)
        elif isinstance(layer, Masking):
            valid = (ys != layer.mask_value).any(-1)
        elif isinstance(layer, Reverse):
            ys, valid = ys[:, ::-1], valid[:, ::-1]
        elif isinstance(layer, Dense):
            ys = FUNCTIONS[layer.activation.label](ys @ layer.kernel.astype(np.float64) + layer.bias)
        elif isinstance(layer, Bidirectional):
            forward, own = oracle_of(layer.forward, ys, valid)
            backward, other = oracle_of(layer.backward, ys[:, ::-1], valid[:, ::-1])
            backward = backward[:, ::-1] if layer.return_sequences else np.repeat(backward[:, -1:], ys.shape[1], 1)
            ys = merged(layer.merge_mode, forward, backward)
            states += own + other
        else:
            ys, state = recurrent(layer, ys, valid)
            states.append(state)
    return ys, states


def merged(mode, one, other):
    if mode in (None, "concat"):
        return np.concatenate([one, other], -1)
    return {"sum": one + other, "mul": one * other, "ave": (one + other) / 2}[mode]


def recurrent(layer, xs, valid):
    """Masked steps leave the state as it is; the output is the last one again, zeros where there was none."""
    step = lstm_step if isinstance(layer, LSTM) else gru_step
    c = h = y = np.zeros((len(xs), layer.hidden_size))
    ys = []
    for x, row in zip(np.moveaxis(xs, 1, 0), valid.T[..., None], strict=True):
        c_new, h_new = step(layer, x, c, h)
        c, h = np.where(row, c_new, c), np.where(row, h_new, h)
        y = np.where(row, h, 0 if layer.zero_output_for_mask else y)
        ys.append(y)
    return np.stack(ys, 1), (c if isinstance(layer, LSTM) else c[:, :0], h)


def lstm_step(layer, x, c, h):
    phi, sigma = FUNCTIONS[layer.activation.label], FUNCTIONS[layer.recurrent_activation.label]
    i, f, g, o = np.split(x @ layer.kernel.astype(np.float64) + h @ layer.recurrent_kernel + layer.bias, 4, -1)
    c = sigma(f) * c + sigma(i) * phi(g)
    return c, sigma(o) * phi(c)


def gru_step(layer, x, c, h):
    phi, sigma = FUNCTIONS[layer.activation.label], FUNCTIONS[layer.recurrent_activation.label]
    size, kernel, recurrent = layer.hidden_size, layer.kernel.astype(np.float64), layer.recurrent_kernel
    x_part, h_part = x @ kernel + layer.bias, h @ recurrent
    if layer.reset_after:
        h_part = h_part + layer.recurrent_bias
    z, r = (sigma(x_part[:, at] + h_part[:, at]) for at in (slice(size), slice(size, 2 * size)))
    inner = r * h_part[:, 2 * size :] if layer.reset_after else (r * h) @ recurrent[:, 2 * size :]
    return c, z * h + (1 - z) * phi(x_part[:, 2 * size :] + inner)


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
        "GRU": [(size, 3 * units), (units, 3 * units), (3 * units,)],
        "GRU reset_after": [(size, 3 * units), (units, 3 * units), (2, 3 * units)],
        "CuDNNGRU": [(size, 3 * units), (units, 3 * units), (6 * units,)],
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
