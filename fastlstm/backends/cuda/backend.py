"""The CUDA backend: programs on the device, and the launches that its calls come to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from fastlstm.backends.base import Arrays, Drawing, Pair
from fastlstm.backends.cuda import calls, device
from fastlstm.backends.cuda.fit import Fit, fit
from fastlstm.backends.cuda.packing import lower, takes_products
from fastlstm.backends.cuda.rooms import Data, Loaded, Room
from fastlstm.backends.cuda.sequences import products
from fastlstm.backends.narrow import FULL, INT8
from fastlstm.errors import DeviceError
from fastlstm.layers import Layer

_LONG = 64  # rows times steps from which a sequence's products with the first layer's kernel are computed beforehand
_PRODUCTS_BYTES = 256 << 20  # of them at a time
_KEPT = 8  # rooms for later calls


class CudaBackend:
    """See `base.Backend`."""

    def __init__(self, layers: Sequence[Layer], dtype: np.dtype, storage: int = FULL) -> None:
        if storage == INT8:
            raise DeviceError("device 'cuda' stores weights as float32 or bfloat16; pass weights='bfloat16'")
        self.properties = device.find()
        self._layers, self._dtype, self._storage = list(layers), dtype, storage
        self.program = lower(layers, dtype, storage)
        with device.errors("putting the weights on the GPU", asked=self.program.weights.nbytes):
            self._loaded = Loaded.of(self.program)
        self._with_products: tuple[Loaded, Any, Any] | None = None
        self._idle: list[Room] = []

    def fitted(self, batch: int) -> Fit:
        """How a batch of so many rows is laid over the device."""
        return self._fitted(self._loaded, batch)

    @property
    def layout(self) -> str:
        """The same of one row, for people."""
        return self.fitted(1).text

    def _fitted(self, loaded: Loaded, batch: int) -> Fit:
        return fit(loaded.program.sizes, self.properties, batch)

    def _room(self, loaded: Loaded, fitted: Fit, batch: int) -> Room:
        """One that no other call is using; a list's remove and append are one step to other threads."""
        for room in self._idle[::-1]:
            if room.loaded is loaded and room.batch == batch and room.fitted == fitted:
                with contextlib.suppress(ValueError):  # another thread has it
                    self._idle.remove(room)
                    return room
        return Room(loaded, fitted, batch)

    def _give_back(self, room: Room) -> None:
        self._idle.append(room)
        del self._idle[:-_KEPT]

    def _launches(self, loaded: Loaded, batch: int) -> Iterator[tuple[slice, Room]]:
        """The rows of each launch, and its room, laid out as the whole batch is: its own fit could take several."""
        fitted = self._fitted(loaded, batch)
        most = fitted.row_groups * fitted.rows
        for first in range(0, batch, most):
            rows = slice(first, min(first + most, batch))
            room = self._room(loaded, fitted, rows.stop - rows.start)
            yield rows, room
            self._give_back(room)

    def session(self) -> CudaSession:
        return CudaSession(self)

    def step(self, xs: Arrays, state: Sequence[Pair]) -> tuple[NDArray[np.floating], list[Pair]]:
        ys, after = self.run(xs[:, None], state, np.ones(len(xs), np.int64))
        return ys[:, 0], after

    def run(
        self, xs: Arrays, state: Sequence[Pair], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.floating], list[Pair]]:
        batch, steps = xs.shape[:2]
        ys = np.zeros((batch, steps, self._width()), self._dtype)
        if steps == 0:
            return ys, [(c.copy(), h.copy()) for c, h in state]
        parts: list[list[Pair]] = []
        with device.errors("run", asked=xs.nbytes + ys.nbytes):
            ahead = xs.ndim == 3 and batch * steps >= _LONG and takes_products(self._layers)
            loaded = self._product_program()[0] if ahead else self._loaded
            for rows, room in self._launches(loaded, batch):
                room.set_state([(c[rows], h[rows]) for c, h in state])
                self.run_in(room, xs[rows], lengths[rows], ys[rows])
                parts.append(room.state())
        return ys, _joined(parts)

    def run_in(self, room: Room, xs: Arrays, lengths: NDArray[np.int64], ys: NDArray[np.floating]) -> None:
        """A known sequence of a room's rows: ys is written where a row has not ended."""
        batch, steps = xs.shape[:2]
        if room.loaded is self._loaded:
            data = _data(xs, lengths, ys=cuda.device_array(ys.shape, ys.dtype))
            room.launch(data, steps, steps)
            _copy_valid(ys, data.ys.copy_to_host(), lengths)
            return
        _, columns, bias = self._product_program()
        most = max(1, _PRODUCTS_BYTES // (batch * bias.nbytes))
        for start in range(0, steps, most):
            part = xs[:, start : start + most]
            count = part.shape[1]
            rows = np.zeros((batch * count, columns.shape[1]), self._dtype)
            rows[:, : xs.shape[2]] = part.reshape(batch * count, -1)
            out = cuda.device_array((batch * count, bias.size), self._dtype)
            products(cuda.to_device(rows), columns, bias, out)
            ids = np.arange(batch * count).reshape(batch, count)
            left = np.clip(lengths - start, 0, count)
            data = _data(ids, left, ys=cuda.device_array((batch, count, ys.shape[2]), self._dtype), lookup=out)
            room.launch(data, count, count)
            _copy_valid(ys[:, start : start + count], data.ys.copy_to_host(), left)

    def generate(
        self, n: int, prime: Arrays, lengths: NDArray[np.int64], state: Sequence[Pair], drawing: Drawing | None
    ) -> tuple[Arrays, list[Pair]]:
        batch, steps = prime.shape[:2]
        shape = (batch, n) if drawing else (batch, n, self._width())
        outputs = np.empty(shape, np.int64 if drawing else self._dtype)
        parts: list[list[Pair]] = []
        with device.errors("generate", asked=outputs.nbytes):
            for rows, room in self._launches(self._loaded, batch):
                room.set_state([(c[rows], h[rows]) for c, h in state])
                out = cuda.device_array(outputs[rows].shape, outputs.dtype)
                data = _data(prime[rows], lengths[rows], **{"drawn" if drawing else "ys": out})
                room.launch(data, steps, n, drawing=drawing, first=rows.start, free=True)
                out.copy_to_host(outputs[rows])
                parts.append(room.state())
        return outputs, _joined(parts)

    def _width(self) -> int:
        return self.program.output.stop - self.program.output.start

    def _product_program(self) -> tuple[Loaded, Any, Any]:
        """The program whose first layer looks its products with the inputs up; `Program.first`."""
        if self._with_products is None:
            program = lower(self._layers, self._dtype, self._storage, ahead=True)
            assert program.first is not None
            self._with_products = Loaded.of(program), *map(cuda.to_device, program.first)
        return self._with_products


class CudaSession:
    """One live sequence, its state on the device: see `base.Session`.

    A step takes a device array (`__cuda_array_interface__`: CuPy, PyTorch, Numba) without a copy to the host, and then
    gives its output as one, which the next step overwrites. An array whose interface names no stream, as PyTorch's, has
    to come from the default stream. An id is looked at nevertheless: the kernel would read whatever it points to.
    """

    def __init__(self, backend: CudaBackend) -> None:
        self._backend = backend
        program, dtype = backend.program, backend._dtype
        width = program.output.stop - program.output.start
        self.output = np.zeros(width, dtype)
        entry = program.input
        self._x = np.zeros((1, 1), np.int64) if entry is None else np.zeros((1, 1, entry.stop - entry.start), dtype)
        with device.errors("stream"):
            self._room = Room(backend._loaded, backend.fitted(1), 1)
            data = _data(self._x, np.ones(1, np.int64), ys=cuda.to_device(np.zeros((1, 1, width), dtype)))
            inputs = data.ids if entry is None else data.xs
            self._flat = data.ys.reshape(width)
            self._send, self._fetch = calls.sender(self._x, inputs), calls.fetcher(self._flat, self.output)
            self._take = calls.taker(inputs)
            self._look = calls.fetcher(inputs, self._x) if entry is None else None
            self._launch = self._room.launcher(data, 1)

    def stepper(self, size: int, convert: Callable[[Any], Any], output: NDArray[np.floating]) -> Callable[[Any], Any]:
        """See `base.Session`."""
        into = self._x[0]

        def step(x: Any) -> Any:
            if hasattr(x, "__cuda_array_interface__"):
                with device.errors("step"):
                    self._take(x)
                    if self._look is not None:
                        self._look()
                        convert(into[0])
                    self._launch()
                return self._flat
            into[0] = convert(x)
            with device.errors("step"):
                self._send()
                self._launch()
                self._fetch()
            return output

        return step

    def process(self, xs: Arrays, ys: NDArray[np.floating]) -> None:
        if len(xs):
            with device.errors("process", asked=xs.nbytes + ys.nbytes):
                self._backend.run_in(self._room, xs[None], np.array([len(xs)]), ys[None])

    def state(self) -> list[Pair]:
        with device.errors("state"):
            return self._room.state()

    def set_state(self, state: Sequence[Pair]) -> None:
        with device.errors("state"):
            self._room.set_state(state)


def _data(inputs: Arrays, lengths: NDArray[np.int64], **outputs: Any) -> Data:
    """With inputs (B, T, D), or ids (B, T), put on the device."""
    name = "xs" if inputs.ndim == 3 else "ids"
    return Data(cuda.to_device(lengths), **{name: cuda.to_device(np.ascontiguousarray(inputs))}, **outputs)


def _copy_valid(ys: NDArray[np.floating], found: NDArray[np.floating], lengths: NDArray[np.int64]) -> None:
    """found (B, T, V) -> ys, up to each row's length."""
    for row, length in enumerate(lengths):
        ys[row, :length] = found[row, :length]


def _joined(parts: list[list[Pair]]) -> list[Pair]:
    """The state of all rows of those of each launch."""
    if len(parts) == 1:
        return parts[0]
    return [tuple(np.concatenate(arrays) for arrays in zip(*pairs, strict=True)) for pairs in zip(*parts, strict=True)]
