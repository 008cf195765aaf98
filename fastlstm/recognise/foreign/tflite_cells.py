"""TensorFlow Lite's LSTM operators -> parts.

Source: tensorflow/lite/kernels/{lstm_shared.h,lstm_eval.cc,lstm.cc}: which input is what.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.layers.lstm import coupled_gates
from fastlstm.recognise.foreign.flow import STATE, Filled, Refused, Signal, Unclear
from fastlstm.recognise.foreign.parts import COUPLED, Part, Setting, lstm

if TYPE_CHECKING:
    from fastlstm.formats.dataflow import Operation
    from fastlstm.recognise.foreign.flow import Flow

STATE_OUT = Unclear(STATE)
_FUSED = {"NONE": "linear", "RELU": "relu", "RELU6": "relu6", "TANH": "tanh"}
_FULL, _COUNT = 24, 17  # inputs of the full kernel; those from the first weights to the projection's bias


def full_cell(flow: Flow, operation: Operation, first: int, states: int) -> tuple[Part, int]:
    """An LSTM of the full kernel, and the size of its output.

    first   the number of its first weights among the operator's inputs: 4 of the input, 4 recurrent, 3 peepholes,
            4 biases (each i, f, c, o; peepholes i, f, o), the projection and its bias
    states  the number of its first state (h, then c); 0 stands for the usual place after the weights
    """
    name = operation.name
    inputs = [flow.input(operation, first + k) for k in range(_COUNT)]
    wrong = [k for k, value in enumerate(inputs) if value is not None and not isinstance(value, np.ndarray)]
    if wrong:
        raise Refused(f"{name!r}: input {first + wrong[0]} is no constant")
    if operation.attrs.get("diagonal"):
        raise Refused(f"{name!r} with diagonal recurrent weights")
    if len(operation.inputs) in (20, _FULL) and any(operation.inputs[20:]):
        raise Refused(
            f"{name!r} normalises its gates and not its cell state, which no layer of fastlstm does; convert a model "
            f"without layer normalisation"
        )
    weights, recurrent, peepholes, biases = inputs[:4], inputs[4:8], inputs[8:11], inputs[11:15]
    projection, projection_bias = inputs[15:17]
    if projection_bias is not None and projection_bias.any():
        raise Refused(f"{name!r}: a projection with a bias, which no layer of fastlstm has")
    _check(name, [weights[1], weights[2], weights[3]], [recurrent[1], recurrent[2], recurrent[3]], biases[1:])
    settings = _settings(operation)
    arguments: dict[str, Any] = {}
    if projection is not None:
        arguments["projection"] = projection.T
        if operation.attrs["proj_clip"] > 0:
            settings["proj_clip"] = (operation.attrs["proj_clip"], "read", "option proj_clip")
    coupled = weights[0] is None
    some = [p for p in peepholes if p is not None]
    if some and (len(some) != (2 if coupled else 3)):
        raise Refused(f"{name!r} has {len(some)} of its peepholes")
    start = 1 if coupled else 0
    if not coupled:
        _check(name, [weights[0]], [recurrent[0]], biases[:1])
    together = {
        "kernel": _side_by_side(weights[start:]),
        "recurrent_kernel": _side_by_side(recurrent[start:]),
        "bias": np.concatenate(biases[start:]),
    }
    if coupled:
        made = coupled_gates(**together, gate_order="fco", peepholes=some or None)
        settings[COUPLED] = (True, "read", "no weights of the input gate: i = 1 - f, as weights")
        arguments |= made
    else:
        arguments |= together | {"gate_order": "ifco"} | ({"peepholes": tuple(some)} if some else {})
    initial = _initial(flow, operation, states or first + _COUNT)
    size = arguments["recurrent_kernel"].shape[0]
    return lstm(name, arguments, settings, initial=initial), size


def basic_cell(flow: Flow, operation: Operation) -> tuple[Part, int]:
    """An LSTM of the basic kernel: weights (4H, D + H) of [x, h], gates i, c, f, o."""
    weights, bias = flow.constant(operation, 2), flow.constant(operation, 3)
    if weights.ndim != 2 or weights.shape[0] % 4 or bias.shape != weights.shape[:1]:
        raise Refused(f"{operation.name!r}: weights of shape {weights.shape}, bias {bias.shape}; expected (4H, D + H)")
    units = weights.shape[0] // 4
    cut = weights.shape[1] - units
    arguments = {
        "kernel": weights[:, :cut].T,
        "recurrent_kernel": weights[:, cut:].T,
        "bias": bias,
        "gate_order": "icfo",
    }
    settings = _settings(operation)
    settings["activation"] = ("tanh", "inferred", "the basic kernel has no other")
    return lstm(operation.name, arguments, settings), units


def _settings(operation: Operation) -> dict[str, Setting]:
    fused = operation.attrs["fused"]
    if fused not in _FUSED:
        raise Refused(f"{operation.name!r}: activation {fused}")
    settings: dict[str, Setting] = {
        "activation": (_FUSED[fused], "read", "option fused_activation_function"),
        "recurrent_activation": ("sigmoid", "inferred", "TensorFlow Lite's LSTM has no other"),
    }
    if operation.attrs["cell_clip"] > 0:
        settings["cell_clip"] = (operation.attrs["cell_clip"], "read", "option cell_clip")
    return settings


def _check(name: str, weights: Sequence[Any], recurrent: Sequence[Any], biases: Sequence[Any]) -> None:
    """Raises Refused unless every gate has its weights and bias, of one shape each."""
    if any(array is None for array in (*weights, *recurrent, *biases)):
        raise Refused(f"{name!r}: a gate without weights or bias")
    shapes = [{array.shape for array in arrays} for arrays in (weights, recurrent, biases)]
    if any(len(s) != 1 for s in shapes) or weights[0].ndim != 2 or recurrent[0].ndim != 2 or biases[0].ndim != 1:
        raise Refused(f"{name!r}: the gates' weights have different shapes: {shapes}")


def _side_by_side(gates: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """(H, D) of each gate -> (D, 4H)."""
    return np.concatenate([gate.T for gate in gates], axis=1)


def _initial(flow: Flow, operation: Operation, first: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """(c, h) that the operator starts from, None for zeros: variables of TensorFlow Lite are zero at first."""
    found = []
    for k in (first + 1, first):
        name = operation.inputs[k] if k < len(operation.inputs) else ""
        if not name or (name not in flow.found and name not in flow.tensors.specs):
            return None  # a variable
        value = flow.value(name)
        if isinstance(value, Filled) and not value.value:
            return None
        if isinstance(value, (Signal, Unclear)):
            flow.note(f"{operation.name!r} starts from a state that is an input; pass it to run as the state")
            return None
        found.append(np.asarray(value).reshape(-1, np.shape(value)[-1]))
    if any((rows != rows[:1]).any() for rows in found):
        raise Refused(f"{operation.name!r} starts from another state in each row of the batch")
    return (found[0][0], found[1][0]) if any(rows.any() for rows in found) else None
