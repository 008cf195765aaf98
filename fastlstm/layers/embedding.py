"""What turns token ids into a vector: an embedding table, or one-hot rows."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm.errors import ArgumentError
from fastlstm.layers.weights import weight


class Embedding:
    """x = table[id].

    table  (V, D)
    Source: tf.nn.embedding_lookup, keras.layers.Embedding.
    """

    def __init__(self, table: ArrayLike, *, name: str = "embedding") -> None:
        self.name = name
        self.table = weight(table, (None, None), name=f"{name}: table", layout="(V, D)")

    @property
    def vocabulary_size(self) -> int:
        """V: ids are 0 to V - 1."""
        return self.table.shape[0]

    @property
    def output_size(self) -> int:
        return self.table.shape[1]

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        return {"table": self.table}

    def config(self) -> dict[str, Any]:
        return {"name": self.name}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.floating]], config: dict[str, Any]) -> Embedding:
        return cls(arrays["table"], **config)

    def __repr__(self) -> str:
        return f"Embedding({self.vocabulary_size}, {self.output_size})"


class OneHot:
    """x is 1 at the id's place and 0 elsewhere.

    vocabulary_size  V: ids are 0 to V - 1
    Source: tf.one_hot.
    """

    def __init__(self, vocabulary_size: int, *, name: str = "one_hot") -> None:
        if not isinstance(vocabulary_size, Integral) or vocabulary_size < 1:
            raise ArgumentError(f"{name}: vocabulary_size is {vocabulary_size!r}; expected an integer of at least 1")
        self.name = name
        self.vocabulary_size = int(vocabulary_size)

    @property
    def output_size(self) -> int:
        return self.vocabulary_size

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        return {}

    def config(self) -> dict[str, Any]:
        return {"vocabulary_size": self.vocabulary_size, "name": self.name}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.floating]], config: dict[str, Any]) -> OneHot:
        return cls(**config)

    def __repr__(self) -> str:
        return f"OneHot({self.vocabulary_size})"
