"""One live sequence, stepped in place."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm import arguments, device_calls
from fastlstm.errors import ShapeError
from fastlstm.state import State, StateLike

if TYPE_CHECKING:
    from fastlstm.backends.cuda.interface import DeviceArray
    from fastlstm.model import Model


class Stream:
    """A model with a state of its own, for one sequence that arrives a step at a time.

    Everything is allocated, and compiled, when the stream is made: `step` allocates nothing and takes no lock of its
    own (Python's it gives up while a large model computes). Streams share their model's weights; use each from one
    thread at a time. A copy of a stream, or a pickled one, is a stream of its own with the same state.
    """

    def __init__(self, model: Model, cuda_stream: Any = None) -> None:
        self._model = model
        self._session = session = _session(model, cuda_stream)
        output = session.output.view()
        output.flags.writeable = False  # it may be the hidden state itself
        size = model.vocabulary_size if model.takes_ids else model.input_size
        self._step = session.stepper(size, partial(_id if model.takes_ids else _vector, model), output)
        if type(self).step is Stream.step:
            # Without a Python function around it, which would cost what a small model's step does.
            self.step = self._step

    def step(self, x: ArrayLike | int, /) -> NDArray[np.floating]:
        """One time step.

        x   (D,)  the input; an id where the model begins with an embedding or one-hot
        ->  y (V,), a read-only view that the next call overwrites: copy it to keep it
        Raises ShapeError or ArgumentError, the state unchanged.

        On device "cuda" x may be on the GPU (`__cuda_array_interface__`: CuPy, PyTorch, Numba); y is then there too,
        always the same array. Such a step is one launch, in the CUDA stream of `Model.stream`, which may be captured
        in a CUDA graph after a first step outside of it; when that is replayed, the step reads what then stands where
        x was. The stream that x's interface names is waited for; where it names none, as PyTorch's does not, x has to
        come from the same stream. An id is looked at on the host, and cannot be captured.
        """
        return self._step(x)

    def process(self, xs: ArrayLike) -> NDArray[np.floating]:
        """A block of steps in one call.

        xs  (T, D)  inputs; (T,) ids where the model begins with an embedding or one-hot
        ->  ys (T, V), a new array; on the GPU, where xs is
        """
        if (found := self._model.on_device(xs, "xs")) is not None:
            return self._process_on_device(found)  # type: ignore[return-value]
        checked, single = self._model.inputs(xs, "BT", name="xs")
        if not single:
            raise ShapeError(f"xs: shape {np.shape(xs)}; a stream is one sequence, expected no batch axis")
        ys = np.empty((checked.shape[1], self._model.output_size), self._model.dtype)
        self._session.process(checked[0], ys)
        return ys

    def _process_on_device(self, xs: DeviceArray) -> DeviceArray:
        checked, single = device_calls.inputs(self._model, xs, "BT", name="xs")
        if not single:
            raise ShapeError(f"xs: shape {xs.shape}; a stream is one sequence, expected no batch axis")
        return self._session.process_on_device(checked)  # type: ignore[no-any-return]

    @property
    def state(self) -> State:
        """The state, a copy with a batch of one. Set it in any form that `Model.step` takes."""
        return State(self._session.state())

    @state.setter
    def state(self, value: StateLike) -> None:
        self._session.set_state(self._model.state_pairs(value, batch_size=1))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled as model and state: the buffers' addresses mean nothing elsewhere."""
        return _restored, (type(self), self._model, self.state)

    def reset(self) -> None:
        """Set the state to zero."""
        self.state = self._model.zero_state(1)


def _session(model: Model, cuda_stream: Any) -> Any:
    """Of the backend."""
    if cuda_stream is None:
        return model.backend.session()
    from fastlstm.backends.cuda.session import stream_address

    return model.backend.session(stream_address(cuda_stream))


def _vector(model: Model, x: ArrayLike) -> NDArray[np.floating]:
    """x (D,) in the model's dtype, checked."""
    model.on_device(x, "x")
    if model.input_size == 1 and not isinstance(x, list | tuple) and np.ndim(x) == 0:
        x = [x]
    vector, single = arguments.vectors(x, "B", model.input_size, model.dtype, name="x")
    if not single:
        raise ShapeError(f"x: shape {np.shape(x)}; a stream is one sequence, expected shape ({model.input_size},)")
    return vector[0]


def _id(model: Model, x: ArrayLike | int) -> int:
    model.on_device(x, "x")
    ids, single = arguments.token_ids(x, "B", model.vocabulary_size, name="x")
    if not single:
        raise ShapeError(f"x: shape {np.shape(x)}; a stream is one sequence, expected one id")
    return int(ids[0])


def _restored(kind: type[Stream], model: Model, state: State) -> Stream:
    stream = kind(model)
    stream.state = state
    return stream
