"""What a backend offers to `Model` and `Stream`. Arguments come checked: right shapes, the model's dtype, C order.

State is a sequence of (c, h) pairs, one a recurrent layer: c (B, H), empty of a GRU, h (B, P). What is given is the
caller's, and may be read-only or not in C order; what is given back is the caller's own. A PackedState that is given
has the model's own sizes and dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlstm.layers import Layer

Pair: TypeAlias = tuple[NDArray[np.floating], NDArray[np.floating]]
Arrays: TypeAlias = "NDArray[np.floating] | NDArray[np.int64]"


class PackedState(Sequence[Pair]):
    """The same in one array, of which the pairs are views.

    array  (S,) the first layer's c (B, H) and h (B, P), then the next one's
    sizes  (H, P) of each layer
    """

    __slots__ = ("array", "batch_size", "sizes")

    def __init__(self, array: NDArray[np.floating], sizes: Sequence[tuple[int, int]], batch_size: int) -> None:
        self.array, self.sizes, self.batch_size = array, sizes, batch_size

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> PackedState:
        """A copy, of at least one pair, or what is packed already."""
        if isinstance(pairs, cls):
            return pairs
        sizes = [(c.shape[1], h.shape[1]) for c, h in pairs]
        return cls(np.concatenate([a.ravel() for pair in pairs for a in pair]), sizes, len(pairs[0][1]))

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Pair]:
        start, rows = 0, self.batch_size
        for of_c, of_h in self.sizes:
            middle = start + rows * of_c
            end = middle + rows * of_h
            yield self.array[start:middle].reshape(rows, of_c), self.array[middle:end].reshape(rows, of_h)
            start = end

    def __getitem__(self, k: Any) -> Any:
        return list(self)[k]


@dataclass(frozen=True)
class Drawing:
    """How ids are drawn from a token model's outputs.

    temperature    0 for the largest
    top_k, top_p   None for all
    probabilities  the outputs are probabilities, else logits
    seed           of the random numbers, below 2^64
    position       how many draws a row has made before
    stop           (S,) int64, ids that end a row
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    probabilities: bool = False
    seed: int = 0
    position: int = 0
    stop: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


class Session(Protocol):
    """One live sequence, its buffers allocated once.

    output  (V,) what a step writes
    """

    output: NDArray[np.floating]

    def stepper(self, size: int, convert: Callable[[Any], Any], output: NDArray[np.floating]) -> Callable[[Any], Any]:
        """x -> output, after one time step.

        size     of x; the vocabulary's where x is an id
        convert  x -> x as the session takes it, (D,) in the model's dtype and C order, or an id in range; called at
                 least where x is something else
        output   a view of the session's
        """

    def process(self, xs: Arrays, ys: NDArray[np.floating]) -> None:
        """xs (T, D) or ids (T,) -> ys (T, V), written in place."""

    def state(self) -> Sequence[Pair]:
        """A copy, of one row."""

    def set_state(self, state: Sequence[Pair]) -> None: ...


class Backend(Protocol):
    def __init__(self, layers: Sequence[Layer], dtype: np.dtype, storage: int = 0) -> None:
        """storage: of the matrices, a place in `narrow.STORAGES`."""

    def session(self) -> Session: ...

    def step(self, xs: Arrays, state: Sequence[Pair]) -> tuple[NDArray[np.floating], Sequence[Pair]]:
        """xs (B, D) or ids (B,) -> ys (B, V), and the new state."""

    def run(
        self, xs: Arrays, state: Sequence[Pair], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.floating], Sequence[Pair]]:
        """xs (B, T, D) or ids (B, T), lengths (B,) -> ys (B, T, V), zero past each length, and the new state."""

    def generate(
        self, n: int, prime: Arrays, lengths: NDArray[np.int64], state: Sequence[Pair], drawing: Drawing | None
    ) -> tuple[Arrays, Sequence[Pair]]:
        """Prime, then feed the output back: outputs (B, n, V), or with `drawing` ids (B, n), and the new state."""
