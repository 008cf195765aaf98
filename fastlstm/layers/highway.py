"""What may stand around a recurrent layer: its input added to its output, or mixed into it by gates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm.errors import ArgumentError, WeightError
from fastlstm.layers.weights import weight


class Highway:
    """y = x * carry + h * transform, the gates made from x.

    carry_kernel      (D, D)
    carry_bias        (D,)
    transform_kernel  (D, D); None where the gates are coupled, transform = 1 - carry
    transform_bias    (D,)    together with transform_kernel

    carry = sigmoid(x carry_kernel + carry_bias), transform = sigmoid(x transform_kernel + transform_bias).
    Raises WeightError, ArgumentError.  Source: tf.contrib.rnn.HighwayWrapper (Srivastava et al. 2015).
    """

    def __init__(
        self,
        carry_kernel: ArrayLike,
        carry_bias: ArrayLike,
        transform_kernel: ArrayLike | None = None,
        transform_bias: ArrayLike | None = None,
    ) -> None:
        self.carry_kernel = weight(carry_kernel, (None, None), name="highway: carry_kernel", layout="(D, D)")
        size = self.carry_kernel.shape[0]
        if self.carry_kernel.shape != (size, size):
            raise WeightError(f"highway: carry_kernel: shape {self.carry_kernel.shape}; expected a square, (D, D)")
        self.carry_bias = weight(carry_bias, (size,), name="highway: carry_bias", layout="(D,)")
        if (transform_kernel is None) != (transform_bias is None):
            raise ArgumentError(
                "highway: transform_kernel and transform_bias come together, or neither where the gates are coupled"
            )
        self.transform_kernel: NDArray[np.floating] | None = None
        self.transform_bias: NDArray[np.floating] | None = None
        if transform_kernel is not None and transform_bias is not None:
            name, layout = "highway: transform_", "(D, D)"
            self.transform_kernel = weight(transform_kernel, (size, size), name=f"{name}kernel", layout=layout)
            self.transform_bias = weight(transform_bias, (size,), name=f"{name}bias", layout="(D,)")

    @property
    def size(self) -> int:
        """D."""
        return self.carry_bias.size

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        every = {name: getattr(self, name) for name in _ARRAYS}
        return {name: a for name, a in every.items() if a is not None}

    def __repr__(self) -> str:
        return f"Highway({self.size}{'' if self.transform_kernel is None else ', transform gate'})"


_ARRAYS = ("carry_kernel", "carry_bias", "transform_kernel", "transform_bias")


def highway_from(arrays: dict[str, NDArray[np.floating]]) -> Highway | None:
    """The highway among a layer's arrays, under the names that `Highway.arrays` gives; None where there is none."""
    found = {name: arrays[name] for name in _ARRAYS if name in arrays}
    if not found:
        return None
    return Highway(**{name: arrays[name] for name in _ARRAYS[:2]} | found)


def check_around(name: str, sizes: tuple[int, int], residual: bool, highway: Highway | None) -> None:
    """Raise WeightError or ArgumentError unless a layer of `sizes` (input, output) can be residual, or in a highway."""
    if highway is not None and not isinstance(highway, Highway):
        raise ArgumentError(f"{name}: highway is {type(highway).__name__}; expected a fastlstm.Highway")
    around = "residual" if residual else "a highway"
    if residual and highway is not None:
        raise ArgumentError(f"{name}: residual and highway; a layer can have one of them around it")
    if (residual or highway is not None) and sizes[0] != sizes[1]:
        raise WeightError(
            f"{name}: {around}, but the input has {sizes[0]} elements and the output {sizes[1]}; "
            f"{'a residual layer adds them' if residual else 'a highway mixes them'}"
        )
    if highway is not None and highway.size != sizes[0]:
        raise WeightError(f"{name}: highway: its gates have {highway.size} elements; expected D = {sizes[0]}")
