"""TensorFlow: the layers as operations in one tf.function, traced once, the state kept in tensors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlstm.bench.peers.common import CannotExpress, Step, check_plain, found, zero_states
from fastlstm.layers import GRU, LSTM, Dense, Embedding, Layer, OneHot

if TYPE_CHECKING:
    from fastlstm.model import Model


def build(model: Model, threads: int) -> Step:
    tf = imported(threads)
    advance = tf.function(equations(tf, model))
    states = [tf.constant(a) for a in zero_states(model.layers, model.dtype)]

    def call(x: Any) -> Any:
        nonlocal states
        y, states = advance(tf.constant(x), states)
        return y.numpy()

    return Step(call, (1,) if model.takes_ids else (1, model.input_size))


def imported(threads: int) -> Any:
    """TensorFlow, quiet, on the CPU, with so many threads if it has not begun yet."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # it runs already, as in a notebook
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")
    return tf


def equations(tf: Any, model: Model) -> Callable[[Any, list[Any]], tuple[Any, list[Any]]]:
    """(x (1, D) or ids (1,), states) -> (y (1, V), states); the weights are constants.  Raises CannotExpress."""
    check_plain(model.layers)
    parts = [_part(tf, layer, model.dtype) for layer in model.layers]

    def advance(x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        before, after = list(states), []
        for count, part in parts:
            x, new = part(x, *before[:count])
            before, after = before[count:], [*after, *new]
        return x, after

    return advance


def _part(tf: Any, layer: Layer, dtype: np.dtype) -> tuple[int, Callable[..., tuple[Any, list[Any]]]]:
    """How many states the layer has, and (x, *states) -> (y, states)."""

    def constant(a: Any) -> Any:
        return tf.constant(np.asarray(a, dtype))

    if isinstance(layer, OneHot):
        return 0, lambda ids: (tf.one_hot(ids, layer.vocabulary_size, dtype=dtype), [])
    if isinstance(layer, Embedding):
        table = constant(layer.table)
        return 0, lambda ids: (tf.gather(table, ids), [])
    phi = _activation(tf, layer)
    if isinstance(layer, Dense):
        kernel, bias = constant(layer.kernel), constant(layer.bias)
        return 0, lambda x: (phi(x @ kernel + bias), [])
    sigma = _activation(tf, layer, "recurrent_activation")
    if isinstance(layer, LSTM):
        both, bias = constant(np.concatenate([layer.kernel, layer.recurrent_kernel])), constant(layer.bias)

        def lstm(x: Any, c: Any, h: Any) -> tuple[Any, list[Any]]:
            i, f, g, o = tf.split(tf.concat([x, h], 1) @ both + bias, 4, 1)
            c = sigma(f) * c + sigma(i) * phi(g)
            h = sigma(o) * phi(c)
            return h, [c, h]

        return 2, lstm
    assert isinstance(layer, GRU)
    return 1, _gru(tf, layer, constant, phi, sigma)


def _gru(tf: Any, layer: GRU, constant: Any, phi: Any, sigma: Any) -> Callable[..., tuple[Any, list[Any]]]:
    kernel, recurrent, bias = (constant(a) for a in (layer.kernel, layer.recurrent_kernel, layer.bias))
    gates, units = 2 * layer.hidden_size, layer.hidden_size
    recurrent_bias = None if layer.recurrent_bias is None else constant(layer.recurrent_bias)

    def gru(x: Any, h: Any) -> tuple[Any, list[Any]]:
        given = x @ kernel + bias
        if recurrent_bias is not None:  # reset_after
            own = h @ recurrent + recurrent_bias
            z, r = tf.split(sigma(given[:, :gates] + own[:, :gates]), 2, 1)
            g = phi(given[:, gates:] + r * own[:, gates:])
        else:
            z, r = tf.split(sigma(given[:, :gates] + h @ recurrent[:, :gates]), [units, units], 1)
            g = phi(given[:, gates:] + (r * h) @ recurrent[:, gates:])
        h = z * h + (1 - z) * g
        return h, [h]

    return gru


_NAMES = ("tanh", "sigmoid", "relu", "relu6", "elu", "selu", "softplus", "softsign", "silu", "softmax", "log_softmax")


def _activation(tf: Any, layer: Any, attribute: str = "activation") -> Callable[[Any], Any]:
    known = {name: getattr(tf.nn, name) for name in _NAMES}
    known |= {"linear": tf.identity, "hard_sigmoid": lambda x: tf.clip_by_value(0.2 * x + 0.5, 0.0, 1.0)}
    function = found(known, layer, attribute)
    if isinstance(layer, LSTM | GRU) and function in (tf.nn.softmax, tf.nn.log_softmax):
        raise CannotExpress(f"layer {layer.name!r} has {attribute} softmax")
    return function
