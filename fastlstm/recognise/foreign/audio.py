"""NeuralAmpModeler's `.nam` and GuitarML's JSON -> layers.

Sources: NeuralAmpModelerCore/NAM/lstm.cpp; GuitarML/Automated-GuitarAmpModelling/CoreAudioML/networks.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import ArgumentError, FormatError, RecognitionError
from fastlstm.recognise.findings import Recognised
from fastlstm.recognise.foreign.parts import EXPECTED, Part, Setting, build, dense, gru, lstm
from fastlstm.recognise.overrides import Book

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

MAX_LAYERS = 1000
_LINEAR: Setting = ("linear", "inferred", "the head has no activation")


def recognise_nam(artefact: Artefact, *, scope: str | None, book: Book) -> Recognised:
    """A NAM's layers: of each W (4H, D + H) of [x, h], gates i f g o, row by row, bias, first h and c; then the head.

    Raises RecognitionError, ArgumentError, FormatError.
    """
    source, described = str(artefact.path), artefact.description
    _no_scope(source, scope)
    if described["architecture"] != "LSTM":
        raise RecognitionError(
            f"{source}: a NeuralAmpModeler model of architecture {described['architecture'][:40]!r}; expected LSTM. "
            f"{EXPECTED}"
        )
    config = described.get("config")
    layers, size, hidden = (_whole(config, key, source) for key in ("num_layers", "input_size", "hidden_size"))
    outputs = _whole(config, "out_channels", source, 1)
    weights, at, parts = artefact.tensors["weights"], 0, []
    expected = sum(4 * hidden * ((hidden if k else size) + hidden) + 6 * hidden for k in range(layers))
    expected += outputs * (hidden + 1)
    if weights.shape != (expected,):
        raise FormatError(
            f"{source}: {weights.size} weights, expected {expected} for {layers} layers of {hidden} units, {size} "
            f"inputs and {outputs} outputs; the file is damaged"
        )

    def take(*shape: int) -> NDArray[Any]:
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return weights[at - count : at].reshape(shape)

    for k in range(layers):
        inputs = hidden if k else size
        both, bias = take(4 * hidden, inputs + hidden), take(4 * hidden)
        h, c = take(hidden), take(hidden)
        arguments = {
            "kernel": both[:, :inputs].T,
            "recurrent_kernel": both[:, inputs:].T,
            "bias": bias,
            "gate_order": "ifgo",
        }
        parts.append(lstm(f"layer {k}", arguments, initial=(c, h)))
    head = take(outputs, hidden)
    parts.append(dense("head", head.T, take(outputs), _LINEAR))
    notes = ["NeuralAmpModeler runs half a second of silence before it starts; that is left to you"]
    rate = described.get("sample_rate")
    if isinstance(rate, (int, float)) and not isinstance(rate, bool):
        book.note("", "sample_rate", rate, "read", "key 'sample_rate'")
    return build(parts, artefact, book, notes)


def recognise_guitarml(artefact: Artefact, *, scope: str | None, book: Book) -> Recognised:
    """One LSTM or GRU and a dense layer, to whose output the first `skip` inputs are added."""
    source, data = str(artefact.path), artefact.description["model_data"]
    _no_scope(source, scope)
    kind, layers = data.get("unit_type", "LSTM"), _whole(data, "num_layers", source, 1)
    skip = _whole(data, "skip", source, 1, least=0)
    names = ["rec.weight_ih_l0", "rec.weight_hh_l0", "rec.bias_ih_l0", "rec.bias_hh_l0", "lin.weight", "lin.bias"]
    missing = [name for name in names if name not in artefact.tensors and "bias" not in name]
    if missing or kind not in ("LSTM", "GRU") or layers != 1:
        raise RecognitionError(
            f"{source}: {layers} layers of {kind!r}{', without ' + ', '.join(missing) if missing else ''}; expected "
            f"one LSTM or GRU, weights rec.weight_ih_l0 ..., and a dense layer, lin.weight. {EXPECTED}"
        )
    kernel, recurrent, first, second, weight, bias = (artefact.tensors.get(name) for name in names)
    gates = 4 if kind == "LSTM" else 3
    units = recurrent.shape[-1]
    shapes = [kernel.shape[:1], recurrent.shape, weight.shape[1:], *(b.shape for b in (first, second) if b is not None)]
    if shapes[:3] != [(gates * units,), (gates * units, units), (units,)] or {*shapes[3:]} - {(gates * units,)}:
        raise FormatError(f"{source}: weights of shapes {shapes} do not fit each other; the file is damaged")
    none = np.zeros(gates * units, np.float32)
    first, second = none if first is None else first, none if second is None else second
    if bias is None:
        bias = np.zeros(weight.shape[0], np.float32)
    how = ("read", "key 'skip'") if "skip" in data else ("assumed", "GuitarML's default")
    book.note("", "skip", skip, *how)
    outputs, inputs = weight.shape[0], kernel.shape[1]
    if skip not in (0, outputs) or skip > inputs:
        raise RecognitionError(
            f"{source}: skip {skip} for {outputs} outputs and {inputs} inputs; expected 0 or {outputs}"
        )
    notes = []
    pieces = [kernel.T, recurrent.T, first, second, weight.T]
    parts: list[Part] = []
    if skip:
        expand, pieces = _with_units_for_the_input(pieces, skip, gates)
        parts.append(dense("input", expand, None, ("linear", "inferred", "hands the input on")))
        notes.append(
            f"the model adds its input to its output: run as {skip} more units that are always 0, to which a residual "
            f"connection adds the input, so its state has {units + skip} elements of which the last {skip} stay 0"
        )
    kernel, recurrent, first, second, weight = pieces
    arguments = {"kernel": kernel, "recurrent_kernel": recurrent, "gate_order": "pytorch"}
    settings: dict[str, Setting] = {"residual": (True, "read", "key 'skip'")} if skip else {}
    if kind == "LSTM":
        parts.append(lstm("rec", arguments | {"bias": first + second}, settings))
    else:
        parts.append(gru("rec", arguments | {"bias": first, "recurrent_bias": second, "reset_after": True}, settings))
    parts.append(dense("lin", weight, bias, _LINEAR, ("lin.weight", "lin.bias")))
    return build(parts, artefact, book, notes)


def _with_units_for_the_input(
    pieces: list[NDArray[Any]], skip: int, gates: int
) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Exactly y = dense(h) + x[:skip] from a residual layer and a dense one.

    pieces  kernel (D, gH), recurrent kernel (H, gH), two biases (gH,), head (H, V = skip)
    ->      the dense layer (D, H + skip) that comes first, and the pieces for H + skip units

    A unit whose weights are all 0 stays 0 (tanh(0) is), so the residual sum gives there the input that the first layer
    put there. The other places of that layer's output would spoil h and are 0: the kernel reads the input from the last
    `skip` places, which therefore have to be all of it.
    """
    kernel, recurrent, first, second, head = pieces
    inputs, units = kernel.shape[0], recurrent.shape[0]
    if inputs != skip:
        raise RecognitionError(f"{inputs} inputs of which {skip} are added to the output; expected the same number")
    expand = np.zeros((inputs, units + skip), np.float32)
    expand[:, units:] = np.eye(skip)

    def wider(array: NDArray[Any]) -> NDArray[Any]:
        blocks = np.split(array, gates, axis=-1)
        return np.concatenate([np.pad(b, [(0, 0)] * (b.ndim - 1) + [(0, skip)]) for b in blocks], axis=-1)

    rows = np.zeros((units, gates * (units + skip)), np.float32)
    return expand, [
        np.concatenate([rows, wider(kernel)]),
        np.concatenate([wider(recurrent), np.zeros((skip, gates * (units + skip)), np.float32)]),
        wider(first),
        wider(second),
        np.concatenate([head, np.eye(skip, dtype=np.float32)]),
    ]


def _no_scope(source: str, scope: str | None) -> None:
    if scope is not None:
        raise ArgumentError(f"{source}: scope is {scope!r}, but such a file holds one model; leave scope out")


def _whole(config: Any, key: str, source: str, default: int | None = None, least: int = 1) -> int:
    """A size in the configuration.  Raises FormatError."""
    value = config.get(key, default) if isinstance(config, dict) else None
    if type(value) is not int or not least <= value <= (MAX_LAYERS if key == "num_layers" else 1 << 20):
        raise FormatError(
            f"{source}: {key} is {str(value)[:40]!r}, expected a whole number from {least} on; the file is damaged"
        )
    return value
