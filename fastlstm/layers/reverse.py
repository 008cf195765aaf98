"""What turns the time axis round."""

from __future__ import annotations

from typing import Any

from fastlstm.layers.unweighted import Unweighted
from fastlstm.layers.weights import size_of


class Reverse(Unweighted):
    """The last step first. Of a row with a length, the steps before it alone.

    size  D
    An LSTM with go_backwards is a Reverse and then the LSTM: its outputs stay in reversed time, as Keras leaves them.
    A model with a Reverse has `run` only. Raises ArgumentError.  Source: tf.reverse_sequence, keras go_backwards.
    """

    def __init__(self, size: int, *, name: str = "reverse") -> None:
        self.name = name
        self.size = size_of(size, f"{name}: size")

    def config(self) -> dict[str, Any]:
        return {"size": self.size, "name": self.name}

    def __repr__(self) -> str:
        return f"Reverse({self.size})"
