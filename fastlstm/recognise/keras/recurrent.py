"""Keras' LSTM and GRU, their cells and their cuDNN versions -> layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import ArgumentError, RecognitionError
from fastlstm.layers import GRU, LSTM
from fastlstm.recognise.findings import Finding
from fastlstm.recognise.keras.chain import Link
from fastlstm.recognise.keras.kinds import CUDNN, GRUS
from fastlstm.recognise.keras.reader import Reader
from fastlstm.recognise.keras.weights import GATES, WEIGHT_NAMES, from_cudnn

Arrays = list[NDArray[Any]]

#: What other sources' cells have and Keras' do not.
_NOT_KERAS = {"cell_clip": None, "proj_clip": None, "residual": False}


def recurrent_layer(link: Link, width: int | None, reader: Reader, *, zero_output: bool | None = None) -> LSTM | GRU:
    """The layer that a link of kind LSTM, GRU, CuDNNLSTM or CuDNNGRU stands for.

    width        elements of its input; None where nothing before it says
    zero_output  zero_output_for_mask, where the Bidirectional around it decides
    Raises RecognitionError for weights that do not fit, or a setting that nothing decides.
    """
    return (_gru if link.kind in GRUS else _lstm)(link, width, reader, zero_output)


def _lstm(link: Link, width: int | None, reader: Reader, zero_output: bool | None) -> LSTM:
    book, name = reader.book, link.name
    (kernel, recurrent, *rest), gates = _arrays(link, width, reader, (4,))
    settings = _settings(link, reader, zero_output)
    forget_bias = book.note(name, "forget_bias", 0.0, "inferred", "Keras adds none: it is in the bias already")
    options = {}
    for what, none in _NOT_KERAS.items():
        if book.given(what):
            options[what] = book.note(name, what, none, "inferred", "Keras' LSTM has no such thing")
    bias = rest[0] if rest else None
    return LSTM(kernel, recurrent, bias, gate_order=gates, forget_bias=forget_bias, **settings, **options)


def _gru(link: Link, width: int | None, reader: Reader, zero_output: bool | None) -> GRU:
    after, source = _reset_after(link, reader)
    (kernel, recurrent, *rest), gates = _arrays(link, width, reader, (2, 3) if after else (3,))
    settings = _settings(link, reader, zero_output)
    if rest and reader.bare and reader.gru_without_bias:  # what the caller says is said of that one
        said = after
        reader.book.findings.append(Finding(link.name, "reset_after", after, *source))
    else:
        said = reader.book.note(link.name, "reset_after", after, *source)
    if said != after and rest:
        raise ArgumentError(
            f"load(reset_after={said!r}): the bias of layer {link.name!r} in {reader.source} is that of a GRU with "
            f"reset_after={after}; leave reset_after out"
        )
    after = said
    biases: Arrays = list(rest[0]) if after and rest else rest
    return GRU(kernel, recurrent, *biases, gate_order=gates, reset_after=after, **settings)


def _settings(link: Link, reader: Reader, zero_output: bool | None) -> dict[str, Any]:
    """What both kinds of layer have, as their constructors call it."""
    reader.use_bias(link)
    settings: dict[str, Any] = {
        "activation": reader.activation(link, "activation", "tanh", "activation"),
        "recurrent_activation": reader.recurrent_activation(link),
        "name": link.name,
    }
    reader.run_settings(link)
    if zero_output is None and "zero_output_for_mask" in link.config:
        zero_output = reader.flag(link, "zero_output_for_mask", False)
    return settings | {"zero_output_for_mask": bool(zero_output)}


def _arrays(link: Link, width: int | None, reader: Reader, bias: tuple[int, ...]) -> tuple[Arrays, str]:
    """[kernel (D, GH), recurrent kernel (H, GH), bias] and the order of the gates; no bias where there is none.

    bias  its shape in units of H: (4,), (3,), or (2, 3) for a GRU with reset_after
    """
    gates, gru = GATES[link.kind], link.kind in GRUS
    if len(link.weights) == gates * len(WEIGHT_NAMES[link.kind]):  # Keras 1, gate by gate
        units = reader.spec(link, 1, (None, None), "(H, H)")[0]
        for k in range(len(link.weights)):
            shape = ((width, units), (units, units), (units,))[k % 3]
            reader.spec(link, k, shape, "(D, H), (H, H) or (H,) of one gate")
        reader.size(link, "units", units)
        by_gate = [reader.array(link, k) for k in range(len(link.weights))]
        return [np.concatenate(by_gate[k::3], axis=-1) for k in range(3)], "zrh" if gru else "keras1"
    units = reader.spec(link, 1, (None, None), f"(H, {gates}H)")[0]
    if link.kind in CUDNN:
        bias = (2 * gates,)
    shapes = ((width, gates * units), (units, gates * units), (*bias[:-1], bias[-1] * units))
    bias_layout = f"({', '.join(map(str, bias))}H)" if len(bias) > 1 else f"({bias[0]}H,)"
    for k, layout in enumerate((f"(D, {gates}H)", f"(H, {gates}H)", bias_layout)[: len(link.weights)]):
        reader.spec(link, k, shapes[k], layout)
    reader.size(link, "units", units)
    arrays = [reader.array(link, k) for k in range(len(link.weights))]
    if link.kind in CUDNN:
        arrays = list(from_cudnn(link.kind, *arrays))
    return arrays, "zrh" if gru else "keras"


def _reset_after(link: Link, reader: Reader) -> tuple[bool, tuple[Any, str]]:
    """reset_after, and how it is known: the configuration says, or the bias has two rows with it and one without."""
    key = "reset_after"
    if link.kind in CUDNN:
        return True, ("inferred", "cuDNN's GRU is one with reset_after")
    if key in link.config:
        return bool(link.config[key]), ("read", f"config key {key!r} of layer {link.name!r}")
    if len(link.weights) > 2:
        dims = len(reader.artefact.tensors.specs[link.weights[2]].shape)
        return dims == 2, ("inferred", f"the bias has {dims} dimension{'s' * (dims > 1)}")
    if not reader.bare:
        return False, ("inferred", "Keras until 2.1 had no other")
    if reader.book.given(key):
        return reader.book.value(key), ("assumed", reader.unsaid)
    raise RecognitionError(
        f"{reader.source}: layer {link.name!r}: a GRU without a bias, and whether its reset gate comes after the "
        f"recurrent kernel is unknown ({reader.unsaid}); it changes the numbers: reset_after was False by default in "
        f"Keras 2 and TensorFlow 1, and is True since TensorFlow 2. Pass reset_after=True or reset_after=False"
    )
