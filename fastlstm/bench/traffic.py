"""The bytes of weights that one step at batch 1 has to read: what divided by the memory's bandwidth is the bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastlstm.layers import Bidirectional, Embedding, Layer, OneHot

if TYPE_CHECKING:
    from fastlstm.model import Model

#: Bytes an element of what `weights=` stores narrower than the model's dtype.
_NARROW = {"bfloat16": 2, "int8": 1}


def weight_bytes(model: Model) -> int:
    """Every weight once, as it is stored; of a table and of the product with its row, one row.

    An id picks a row of the embedding, and that row's product with the next kernel is a row of a table as well, which
    can be made when the model is loaded; so can a one-hot id's.
    """
    return sum(_read(entry, _storage(model), model.dtype.itemsize) for entry in _after_table(model.layers))


def _storage(model: Model) -> int:
    return _NARROW.get(storage(model), model.dtype.itemsize)


def storage(model: Model) -> str:
    """How the weights are stored: `weights=`, or the model's dtype."""
    return getattr(model, "weights", None) or model.dtype.name


def _after_table(layers: Sequence[Layer]) -> list[tuple[Layer, bool]]:
    """The layers with weights that are read, and whether of the kernel one row is enough."""
    first = isinstance(layers[0], Embedding | OneHot)
    return [(layer, first and k == 0) for k, layer in enumerate(layers[first:])]


def _read(entry: tuple[Layer, bool], narrow: int, full: int) -> int:
    layer, one_row = entry
    if isinstance(layer, Bidirectional):
        return sum(_read((inner, False), narrow, full) for inner in [*layer.forward, *layer.backward])
    total = 0
    for name, a in layer.arrays().items():
        if name == "kernel" and one_row:
            total += a.shape[1] * full
        else:
            total += a.size * (narrow if np.ndim(a) == 2 else full)
    return total
