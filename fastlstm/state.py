"""The state of a model's LSTM layers, in the three forms that people hold it in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm.backends.base import PackedState
from fastlstm.backends.cuda.interface import DeviceArray, device_array
from fastlstm.errors import ArgumentError, FormatError, MissingFileError, ShapeError


class LayerState(NamedTuple):
    """One layer's state, in the order of TensorFlow's LSTMStateTuple.

    c  (B, H)  cell state
    h  (B, P)  hidden state, which is also the layer's output; P is H without a projection
    """

    c: NDArray[np.floating]
    h: NDArray[np.floating]


#: Attributes of a state that came from a model, by which that knows it again; the last as version 0.4's first pickles.
_OF_A_MODEL = ("_pairs", "_made_for", "made_for")


class State:
    """The state of all LSTM layers: `state[k].c` and `state[k].h`.

    layers  one (c, h) a layer, each (B, size); without a batch axis they become a batch of one
    The arrays are taken as they are, not copied. Raises ShapeError.

    A state may also be on a GPU, as `Model.step` gives it for an x that is: `state[k].c` is then an array there, which
    CuPy, PyTorch and Numba take by its `__cuda_array_interface__`, and a State of such arrays of theirs is one. What
    copies gives NumPy arrays.
    """

    _made_for: object = None
    _pairs: Any = None
    #: Whether at least one of the arrays is on a GPU.
    on_device = False

    def __init__(self, layers: Sequence[Sequence[ArrayLike]]) -> None:
        try:
            pairs = list(layers)
        except TypeError:
            raise ShapeError(f"a State needs one (c, h) a layer; got {type(layers).__name__}") from None
        self._layers = tuple(_layer_state(k, pair) for k, pair in enumerate(pairs))
        if not self._layers:
            raise ShapeError("a State needs at least one layer's (c, h)")
        sizes = {a.shape[0] for pair in self._layers for a in pair}
        if len(sizes) > 1:
            raise ShapeError(f"the layers' states have batches of {sorted(sizes)} rows; expected one size for all")
        if any(isinstance(a, DeviceArray) for pair in self._layers for a in pair):
            self.on_device = True

    @classmethod
    def checked(
        cls, layers: Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]], made_for: object = None
    ) -> State:
        """Of (c, h) arrays that fit each other already, as backends give them: not checked once more.

        made_for  what the model knows its own states by, which need no check when they come back
        """
        state = object.__new__(cls)
        state._pairs, state._made_for = layers, made_for
        return state

    def pairs_made_for(self, owner: object, batch_size: int) -> Any:
        """What `checked` was given, where that was for this owner and is of so many rows; else None."""
        return self._pairs if self._made_for is owner and self.batch_size == batch_size else None

    @cached_property
    def _layers(self) -> tuple[LayerState, ...]:
        """Made when first asked for: a state often goes into the next step unseen."""
        new = tuple.__new__
        return tuple([new(LayerState, pair) for pair in self._pairs])

    def __getstate__(self) -> dict[str, Any]:
        """A copy is no model's own."""
        return {k: v for k, v in self.__dict__.items() if k not in _OF_A_MODEL} | {"_layers": self._layers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({k: v for k, v in state.items() if k not in _OF_A_MODEL})

    @classmethod
    def on_gpu(cls, layers: Iterable[tuple[DeviceArray, DeviceArray]]) -> State:
        """As `checked`, of arrays that are there."""
        state = cls.checked(layers)  # type: ignore[arg-type]
        state.on_device = True
        return state

    def to_host(self) -> State:
        """The state in NumPy arrays: itself, where it is."""
        if not self.on_device:
            return self
        return State.checked([tuple(map(np.asarray, pair)) for pair in self._layers])  # type: ignore[misc]

    def __len__(self) -> int:
        """L, the number of LSTM layers."""
        return len(self._layers)

    def __getitem__(self, k: int) -> LayerState:
        return self._layers[k]

    def __iter__(self) -> Iterator[LayerState]:
        return iter(self._layers)

    @property
    def batch_size(self) -> int:
        """B."""
        pairs = self._pairs
        return pairs.batch_size if type(pairs) is PackedState else self._layers[0].h.shape[0]

    @classmethod
    def from_tuples(cls, pairs: Sequence[Sequence[ArrayLike]]) -> State:
        """From LSTMStateTuples, or any sequence of (c, h) pairs: [(c, h), ...] or [[c, h], ...]."""
        return cls(pairs)

    @classmethod
    def from_array(cls, array: ArrayLike) -> State:
        """From one array (L, 2, B, H) with c at 0 and h at 1; (L, 2, H) is a batch of one."""
        a: Any = device_array(array, "state")
        if a is None:
            a = np.asarray(array)
        if a.ndim not in (3, 4) or a.shape[1] != 2:
            raise ShapeError(
                f"a state array has shape {a.shape}; expected (L, 2, B, H) with c at [:, 0] and h at [:, 1]"
            )
        if isinstance(a, DeviceArray):
            return cls([(a.at(k, 0), a.at(k, 1)) for k in range(len(a))])
        return cls([(pair[0], pair[1]) for pair in a])

    def to_tuples(self) -> list[tuple[NDArray[np.floating], NDArray[np.floating]]]:
        """[(c, h), ...], a copy."""
        if self.on_device:
            return [(c, h) for c, h in self.to_host()]
        return [(c.copy(), h.copy()) for c, h in self._layers]

    def to_array(self) -> NDArray[np.floating]:
        """(L, 2, B, H), a copy.  Raises ShapeError where the layers' sizes differ (use `to_tuples`)."""
        sizes = {a.shape[1] for pair in self._layers for a in pair}
        if len(sizes) > 1:
            raise ShapeError(
                f"the states have sizes {[(c.shape[1], h.shape[1]) for c, h in self._layers]} (c, h), which do not fit "
                f"one [L, 2, B, H] array; use to_tuples()"
            )
        return np.array([[c, h] for c, h in self.to_host()])

    def copy(self) -> State:
        return State(self.to_tuples())

    def rows(self, index: Any) -> State:
        """The state of some rows of the batch, a copy: index is an int, a slice, or an array of ints or bools."""
        batch = np.arange(self.batch_size)
        try:
            chosen = np.atleast_1d(batch[index])
        except (IndexError, TypeError) as error:
            raise ArgumentError(f"rows({index!r}): the state has rows 0 to {self.batch_size - 1}: {error}") from None
        return State([(c[chosen], h[chosen]) for c, h in self.to_host()])

    def reset(self, rows: Any = None) -> None:
        """Set the state to zero, in place: of all rows, or of some (as in `rows`)."""
        chosen = slice(None) if rows is None else rows
        try:
            index = np.arange(self.batch_size)[chosen]
        except (IndexError, TypeError) as error:
            raise ArgumentError(
                f"reset(rows={rows!r}): the state has rows 0 to {self.batch_size - 1}: {error}"
            ) from None
        if self.on_device:
            raise ArgumentError("reset: the state is on the GPU; reset its to_host(), or begin with state=None")
        if not all(a.flags.writeable for pair in self._layers for a in pair):
            raise ArgumentError("reset: the state is made of read-only arrays; reset a copy() of it")
        for pair in self._layers:
            for a in pair:
                a[index] = 0

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .npz file with arrays "0/c", "0/h", "1/c" ...  Raises WriteError; a file already there stays then."""
        from fastlstm.formats.npz import write_npz

        write_npz(
            path, {f"{k}/{name}": a for k, pair in enumerate(self.to_host()) for name, a in pair._asdict().items()}
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> State:
        """Read what `save` wrote, to the last bit.  Raises FormatError."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls([(file[f"{k}/c"], file[f"{k}/h"]) for k in range(len(file.files) // 2)])
        except FileNotFoundError:
            raise MissingFileError(f"{os.fspath(path)}: no such file; expected what State.save wrote") from None
        except Exception as error:  # zipfile and NumPy raise many kinds on a damaged file
            raise FormatError(f"{os.fspath(path)}: not a file that State.save wrote, or damaged: {error}") from error

    def __repr__(self) -> str:
        sizes = ", ".join(f"({c.shape[1]}, {h.shape[1]})" for c, h in self._layers)
        return f"State(batch_size={self.batch_size}, sizes=[{sizes}])"


#: What `Model` accepts as a state.
StateLike: TypeAlias = "State | ArrayLike | Sequence[Sequence[ArrayLike]]"


def state_of(value: StateLike) -> State:
    """A State from any of the three forms; of a model with one layer also its LSTMStateTuple by itself."""
    if isinstance(value, State):
        return value
    if isinstance(value, np.ndarray) or device_array(value, "state") is not None:
        return State.from_array(value)
    return State.from_tuples([value] if hasattr(value, "c") and hasattr(value, "h") else value)  # type: ignore[list-item, arg-type]


def _layer_state(k: int, pair: Sequence[ArrayLike]) -> LayerState:
    try:
        c, h = (pair.c, pair.h) if hasattr(pair, "c") and hasattr(pair, "h") else pair
    except (TypeError, ValueError):
        raise ShapeError(
            f"state of layer {k}: expected a pair (c, h), got {type(pair).__name__}; a State holds one pair a layer, "
            f"as in [(c, h), (c, h)]"
        ) from None
    arrays = []
    for name, value in (("c", c), ("h", h)):
        a: Any = None if isinstance(value, np.ndarray) else device_array(value, f"state of layer {k}: {name}")
        try:
            a = np.asarray(value) if a is None else a
        except ValueError:
            raise ShapeError(f"state of layer {k}: the rows of {name} have not the same length") from None
        if a.dtype.kind not in "fiu":
            raise ShapeError(
                f"state of layer {k}: {name} has elements of type {a.dtype}; expected floating-point numbers"
            )
        if a.ndim not in (1, 2):
            raise ShapeError(
                f"state of layer {k}: {name} has shape {a.shape}; expected (B, size), or (size,) for one row"
            )
        arrays.append(a if a.ndim == 2 else a.reshape(1, a.size))
    return LayerState(*arrays)
