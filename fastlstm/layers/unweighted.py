"""What layers without weights, which give as many elements as they take, have in common."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound="Unweighted")


class Unweighted:
    """size  D, set by the layer itself"""

    size: int

    @property
    def input_size(self) -> int:
        return self.size

    @property
    def output_size(self) -> int:
        return self.size

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        return {}

    @classmethod
    def from_arrays(cls: type[T], arrays: dict[str, NDArray[np.floating]], config: dict[str, Any]) -> T:
        return cls(**config)
