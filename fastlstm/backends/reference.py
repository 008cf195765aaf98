"""The NumPy backend: the equations as one would write them down, a whole batch at a time, nothing compiled.

What the others are compared with when a model behaves oddly, and what runs where Numba cannot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends.base import Arrays, Drawing, Pair
from fastlstm.backends.narrow import FULL, narrowed
from fastlstm.backends.numpy_draw import draw
from fastlstm.backends.tables import multiplied_fits
from fastlstm.layers import GRU, LSTM, Activation, Dense, Embedding, Layer, LayerNorm, Masking, Recurrent
from fastlstm.layers.masking import StepMask

Array = NDArray[np.floating]

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.maximum(x, -80 if x.dtype == np.float32 else -700)))


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _log_softmax(x: Array) -> Array:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def _gelu(x: Array) -> Array:
    return (x * _erfc(-x.astype(np.float64) / math.sqrt(2)) / 2).astype(x.dtype)


def _mish(x: Array) -> Array:
    e = np.exp(np.minimum(x, 20))
    return x * (e * (e + 2) / (e * (e + 2) + 2))


def _sparse_plus(x: Array) -> Array:
    return np.where(x >= 1, x, np.square(np.clip(x, -1, 1) + 1) / 4)


def _squareplus(x: Array) -> Array:
    root = np.hypot(x, x.dtype.type(2))
    return np.where(x < 0, 1 / (root / 2 - np.minimum(x, 0) / 2), x / 2 + root / 2)


ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    Activation.LINEAR: lambda x: x,
    Activation.TANH: np.tanh,
    Activation.SIGMOID: _sigmoid,
    Activation.RELU: lambda x: np.maximum(x, 0),
    Activation.RELU6: lambda x: np.clip(x, 0, 6),
    Activation.ELU: _elu,
    Activation.SELU: lambda x: x.dtype.type(1.0507009873554805) * np.where(x > 0, x, 1.6732632423543772 * _elu(x)),
    Activation.SOFTPLUS: lambda x: np.logaddexp(x, 0, dtype=x.dtype),
    Activation.SOFTSIGN: lambda x: x / (1 + np.abs(x)),
    Activation.SILU: lambda x: np.where(x < -80, 0, x * _sigmoid(x)),
    Activation.EXPONENTIAL: np.exp,
    Activation.HARD_SIGMOID: lambda x: np.clip(x.dtype.type(0.2) * x + x.dtype.type(0.5), 0, 1),
    Activation.HARD_SIGMOID_KERAS3: lambda x: np.clip(x + 3, 0, 6) / 6,
    Activation.LEAKY_RELU: lambda x: np.where(x > 0, x, x.dtype.type(0.2) * x),
    Activation.SOFTMAX: _softmax,
    Activation.GELU: _gelu,
    Activation.MISH: _mish,
    Activation.HARD_SHRINK: lambda x: np.where(np.abs(x) <= 0.5, 0, x),
    Activation.HARD_SILU: lambda x: x * (np.clip(x + 3, 0, 6) / 6),
    Activation.HARD_TANH: lambda x: np.clip(x, -1, 1),
    Activation.LOG_SIGMOID: lambda x: -np.logaddexp(-x, 0, dtype=x.dtype),
    Activation.LOG_SOFTMAX: _log_softmax,
    Activation.SOFT_SHRINK: lambda x: x - np.clip(x, -0.5, 0.5),
    Activation.SPARSE_PLUS: _sparse_plus,
    Activation.SPARSE_SIGMOID: lambda x: (np.clip(x, -1, 1) + 1) / 2,
    Activation.SQUAREPLUS: _squareplus,
    Activation.TANH_SHRINK: lambda x: x - np.tanh(x),
}


def _normalised(x: Array, gamma: Array, beta: Array, epsilon: float) -> Array:
    """x (..., H), normalised over its last axis."""
    mean = x.mean(axis=-1, keepdims=True, dtype=np.float64)
    variance = np.square(x - mean).mean(axis=-1, keepdims=True)
    return (gamma * ((x - mean) / np.sqrt(variance + epsilon)) + beta).astype(x.dtype)


def _gates(layer: LSTM, z: Array) -> list[Array]:
    """z (B, 4H), the products of x and h -> what goes into the gates i f g o, but for peepholes."""
    norm: LayerNorm | None = layer.layer_norm
    if norm is None:
        return np.split(z + layer.bias, 4, axis=-1)
    parts = zip(*[np.split(a, 4, axis=-1) for a in (z, norm.gamma, layer.bias)], strict=True)
    return [_normalised(part, gamma, beta, norm.epsilon) for part, gamma, beta in parts]


def lstm_step(layer: LSTM, x: Array, c: Array, h: Array) -> tuple[Array, Array]:
    """x (B, D), c (B, H), h (B, P) -> the new c and h."""
    phi, sigma = ACTIVATIONS[layer.activation], ACTIVATIONS[layer.recurrent_activation]
    z_i, z_f, z_g, z_o = _gates(layer, x @ layer.kernel + h @ layer.recurrent_kernel)
    if layer.peepholes is not None:
        w_i, w_f, w_o = layer.peepholes
        z_i, z_f = z_i + w_i * c, z_f + w_f * c
    c = sigma(z_f) * c + sigma(z_i) * phi(z_g)
    if layer.layer_norm is not None:
        c = _normalised(c, layer.layer_norm.state_gamma, layer.layer_norm.state_beta, layer.layer_norm.epsilon)
    if layer.cell_clip is not None:
        c = np.clip(c, -layer.cell_clip, layer.cell_clip)
    if layer.peepholes is not None:
        z_o = z_o + w_o * c
    h = sigma(z_o) * phi(c)
    if layer.projection is not None:
        h = h @ layer.projection
        if layer.proj_clip is not None:
            h = np.clip(h, -layer.proj_clip, layer.proj_clip)
    return c, h


def gru_step(layer: GRU, x: Array, h: Array) -> Array:
    """x (B, D), h (B, H) -> the new h."""
    phi, sigma = ACTIVATIONS[layer.activation], ACTIVATIONS[layer.recurrent_activation]
    hidden = layer.hidden_size
    of_x, recurrent = x @ layer.kernel + layer.bias, layer.recurrent_kernel
    if layer.recurrent_bias is not None:
        of_h = h @ recurrent + layer.recurrent_bias
        z, r = map(sigma, np.split((of_x + of_h)[:, : 2 * hidden], 2, axis=-1))
        g = phi(of_x[:, 2 * hidden :] + r * of_h[:, 2 * hidden :])
    else:
        z, r = map(sigma, np.split(of_x[:, : 2 * hidden] + h @ recurrent[:, : 2 * hidden], 2, axis=-1))
        g = phi(of_x[:, 2 * hidden :] + (r * h) @ recurrent[:, 2 * hidden :])
    return z * h + (1 - z) * g


def _around(layer: Recurrent, x: Array, h: Array) -> Array:
    """The layer's output: h, x + h, or x and h mixed by a highway's gates."""
    if layer.residual:
        return x + h
    if layer.highway is None:
        return h
    way = layer.highway
    carry = _sigmoid(x @ way.carry_kernel + way.carry_bias)
    if way.transform_kernel is None:
        return x * carry + h * (1 - carry)
    return x * carry + h * _sigmoid(x @ way.transform_kernel + way.transform_bias)


class ReferenceBackend:
    """See `base.Backend`."""

    def __init__(self, layers: Sequence[Layer | StepMask], dtype: np.dtype, storage: int = FULL) -> None:
        table = multiplied_fits(layers, dtype)
        self.layers = [
            narrowed(_as(dtype, layer), storage, looked_up=table and k == 1) for k, layer in enumerate(layers)
        ]
        self.dtype = dtype

    def session(self) -> ReferenceSession:
        return ReferenceSession(self)

    def step(self, x: Arrays, state: Sequence[Pair]) -> tuple[Array, list[Pair]]:
        """x (B, D) or ids (B,) -> y (B, V) and the new state."""
        pairs, after = iter(state), []
        masked: NDArray[np.bool_] | None = None
        for layer in self.layers:
            if isinstance(layer, Recurrent):
                x, pair = self._recurrent(layer, x, next(pairs), masked)
                after.append(pair)
            elif isinstance(layer, Dense):
                x = ACTIVATIONS[layer.activation](x @ layer.kernel + layer.bias)
            elif isinstance(layer, Embedding):
                masked = x == 0 if layer.mask_zero else None
                x = layer.table[x]
            elif isinstance(layer, Masking):
                masked = (x == self.dtype.type(layer.mask_value)).all(axis=-1)
                x = np.where(masked[:, None], self.dtype.type(0), x)
            elif isinstance(layer, StepMask):
                masked, x = x[:, -1] != 0, x[:, :-1]
            else:
                x = np.eye(layer.vocabulary_size, dtype=self.dtype)[x]
        return np.array(x, self.dtype), after  # never the array that stands in the state as h

    def _recurrent(
        self, layer: Recurrent, x: Array, pair: Pair, masked: NDArray[np.bool_] | None
    ) -> tuple[Array, Pair]:
        """The layer's output and its new state, which is the old one in the rows that are `masked` (B,)."""
        c, h = pair
        new_c, new_h = lstm_step(layer, x, c, h) if isinstance(layer, LSTM) else (c, gru_step(layer, x, h))
        if masked is None:
            return _around(layer, x, new_h), (new_c, new_h)
        rows = masked[:, None]
        new_c, new_h = np.where(rows, c, new_c), np.where(rows, h, new_h)
        put_out = np.where(rows, self.dtype.type(0), new_h) if layer.zero_output_for_mask else new_h
        return _around(layer, x, put_out), (new_c, new_h)

    def _masked_step(self, x: Arrays, state: list[Pair], live: NDArray[np.bool_]) -> tuple[Array, list[Pair]]:
        """`step`, with y zero and the state as it was in the rows that are not `live` (B,)."""
        live = live[:, None]
        y, after = self.step(x, state)
        pairs = zip(state, after, strict=True)
        kept = [tuple(np.where(live, new, old) for old, new in zip(*pair, strict=True)) for pair in pairs]
        return np.where(live, y, 0).astype(self.dtype), kept

    def run(self, xs: Arrays, state: Sequence[Pair], lengths: NDArray[np.int64]) -> tuple[Array, list[Pair]]:
        after = [(c.copy(), h.copy()) for c, h in state]
        ys = np.empty((*xs.shape[:2], self.layers[-1].output_size), self.dtype)
        for t in range(xs.shape[1]):
            ys[:, t], after = self._masked_step(xs[:, t], after, t < lengths)
        return ys, after

    def generate(
        self, n: int, prime: Arrays, lengths: NDArray[np.int64], state: Sequence[Pair], drawing: Drawing | None
    ) -> tuple[Arrays, list[Pair]]:
        after, outputs = list(state), []
        batch, steps = prime.shape[:2]
        live = np.ones(batch, bool)
        fed = prime[:, 0]
        for t in range(steps + n - 1):
            at = t - (steps - lengths)  # shorter rows begin later, so that all primes end together
            primed = prime[np.arange(batch), np.clip(at, 0, lengths - 1)]
            x = np.where((at < lengths).reshape(-1, *[1] * (prime.ndim - 2)), primed, fed)
            y, after = self._masked_step(x, after, live & (at >= 0))
            if t < steps - 1:
                continue
            if drawing is not None:
                fed = np.where(live, draw(y, drawing, t - (steps - 1)), fed)
                live &= ~np.isin(fed, drawing.stop)
            else:
                fed = y
            outputs.append(fed)
        return np.stack(outputs, axis=1), after


class ReferenceSession:
    """See `base.Session`."""

    def __init__(self, backend: ReferenceBackend) -> None:
        self._backend = backend
        layers, dtype = backend.layers, backend.dtype
        self.output = np.zeros(layers[-1].output_size, dtype)
        self._state: list[Pair] = [
            (np.zeros((1, c), dtype), np.zeros((1, h), dtype))
            for c, h in (layer.state_size for layer in layers if isinstance(layer, Recurrent))
        ]

    def stepper(self, size: int, convert: Callable[[Any], Any], output: Array) -> Callable[[Any], Any]:
        def step(x: Any) -> Array:
            y, self._state = self._backend.step(np.asarray(convert(x))[None], self._state)
            self.output[:] = y[0]
            return output

        return step

    def process(self, xs: Arrays, ys: Array) -> None:
        out, self._state = self._backend.run(xs[None], self._state, np.array([len(xs)]))
        ys[:] = out[0]

    def state(self) -> list[Pair]:
        return [(c.copy(), h.copy()) for c, h in self._state]

    def set_state(self, state: Sequence[Pair]) -> None:
        self._state = [(np.array(c), np.array(h)) for c, h in state]


def _as(dtype: np.dtype, layer: Layer | StepMask) -> Layer | StepMask:
    """The layer with its weights in `dtype`; itself where they are."""
    if all(a.dtype == dtype for a in layer.arrays().values()):
        return layer
    return type(layer).from_arrays({name: a.astype(dtype) for name, a in layer.arrays().items()}, layer.config())
