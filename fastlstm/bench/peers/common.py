"""What the peers have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import ArgumentError
from fastlstm.layers import GRU, LSTM, Dense, Embedding, Layer, OneHot


class Step(NamedTuple):
    """One way to run a model a step at a time, on one sequence.

    call   x -> y, NumPy in and NumPy out, the state carried
    shape  that it wants x in; None for (D,), or an id as Python's int
    """

    call: Callable[[Any], Any]
    shape: tuple[int, ...] | None = None

    def given(self, x: NDArray[Any]) -> Any:
        """x (D,), or an id (), as `call` wants it."""
        if self.shape is not None:
            return np.ascontiguousarray(x.reshape(self.shape))
        return x if x.ndim else int(x)


class CannotExpress(ArgumentError):
    """A peer has no such layer, or not with these options."""


#: LSTM's options that no peer has; an attribute that is None or False is not used.
_OPTIONS = (
    *("peepholes", "projection", "cell_clip", "proj_clip", "residual", "layer_norm", "highway"),
    *("zero_output_for_mask", "mask_zero"),
)


def check_plain(layers: Iterable[Layer]) -> None:
    """Raise CannotExpress unless these are LSTM, GRU, Dense, Embedding and OneHot layers without rarer options."""
    for layer in layers:
        if not isinstance(layer, LSTM | GRU | Dense | Embedding | OneHot):
            raise CannotExpress(f"layer {layer.name!r} is a {type(layer).__name__}")
        used = [name for name in _OPTIONS if not (getattr(layer, name, None) is None or getattr(layer, name) is False)]
        if used:
            raise CannotExpress(f"layer {layer.name!r} has {used[0]}")


def found(table: dict[str, Any], layer: Any, attribute: str = "activation") -> Any:
    """What `table` has for the layer's activation.  Raises CannotExpress."""
    label = getattr(layer, attribute).label
    if label not in table:
        raise CannotExpress(f"layer {layer.name!r} has {attribute} {label!r}")
    return table[label]


def zero_states(layers: Iterable[Layer], dtype: np.dtype) -> list[NDArray[Any]]:
    """c (1, H) and h (1, H) of each LSTM, h of each GRU."""
    count = [(layer, 2 if isinstance(layer, LSTM) else 1) for layer in layers if isinstance(layer, LSTM | GRU)]
    return [np.zeros((1, layer.hidden_size), dtype) for layer, states in count for _ in range(states)]
