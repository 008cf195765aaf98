"""A curve in a terminal: braille characters of 2 x 4 dots, or stars where the terminal cannot show them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: The bit of each dot (row, column) in a braille character, U+2800 being the empty one.
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


def draw(values: NDArray[np.floating], encoding: str | None, columns: int = 72, rows: int = 12) -> list[str]:
    """Lines of text, the first and the last with the value at that height.

    values    (N,)
    encoding  of the terminal
    """
    braille = _can_show("\u28ff", encoding)
    high, wide = (4, 2) if braille else (1, 1)
    grid, bottom, top = _grid(values, rows * high, columns * wide)
    cells = grid.reshape(rows, high, columns, wide).swapaxes(1, 2)  # (rows, columns, dots down, dots across)
    if braille:
        lines = ["".join(map(chr, 0x2800 + row)) for row in (cells * _DOTS).sum(axis=(2, 3))]
    else:
        lines = ["".join(np.where(row, "*", " ")) for row in cells[:, :, 0, 0]]
    labels = [f"{top:7.2f} ", *[" " * 8] * (rows - 2), f"{bottom:7.2f} "]
    return [(label + line).rstrip() for label, line in zip(labels, lines, strict=True)]


def _grid(values: NDArray[np.floating], height: int, width: int) -> tuple[NDArray[np.bool_], float, float]:
    """The dots (height, width) that the curve covers, the top one first, and the values at the bottom and the top."""
    at = np.interp(np.linspace(0, len(values) - 1, width), np.arange(len(values)), values)
    bottom, top = float(at.min()), float(at.max())
    level = np.rint((at - bottom) / (top - bottom or 1) * (height - 1)).astype(int)
    before = np.concatenate([level[:1], level[:-1]])
    low, high = np.minimum(level, before + 1), np.maximum(level, before - 1)  # joined to the column on the left
    rows = np.arange(height)[::-1, None]
    return (rows >= np.minimum(low, level)) & (rows <= np.maximum(high, level)), bottom, top


def _can_show(character: str, encoding: str | None) -> bool:
    try:
        character.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
