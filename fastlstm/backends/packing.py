"""How matrices lie in a plan's weights: in panels whose rows follow each other, so that a step reads them in one pass.

lanes  elements of a vector register of the CPU that the plan is for

A matrix (K, N) has its columns padded to a multiple of `lanes`; of several gates each one's by themselves. A panel is
2 * lanes of them and lies as (K, 2 * lanes); one of `lanes` columns may be left over. So column n begins at n * K if it
begins a panel. A step reads four panels side by side, which keeps the CPU's prefetcher busier than one wide one (tried:
44 against 29 GB/s from the far end of L3), and a batch finds a panel small enough to stay in L1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def padded(size: int, lanes: int) -> int:
    """`size` rounded up to a multiple of `lanes`."""
    return -(-size // lanes) * lanes


def pack(out: Array, matrix: Array, lanes: int) -> None:
    """Write matrix (K, N), N a multiple of lanes, into out (K * N,) panel after panel."""
    depth, columns = matrix.shape
    for start in range(0, columns, 2 * lanes):
        stop = min(start + 2 * lanes, columns)
        out[depth * start : depth * stop].reshape(depth, -1)[:] = matrix[:, start:stop]


def side_by_side(array: Array, gates: int, lanes: int) -> Array:
    """(..., gates * H) -> (..., gates * padded H): each gate padded with zeros by itself."""
    *axes, size = array.shape
    hidden = size // gates
    wide = np.zeros((*axes, gates, padded(hidden, lanes)), array.dtype)
    wide[..., :hidden] = array.reshape(*axes, gates, hidden)
    return wide.reshape(*axes, -1)
