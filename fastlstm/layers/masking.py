"""What says which time steps are padding."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from fastlstm.errors import ArgumentError
from fastlstm.layers.unweighted import Unweighted
from fastlstm.layers.weights import size_of


class Masking(Unweighted):
    """A step whose elements are all `mask_value` is masked, for every layer after this one; its elements become 0.

    size  D

    A masked step leaves the state of the LSTM and GRU layers as it is; they put out their h once more, or zeros with
    zero_output_for_mask; what stands around them (residual, highway) goes on with that. Other layers run as always. The
    mask ends at the next Masking, which looks at its own input alone. One difference from Keras: where a sequence goes
    on from a state and its first steps are masked, h is the state's; Keras gives zeros, whatever came before. On device
    "cpu" a denormal element is a zero.
    Raises ArgumentError.  Source: keras.layers.Masking.
    """

    def __init__(self, size: int, mask_value: float = 0.0, *, name: str = "masking") -> None:
        self.name = name
        self.size = size_of(size, f"{name}: size")
        if not isinstance(mask_value, Real) or not np.isfinite(float(mask_value)):
            raise ArgumentError(f"{name}: mask_value is {mask_value!r}; expected a finite number")
        self.mask_value = float(mask_value)

    def config(self) -> dict[str, Any]:
        return {"size": self.size, "mask_value": self.mask_value, "name": self.name}

    def __repr__(self) -> str:
        return f"Masking({self.size}, {self.mask_value})"


class StepMask(Unweighted):
    """Takes size + 1 elements and gives the first `size`; the last says with 1 that the step is masked, else 0.

    What runs a model in pieces hands the mask of one on to the next with it; no model is made of it.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    @property
    def input_size(self) -> int:
        return self.size + 1

    def config(self) -> dict[str, Any]:
        return {"size": self.size}
