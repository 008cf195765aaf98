"""Random models for the tests, as the oracle's layers and as the package's, made from the same arrays."""

import numpy as np

import fastlstm


def lstm(rng, inputs, units, *, projection=None, peepholes=False, gates="ijfo", scale=0.4, **options):
    """("lstm", arguments) for the oracle."""
    outputs = projection or units
    arguments = {
        "kernel": rng.normal(0, scale, (inputs, 4 * units)),
        "recurrent_kernel": rng.normal(0, scale, (outputs, 4 * units)),
        "bias": rng.normal(0, scale, 4 * units),
        "gates": gates,
        **options,
    }
    if peepholes:
        arguments["peepholes"] = rng.normal(0, scale, (3, units))
    if projection:
        arguments["projection"] = rng.normal(0, scale, (units, projection))
    return "lstm", arguments


def dense(rng, inputs, outputs, activation=None, scale=0.4):
    kernel, bias = rng.normal(0, scale, (inputs, outputs)), rng.normal(0, scale, outputs)
    return "dense", {"kernel": kernel, "bias": bias, "activation": activation}


def embedding(rng, size, width):
    return "embedding", {"table": rng.normal(0, 1, (size, width))}


def one_hot(size):
    return "one_hot", {"size": size}


def layers_of(description, dtype="float64"):
    """The package's layers for the oracle's."""
    layers = []
    for kind, arguments in description:
        a = {k: v.astype(dtype) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
        if kind == "lstm":
            layers.append(fastlstm.LSTM(gate_order=a.pop("gates"), **a))
        elif kind == "dense":
            layers.append(fastlstm.Dense(**a))
        elif kind == "embedding":
            layers.append(fastlstm.Embedding(a["table"]))
        else:
            layers.append(fastlstm.OneHot(a["size"]))
    return layers


def rounded(description, dtype):
    """The description with its arrays rounded to `dtype`, so that oracle and package start from the same numbers."""
    return [
        (
            kind,
            {k: v.astype(dtype).astype(np.float64) if isinstance(v, np.ndarray) else v for k, v in arguments.items()},
        )
        for kind, arguments in description
    ]
