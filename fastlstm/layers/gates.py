"""The order in which each source stores the gates' blocks of H columns, and how they are put in canonical order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import ArgumentError

CANONICAL_GATES = "ifgo"  # input, forget, candidate, output
CANONICAL_GRU_GATES = "zrh"  # update, reset, candidate

#: Column order of an LSTM's four gates as each source stores them. g, j and c all name the candidate.
GATE_ORDERS = {
    "fastlstm": "ifgo",
    "tensorflow1": "ijfo",  # BasicLSTMCell, LSTMCell, LSTMBlockCell
    "keras": "ifco",  # Keras >= 2, BlockLSTMV2, cuDNN
    "keras1": "icfo",  # Keras 1's twelve arrays, in the order they are written
    "pytorch": "ifgo",
    "onnx": "iofc",
    "haste": "igfo",
    "miopen": "ifoc",
}

#: The same for a GRU's three. u names the update gate; c, n and g the candidate.
GRU_GATE_ORDERS = {
    "fastlstm": "zrh",
    "tensorflow1": "ruc",  # GRUCell: gates/kernel, then candidate/kernel
    "keras": "zrh",
    "pytorch": "rzn",
    "onnx": "zrh",
    "cudnn": "rzh",
}


def gate_columns(gate_order: str) -> tuple[int, ...]:
    """Where each of the canonical gates i f g o stands in `gate_order`.  Raises ArgumentError."""
    order = str(GATE_ORDERS.get(gate_order, gate_order)).replace("j", "g").replace("c", "g")
    if sorted(order) != sorted(CANONICAL_GATES):
        raise ArgumentError(
            f"gate_order {gate_order!r} is not an order of the four gates i, f, g (or j, or c) and o; "
            f"TensorFlow 1 stores 'ijfo', Keras 'ifco', PyTorch 'ifgo'"
        )
    return tuple(order.index(gate) for gate in CANONICAL_GATES)


def gru_gate_columns(gate_order: str) -> tuple[int, ...]:
    """Where each of the canonical gates z r h stands in `gate_order`.  Raises ArgumentError."""
    names: Mapping[str, str] = {"u": "z", "c": "h", "n": "h", "g": "h"}
    order = "".join(names.get(gate, gate) for gate in str(GRU_GATE_ORDERS.get(gate_order, gate_order)))
    if sorted(order) != sorted(CANONICAL_GRU_GATES):
        raise ArgumentError(
            f"gate_order {gate_order!r} is not an order of the three gates z (or u), r and h (or c, or n); "
            f"TensorFlow 1 stores 'ruc', Keras 'zrh', PyTorch 'rzn'"
        )
    return tuple(order.index(gate) for gate in CANONICAL_GRU_GATES)


def reordered(array: NDArray[np.floating], order: Sequence[int]) -> NDArray[np.floating]:
    """`array` (..., gates x H) with its blocks of H columns taken in `order`; read-only."""
    blocks = np.split(array, len(order), axis=-1)
    result = np.ascontiguousarray(np.concatenate([blocks[k] for k in order], axis=-1))
    result.flags.writeable = False
    return result
