"""The dense layer, before an LSTM or as the head after it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm.layers.activations import activation_named
from fastlstm.layers.weights import weight


class Dense:
    """y = activation(x kernel + bias), at every time step.

    kernel      (D, V)
    bias        (V,)  zeros when None
    activation  None for none; "softmax" is over the V outputs
    Source: tf.layers.dense, tf.contrib.layers.fully_connected, keras.layers.Dense.
    """

    def __init__(
        self, kernel: ArrayLike, bias: ArrayLike | None = None, activation: str | None = None, *, name: str = "dense"
    ) -> None:
        self.name = name
        self.kernel = weight(kernel, (None, None), name=f"{name}: kernel", layout="(D, V)")
        raw = np.zeros(self.output_size, self.kernel.dtype) if bias is None else bias
        self.bias = weight(raw, (self.output_size,), name=f"{name}: bias", layout="(V,)")
        self.activation = activation_named(activation, where=f"{name}: activation")

    @property
    def input_size(self) -> int:
        return self.kernel.shape[0]

    @property
    def output_size(self) -> int:
        return self.kernel.shape[1]

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        return {"kernel": self.kernel, "bias": self.bias}

    def config(self) -> dict[str, Any]:
        return {"activation": self.activation.label, "name": self.name}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.floating]], config: dict[str, Any]) -> Dense:
        return cls(arrays["kernel"], arrays["bias"], **config)

    def __repr__(self) -> str:
        return f"Dense({self.input_size}, {self.output_size}, {self.activation.label})"
