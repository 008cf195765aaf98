"""A call's data in one stretch of the GPU's memory: a small call's goes there by one copy, and comes back by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlstm.backends.cuda import memory
from fastlstm.backends.cuda.interface import LEGACY, DeviceArray

_TOGETHER = 1 << 20  # bytes up to which copying them together on the host costs less than a copy of the driver's more


class Parcel:
    """Keeps its memory from call to call, where that is not much. Not for two calls at a time."""

    KEPT = 64 << 20  # bytes

    def __init__(self, stream: int = LEGACY) -> None:
        self._stream = stream
        self._room = memory.allocated((1 << 12,), np.uint8, stream)
        self._host = np.empty(1 << 12, np.uint8)
        self._back: list[DeviceArray] = []

    @property
    def nbytes(self) -> int:
        return self._room.nbytes

    def send(self, arrays: Sequence[NDArray[Any]], shape: tuple[int, ...], dtype: DTypeLike) -> list[DeviceArray]:
        """Arrays in C order, and room for outputs after them -> all of them on the GPU.

        The last one of `arrays` and the outputs are what `fetch` brings back.
        """
        specs = [(a.shape, a.dtype) for a in arrays] + [(shape, np.dtype(dtype))]
        starts, end = [], 0
        for each, kind in specs:
            starts.append(end)
            end += memory.aligned(math.prod(each) * kind.itemsize)
        if end > self._room.nbytes:
            self._room = memory.allocated((_whole(end),), np.uint8, self._stream)
        room, begin = self._room, starts[-1]
        placed = [
            DeviceArray(room.owner, room.address + at, each, kind, None, self._stream)
            for at, (each, kind) in zip(starts, specs, strict=True)
        ]
        self._starts, self._back = starts[-2:], placed[-2:]
        if begin <= _TOGETHER:
            self._staged(begin)
            for array, at in zip(arrays, starts, strict=False):
                self._host[at : at + array.nbytes] = array.reshape(-1).view(np.uint8)
            memory.send(self._host[:begin], room.part(0, begin), self._stream)
        else:
            for array, target in zip(arrays, placed, strict=False):
                memory.send(array, target, self._stream)
        return placed

    def fetch(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """What was the last of `arrays`, and the outputs, when the GPU is done with them."""
        state, outputs = self._back
        found = np.empty(state.shape, state.dtype), np.empty(outputs.shape, outputs.dtype)
        begin, end = self._starts[0], self._starts[1] + outputs.nbytes
        size = end - begin
        if size <= _TOGETHER:
            self._staged(size)
            memory.fetch(self._room.part(begin, end), self._host[:size], self._stream)
            for array, at in zip(found, self._starts, strict=True):
                array.reshape(-1).view(np.uint8)[:] = self._host[at - begin : at - begin + array.nbytes]
        else:
            memory.fetch(state, found[0], self._stream)
            memory.fetch(outputs, found[1], self._stream)
        return found

    def _staged(self, size: int) -> None:
        if self._host.nbytes < size:
            self._host = np.empty(_whole(size), np.uint8)


def _whole(nbytes: int) -> int:
    """In pages."""
    return -(-nbytes // 4096) * 4096
