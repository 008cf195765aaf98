"""The oracle: recurrent networks in NumPy, float64 and loops.

It shares nothing with the package, and reads files' own layouts.

Gates are named by their letters: `gates` says in which order the four blocks of columns come ("ijfo" in TensorFlow 1,
"ifco" in Keras; j and c are the candidate). Equations: tf.nn.rnn_cell.LSTMCell and GRUCell, keras.layers.LSTM and GRU,
tf.contrib.rnn.LayerNormLSTMCell and HighwayWrapper, keras.layers.Masking and Bidirectional.
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
    "silu": lambda v: v / (1 + math.exp(-v)) if v > -700 else 0.0,
    "exponential": math.exp,
    "hard_sigmoid": lambda v: min(max(0.2 * v + 0.5, 0.0), 1.0),
    "hard_sigmoid_keras3": lambda v: min(max(v + 3, 0.0), 6.0) / 6,
    "leaky_relu": lambda v: v if v > 0 else 0.2 * v,
    "gelu": lambda v: v * math.erfc(-v / math.sqrt(2)) / 2,
    "mish": lambda v: v * math.tanh(FUNCTIONS["softplus"](v)),
    "hard_shrink": lambda v: v if abs(v) > 0.5 else 0.0,
    "hard_silu": lambda v: v * min(max(v + 3, 0.0), 6.0) / 6,
    "hard_tanh": lambda v: min(max(v, -1.0), 1.0),
    "log_sigmoid": lambda v: -FUNCTIONS["softplus"](-v),
    "soft_shrink": lambda v: math.copysign(max(abs(v) - 0.5, 0.0), v),
    "sparse_plus": lambda v: 0.0 if v <= -1 else v if v >= 1 else (v + 1) ** 2 / 4,
    "sparse_sigmoid": lambda v: min(max((v + 1) / 2, 0.0), 1.0),
    "squareplus": lambda v: (v + math.hypot(v, 2)) / 2 if v > 0 else 2 / (math.hypot(v, 2) - v),
    "tanh_shrink": lambda v: v - math.tanh(v),
}


def apply(name, v):
    """Activation `name` of every element of v (N,)."""
    if name == "softmax":
        e = [math.exp(a - max(v)) for a in v]
        return np.array(e) / math.fsum(e)
    if name == "log_softmax":
        return np.array([a - max(v) - math.log(math.fsum(math.exp(b - max(v)) for b in v)) for a in v])
    return np.array([FUNCTIONS[name](float(a)) for a in v])


def lstm(x, c, h, *, kernel, recurrent_kernel, bias, gates, forget_bias=0.0, activation="tanh",
         recurrent_activation="sigmoid", peepholes=None, projection=None, cell_clip=None, proj_clip=None,
         norm=None, **_):  # fmt: skip
    """One step of one row: x (D,), c (H,), h (P,) -> c', h'. norm: (gammas, state gamma, state beta, epsilon).

    Where `gates` has no i, the input gate is 1 - f.
    """
    units = len(c)
    z = [0.0 if norm else float(b) for b in bias]
    for k, v in enumerate(x):
        for n in range(len(gates) * units):
            z[n] += float(v) * float(kernel[k][n])
    for k, v in enumerate(h):
        for n in range(len(gates) * units):
            z[n] += float(v) * float(recurrent_kernel[k][n])
    at = {"g" if letter in "jcg" else letter: units * k for k, letter in enumerate(gates)}
    part = {gate: slice(k, k + units) for gate, k in at.items()}
    z = {gate: np.array(z[p]) for gate, p in part.items()}
    if norm:
        gammas, state_gamma, state_beta, epsilon = norm
        z = {gate: normal(z[gate], gammas[p], bias[p], epsilon) for gate, p in part.items()}
    w_i, w_f, w_o = np.zeros((3, units)) if peepholes is None else peepholes if len(peepholes) == 3 else [0, *peepholes]
    g, o = z["g"], z["o"]
    f = apply(recurrent_activation, z["f"] + forget_bias + w_f * c)
    i = apply(recurrent_activation, z["i"] + w_i * c) if "i" in z else 1 - f
    c = f * c + i * apply(activation, g)
    if norm:
        c = normal(c, state_gamma, state_beta, epsilon)
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
    return c, h


def normal(v, gamma, beta, epsilon):
    """v (N,) with mean 0 and variance 1, then scaled and moved."""
    mean = math.fsum(v) / len(v)
    deviation = math.sqrt(math.fsum((a - mean) ** 2 for a in v) / len(v) + epsilon)
    return np.array([(a - mean) / deviation * float(s) + float(b) for a, s, b in zip(v, gamma, beta, strict=True)])


def gru(x, h, *, kernel, recurrent_kernel, bias, gates, recurrent_bias=None, reset_after=False, activation="tanh",
        recurrent_activation="sigmoid", **_):  # fmt: skip
    """One step of one row: x (D,), h (H,) -> h'. gates: the order of update (z, u), reset (r) and candidate (h, c)."""
    units = len(h)
    at = {{"u": "z", "c": "h"}.get(letter, letter): units * k for k, letter in enumerate(gates)}

    def columns(v, matrix, begin, gate):
        part = slice(at[gate], at[gate] + units)
        total = [0.0 if begin is None else float(b) for b in (np.zeros(units) if begin is None else begin[part])]
        for k, value in enumerate(v):
            for n, weight in enumerate(matrix[k][part]):
                total[n] += float(value) * float(weight)
        return np.array(total)

    z, r = (
        apply(
            recurrent_activation,
            columns(x, kernel, bias, gate) + columns(h, recurrent_kernel, recurrent_bias, gate),
        )
        for gate in "zr"
    )
    if reset_after:
        inner = r * columns(h, recurrent_kernel, recurrent_bias, "h")
    else:
        inner = columns(r * h, recurrent_kernel, None, "h")
    return z * h + (1 - z) * apply(activation, columns(x, kernel, bias, "h") + inner)


def around(x, h, *, residual=False, highway=None, **_):
    """A recurrent layer's output; highway: (carry kernel, carry bias), or these and the transform gate's."""
    if residual:
        return x + h
    if highway is None:
        return h
    carry = dense(x, kernel=highway[0], bias=highway[1], activation="sigmoid")
    transform = 1 - carry if len(highway) == 2 else dense(x, kernel=highway[2], bias=highway[3], activation="sigmoid")
    return x * carry + h * transform


def dense(x, *, kernel, bias, activation=None):
    """x (D,) -> (V,)."""
    columns = np.transpose(np.asarray(kernel, np.float64))
    y = [
        math.fsum([float(b), *(float(a) * float(w) for a, w in zip(x, column, strict=True))])
        for column, b in zip(columns, bias, strict=True)
    ]
    return apply(activation, y)


def step(layers, x, states, masked=False):
    """One step of one row through [(kind, arguments), ...] -> output, states, whether the step is masked at the end.

    A masked step leaves the states; a recurrent layer puts out its h again, or zeros with zero_output_for_mask.
    """
    states, after = list(states), []
    for kind, arguments in layers:
        if kind in ("lstm", "gru"):
            c, h = states.pop(0)
            if not masked:
                c, h = lstm(x, c, h, **arguments) if kind == "lstm" else (c, gru(x, h, **arguments))
            silent = masked and arguments.get("zero_output_for_mask")
            x = around(x, np.zeros_like(h) if silent else h, **arguments)
            after.append((c, h))
        elif kind == "dense":
            x = dense(x, **arguments)
        elif kind == "embedding":
            masked = bool(arguments.get("mask_zero")) and x == 0
            x = np.asarray(arguments["table"], np.float64)[x]
        elif kind == "masking":
            masked = all(float(v) == arguments["mask_value"] for v in x)
            x = np.zeros(len(x)) if masked else x
        else:
            x = np.array([float(n == x) for n in range(arguments["size"])])
    return x, after, masked


def run(layers, xs, states, length=None):
    """One row: xs (T, ...) -> ys (T, V), the final states; steps past `length` give zeros and leave the states."""
    valid = len(xs) if length is None else length
    ys, masks, after, states = list(xs[:valid]), [False] * valid, [], list(states)
    for stretch in stretches(layers):
        kind, arguments = stretch[0]
        if kind == "reverse":
            ys, masks = ys[::-1], masks[::-1]
            continue
        if kind == "bidirectional":
            outputs = []
            for direction, way in (("forward", 1), ("backward", -1)):
                inside = arguments[direction]
                begin, states = states[: count(inside)], states[count(inside) :]
                out, _, end = forward(inside, ys[::way], masks[::way], begin)
                outputs.append(out[::way] if way == 1 or not arguments.get("last") else out[-1:] * len(out))
                after += end
            ys = [merge(arguments["merge_mode"], f, b) for f, b in zip(*outputs, strict=True)]
            continue
        begin, states = states[: count(stretch)], states[count(stretch) :]
        ys, masks, end = forward(stretch, ys, masks, begin)
        after += end
    return np.array([*ys, *[np.zeros(width(layers))] * (len(xs) - valid)]).reshape(len(xs), -1), after


def forward(layers, xs, masks, states):
    """Step by step: xs, masks -> ys, masks, states."""
    ys, after = [], []
    for x, masked in zip(xs, masks, strict=True):
        y, states, masked = step(layers, x, states, masked)
        ys.append(y)
        after.append(masked)
    return ys, after, states


def stretches(layers):
    """The layers, those that do not go forward in time each by itself."""
    found = [[]]
    for layer in layers:
        if layer[0] in ("reverse", "bidirectional"):
            found += [[layer], []]
        else:
            found[-1].append(layer)
    return [stretch for stretch in found if stretch]


def merge(mode, f, b):
    return {"sum": f + b, "mul": f * b, "ave": (f + b) / 2}[mode] if mode in ("sum", "mul", "ave") else np.append(f, b)


def width(layers):
    """V, the elements of an output."""
    for kind, a in reversed(layers):
        if kind in ("lstm", "gru"):
            return np.shape(a["recurrent_kernel"])[0]
        if kind == "dense":
            return np.shape(a["kernel"])[1]
        if kind == "bidirectional":
            ends = [width(a[direction]) for direction in ("forward", "backward")]
            return sum(ends) if a["merge_mode"] in (None, "concat") else ends[0]
    raise AssertionError("no layer that gives vectors")


def count(layers):
    """How many layers have a state."""
    return len(zero_states(layers))


def zero_states(layers):
    """(c, h) of each recurrent layer; c is empty of a GRU."""
    found = []
    for kind, a in layers:
        if kind in ("lstm", "gru"):
            rows, columns = np.shape(a["recurrent_kernel"])
            found.append((np.zeros(columns // len(a["gates"]) if kind == "lstm" else 0), np.zeros(rows)))
        elif kind == "bidirectional":
            found += zero_states(a["forward"]) + zero_states(a["backward"])
    return found


def generate(layers, prime, n, states=None, choose=None):
    """One row: prime, then n outputs fed back; with `choose` (y -> id) ids."""
    ys, states = run(layers, prime, zero_states(layers) if states is None else states)
    y, outputs = ys[-1], []
    for k in range(n):
        outputs.append(y if choose is None else choose(y))
        if k < n - 1:
            y, states, _ = step(layers, outputs[-1], states)
    return np.array(outputs), states
