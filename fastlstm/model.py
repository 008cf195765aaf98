"""Model: layers that fit together, on a device, with the calls that run them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastlstm import arguments, device_calls, devices, generation
from fastlstm.backends.base import PackedState, Pair
from fastlstm.backends.cuda.interface import DeviceArray, device_array
from fastlstm.backends.narrow import STORAGES
from fastlstm.errors import ArgumentError, ShapeError, WeightError
from fastlstm.layers import LAYER_TYPES, Bidirectional, Embedding, Layer, OneHot, Reverse, recurrent_layers
from fastlstm.recognise.report import Report, table
from fastlstm.sampling import Sampler
from fastlstm.state import State, StateLike, state_of
from fastlstm.stream import Stream


class Model:
    """A chain of layers and the calls that run it.

    layers   Embedding or OneHot (first only, or neither), then LSTM, GRU, Dense, Masking, Bidirectional and Reverse in
             any order, at least one of them with a state; with the last two the model has `run` only
    device   "cpu" (compiled by Numba when first run), "cuda" (an NVIDIA GPU) or "numpy" (plain NumPy)
    dtype    "float32" or "float64", of the weights, the state and the outputs; that of the LSTM weights when None
    weights  how the matrices are stored: "float32", or fewer bytes for more speed at some cost in accuracy, "bfloat16"
             or "int8" (docs in `backends/narrow.py`; dtype float32 only); None is as dtype. `layers`, and what
             `fastlstm.save` writes, stay as they were given
    threads  how many share the products of larger layers, on device "cpu"; the outputs are those of one, to the last
             bit. Worth it from about 128 units on cores that are free, with fewer bytes from more
    report   what is known of the hyper-parameters; `fastlstm.load` fills it in; on "cuda" it tells the layout too

    Raises WeightError if the layers do not fit each other, ArgumentError, DeviceError. A model is not changed by
    running it, and may be used from several threads at once.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        device: str = "cpu",
        dtype: DTypeLike | None = None,
        weights: str | None = None,
        threads: int = 1,
        report: Report | None = None,
    ) -> None:
        try:
            self.layers = tuple(layers)
        except TypeError:
            raise ArgumentError(f"layers is {type(layers).__name__}; expected a sequence, e.g. [{layers!r}]") from None
        self.device = devices.checked_device(device)
        _check_chain(self.layers)
        self._recurrent = recurrent_layers(self.layers)
        self._state_sizes = tuple(layer.state_size for layer in self._recurrent)
        self.dtype = _checked_dtype(dtype, self.layers)
        self.weights = devices.checked_weights(weights, self.dtype, self.layers)
        self.threads = devices.checked_threads(threads, self.device)
        self._report = Report() if report is None else report
        if self.device == "cuda":
            _ = self.backend  # what does not go there is told of now

    # What the model is; what every step asks for is looked up once.

    @cached_property
    def takes_ids(self) -> bool:
        """Whether the inputs are token ids: the first layer is an Embedding or OneHot."""
        return isinstance(self.layers[0], Embedding | OneHot)

    @cached_property
    def vocabulary_size(self) -> int:
        """How many ids the model takes; 0 where it takes vectors."""
        first = self.layers[0]
        return first.vocabulary_size if isinstance(first, Embedding | OneHot) else 0

    @cached_property
    def input_size(self) -> int:
        """D, the elements of an input vector; where the model takes ids, of the vector they become."""
        first = self.layers[0]
        return first.output_size if isinstance(first, Embedding | OneHot) else first.input_size

    @property
    def output_size(self) -> int:
        """V."""
        return self.layers[-1].output_size

    @cached_property
    def run_only(self) -> bool:
        """Whether the model needs a whole sequence at once: it has a Bidirectional or Reverse layer."""
        return any(isinstance(layer, Bidirectional | Reverse) for layer in self.layers)

    @property
    def report(self) -> Report:
        """What is known of the hyper-parameters, and on device "cuda" how the model lies on the GPU."""
        notes = getattr(self.__dict__.get("backend"), "notes", ())
        return Report(self._report.findings, (*self._report.notes, *notes), self._report.initial_state)

    @property
    def state_sizes(self) -> list[tuple[int, int]]:
        """(c_size, h_size) of each LSTM layer; (0, h_size) of a GRU layer."""
        return list(self._state_sizes)

    @cached_property
    def backend(self) -> Any:
        """What runs the model (a `backends.base.Backend`), made when first needed."""
        make = partial(
            devices.backend_of(self.device), storage=0 if self.weights == "float64" else STORAGES.index(self.weights)
        )
        if self.threads > 1:
            make = partial(make, threads=self.threads)
        if self.run_only:
            from fastlstm.backends.sequence import SequenceBackend

            return SequenceBackend(make, self.layers, self.dtype)
        return make(self.layers, self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        """Without the backend, which holds addresses: a copy makes its own."""
        return {name: value for name, value in self.__dict__.items() if name != "backend"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.dtype = np.dtype(self.dtype.name)  # NumPy's own object again, which Stream.step compares by identity
        self._state_sizes = tuple([*self._state_sizes])  # by which a model knows its own states

    def __str__(self) -> str:
        rows = [
            (layer.name, type(layer).__name__, repr(layer).partition("(")[2][:-1],
             f"{sum(a.size for a in layer.arrays().values()):,}")
            for layer in self.layers
        ]  # fmt: skip
        lines = table(("layer", "kind", "sizes", "weights"), rows)
        stored = "" if self.weights == self.dtype.name else f", weights {self.weights}"
        return "\n".join([f"fastlstm.Model, {self.dtype.name}{stored}, on {self.device}", *lines])

    def __repr__(self) -> str:
        stored = "" if self.weights == self.dtype.name else f", weights={self.weights!r}"
        layers = ", ".join(map(repr, self.layers))
        return f"Model([{layers}], device={self.device!r}, dtype={self.dtype.name!r}{stored})"

    # Running it.

    def zero_state(self, batch_size: int = 1) -> State:
        """The state before the first step, of `batch_size` rows."""
        b = arguments.count(batch_size, name="batch_size")
        return State.checked(self.state_pairs(None, b), self._state_sizes)

    def step(self, x: ArrayLike, state: StateLike | None = None) -> tuple[NDArray[np.floating], State]:
        """One time step.

        x       (B, D)  inputs; (B,) ids where the model begins with an embedding or one-hot
        state   in any form that State takes, not modified; zeros when None
        ->      y (B, V), the new State
        Without the axis B in x there is none in y. Raises ShapeError, ArgumentError.

        On device "cuda" x may be on the GPU (CuPy, PyTorch, Numba: `__cuda_array_interface__`); then y and the new
        State are there too, and the state that is given may be. Where the interface names no stream, as PyTorch's does
        not, x has to come from the default stream, in which the step is.
        """
        self.check_steps("step")
        if (found := self.on_device(x, "x")) is not None:
            return device_calls.step(self, found, state)  # type: ignore[return-value]
        xs, single = self._on_host(x, "B", "x", copy=False)
        ys, after = self.backend.step(xs, self.state_pairs(state, len(xs)))
        return (ys[0] if single else ys), State.checked(after, self._state_sizes)

    def run(
        self, xs: ArrayLike, state: StateLike | None = None, lengths: ArrayLike | None = None
    ) -> tuple[NDArray[np.floating], State]:
        """A known sequence.

        xs       (B, T, D)  inputs; (B, T) ids where the model begins with an embedding or one-hot
        state    in any form that State takes, not modified; zeros when None
        lengths  (B,)  valid steps of each row: past them outputs are zero and the state stays; all when None
        ->       ys (B, T, V), the new State
        Without the axis B in xs there is none in ys. Raises ShapeError, ArgumentError. xs may be on the GPU, as in
        `step`.
        Source: tf.nn.dynamic_rnn, sequence_length.
        """
        if (found := self.on_device(xs, "xs")) is not None:
            return device_calls.run(self, found, state, lengths)  # type: ignore[return-value]
        checked, single = self.inputs(xs, "BT", name="xs")
        batch, steps = checked.shape[:2]
        pairs = self.state_pairs(state, batch)
        limits = arguments.row_lengths(lengths, batch, steps)
        ys, after = self.backend.run(checked, pairs, limits)
        return (ys[0] if single else ys), State.checked(after, self._state_sizes)

    def generate(
        self,
        n: int,
        prime: ArrayLike | None = None,
        state: StateLike | None = None,
        lengths: ArrayLike | None = None,
        sample: Sampler | str | None = None,
        feedback: Callable[[NDArray[np.floating]], ArrayLike] | None = None,
        stop: int | Iterable[int] | None = None,
        seed: int | None = None,
        *,
        position: int = 0,
    ) -> tuple[NDArray[Any], State]:
        """Feed the model its own output, in one compiled call.

        n         how many outputs
        prime     (B, T, D), or (B, T) ids: run first; the first output is the prediction after its last element.
                  None, for a model without ids, is one zero vector (for each row of `state`)
        state     before the prime, not modified; zeros when None
        lengths   (B,)  of ragged primes: row b uses prime[b, :lengths[b]] and free-runs after that
        sample    how a token model chooses: "greedy" (None), or a Sampler
        feedback  y (B, V) -> x (B, D), where the next input is not the output itself: called from Python at each step
        stop      an id, or ids: a row that draws one repeats it to the end
        seed      of a Sampler's random numbers, modulo 2^64; None is a new one each time. Row b's numbers depend on
                  seed, b and the number of the draw alone, not on device or batch size
        position  how many draws each row has made with this seed before, in calls that this one goes on from
        ->        outputs (B, n, V), or ids (B, n) int64 of a token model; the State before the last output is fed back
        Without the axis B in prime there is none in the outputs. Raises ShapeError, ArgumentError.

        To go on:  generate(m, prime=ys[..., -1:, :], state=state), or of a token model
                   generate(m, prime=ids[..., -1:], state=state, sample=sample, seed=seed, position=n)
        The call does not see Ctrl-C until it returns; `iterate` does. Of device "cuda" prime and state may be on the
        GPU; what is given back is not.
        """
        return generation.generate(self, n, prime, state, lengths, sample, feedback, stop, seed, position)

    def iterate(
        self,
        n: int,
        prime: ArrayLike | None = None,
        state: StateLike | None = None,
        sample: Sampler | str | None = None,
        stop: int | Iterable[int] | None = None,
        seed: int | None = None,
        chunk: int = 16,
    ) -> Iterator[Any]:
        """`generate` for one sequence, its outputs given out while it goes on: y (V,) arrays, or ids as int.

        prime  (T, D), or (T,) ids
        stop   ends the sequence; the id itself is given out
        chunk  how many steps a compiled call makes
        The outputs are those of `generate` with the same seed.
        """
        return generation.iterate(self, n, prime, state, sample, stop, seed, chunk)

    def stream(self, *, cuda_stream: Any = None) -> Stream:
        """One live sequence, with a state of its own; everything it needs is allocated and compiled now.

        cuda_stream  of device "cuda": the CUDA stream that the steps are in (PyTorch's, CuPy's, Numba's, or its
                     address); the default one when None. Steps with arrays on the GPU may be captured there
        """
        self.check_steps("stream")
        if cuda_stream is None:
            return Stream(self)
        if self.device != "cuda":
            raise ArgumentError(f"cuda_stream is for device 'cuda'; the model is on {self.device!r}")
        return Stream(self, cuda_stream)

    # Checks shared with Stream and generation.

    def check_steps(self, call: str) -> None:
        """Raise ArgumentError where the model cannot go step by step, as `call` would."""
        if self.run_only:
            layer = next(layer for layer in self.layers if isinstance(layer, Bidirectional | Reverse))
            raise ArgumentError(
                f"{call}: layer {layer.name!r} ({type(layer).__name__}) begins at the sequence's end, so that "
                f"the first output needs the last input; give the whole sequence to run(xs)"
            )

    def inputs(self, value: ArrayLike, axes: str, *, name: str) -> tuple[NDArray[Any], bool]:
        """`value` as the backend takes it, with a batch axis, and whether it came without one."""
        if (found := self.on_device(value, name)) is not None:
            value = found.copy_to_host()
        return self._on_host(value, axes, name)

    def _on_host(self, value: ArrayLike, axes: str, name: str, copy: bool = True) -> tuple[NDArray[Any], bool]:
        """`inputs` of what is not on a GPU; `copy`: as in `arguments.vectors`."""
        if self.takes_ids:
            return arguments.token_ids(value, axes, self.vocabulary_size, name=name)
        return arguments.vectors(value, axes, self.input_size, self.dtype, name=name, copy=copy)

    def state_pairs(self, value: StateLike | None, batch_size: int, *, as_given: bool = False) -> Sequence[Pair]:
        """`value` as the backend takes it, which changes nothing in it; zeros where None.

        as_given  of any dtype, and on the GPU where it is
        """
        if value is None:
            elements = sum(map(sum, self._state_sizes))
            return PackedState(np.zeros(batch_size * elements, self.dtype), self._state_sizes, batch_size)
        state = state_of(value)
        if (own := state.pairs_made_for(self._state_sizes, batch_size)) is not None:
            return own  # type: ignore[no-any-return]
        if state.on_device and not as_given:
            if self.device != "cuda":
                raise arguments.on_a_gpu("state", self.device)
            state = state.to_host()
        if len(state) != len(self._recurrent):
            raise ShapeError(
                f"state: {len(state)} layers; expected {len(self._recurrent)}: one (c, h) for each LSTM or GRU layer"
            )
        dtype, pairs = self.dtype, []
        for k, (pair, (c_size, h_size)) in enumerate(zip(state, self._state_sizes, strict=True)):
            c, h = pair
            if c.shape != (batch_size, c_size):
                raise self._misfit(k, "c", c.shape, (batch_size, c_size))
            if h.shape != (batch_size, h_size):
                raise self._misfit(k, "h", h.shape, (batch_size, h_size))
            fits = as_given or (c.dtype is dtype and h.dtype is dtype)
            pairs.append(pair if fits else (c.astype(dtype), h.astype(dtype)))
        return pairs

    def on_device(self, value: Any, name: str) -> DeviceArray | None:
        """`value` where it is an array on a GPU.  Raises ArgumentError where the model is not on one."""
        if type(value) is np.ndarray:
            return None
        found = device_array(value, name)
        if found is not None and self.device != "cuda":
            raise arguments.on_a_gpu(name, self.device)
        return found

    def _misfit(self, k: int, name: str, shape: tuple[int, ...], expected: tuple[int, int]) -> ShapeError:
        return ShapeError(
            f"state of layer {k} ({self._recurrent[k].name}): {name} has shape {shape}; "
            f"expected {expected}, rows of the batch x size"
        )


def _check_chain(layers: tuple[Layer, ...]) -> None:
    """Raise WeightError unless each layer takes what the one before gives."""
    for k, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise ArgumentError(f"layers[{k}] is {type(layer).__name__}; expected {', '.join(LAYER_TYPES)}")
        if k == 0:
            continue
        if isinstance(layer, Embedding | OneHot):
            raise WeightError(f"layers[{k}], {layer!r}, takes ids; it can only be the first layer")
        before = layers[k - 1]
        if layer.input_size != before.output_size:
            raise WeightError(
                f"layers[{k}] ({layer.name}), {layer!r}, takes {layer.input_size} elements; "
                f"layers[{k - 1}] ({before.name}), {before!r}, gives {before.output_size}"
            )
    if not recurrent_layers(layers):
        kinds = [type(layer).__name__ for layer in layers]
        raise ArgumentError(f"a model needs at least one LSTM or GRU layer; got {kinds}")


def _checked_dtype(dtype: DTypeLike | None, layers: tuple[Layer, ...]) -> np.dtype:
    """The model's dtype. Raise WeightError where a weight would overflow in it."""
    if dtype is None:
        kernels = [a for layer in recurrent_layers(layers) for a in (layer.kernel, layer.recurrent_kernel)]
        dtype = np.result_type(*[a.dtype for a in kernels])
    try:
        wanted = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        wanted = np.dtype(object)
    if wanted not in (np.float32, np.float64):
        raise ArgumentError(f"dtype is {dtype!r}; expected 'float32' or 'float64'")
    for layer in layers:
        for name, a in layer.arrays().items():
            if wanted.itemsize < a.itemsize and np.abs(a).max() > np.finfo(wanted).max:
                raise WeightError(f"{layer.name}: {name} has elements too large for {wanted}; use dtype='float64'")
    return np.dtype(wanted.name)  # NumPy's own object: a pickled one, or one with metadata, is another
