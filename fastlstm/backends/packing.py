"""How matrices lie in a plan's weights: in tiles whose rows follow each other, so that a step reads them in one pass.

lanes  elements of a vector register of the CPU that the plan is for

A matrix (K, N) has its columns padded to a multiple of `lanes`. A tile is 8 * lanes of them, as (K, 8 * lanes);
what is left over lies in tiles of 4, 2 and 1 * lanes, as many as it takes.

Of several gates each one's columns are padded by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def padded(size: int, lanes: int) -> int:
    """`size` rounded up to a multiple of `lanes`."""
    return -(-size // lanes) * lanes


def tiles(columns: int, lanes: int) -> Iterator[slice]:
    """The columns of each tile, in their order."""
    start = 0
    for width in (8 * lanes, 4 * lanes, 2 * lanes, lanes):
        while columns - start >= width:
            yield slice(start, start + width)
            start += width


def pack(out: Array, matrix: Array, lanes: int) -> None:
    """Write matrix (K, N), N a multiple of lanes, into out (K * N,) tile after tile."""
    depth = len(matrix)
    for columns in tiles(matrix.shape[1], lanes):
        out[depth * columns.start : depth * columns.stop].reshape(depth, -1)[:] = matrix[:, columns]


def side_by_side(array: Array, gates: int, lanes: int) -> Array:
    """(..., gates * H) -> (..., gates * padded H): each gate padded with zeros by itself."""
    *axes, size = array.shape
    hidden = size // gates
    wide = np.zeros((*axes, gates, padded(hidden, lanes)), array.dtype)
    wide[..., :hidden] = array.reshape(*axes, gates, hidden)
    return wide.reshape(*axes, -1)
