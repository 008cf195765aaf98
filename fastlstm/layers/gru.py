"""The GRU layer: weights in canonical layout, and the hyper-parameters that change the numbers.

Canonical layout: gates in the order z r h (update, reset, candidate), `kernel (D, 3H)`, `recurrent_kernel (H, 3H)`,
`bias (3H,)`, `recurrent_bias (3H,)`.

Sources: Cho et al. 2014; tf.nn.rnn_cell.GRUCell; keras.layers.GRU with reset_after False and True; cuDNN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm.errors import ArgumentError, WeightError
from fastlstm.layers.activations import activation_named
from fastlstm.layers.gates import CANONICAL_GRU_GATES, gru_gate_columns, reordered
from fastlstm.layers.highway import Highway, check_around, highway_from
from fastlstm.layers.weights import weight


class GRU:
    """One GRU layer.

    kernel                (D, 3H)  input weights
    recurrent_kernel      (H, 3H)  weights of the layer's own output h
    bias                  (3H,)    zeros when None
    recurrent_bias        (3H,)    of h recurrent_kernel; with reset_after only, zeros when both are None
    gate_order            order of the three blocks of H columns: letters, or a key of GRU_GATE_ORDERS
    reset_after           the reset gate multiplies h recurrent_kernel + recurrent_bias (Keras >= 2.1's default, cuDNN,
                          PyTorch) rather than h itself (TF1's GRUCell, Keras 1)
    activation            phi, of the candidate
    recurrent_activation  sigma, of the gates z and r
    residual              the layer's output is x + h; the state is untouched. Needs H == D
    highway               a Highway around the layer; None for none. Needs H == D
    zero_output_for_mask  zeros instead of h once more at a masked step
    name                  for reports and errors

    z = sigma(x K_z + h R_z + b_z), r = sigma(x K_r + h R_r + b_r), g = phi(x K_h + (r h) R_h + b_h), or with
    reset_after phi(x K_h + b_h + r (h R_h + recurrent_b_h));  h' = z h + (1 - z) g. Its state is h alone: c is empty.

    Raises WeightError if the arrays do not fit each other or are not finite, ArgumentError for the rest.
    """

    def __init__(
        self,
        kernel: ArrayLike,
        recurrent_kernel: ArrayLike,
        bias: ArrayLike | None = None,
        recurrent_bias: ArrayLike | None = None,
        *,
        gate_order: str = CANONICAL_GRU_GATES,
        reset_after: bool = False,
        activation: str | None = "tanh",
        recurrent_activation: str | None = "sigmoid",
        residual: bool = False,
        highway: Highway | None = None,
        zero_output_for_mask: bool = False,
        name: str = "gru",
    ) -> None:
        self.name = name
        raw_recurrent = weight(recurrent_kernel, (None, None), name=f"{name}: recurrent_kernel", layout="(H, 3H)")
        hidden, columns = raw_recurrent.shape
        if columns != 3 * hidden:
            raise WeightError(
                f"{name}: recurrent_kernel: shape {raw_recurrent.shape}; expected (H, 3H), three gates of H columns"
            )
        raw_kernel = weight(kernel, (None, 3 * hidden), name=f"{name}: kernel", layout="(D, 3H)")
        order = gru_gate_columns(gate_order)
        self.kernel = reordered(raw_kernel, order)
        self.recurrent_kernel = reordered(raw_recurrent, order)
        self.reset_after = bool(reset_after)
        if (recurrent_bias is not None) != (self.reset_after and bias is not None):
            raise ArgumentError(
                f"{name}: recurrent_bias is {'missing' if recurrent_bias is None else 'given'} and reset_after is "
                f"{self.reset_after}; with reset_after a GRU has bias and recurrent_bias, or neither, and without it "
                f"only bias"
            )
        biases = [
            weight(np.zeros(3 * hidden, raw_kernel.dtype) if b is None else b, (3 * hidden,), name=f"{name}: {what}",
                   layout="(3H,)")
            for what, b in (("bias", bias), ("recurrent_bias", recurrent_bias))
        ]  # fmt: skip
        self.bias = reordered(biases[0], order)
        self.recurrent_bias = reordered(biases[1], order) if self.reset_after else None
        self.activation = activation_named(activation, where=f"{name}: activation")
        self.recurrent_activation = activation_named(recurrent_activation, where=f"{name}: recurrent_activation")
        self.residual, self.highway = bool(residual), highway
        check_around(name, (self.input_size, self.output_size), self.residual, highway)
        self.zero_output_for_mask = bool(zero_output_for_mask)

    @property
    def input_size(self) -> int:
        """D."""
        return self.kernel.shape[0]

    @property
    def hidden_size(self) -> int:
        """H, the size of h."""
        return self.recurrent_kernel.shape[0]

    @property
    def output_size(self) -> int:
        return self.hidden_size

    @property
    def state_size(self) -> tuple[int, int]:
        """(0, H): a GRU has no cell state."""
        return 0, self.hidden_size

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        """The weights by plain name, in canonical layout."""
        result = {"kernel": self.kernel, "recurrent_kernel": self.recurrent_kernel, "bias": self.bias}
        if self.recurrent_bias is not None:
            result["recurrent_bias"] = self.recurrent_bias
        return result | (self.highway.arrays() if self.highway is not None else {})

    def config(self) -> dict[str, Any]:
        """Everything else, as JSON can hold it: with `arrays` enough to build the layer again to the last bit."""
        return {
            "reset_after": self.reset_after,
            "activation": self.activation.label,
            "recurrent_activation": self.recurrent_activation.label,
            "residual": self.residual,
            "zero_output_for_mask": self.zero_output_for_mask,
            "name": self.name,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.floating]], config: dict[str, Any]) -> GRU:
        """The inverse of `arrays` and `config`."""
        return cls(
            arrays["kernel"],
            arrays["recurrent_kernel"],
            arrays["bias"],
            arrays["recurrent_bias"] if config.get("reset_after") else arrays.get("recurrent_bias"),
            highway=highway_from(arrays),
            **config,
        )

    def __repr__(self) -> str:
        extras = ["reset_after"] if self.reset_after else []
        extras += ["residual"] if self.residual else ["highway"] if self.highway is not None else []
        return f"GRU({', '.join([str(self.input_size), str(self.hidden_size), *extras])})"
