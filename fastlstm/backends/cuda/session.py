"""One live sequence on the GPU, whose step is one launch that was prepared when the sequence was made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends.base import Arrays, Pair
from fastlstm.backends.cuda import device, memory
from fastlstm.backends.cuda.backend import CudaBackend
from fastlstm.backends.cuda.interface import LEGACY, DeviceArray, read, wrong
from fastlstm.backends.cuda.parcel import Parcel
from fastlstm.backends.cuda.rooms import Room, packed, state_width, unpacked
from fastlstm.errors import ArgumentError


class CudaSession:
    """See `base.Session`.

    stream  the CUDA stream that its steps are in
    A step takes a device array (`__cuda_array_interface__`: CuPy, PyTorch, Numba), which the launch reads where it
    lies, and then gives its output as one, which the next step overwrites: one call of the driver, which may be
    captured. A graph of our own would be one call as well.
    What the interface names as its stream is waited for, by the GPU. Where it names none, as PyTorch's does not, the
    array has to come from the session's own stream. An id is looked at nevertheless: the kernel would read whatever it
    points to.
    """

    def __init__(self, backend: CudaBackend, stream: int = LEGACY) -> None:
        self._backend, self._held, self._stream = backend, backend.held, stream
        program, dtype, width = backend.program, backend.dtype, backend.width
        self.output = np.zeros(width, dtype)
        entry = program.input
        self._of_ids = entry is None
        self._x = np.zeros((1, 1), np.int64) if entry is None else np.zeros((1, 1, entry.stop - entry.start), dtype)
        with device.errors("stream"):
            self._room = Room(backend.loaded, backend.fitted(1), 1, stream)
            arrays = np.zeros((1, state_width(program)), dtype), np.ones(1, np.int64), self._x
            self._state, lengths, self._input = map(memory.put, arrays)
            ys = memory.put(np.zeros((1, 1, width), dtype))
            self._flat = DeviceArray(ys.owner, ys.address, (width,), dtype, None, stream)
            launcher = self._room.another_launcher()
            kind = "ids" if self._of_ids else "xs"
            given = {kind: self._input, "lengths": lengths, "state": self._state, "ys": ys}
            self._room.write(launcher, 1, **given)
            self._launch, self._aim = launcher.launch, launcher.aim(self._room.place(kind), self._input)
            self._order, self._parcel = memory.Order(stream), Parcel(stream)
            if stream != LEGACY:  # what was sent above is there before anything in that stream
                memory.finish()

    def stepper(self, size: int, convert: Callable[[Any], Any], output: NDArray[np.floating]) -> Callable[[Any], Any]:
        """See `base.Session`."""
        x, own, launch, aim, order = self._x[0], self._input.address, self._launch, self._aim, self._order
        check, flat, stream, of_ids = self._held.check, self._flat, self._stream, self._of_ids
        send, fetch = memory.sender(self._x, self._input, stream), memory.fetcher(flat, self.output, stream)
        address, other, last = own, None, None  # of the device array that came last

        def step(given: Any) -> Any:
            nonlocal address, other, last
            check("step")
            try:
                found = getattr(given, "__cuda_array_interface__", None)
            except Exception as error:  # PyTorch's, of a tensor that requires grad
                raise ArgumentError(
                    f"x: {type(given).__name__} cannot be read as an array on the GPU: {error}"
                ) from error
            try:
                if found is not None and not of_ids:
                    if found != last:
                        array = self._fitting(found, given)
                        address, other, last = array.address, array.stream, dict(found)
                    aim(address)
                    if other is None or other == stream:
                        launch()
                    else:
                        order.after(other)
                        launch()
                        order.before()
                    return flat
                if found is not None:
                    given = self._id(found, given)
                x[0] = convert(given)
                if stream != LEGACY:
                    self._check_no_capture("step")
                send()
                aim(own)
                launch()
                if found is not None:
                    return flat
                fetch()
                return output
            except Exception as error:
                told = device.told_of(error, "step")
                if told is None:
                    raise
                raise told from error

        return step

    def _fitting(self, found: dict[str, Any], x: Any) -> DeviceArray:
        """What a step can read, of any shape with as many elements."""
        array, size, dtype = read(found, x, "x"), self._input.size, self._backend.dtype
        if array.size != size or array.dtype != dtype or not array.contiguous or array.address % dtype.itemsize:
            raise wrong(array, f"({size},)", dtype, "x")
        memory.check_here(array, self._held.device, "x")
        return array

    def _id(self, found: dict[str, Any], x: Any) -> NDArray[Any]:
        """A copy on the host, which is what the step then takes."""
        array = read(found, x, "x")
        if array.size != 1:
            raise wrong(array, "()", np.dtype(np.int64), "x")
        memory.check_here(array, self._held.device, "x")
        self._check_no_capture("step")
        self._order.after(array.stream)
        return memory.fetched(array.reshape(), self._stream)

    def _check_no_capture(self, call: str) -> None:
        """Raise ArgumentError where a copy to or from the host would end the capture that the stream is in."""
        if self._stream != LEGACY and memory.captured(self._stream):
            takes = "ids are looked at on the host" if self._of_ids else "x is on the host"
            raise ArgumentError(
                f"{call}: the CUDA stream is being captured, and {takes}; only a step of vectors in a device array "
                f"can be captured"
            )

    def process(self, xs: Arrays, ys: NDArray[np.floating]) -> None:
        if not len(xs):
            return
        self._held.check("process")
        lengths, steps = np.array([len(xs)]), len(xs)
        kind = "xs" if xs.ndim == 2 else "ids"
        with device.errors("process", asked=xs.nbytes + ys.nbytes):
            nothing = np.zeros((1, 1), self._backend.dtype)
            on_device, inputs, _, out = self._parcel.send([lengths, xs[None], nothing], (1, *ys.shape), ys.dtype)
            given = {kind: inputs, "lengths": on_device, "state": self._state, "ys": out}
            self._room.launch(steps, steps, **given)
            ys[...] = self._parcel.fetch()[1][0]
            if self._parcel.nbytes > Parcel.KEPT:
                self._parcel = Parcel(self._stream)

    def process_on_device(self, xs: DeviceArray | NDArray[np.int64]) -> DeviceArray:
        """xs (1, T, D) on the GPU, or checked ids (1, T) on the host -> ys (T, V), a new array on the GPU."""
        self._held.check("process")
        steps, stream = xs.shape[1], self._stream
        with device.errors("process", asked=steps * self._flat.nbytes):
            self._check_no_capture("process")
            out = memory.allocated((1, steps, self._flat.size), self._flat.dtype, stream)
            if isinstance(xs, DeviceArray):
                memory.check_here(xs, self._held.device, "xs")
            if steps:
                kind, lengths = ("xs" if xs.ndim == 3 else "ids"), memory.put(np.array([steps]))
                inputs = xs if isinstance(xs, DeviceArray) else memory.put(xs)
                if stream != LEGACY:  # what was put is there
                    memory.finish()
                self._order.after(inputs.stream)
                self._room.launch(steps, steps, lengths=lengths, state=self._state, ys=out, **{kind: inputs})
                self._order.before()
            return out.reshape(steps, self._flat.size)

    def state(self) -> list[Pair]:
        self._held.check("state")
        with device.errors("state"):
            return unpacked(self._backend.program, memory.fetched(self._state, self._stream))

    def set_state(self, state: Sequence[Pair]) -> None:
        self._held.check("state")
        with device.errors("state"):
            memory.send(packed(self._backend.program, state, 1), self._state, self._stream)


def stream_address(stream: Any) -> int:
    """Of a CUDA stream in any of the forms that people have one in.  Raises ArgumentError.

    `__cuda_stream__` is NVIDIA's protocol (cuda.core); `cuda_stream` PyTorch's, `ptr` CuPy's, `handle` Numba's.
    """
    try:
        if hasattr(stream, "__cuda_stream__"):
            protocol = stream.__cuda_stream__
            found = (protocol() if callable(protocol) else protocol)[1]
        elif type(stream) is int and stream >= 0:
            found = stream
        else:
            found = next(getattr(stream, name) for name in ("cuda_stream", "ptr", "handle") if hasattr(stream, name))
        return int(getattr(found, "value", found) or 0) or LEGACY
    except Exception as error:  # whatever their attributes raise
        raise ArgumentError(
            f"cuda_stream is {stream!r}; expected a stream of PyTorch, CuPy or Numba, or its address"
        ) from error
