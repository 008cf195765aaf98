"""A cell's variables and hyper-parameters to a layer, one function a kind of layer."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from fastlstm.layers import GRU, LSTM, Highway, LayerNorm
from fastlstm.layers.lstm import coupled_gates
from fastlstm.recognise.tensorflow1.keras_gru_cell import RECURRENT_BIAS
from fastlstm.recognise.tensorflow1.keras_names import RECURRENT
from fastlstm.recognise.tensorflow1.names import CellVariables


class Reading(Protocol):
    """What a layer is made from: weights, and hyper-parameters that are noted in the report as they are asked for."""

    def tensor(self, name: str) -> Any:
        """The variable's value."""

    def note(self, what: str) -> Any:
        """The hyper-parameter called `what`, or what the caller gave in its place."""

    def function(self, what: str) -> Any:
        """The same for an activation.  Raises RecognitionError for one that fastlstm does not have."""

    def knows(self, what: str) -> bool:
        """Whether the cell has that hyper-parameter."""


def lstm_layer(cell: CellVariables, read: Reading) -> LSTM:
    """An LSTM, with layer norm where the cell has it."""
    kernel = read.tensor(cell.kernel)
    peepholes = read.note("use_peepholes")
    projection = _projection(cell, read)
    order = read.note("gate_order")
    norm = None
    bias = read.tensor(cell.bias) if cell.bias else None
    if read.knows("layer_norm") and read.note("layer_norm"):
        letters = [letter for letter in order.replace("c", "j").replace("g", "j")]
        norm = _layer_norm(cell, read, np.concatenate([read.tensor(cell.more[f"{k}/gamma"]) for k in letters]))
        bias = np.concatenate([read.tensor(cell.more[f"{k}/beta"]) for k in letters])
    return LSTM(
        kernel[: cell.input_size],
        read.tensor(cell.more[RECURRENT]) if RECURRENT in cell.more else kernel[cell.input_size :],
        bias,
        gate_order=order,
        forget_bias=read.note("forget_bias"),
        peepholes=[read.tensor(name) for name in cell.peepholes or ()] if peepholes else None,
        layer_norm=norm,
        **_rest(cell, read, projection),
    )


def coupled_layer(cell: CellVariables, read: Reading) -> LSTM:
    """An LSTM whose input gate is minus the forget gate before the sigmoid."""
    kernel = read.tensor(cell.kernel)
    peepholes = read.note("use_peepholes")
    projection = _projection(cell, read)
    order = read.note("gate_order")
    read.note("coupled_gates")
    bias, gamma = read.tensor(cell.bias) if cell.bias else None, None
    normed = read.knows("layer_norm") and read.note("layer_norm")
    if normed:
        gamma = np.concatenate([read.tensor(cell.more[f"{k}/gamma"]) for k in order])
        bias = np.concatenate([read.tensor(cell.more[f"{k}/beta"]) for k in order])
    gates = coupled_gates(
        kernel[: cell.input_size],
        kernel[cell.input_size :],
        bias,
        gate_order=order,
        forget_bias=read.note("forget_bias"),
        peepholes=[read.tensor(name) for name in cell.peepholes or ()] if peepholes else None,
        gamma=gamma,
    )
    gamma = gates.pop("gamma", None)
    norm = _layer_norm(cell, read, gamma) if normed else None
    return LSTM(**gates, layer_norm=norm, **_rest(cell, read, projection))


def gru_layer(cell: CellVariables, read: Reading) -> GRU:
    """A GRU; its candidate's columns follow those of the gates."""
    size = cell.input_size
    gates, candidate = read.tensor(cell.kernel), read.tensor(cell.more["candidate kernel"])
    both = np.concatenate([gates, candidate], axis=1)
    assert cell.bias is not None
    bias = np.concatenate([read.tensor(cell.bias), read.tensor(cell.more["candidate bias"])])
    return GRU(
        both[:size],
        both[size:],
        bias,
        gate_order=read.note("gate_order"),
        reset_after=read.note("reset_after"),
        activation=read.function("activation"),
        recurrent_activation=read.function("recurrent_activation"),
        residual=read.note("residual"),
        highway=_highway(read),
        name=cell.scope,
    )


def keras_gru_layer(cell: CellVariables, read: Reading) -> GRU:
    """A GRU; its biases stand in two rows of one variable where the reset gate comes after the recurrent kernel."""
    after = read.note("reset_after")
    biases = [read.tensor(name) for name in (cell.bias, cell.more.get(RECURRENT_BIAS)) if name]
    if len(biases) == 1 and biases[0].ndim == 2:
        biases = list(biases[0])
    return GRU(
        read.tensor(cell.kernel),
        read.tensor(cell.more[RECURRENT]),
        *biases,
        gate_order=read.note("gate_order"),
        reset_after=after,
        activation=read.function("activation"),
        recurrent_activation=read.function("recurrent_activation"),
        residual=read.note("residual"),
        highway=_highway(read),
        name=cell.scope,
    )


def _rest(cell: CellVariables, read: Reading, projection: Any) -> dict[str, Any]:
    """The arguments that every LSTM has."""
    return {
        "activation": read.function("activation"),
        "recurrent_activation": read.function("recurrent_activation"),
        "projection": projection,
        "cell_clip": read.note("cell_clip"),
        "proj_clip": None if projection is None else read.note("proj_clip"),
        "residual": read.note("residual"),
        "highway": _highway(read),
        "name": cell.scope,
    }


def _projection(cell: CellVariables, read: Reading) -> Any:
    read.note("num_proj")
    return read.tensor(cell.projection) if cell.projection else None


def _layer_norm(cell: CellVariables, read: Reading, gamma: Any) -> LayerNorm:
    return LayerNorm(
        gamma, read.tensor(cell.more["c/gamma"]), read.tensor(cell.more["c/beta"]), epsilon=read.note("epsilon")
    )


def _highway(read: Reading) -> Highway | None:
    """The variables stand in the order of Highway's arguments."""
    names = read.note("highway") if read.knows("highway") else None
    return Highway(*map(read.tensor, names)) if names else None
