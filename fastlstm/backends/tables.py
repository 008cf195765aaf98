"""When a model's first product is a table: id -> what the gates' sums are before h is added."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastlstm.layers import Embedding, Layer, OneHot, Recurrent
from fastlstm.layers.masking import StepMask

# A table of id -> gates, (V, 4H), replaces embedding and kernel while it stays below this many bytes.
_MULTIPLIED_TABLE_BYTES = 16 << 20


def multiplied_fits(layers: Sequence[Layer | StepMask], dtype: np.dtype) -> bool:
    """Whether ids come first, looking the gates up by id is possible (what stands around needs x itself), and small."""
    if len(layers) < 2 or not isinstance(layers[0], Embedding | OneHot) or not isinstance(layers[1], Recurrent):
        return False
    ids, layer = layers[:2]
    size = ids.vocabulary_size * 4 * layer.hidden_size * np.dtype(dtype).itemsize
    needs_x = layer.residual or layer.highway is not None
    return not needs_x and (isinstance(ids, OneHot) or size <= _MULTIPLIED_TABLE_BYTES)
