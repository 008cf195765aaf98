"""Outputs -> ids in NumPy and plain integers: greedy, by temperature, from the top k or the top p."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends.base import Drawing

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mixed(x: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _WORD
    return x ^ (x >> 31)


def uniform(seed: int, row: int, position: int) -> float:
    """The number in [0, 1) that row `row` draws at step `position`: a function of its arguments alone."""
    stream = _mixed((seed + _GOLDEN * (row + 1)) & _WORD)
    return (_mixed((stream + _GOLDEN * (position + 1)) & _WORD) >> 11) * 2.0**-53


def draw(ys: NDArray[np.floating], drawing: Drawing, step: int) -> NDArray[np.int64]:
    """ys (B, V) -> ids (B,), the draw number `step` of a call.

    An id is drawn with probability ~ exp(y / temperature), or y^(1 / temperature) where ys are probabilities, from the
    top_k largest, and of these from the fewest that hold top_p of the whole. All in float64.
    """
    if drawing.temperature == 0:
        return ys.argmax(axis=1)
    with np.errstate(divide="ignore"):
        logits = np.log(ys, dtype=np.float64) if drawing.probabilities else ys.astype(np.float64)
    ids = np.empty(len(ys), np.int64)
    for row, y in enumerate(logits):
        mass = np.exp((y - y.max()) / drawing.temperature)
        order = np.arange(y.size)
        if (drawing.top_k or y.size) < y.size or (drawing.top_p or 1.0) < 1.0:
            order = np.argsort(-mass, kind="stable")[: drawing.top_k]
            full = np.cumsum(mass)[-1] * (drawing.top_p or 1.0)
            order = order[: 1 + np.searchsorted(np.cumsum(mass[order]), full)]
        reached = np.cumsum(mass[order])
        level = uniform(drawing.seed, row, drawing.position + step) * reached[-1]
        ids[row] = order[min(np.searchsorted(reached, level, side="right"), order.size - 1)]
    return ids
