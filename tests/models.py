"""Random models for the tests, as the oracle's layers and as the package's, made from the same arrays."""

import numpy as np

import fastlstm
from fastlstm.layers.lstm import coupled_gates


def lstm(rng, inputs, units, *, projection=None, peepholes=False, gates="ijfo", scale=0.4, **options):
    """("lstm", arguments) for the oracle. Three gates, without i, are those of a cell whose input gate is 1 - f."""
    outputs, columns = projection or units, len(gates) * units
    arguments = {
        "kernel": rng.normal(0, scale, (inputs, columns)),
        "recurrent_kernel": rng.normal(0, scale, (outputs, columns)),
        "bias": rng.normal(0, scale, columns),
        "gates": gates,
        **options,
    }
    if peepholes:
        arguments["peepholes"] = rng.normal(0, scale, (len(gates) - 1, units))
    if projection:
        arguments["projection"] = rng.normal(0, scale, (units, projection))
    return "lstm", arguments


def norm(rng, units, epsilon=1e-12, gates=4):
    """`norm` of the oracle's lstm."""
    return rng.normal(1, 0.2, gates * units), rng.normal(1, 0.2, units), rng.normal(0, 0.2, units), epsilon


def highway(rng, size, transform=False):
    """`highway` of the oracle's lstm and gru."""
    return tuple(rng.normal(0, 0.4, shape) for shape in [(size, size), size] * (1 + transform))


def gru(rng, inputs, units, *, gates="zrh", scale=0.4, **options):
    arguments = {
        "kernel": rng.normal(0, scale, (inputs, 3 * units)),
        "recurrent_kernel": rng.normal(0, scale, (units, 3 * units)),
        "bias": rng.normal(0, scale, 3 * units),
        "gates": gates,
        **options,
    }
    if options.get("reset_after"):
        arguments["recurrent_bias"] = rng.normal(0, scale, 3 * units)
    return "gru", arguments


def masking(size, mask_value=0.0):
    return "masking", {"size": size, "mask_value": mask_value}


def reverse(size):
    return "reverse", {"size": size}


def bidirectional(forward, backward, merge_mode="concat", last=False):
    return "bidirectional", {"forward": forward, "backward": backward, "merge_mode": merge_mode, "last": last}


def dense(rng, inputs, outputs, activation=None, scale=0.4):
    kernel, bias = rng.normal(0, scale, (inputs, outputs)), rng.normal(0, scale, outputs)
    return "dense", {"kernel": kernel, "bias": bias, "activation": activation}


def embedding(rng, size, width, mask_zero=False):
    return "embedding", {"table": rng.normal(0, 1, (size, width)), "mask_zero": mask_zero}


def one_hot(size):
    return "one_hot", {"size": size}


def layers_of(description, dtype="float64"):
    """The package's layers for the oracle's."""
    return [_LAYERS[kind](dict(arguments), dtype) for kind, arguments in rounded(description, dtype, dtype)]


def _lstm(a, dtype):
    norm, way = a.pop("norm", None), a.pop("highway", None)
    if len(a["gates"]) == 3:
        names = ("kernel", "recurrent_kernel", "bias", "forget_bias", "peepholes")
        given = {name: a.pop(name) for name in names if name in a}
        a |= coupled_gates(**given, gate_order=a.pop("gates"), gamma=norm and norm[0])
        norm, a["gates"] = norm and (a.pop("gamma"), *norm[1:]), a.pop("gate_order")
    return fastlstm.LSTM(
        gate_order=a.pop("gates"),
        layer_norm=norm and fastlstm.LayerNorm(*norm),
        highway=way and fastlstm.Highway(*way),
        **a,
    )


def _gru(a, dtype):
    way = a.pop("highway", None)
    return fastlstm.GRU(gate_order=a.pop("gates"), highway=way and fastlstm.Highway(*way), **a)


_LAYERS = {
    "lstm": _lstm,
    "gru": _gru,
    "dense": lambda a, dtype: fastlstm.Dense(**a),
    "embedding": lambda a, dtype: fastlstm.Embedding(**a),
    "one_hot": lambda a, dtype: fastlstm.OneHot(a["size"]),
    "masking": lambda a, dtype: fastlstm.Masking(**a),
    "reverse": lambda a, dtype: fastlstm.Reverse(**a),
    "bidirectional": lambda a, dtype: fastlstm.Bidirectional(
        layers_of(a["forward"], dtype),
        layers_of(a["backward"], dtype),
        a["merge_mode"],
        return_sequences=not a["last"],
    ),
}


def rounded(description, dtype, kept=np.float64):
    """The description with its arrays rounded to `dtype`, so that oracle and package start from the same numbers."""

    def of(value):
        if isinstance(value, np.ndarray):
            return value.astype(dtype).astype(kept)
        if isinstance(value, list):
            return rounded(value, dtype, kept)
        return tuple(of(v) for v in value) if isinstance(value, tuple) else value

    return [(kind, {name: of(value) for name, value in arguments.items()}) for kind, arguments in description]
