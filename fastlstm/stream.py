"""One live sequence, stepped in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm import arguments
from fastlstm.errors import ShapeError
from fastlstm.state import State, StateLike

if TYPE_CHECKING:
    from fastlstm.model import Model


class Stream:
    """A model with a state of its own, for one sequence that arrives a step at a time.

    Everything is allocated, and compiled, when the stream is made: `step` allocates nothing and takes no lock of its
    own (Python's it gives up while it computes). Streams share their model's weights; use each from one thread at a
    time. A copy of a stream, or a pickled one, is a stream of its own with the same state.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._session = session = model.backend.session()
        self._advance, self._input, self._tokens = session.advance, session.input, session.tokens
        self._output = session.output.view()
        self._output.flags.writeable = False  # it may be the hidden state itself
        self._dtype = model.dtype
        self._shape = None if self._input is None else self._input.shape

    def step(self, x: ArrayLike | int) -> NDArray[np.floating]:
        """One time step.

        x   (D,)  the input; an id where the model begins with an embedding or one-hot
        ->  y (V,), a read-only view that the next call overwrites: copy it to keep it
        Raises ShapeError or ArgumentError, the state unchanged.
        """
        if self._input is None:
            self._tokens[0] = self._token(x)
        else:
            if type(x) is not np.ndarray or x.dtype is not self._dtype or x.shape != self._shape:
                x = self._vector(x)
            self._input[:] = x
        self._advance()
        return self._output

    def _vector(self, x: ArrayLike) -> NDArray[np.floating]:
        """x in the model's dtype, checked: what `step` need not do for an array that is just so."""
        if np.shape(x) == () and self._shape == (1,):
            x = [x]
        vector, single = arguments.vectors(x, "B", self._model.input_size, self._dtype, name="x")
        if not single:
            raise ShapeError(f"x: shape {np.shape(x)}; a stream is one sequence, expected shape {self._shape}")
        return vector[0]

    def _token(self, x: ArrayLike | int) -> int:
        size = self._model.vocabulary_size
        if type(x) is int and 0 <= x < size:
            return x
        ids, single = arguments.token_ids(x, "B", size, name="x")
        if not single:
            raise ShapeError(f"x: shape {np.shape(x)}; a stream is one sequence, expected one id")
        return int(ids[0])

    def process(self, xs: ArrayLike) -> NDArray[np.floating]:
        """A block of steps in one call.

        xs  (T, D)  inputs; (T,) ids where the model begins with an embedding or one-hot
        ->  ys (T, V), a new array
        """
        checked, single = self._model.inputs(xs, "BT", name="xs")
        if not single:
            raise ShapeError(f"xs: shape {np.shape(xs)}; a stream is one sequence, expected no batch axis")
        ys = np.empty((checked.shape[1], self._model.output_size), self._model.dtype)
        self._session.process(checked[0], ys)
        return ys

    @property
    def state(self) -> State:
        """The state, a copy with a batch of one. Set it in any form that `Model.step` takes."""
        return State(self._session.state())

    @state.setter
    def state(self, value: StateLike) -> None:
        self._session.set_state(self._model.state_pairs(value, batch_size=1))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled as model and state: the buffers' addresses mean nothing elsewhere."""
        return _restored, (self._model, self.state)

    def reset(self) -> None:
        """Set the state to zero."""
        self.state = self._model.zero_state(1)


def _restored(model: Model, state: State) -> Stream:
    stream = Stream(model)
    stream.state = state
    return stream
