"""Models that need a whole sequence at once: run in pieces, each by the device's own backend.

A piece is a stretch of layers that go forward in time. Between pieces the time axis is turned round, or the outputs of
two directions are merged. Which steps are masked travels beside the vectors: a Masking ends a piece, and a piece that
comes after one begins with a `StepMask`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends.base import Arrays, Backend, Pair
from fastlstm.layers import Bidirectional, Embedding, Layer, Masking, Reverse, recurrent_layers
from fastlstm.layers.masking import StepMask

Make = Callable[[Sequence["Layer | StepMask"], np.dtype], Backend]
Array = NDArray[np.floating]
Mask = NDArray[np.bool_]


class SequenceBackend:
    """`run` of `base.Backend`, for layers with a Bidirectional or Reverse among them.

    make  makes the device's backend of a piece's layers
    """

    def __init__(self, make: Make, layers: Sequence[Layer], dtype: np.dtype) -> None:
        self._stages: list[Masking | Reverse | _Piece | _Both] = []
        first = layers[0]
        self._zero_is_masked = isinstance(first, Embedding) and first.mask_zero
        masked = False
        for alone, group in groupby(layers, key=lambda layer: isinstance(layer, Masking | Reverse | Bidirectional)):
            if not alone:
                self._stages.append(_Piece(make, list(group), dtype, masked))
                masked |= self._zero_is_masked
                continue
            for layer in group:
                self._stages.append(_Both(make, layer, dtype, masked) if isinstance(layer, Bidirectional) else layer)
                masked |= isinstance(layer, Masking)

    def run(self, xs: Arrays, state: Sequence[Pair], lengths: NDArray[np.int64]) -> tuple[Array, list[Pair]]:
        """See `base.Backend.run`."""
        order = _backwards(lengths, xs.shape[1])
        before, after = list(state), []
        mask = later = None
        if self._zero_is_masked:
            later = xs == 0  # the piece that the Embedding is in finds this out by itself
        for stage in self._stages:
            if isinstance(stage, Masking):
                mask = (xs == xs.dtype.type(stage.mask_value)).all(axis=-1)
                xs = np.where(mask[..., None], xs.dtype.type(0), xs)
            elif isinstance(stage, Reverse):
                xs, mask = _turned(xs, order), mask if mask is None else _turned(mask, order)
            else:
                own, before = before[: stage.states], before[stage.states :]
                xs, pairs = stage.run(xs, mask, own, lengths, order)
                after += pairs
                if later is not None:
                    mask, later = later, None
        return xs, after


class _Piece:
    """A stretch of layers that go forward in time. `masked`: it is told which steps are masked."""

    def __init__(self, make: Make, layers: Sequence[Layer], dtype: np.dtype, masked: bool) -> None:
        self.states = len(recurrent_layers(layers))
        self._backend = make([StepMask(layers[0].input_size), *layers] if masked else layers, dtype)

    def run(
        self, xs: Arrays, mask: Mask | None, state: Sequence[Pair], lengths: NDArray[np.int64], order: NDArray[np.int64]
    ) -> tuple[Array, Sequence[Pair]]:
        if mask is not None:
            xs = np.concatenate([xs, mask[..., None].astype(xs.dtype)], axis=-1)
        return self._backend.run(xs, state, lengths)


class _Both:
    """A Bidirectional: two pieces, the second from the end."""

    def __init__(self, make: Make, layer: Bidirectional, dtype: np.dtype, masked: bool) -> None:
        self._forward = _Piece(make, layer.forward, dtype, masked)
        self._backward = _Piece(make, layer.backward, dtype, masked)
        self._merge_mode, self._sequences = layer.merge_mode, layer.return_sequences
        self.states = self._forward.states + self._backward.states

    def run(
        self, xs: Arrays, mask: Mask | None, state: Sequence[Pair], lengths: NDArray[np.int64], order: NDArray[np.int64]
    ) -> tuple[Array, list[Pair]]:
        split = self._forward.states
        one, pairs = self._forward.run(xs, mask, state[:split], lengths, order)
        turned = None if mask is None else _turned(mask, order)
        other, more = self._backward.run(_turned(xs, order), turned, state[split:], lengths, order)
        other = _turned(other, order)
        if not self._sequences:  # its output at the first step stands at all of them
            valid = np.arange(xs.shape[1]) < lengths[:, None]
            other = np.where(valid[..., None], other[:, :1], other.dtype.type(0))
        return _merged(self._merge_mode, one, other), [*pairs, *more]


def _backwards(lengths: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """(B, T): which step stands at each place when each row is turned round up to its length."""
    t = np.arange(steps)
    ends = lengths[:, None]
    return np.where(t < ends, ends - 1 - t, t)


def _turned(a: NDArray, order: NDArray[np.int64]) -> NDArray:
    """a (B, T) or (B, T, D) with its steps in `order` (B, T)."""
    return np.take_along_axis(a, order if a.ndim == 2 else order[..., None], axis=1)


def _merged(mode: str | None, one: Array, other: Array) -> Array:
    if mode == "sum":
        return one + other
    if mode == "mul":
        return one * other
    if mode == "ave":
        return (one + other) / 2
    return np.concatenate([one, other], axis=-1)
