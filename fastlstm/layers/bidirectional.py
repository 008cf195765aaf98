"""Two stacks of layers over one sequence, one of them from its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import ArgumentError, FastLSTMError, WeightError
from fastlstm.layers.dense import Dense
from fastlstm.layers.gru import GRU
from fastlstm.layers.lstm import LSTM

Inner = LSTM | GRU | Dense

#: How the two outputs become one. None is "concat": the two stand side by side.
MERGE_MODES = ("concat", "sum", "mul", "ave")

_INNER_TYPES: dict[str, type[LSTM] | type[GRU] | type[Dense]] = {"LSTM": LSTM, "GRU": GRU, "Dense": Dense}
_DIRECTIONS = ("forward", "backward")


class Bidirectional:
    """`forward` over the sequence and `backward` over it from its end, their outputs merged step by step.

    forward, backward  LSTM, GRU and Dense layers, one after the other; at least one LSTM or GRU each
    merge_mode         "concat", "sum", "mul", "ave" ((f + b) / 2); None, two outputs in Keras, is run as "concat"
    return_sequences   False: backward's output at the first step, where it has seen all, stands beside every step's of
                       forward, so that the last step has what Keras gives with return_sequences=False

    Of a row with a length, backward starts at the row's last valid step. The state is that of forward's layers and then
    that of backward's. A model with such a layer has `run` only: backward's first output needs the last input.
    Raises WeightError if the layers do not fit each other, ArgumentError.
    Source: keras.layers.Bidirectional, tf.nn.bidirectional_dynamic_rnn.
    """

    def __init__(
        self,
        forward: Sequence[Inner],
        backward: Sequence[Inner],
        merge_mode: str | None = "concat",
        *,
        return_sequences: bool = True,
        name: str = "bidirectional",
    ) -> None:
        self.name = name
        self.forward = _stack(forward, f"{name}: forward")
        self.backward = _stack(backward, f"{name}: backward")
        if merge_mode is not None and merge_mode not in MERGE_MODES:
            raise ArgumentError(
                f"{name}: merge_mode is {merge_mode!r}; expected one of {', '.join(map(repr, MERGE_MODES))}, or None"
            )
        self.merge_mode = merge_mode
        self.return_sequences = bool(return_sequences)
        ends = [(stack[0].input_size, stack[-1].output_size) for stack in (self.forward, self.backward)]
        if ends[0][0] != ends[1][0]:
            raise WeightError(
                f"{name}: forward takes {ends[0][0]} elements and backward {ends[1][0]}; expected the same"
            )
        if not self._side_by_side and ends[0][1] != ends[1][1]:
            raise WeightError(
                f"{name}: forward gives {ends[0][1]} elements and backward {ends[1][1]}; merge_mode {merge_mode!r} "
                f"needs the same number, 'concat' does not"
            )

    @property
    def _side_by_side(self) -> bool:
        return self.merge_mode in (None, "concat")

    @property
    def input_size(self) -> int:
        return self.forward[0].input_size

    @property
    def output_size(self) -> int:
        one, other = self.forward[-1].output_size, self.backward[-1].output_size
        return one + other if self._side_by_side else one

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        """Those of the layers inside: "forward/0/kernel" ..."""
        return {
            f"{direction}/{k}/{array}": a
            for direction in _DIRECTIONS
            for k, layer in enumerate(getattr(self, direction))
            for array, a in layer.arrays().items()
        }

    def config(self) -> dict[str, Any]:
        """Everything else: of each layer inside {"type", "config"}."""
        inside = {
            direction: [{"type": type(layer).__name__, "config": layer.config()} for layer in getattr(self, direction)]
            for direction in _DIRECTIONS
        }
        settings = {"merge_mode": self.merge_mode, "return_sequences": self.return_sequences, "name": self.name}
        return {**inside, **settings}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.floating]], config: dict[str, Any]) -> Bidirectional:
        """The inverse of `arrays` and `config`.  Raises KeyError for an array that is missing."""
        stacks = {direction: _restored(arrays, config.get(direction), direction) for direction in _DIRECTIONS}
        return cls(**dict(config, **stacks))

    def __repr__(self) -> str:
        stacks = ", ".join(f"[{', '.join(map(repr, stack))}]" for stack in (self.forward, self.backward))
        return f"Bidirectional({stacks}, {self.merge_mode}{'' if self.return_sequences else ', last'})"


def _stack(layers: Sequence[Inner], where: str) -> tuple[Inner, ...]:
    """`layers`, checked; a layer by itself is a stack of one."""
    stack = (layers,) if isinstance(layers, Inner) else tuple(layers) if isinstance(layers, list | tuple) else ()
    for k, layer in enumerate(stack):
        if not isinstance(layer, Inner):
            raise ArgumentError(f"{where}[{k}] is {type(layer).__name__}; expected LSTM, GRU or Dense")
        if k and layer.input_size != stack[k - 1].output_size:
            raise WeightError(
                f"{where}[{k}], {layer!r}, takes {layer.input_size} elements; "
                f"{where}[{k - 1}], {stack[k - 1]!r}, gives {stack[k - 1].output_size}"
            )
    if not any(isinstance(layer, LSTM | GRU) for layer in stack):
        raise ArgumentError(f"{where} is {layers!r}; expected a list of layers with at least one LSTM or GRU")
    return stack


def _restored(arrays: dict[str, NDArray[np.floating]], entries: Any, direction: str) -> list[Inner]:
    if not isinstance(entries, list) or not entries:
        raise ArgumentError(f"{direction} is {entries!r}; expected a list of layers")
    layers = []
    for k, entry in enumerate(entries):
        prefix = f"{direction}/{k}/"
        known = isinstance(entry, dict) and isinstance(entry.get("config"), dict)
        if not known or entry.get("type") not in list(_INNER_TYPES):
            raise ArgumentError(f"{direction}[{k}] is no description of an LSTM, GRU or Dense layer")
        own = {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}
        try:
            layers.append(_INNER_TYPES[entry["type"]].from_arrays(own, entry["config"]))
        except KeyError as error:
            raise KeyError(f"{prefix}{error.args[0]}") from None
        except FastLSTMError as error:
            raise type(error)(f"{direction}[{k}]: {error}") from error
    return layers
