"""Variables stored in slices: boxes that cover a tensor, each element once.

Source: tensorflow/core/framework/tensor_slice.cc, tensorflow/core/util/tensor_slice_set.cc.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError

Extents = tuple[tuple[int, int], ...]  # (start, length) of each dimension, length -1 for all of it
Box = tuple[tuple[int, int], ...]  # (start, stop) of each dimension


def extents_of(proto: Any) -> Extents:
    """A TensorSliceProto."""
    return tuple((extent.start, extent.length if extent.HasField("length") else -1) for extent in proto.extent)


def box_of(extents: Extents, shape: tuple[int, ...], where: str) -> Box:
    """Raises FormatError unless the slice is inside `shape`."""
    box = tuple(
        (start, size if length == -1 else start + length) for (start, length), size in zip(extents, shape, strict=False)
    )
    if len(extents) != len(shape) or any(
        not 0 <= start <= stop <= size for (start, stop), size in zip(box, shape, strict=True)
    ):
        raise FormatError(f"{where}: slice {extents} is not inside the shape {shape}; the file is damaged")
    return box


def shape_in(box: Box) -> tuple[int, ...]:
    return tuple(stop - start for start, stop in box)


def boxes_of(slices: Sequence[Extents], shape: tuple[int, ...], where: str) -> list[Box]:
    """The boxes of all slices.  Raises FormatError unless they have as many elements as `shape`."""
    boxes = [box_of(extents, shape, where) for extents in slices]
    covered = sum(math.prod(shape_in(box)) for box in boxes)
    if covered != math.prod(shape) or len(set(boxes)) != len(boxes):
        raise FormatError(
            f"{where}: {len(boxes)} slices hold {covered} elements, expected {math.prod(shape)} for {shape}, each "
            "once; the checkpoint is incomplete or damaged"
        )
    return boxes


def assemble(boxes: Sequence[Box], pieces: Sequence[NDArray[Any]], shape: tuple[int, ...], where: str) -> NDArray[Any]:
    """The tensor whose boxes hold `pieces`.  Raises FormatError where two of them overlap."""
    if len(boxes) == 1:
        return pieces[0].reshape(shape)
    result = np.empty(shape, pieces[0].dtype)
    seen = np.zeros(shape, bool)
    for box, piece in zip(boxes, pieces, strict=True):
        region = tuple(slice(start, stop) for start, stop in box)
        if seen[region].any():
            raise FormatError(f"{where}: slice {list(box)} overlaps another one; the file is damaged")
        seen[region] = True
        result[region] = piece
    return result
