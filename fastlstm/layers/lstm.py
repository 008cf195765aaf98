"""The LSTM layer: weights in canonical layout, and the hyper-parameters that change the numbers.

Canonical layout, the only one that the rest of the package knows: gates in the order i f g o (input, forget,
candidate, output), `kernel (D, 4H)`, `recurrent_kernel (P, 4H)`, `bias (4H,)`, forget_bias folded into the bias.

Sources: Hochreiter & Schmidhuber 1997; Sak et al. 2014 (projection, peepholes);
tf.nn.rnn_cell.BasicLSTMCell and LSTMCell (TF 1.0 to 1.15); keras.layers.LSTM.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm.errors import ArgumentError, WeightError
from fastlstm.layers.activations import activation_named
from fastlstm.layers.gates import CANONICAL_GATES, gate_columns, reordered
from fastlstm.layers.highway import Highway, check_around, highway_from
from fastlstm.layers.layer_norm import LayerNorm
from fastlstm.layers.weights import weight


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and bool(np.isfinite(float(value)))


def _positive(value: float | None, name: str, where: str) -> float | None:
    if value is None:
        return None
    if not _is_finite(value) or value <= 0:
        raise ArgumentError(f"{where}: {name} is {value!r}; expected a number above 0, or None for no clipping")
    return float(value)


_NORM_ARRAYS = ("gamma", "state_gamma", "state_beta")


class LSTM:
    """One LSTM layer (TF1's BasicLSTMCell and LSTMCell with all their options, Keras' LSTM).

    kernel                (D, 4H)  input weights
    recurrent_kernel      (P, 4H)  weights of the layer's own output h; P is H without a projection
    bias                  (4H,)    zeros when None
    gate_order            order of the four blocks of H columns: letters, or a key of GATE_ORDERS
    forget_bias           added to the forget gate's bias (TF1 adds it at run time; Keras has it in the bias already)
    activation            phi, of the candidate and of the cell state
    recurrent_activation  sigma, of the gates i, f and o
    peepholes             (w_i, w_f, w_o), each (H,), diagonal weights from the cell state; None for none
    projection            (H, P); None for none
    cell_clip             the new cell state is clipped to [-cell_clip, cell_clip]; None for no clipping
    proj_clip             the same for the projected output
    residual              the layer's output is x + h (ResidualWrapper); the state is untouched. Needs P == D
    layer_norm            a LayerNorm of the gates and the cell state, its gates in gate_order; None for none
    highway               a Highway around the layer; None for none. Needs P == D
    zero_output_for_mask  zeros instead of h once more at a masked step
    name                  for reports and errors

    z = x kernel + h recurrent_kernel + bias;  c' = clip(sigma(z_f + w_f c) c + sigma(z_i + w_i c) phi(z_g));
    m = sigma(z_o + w_o c') phi(c');  h' = m, or clip(m projection).

    Raises WeightError if the arrays do not fit each other or are not finite, ArgumentError for the rest.
    """

    def __init__(
        self,
        kernel: ArrayLike,
        recurrent_kernel: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        gate_order: str = CANONICAL_GATES,
        forget_bias: float = 0.0,
        activation: str | None = "tanh",
        recurrent_activation: str | None = "sigmoid",
        peepholes: Sequence[ArrayLike] | None = None,
        projection: ArrayLike | None = None,
        cell_clip: float | None = None,
        proj_clip: float | None = None,
        residual: bool = False,
        layer_norm: LayerNorm | None = None,
        highway: Highway | None = None,
        zero_output_for_mask: bool = False,
        name: str = "lstm",
    ) -> None:
        self.name = name
        raw_recurrent = weight(recurrent_kernel, (None, None), name=f"{name}: recurrent_kernel", layout="(P, 4H)")
        rows, columns = raw_recurrent.shape
        if columns % 4:
            raise WeightError(f"{name}: recurrent_kernel: {columns} columns; expected 4H, four gates of H columns each")
        hidden = columns // 4
        raw_kernel = weight(kernel, (None, 4 * hidden), name=f"{name}: kernel", layout="(D, 4H)")
        raw_bias = np.zeros(4 * hidden, raw_kernel.dtype) if bias is None else bias
        raw_bias = weight(raw_bias, (4 * hidden,), name=f"{name}: bias", layout="(4H,)")
        if not _is_finite(forget_bias):
            raise ArgumentError(f"{name}: forget_bias is {forget_bias!r}; expected a finite number")

        order = gate_columns(gate_order)
        self.kernel = reordered(raw_kernel, order)
        self.recurrent_kernel = reordered(raw_recurrent, order)
        folded = reordered(raw_bias, order).copy()
        with np.errstate(over="ignore"):
            folded[hidden : 2 * hidden] += folded.dtype.type(forget_bias)
        if not np.isfinite(folded).all():
            raise ArgumentError(f"{name}: forget_bias is {forget_bias!r}, too large for a bias of {folded.dtype}")
        folded.flags.writeable = False
        self.bias: NDArray[np.floating] = folded

        self.projection: NDArray[np.floating] | None = None
        if projection is not None:
            self.projection = weight(projection, (hidden, rows), name=f"{name}: projection", layout="(H, P)")
        elif rows != hidden:
            raise WeightError(
                f"{name}: recurrent_kernel has {rows} rows; expected H = {hidden}, "
                f"or a projection of shape ({hidden}, {rows})"
            )
        self.peepholes: tuple[NDArray[np.floating], ...] | None = None
        if peepholes is not None:
            try:
                count = len(peepholes)
            except TypeError:  # a number, an array without axes
                count = 0
            if count != 3:
                raise WeightError(f"{name}: {count} peepholes; expected three, in the order i, f, o")
            self.peepholes = tuple(
                weight(w, (hidden,), name=f"{name}: peephole {gate}", layout="(H,)")
                for gate, w in zip("ifo", peepholes, strict=True)
            )
        self.activation = activation_named(activation, where=f"{name}: activation")
        self.recurrent_activation = activation_named(recurrent_activation, where=f"{name}: recurrent_activation")
        self.cell_clip = _positive(cell_clip, "cell_clip", name)
        self.proj_clip = _positive(proj_clip, "proj_clip", name)
        if self.proj_clip is not None and self.projection is None:
            raise ArgumentError(
                f"{name}: proj_clip is {proj_clip} but there is no projection to clip; pass proj_clip=None"
            )
        self.layer_norm: LayerNorm | None = None
        if layer_norm is not None:
            if not isinstance(layer_norm, LayerNorm):
                raise ArgumentError(f"{name}: layer_norm is {type(layer_norm).__name__}; expected a fastlstm.LayerNorm")
            gamma = weight(layer_norm.gamma, (4 * hidden,), name=f"{name}: layer_norm: gamma", layout="(4H,)")
            self.layer_norm = LayerNorm(
                reordered(gamma, order), layer_norm.state_gamma, layer_norm.state_beta, layer_norm.epsilon
            )
        self.residual, self.highway = bool(residual), highway
        check_around(name, (self.input_size, self.output_size), self.residual, highway)
        self.zero_output_for_mask = bool(zero_output_for_mask)

    @property
    def input_size(self) -> int:
        """D."""
        return self.kernel.shape[0]

    @property
    def hidden_size(self) -> int:
        """H, the size of the cell state c."""
        return self.recurrent_kernel.shape[1] // 4

    @property
    def output_size(self) -> int:
        """P, the size of h; H without a projection."""
        return self.recurrent_kernel.shape[0]

    @property
    def state_size(self) -> tuple[int, int]:
        """(H, P), the sizes of c and h."""
        return self.hidden_size, self.output_size

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        """The weights by plain name, in canonical layout."""
        result = {"kernel": self.kernel, "recurrent_kernel": self.recurrent_kernel, "bias": self.bias}
        if self.peepholes is not None:
            result |= {f"peephole_{gate}": w for gate, w in zip("ifo", self.peepholes, strict=True)}
        if self.projection is not None:
            result["projection"] = self.projection
        if self.layer_norm is not None:
            result |= {f"norm_{name}": getattr(self.layer_norm, name) for name in _NORM_ARRAYS}
        return result | (self.highway.arrays() if self.highway is not None else {})

    def config(self) -> dict[str, Any]:
        """Everything else, as JSON can hold it: with `arrays` enough to build the layer again to the last bit."""
        rare = {"zero_output_for_mask": True} if self.zero_output_for_mask else {}
        if self.layer_norm is not None:
            rare["norm_epsilon"] = self.layer_norm.epsilon
        return rare | {
            "activation": self.activation.label,
            "recurrent_activation": self.recurrent_activation.label,
            "cell_clip": self.cell_clip,
            "proj_clip": self.proj_clip,
            "residual": self.residual,
            "name": self.name,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.floating]], config: dict[str, Any]) -> LSTM:
        """The inverse of `arrays` and `config`."""
        peepholes = [arrays[f"peephole_{gate}"] for gate in "ifo"] if "peephole_i" in arrays else None
        config, norm = dict(config), None
        if "norm_epsilon" in config:
            norm = LayerNorm(*[arrays[f"norm_{name}"] for name in _NORM_ARRAYS], config.pop("norm_epsilon"))
        return cls(
            arrays["kernel"],
            arrays["recurrent_kernel"],
            arrays["bias"],
            peepholes=peepholes,
            projection=arrays.get("projection"),
            layer_norm=norm,
            highway=highway_from(arrays),
            **config,
        )

    def __repr__(self) -> str:
        extras = [f"projection={self.output_size}"] if self.projection is not None else []
        extras += ["peepholes"] if self.peepholes is not None else []
        extras += [f"{k}={v}" for k, v in (("cell_clip", self.cell_clip), ("proj_clip", self.proj_clip)) if v]
        extras += ["layer_norm"] if self.layer_norm is not None else []
        extras += ["residual"] if self.residual else ["highway"] if self.highway is not None else []
        return f"LSTM({', '.join([str(self.input_size), str(self.hidden_size), *extras])})"


def coupled_gates(
    kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    gate_order: str = "jfo",
    forget_bias: float = 0.0,
    peepholes: Sequence[ArrayLike] | None = None,
    gamma: ArrayLike | None = None,
) -> dict[str, Any]:
    """The arguments of an LSTM that does what a cell with coupled gates does, whose input gate is 1 - forget gate.

    kernel (D, 3H), recurrent_kernel (P, 3H), bias (3H,)  the blocks of H columns in `gate_order`: letters f, g (or j,
                                                          or c) and o
    forget_bias  added to the forget gate
    peepholes    (w_f, w_o), each (H,); None for none
    gamma        (3H,)  of a layer norm; its four blocks are "gamma" in the result
    ->           kernel, recurrent_kernel, bias, gate_order, and where given peepholes and gamma

    1 - sigmoid(z) = sigmoid(-z): the input gate's block is minus the forget gate's, everywhere but in gamma.
    Raises WeightError, ArgumentError.  Source: tf.contrib.rnn.CoupledInputForgetGateLSTMCell.
    """
    order = str(gate_order).replace("j", "g").replace("c", "g")
    if sorted(order) != ["f", "g", "o"]:
        raise ArgumentError(f"gate_order {gate_order!r} is not an order of the gates f, g (or j, or c) and o")
    three = weight(recurrent_kernel, (None, None), name="coupled gates: recurrent_kernel", layout="(P, 3H)")
    if three.shape[1] % 3:
        raise WeightError(f"coupled gates: recurrent_kernel: {three.shape[1]} columns; expected 3H, three gates")
    hidden = three.shape[1] // 3
    first = weight(kernel, (None, 3 * hidden), name="coupled gates: kernel", layout="(D, 3H)")
    raw = np.zeros(3 * hidden, first.dtype) if bias is None else bias
    biases = np.array(weight(raw, (3 * hidden,), name="coupled gates: bias", layout="(3H,)"))
    if not _is_finite(forget_bias):
        raise ArgumentError(f"coupled gates: forget_bias is {forget_bias!r}; expected a finite number")
    f, g, o = (slice(order.index(gate) * hidden, (order.index(gate) + 1) * hidden) for gate in "fgo")
    biases[f] += biases.dtype.type(forget_bias)

    def four(a: NDArray[np.floating], sign: int = -1) -> NDArray[np.floating]:
        return np.concatenate([sign * a[..., f], a[..., f], a[..., g], a[..., o]], axis=-1)

    result: dict[str, Any] = {"kernel": four(first), "recurrent_kernel": four(three), "bias": four(biases)}
    if peepholes is not None:
        if len(peepholes) != 2:
            raise ArgumentError(f"coupled gates: {len(peepholes)} peepholes; expected two, w_f and w_o")
        w_f, w_o = (weight(w, (hidden,), name="coupled gates: peephole", layout="(H,)") for w in peepholes)
        result["peepholes"] = (-w_f, w_f, w_o)
    if gamma is not None:
        result["gamma"] = four(weight(gamma, (3 * hidden,), name="coupled gates: gamma", layout="(3H,)"), sign=1)
    return result | {"gate_order": CANONICAL_GATES}
