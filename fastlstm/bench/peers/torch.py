"""PyTorch: nn.LSTMCell and nn.GRUCell with the model's weights, in inference mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlstm.bench.peers.common import CannotExpress, Step, check_plain, found, zero_states
from fastlstm.layers import GRU, LSTM, Dense, Embedding, Layer, OneHot
from fastlstm.layers.gates import reordered

if TYPE_CHECKING:
    from fastlstm.model import Model


def build(model: Model, threads: int) -> Step:
    check_plain(model.layers)
    import torch

    torch.set_num_threads(threads)
    parts = [_part(torch, layer, model.dtype) for layer in model.layers]
    states = [torch.from_numpy(a) for a in zero_states(model.layers, model.dtype)]

    @torch.inference_mode()
    def call(x: Any) -> Any:
        nonlocal states
        value, before, after = torch.from_numpy(x), states, []
        for count, part in parts:
            value, new = part(value, *before[:count])
            before, after = before[count:], [*after, *new]
        states = after
        return value.numpy()

    return Step(call, (1,) if model.takes_ids else (1, model.input_size))


def _part(torch: Any, layer: Layer, dtype: np.dtype) -> tuple[int, Callable[..., tuple[Any, list[Any]]]]:
    """How many states the layer has, and (x, *states) -> (y, states)."""
    functional = torch.nn.functional

    def tensor(a: Any) -> Any:
        return torch.from_numpy(np.array(a, dtype, order="C"))

    if isinstance(layer, OneHot):
        kind = getattr(torch, dtype.name)
        return 0, lambda ids: (functional.one_hot(ids, layer.vocabulary_size).to(kind), [])
    if isinstance(layer, Embedding):
        table = tensor(layer.table)
        return 0, lambda ids: (functional.embedding(ids, table), [])
    if isinstance(layer, Dense):
        kernel, bias, phi = tensor(layer.kernel.T), tensor(layer.bias), _activation(functional, layer)
        return 0, lambda x: (phi(functional.linear(x, kernel, bias)), [])
    assert isinstance(layer, LSTM | GRU)
    names = ("activation", "recurrent_activation")
    if tuple(getattr(layer, name).label for name in names) != ("tanh", "sigmoid"):
        raise CannotExpress(f"layer {layer.name!r} has other activations than tanh and sigmoid")
    if isinstance(layer, GRU) and layer.recurrent_bias is None:
        raise CannotExpress(f"layer {layer.name!r} resets h before its product (reset_after=False)")
    make, order = (torch.nn.LSTMCell, (0, 1, 2, 3)) if isinstance(layer, LSTM) else (torch.nn.GRUCell, (1, 0, 2))
    cell = make(layer.input_size, layer.hidden_size, dtype=getattr(torch, dtype.name))
    own = np.zeros_like(layer.bias) if isinstance(layer, LSTM) else layer.recurrent_bias
    arrays = (layer.kernel, layer.recurrent_kernel, layer.bias, own)
    parameters = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    for parameter, array in zip(parameters, arrays, strict=True):
        parameter.data = tensor(reordered(array, order).T)

    def lstm(x: Any, c: Any, h: Any) -> tuple[Any, list[Any]]:
        h, c = cell(x, (h, c))
        return h, [c, h]

    def gru(x: Any, h: Any) -> tuple[Any, list[Any]]:
        h = cell(x, h)
        return h, [h]

    return (2, lstm) if isinstance(layer, LSTM) else (1, gru)


def _activation(functional: Any, layer: Dense) -> Callable[[Any], Any]:
    names = ("tanh", "sigmoid", "relu", "relu6", "elu", "selu", "softplus", "softsign", "silu")
    known: dict[str, Any] = {name: getattr(functional, name) for name in names}
    known |= {"linear": lambda x: x, "softmax": lambda x: functional.softmax(x, -1)}
    return found(known, layer)
