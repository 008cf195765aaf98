"""The oracle: LSTMs in NumPy, float64 and loops. It shares nothing with the package, and reads files' own layouts.

Gates are named by their letters: `gates` says in which order the four blocks of columns come ("ijfo" in TensorFlow 1,
"ifco" in Keras; j and c are the candidate). Equations: tf.nn.rnn_cell.LSTMCell, keras.layers.LSTM.
"""

import math

import numpy as np

FUNCTIONS = {
    None: lambda v: v,
    "linear": lambda v: v,
    "tanh": math.tanh,
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)) if v > -700 else 0.0,
    "relu": lambda v: max(v, 0.0),
    "relu6": lambda v: min(max(v, 0.0), 6.0),
    "elu": lambda v: v if v > 0 else math.expm1(v),
    "selu": lambda v: 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * math.expm1(v)),
    "softplus": lambda v: max(v, 0.0) + math.log1p(math.exp(-abs(v))),
    "softsign": lambda v: v / (1 + abs(v)),
    "silu": lambda v: v / (1 + math.exp(-v)),
    "exponential": math.exp,
    "hard_sigmoid": lambda v: min(max(0.2 * v + 0.5, 0.0), 1.0),
    "hard_sigmoid_keras3": lambda v: min(max(v + 3, 0.0), 6.0) / 6,
    "leaky_relu": lambda v: v if v > 0 else 0.2 * v,
}


def apply(name, v):
    """Activation `name` of every element of v (N,)."""
    if name == "softmax":
        e = [math.exp(a - max(v)) for a in v]
        return np.array(e) / math.fsum(e)
    return np.array([FUNCTIONS[name](float(a)) for a in v])


def lstm(x, c, h, *, kernel, recurrent_kernel, bias, gates, forget_bias=0.0, activation="tanh",
         recurrent_activation="sigmoid", peepholes=None, projection=None, cell_clip=None, proj_clip=None,
         residual=False):  # fmt: skip
    """One step of one row: x (D,), c (H,), h (P,) -> output (P,), c', h'."""
    units = len(c)
    z = [float(b) for b in bias]
    for k, v in enumerate(x):
        for n in range(4 * units):
            z[n] += float(v) * float(kernel[k][n])
    for k, v in enumerate(h):
        for n in range(4 * units):
            z[n] += float(v) * float(recurrent_kernel[k][n])
    at = {"g" if letter in "jcg" else letter: units * k for k, letter in enumerate(gates)}
    i, f, g, o = (np.array(z[at[gate] : at[gate] + units]) for gate in "ifgo")
    w_i, w_f, w_o = peepholes if peepholes is not None else np.zeros((3, units))
    i, f = apply(recurrent_activation, i + w_i * c), apply(recurrent_activation, f + forget_bias + w_f * c)
    c = f * c + i * apply(activation, g)
    if cell_clip is not None:
        c = np.clip(c, -cell_clip, cell_clip)
    h = apply(recurrent_activation, o + w_o * c) * apply(activation, c)
    if projection is not None:
        h = np.array(
            [
                math.fsum(float(a) * float(b) for a, b in zip(h, column, strict=True))
                for column in np.transpose(projection)
            ]
        )
        if proj_clip is not None:
            h = np.clip(h, -proj_clip, proj_clip)
    return (x + h if residual else h), c, h


def dense(x, *, kernel, bias, activation=None):
    """x (D,) -> (V,)."""
    columns = np.transpose(np.asarray(kernel, np.float64))
    y = [
        math.fsum([float(b), *(float(a) * float(w) for a, w in zip(x, column, strict=True))])
        for column, b in zip(columns, bias, strict=True)
    ]
    return apply(activation, y)


def step(layers, x, states):
    """One step of one row through [("lstm" | "dense" | "embedding" | "one_hot", arguments), ...]."""
    states, after = list(states), []
    for kind, arguments in layers:
        if kind == "lstm":
            x, c, h = lstm(x, *states.pop(0), **arguments)
            after.append((c, h))
        elif kind == "dense":
            x = dense(x, **arguments)
        elif kind == "embedding":
            x = np.asarray(arguments["table"], np.float64)[x]
        else:
            x = np.array([float(n == x) for n in range(arguments["size"])])
    return x, after


def run(layers, xs, states, length=None):
    """One row: xs (T, ...) -> ys (T, V), the final states; steps past `length` give zeros and leave the states."""
    ys = []
    for t, x in enumerate(xs):
        if length is None or t < length:
            y, states = step(layers, x, states)
        else:
            y = np.zeros_like(step(layers, x, states)[0])
        ys.append(y)
    return np.array(ys), states


def zero_states(layers):
    return [
        (np.zeros(np.shape(a["recurrent_kernel"])[1] // 4), np.zeros(np.shape(a["recurrent_kernel"])[0]))
        for kind, a in layers
        if kind == "lstm"
    ]


def generate(layers, prime, n, states=None, choose=None):
    """One row: prime, then n outputs fed back; with `choose` (y -> id) ids."""
    ys, states = run(layers, prime, zero_states(layers) if states is None else states)
    y, outputs = ys[-1], []
    for k in range(n):
        outputs.append(y if choose is None else choose(y))
        if k < n - 1:
            y, states = step(layers, outputs[-1], states)
    return np.array(outputs), states
