"""ONNX' LSTM and GRU operators -> parts.  Source: onnx/docs/Operators.md, "LSTM" and "GRU"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.layers.lstm import coupled_gates
from fastlstm.recognise.foreign.flow import STATE, Axis, Dim, Filled, Refused, Signal, Unclear
from fastlstm.recognise.foreign.parts import COUPLED, Part, Setting, gru, lstm, reverse

if TYPE_CHECKING:
    from fastlstm.formats.dataflow import Operation
    from fastlstm.recognise.foreign.flow import Flow

STATE_OUT = Unclear(STATE)
_FUNCTIONS = {
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Relu": "relu",
    "Elu": "elu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "HardSigmoid": "hard_sigmoid",
    "LeakyRelu": "leaky_relu",
    "Affine": "affine",
}
_DEFAULTS = {"HardSigmoid": (0.2, 0.5), "LeakyRelu": (0.01, 0.0), "Elu": (1.0, 0.0), "Affine": (1.0, 0.0)}


def hard_sigmoid(alpha: float, beta: float, name: str) -> str:
    """Which of the two hard sigmoids max(0, min(1, alpha x + beta)) is.  Raises Refused."""
    if abs(beta - 0.5) < 1e-6:
        for slope, activation in ((0.2, "hard_sigmoid"), (1 / 6, "hard_sigmoid_keras3")):
            if abs(alpha - slope) < 1e-6:
                return activation
    raise Refused(f"{name!r}: a hard sigmoid with slope {alpha} and offset {beta}")


def cell_parts(flow: Flow, operation: Operation) -> tuple[list[Part], int, int]:
    """The parts of an LSTM or GRU operator, its number of directions, and the units of each."""
    attrs, name = operation.attrs, operation.name
    direction = bytes(attrs.get("direction", b"forward")).decode("ascii", "replace")
    directions = {"forward": 1, "reverse": 1, "bidirectional": 2}.get(direction)
    if directions is None:
        raise Refused(f"{name!r}: direction {direction!r}")
    if attrs.get("clip"):
        raise Refused(f"{name!r}: clip {attrs['clip']}, which ONNX applies to the sums before the activations")
    kernel, recurrent = flow.constant(operation, 1), flow.constant(operation, 2)
    gates = 4 if operation.op == "LSTM" else 3
    if kernel.ndim != 3 or recurrent.ndim != 3 or kernel.shape[0] != directions or recurrent.shape[0] != directions:
        raise Refused(f"{name!r}: weights of shapes {kernel.shape} and {recurrent.shape} for {directions} directions")
    units = recurrent.shape[2]
    if (
        recurrent.shape[1] != gates * units
        or kernel.shape[1] != gates * units
        or attrs.get("hidden_size", units) != units
    ):
        raise Refused(f"{name!r}: weights of shapes {kernel.shape} and {recurrent.shape}, expected {gates} gates")
    bias = flow.input(operation, 3)
    if bias is not None and (not isinstance(bias, np.ndarray) or bias.shape != (directions, 2 * gates * units)):
        raise Refused(f"{name!r}: a bias that is no constant of shape {(directions, 2 * gates * units)}")
    make = _lstm if operation.op == "LSTM" else _gru
    parts = []
    for k in range(directions):
        label = f"{name}/{'backward' if k else 'forward'}" if directions == 2 else name
        initial = _initial(flow, operation, k, directions, units)
        both = None if bias is None else bias[k]
        parts.append(make(flow, operation, k, label, kernel[k].T, recurrent[k].T, both, initial))
    if direction == "bidirectional":
        setting: Setting = ("concat", "inferred", "the two directions stand side by side")
        return [Part("Bidirectional", name, {}, {"merge_mode": setting}, (parts[0],), (parts[1],))], 2, units
    return [reverse(f"{name}/reverse"), *parts, reverse(f"{name}/back")] if direction == "reverse" else parts, 1, units


def final_states(made: Signal, parts: Sequence[Part], batch: Dim, features: Axis, batch_first: bool) -> list[Any]:
    """Y_h and Y_c: h is the last step's output, unless there are two directions."""
    if parts[-1].kind == "Bidirectional":
        return [STATE_OUT] * 2
    kept = made.parts[:-1] if parts[-1].kind == "Reverse" else made.parts
    dims: tuple[Dim, ...] = (batch, (), (features,)) if batch_first else ((), batch, (features,))
    return [replace(made, parts=kept, dims=dims, last=True), STATE_OUT]


def _lstm(
    flow: Flow, operation: Operation, k: int, label: str, kernel: Any, recurrent: Any, both: Any, initial: Any
) -> Part:
    gates, candidate, output = _activations(operation, k, ("Sigmoid", "Tanh", "Tanh"))
    if candidate != output:
        raise Refused(f"{label!r}: activation {candidate} of the candidate and {output} of the cell state; one is run")
    units = recurrent.shape[0]
    bias = None if both is None else both[: 4 * units] + both[4 * units :]
    weights = flow.input(operation, 7)
    peepholes = None
    if weights is not None:
        if not isinstance(weights, np.ndarray) or weights.ndim != 2 or weights.shape[1] != 3 * units:
            raise Refused(f"{label!r}: peepholes that are no constant of 3 x {units}")
        i, o, f = np.split(weights[k], 3)
        peepholes = (i, f, o) if weights[k].any() else None
    arguments: dict[str, Any] = {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias, "gate_order": "onnx"}
    settings = _settings(operation, gates, candidate)
    if operation.attrs.get("input_forget"):
        arguments, settings = _coupled(arguments, settings, peepholes, gates, label)
    elif peepholes is not None:
        arguments["peepholes"] = peepholes
    return lstm(label, arguments, settings, initial=initial)


def _coupled(
    arguments: dict[str, Any], settings: dict[str, Setting], peepholes: Any, gates: str, label: str
) -> tuple[dict[str, Any], dict[str, Setting]]:
    """f = 1 - i: the kind with i = 1 - f, with the names of the two gates exchanged after it is made."""
    if gates != "sigmoid" or peepholes is not None:
        raise Refused(f"{label!r}: input_forget with {gates} gates or peepholes")
    three = {}
    for key in ("kernel", "recurrent_kernel", "bias"):
        value = arguments[key]
        if value is not None:
            i, o, _, c = np.split(value, 4, axis=-1)
            three[key] = np.concatenate([i, c, o], axis=-1)
    made = coupled_gates(**three, gate_order="fco")  # i stands where f is expected ...
    made["gate_order"] = "figo"  # ... so that the block called i, minus it, is the forget gate's
    coupling: Setting = (True, "read", "attribute 'input_forget': f = 1 - i, as weights")
    return made, settings | {COUPLED: coupling}


def _gru(
    flow: Flow, operation: Operation, k: int, label: str, kernel: Any, recurrent: Any, both: Any, initial: Any
) -> Part:
    gates, candidate = _activations(operation, k, ("Sigmoid", "Tanh"))
    units, after = recurrent.shape[0], bool(operation.attrs.get("linear_before_reset", 0))
    arguments: dict[str, Any] = {
        "kernel": kernel, "recurrent_kernel": recurrent, "gate_order": "onnx", "reset_after": after, "bias": None,
    }  # fmt: skip
    if both is not None:
        first, second = both[: 3 * units], both[3 * units :]
        arguments |= {"bias": first, "recurrent_bias": second} if after else {"bias": first + second}
    return gru(label, arguments, _settings(operation, gates, candidate), initial=initial)


def _settings(operation: Operation, gates: str, candidate: str) -> dict[str, Setting]:
    how, source = (
        ("read", "attribute 'activations'") if "activations" in operation.attrs else ("inferred", "ONNX' default")
    )
    return {"activation": (candidate, how, source), "recurrent_activation": (gates, how, source)}  # type: ignore[dict-item]


def _activations(operation: Operation, k: int, defaults: tuple[str, ...]) -> list[str]:
    """The names of direction k's functions."""
    names = [bytes(n).decode("ascii", "replace") for n in operation.attrs.get("activations", [])]
    names = names or list(defaults) * (k + 1)
    alphas, betas = (list(operation.attrs.get(f"activation_{key}", [])) for key in ("alpha", "beta"))
    found = []
    for position, name in enumerate(names):
        exact = next((known for known in _FUNCTIONS if known.lower() == name.lower()), None)
        if exact is None:
            raise Refused(f"{operation.name!r}: activation {name!r}")
        alpha, beta = _DEFAULTS.get(exact, (None, None))
        if exact in _DEFAULTS:  # the lists hold values for those functions alone that take them
            alpha = alphas.pop(0) if alphas else alpha
        if exact in ("HardSigmoid", "Affine"):
            beta = betas.pop(0) if betas else beta
        if exact == "HardSigmoid":
            found.append(hard_sigmoid(alpha, beta, operation.name))
        elif exact == "Affine" and (alpha, beta) == (1.0, 0.0):
            found.append("linear")
        elif exact == "Affine" or (exact == "LeakyRelu" and abs(alpha - 0.2) > 1e-7) or (exact == "Elu" and alpha != 1):
            raise Refused(f"{operation.name!r}: activation {position}, {name}, with alpha {alpha}, beta {beta}")
        else:
            found.append(_FUNCTIONS[exact])
    count = len(defaults)
    if len(found) < (k + 1) * count:
        raise Refused(f"{operation.name!r}: {len(found)} activations")
    return found[k * count : (k + 1) * count]


def _initial(
    flow: Flow, operation: Operation, k: int, directions: int, units: int
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """(c, h) that the graph starts from, None for zeros."""
    found = []
    for position in (6, 5):
        name = operation.inputs[position] if position < len(operation.inputs) else ""
        value = flow.value(name)
        if (isinstance(value, Signal) and not value.parts) or (isinstance(value, Unclear) and value.outside):
            flow.note(f"{operation.name!r} starts from a state that is an input; pass it to run as the state")
            value = None
        if isinstance(value, Filled):
            value = np.full((directions, 1, units), value.value, np.float32)
        if value is None:
            value = np.zeros((directions, 1, units), np.float32)
        if not isinstance(value, np.ndarray) or value.size % (directions * units):
            raise Refused(f"{operation.name!r} starts from a state that is computed in the graph")
        rows = value.reshape(directions, -1, units)
        if (rows != rows[:, :1]).any():
            raise Refused(f"{operation.name!r} starts from another state in each row of the batch")
        found.append(rows[k, 0])
    c, h = found
    if not c.any() and not h.any():
        return None
    return (c if operation.op == "LSTM" else c[:0]), h
