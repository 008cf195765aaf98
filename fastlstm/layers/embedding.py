"""What turns token ids into a vector: an embedding table, or one-hot rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm.layers.weights import size_of, weight


class Embedding:
    """x = table[id].

    table      (V, D)
    mask_zero  a step with id 0 is masked, for every layer after this one, as `Masking` does it
    Source: tf.nn.embedding_lookup, keras.layers.Embedding.
    """

    def __init__(self, table: ArrayLike, mask_zero: bool = False, *, name: str = "embedding") -> None:
        self.name = name
        self.mask_zero = bool(mask_zero)
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
        return ({"mask_zero": True} if self.mask_zero else {}) | {"name": self.name}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.floating]], config: dict[str, Any]) -> Embedding:
        return cls(arrays["table"], **config)

    def __repr__(self) -> str:
        return f"Embedding({self.vocabulary_size}, {self.output_size}{', mask_zero' if self.mask_zero else ''})"


class OneHot:
    """x is 1 at the id's place and 0 elsewhere.

    vocabulary_size  V: ids are 0 to V - 1
    Source: tf.one_hot.
    """

    def __init__(self, vocabulary_size: int, *, name: str = "one_hot") -> None:
        self.name = name
        self.vocabulary_size = size_of(vocabulary_size, f"{name}: vocabulary_size")

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
