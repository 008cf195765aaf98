"""The CUDA backend: programs on the device, and the launches that its calls come to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends.base import Arrays, Drawing, Pair
from fastlstm.backends.cuda import device, memory
from fastlstm.backends.cuda.ahead import Products
from fastlstm.backends.cuda.fit import Fit, fit
from fastlstm.backends.cuda.interface import LEGACY, DeviceArray
from fastlstm.backends.cuda.packing import lower, takes_products
from fastlstm.backends.cuda.parcel import Parcel
from fastlstm.backends.cuda.process import Held
from fastlstm.backends.cuda.program import Program
from fastlstm.backends.cuda.rooms import Loaded, Room, packed, parts_of, state_width, unpacked, whole_of
from fastlstm.backends.narrow import FULL, INT8, matrices
from fastlstm.errors import DeviceError
from fastlstm.layers import Layer

_LONG = 64  # rows times steps from which a sequence's products with the first layer's kernel are computed beforehand
_KEPT = 8  # rooms and parcels for later calls
_MOST = 2**31 - 1  # elements of the matrices
_EQUAL = 64  # batches whose rows are equally long, whose lengths are kept

DevicePair = tuple[DeviceArray, DeviceArray]


class CudaBackend:
    """See `base.Backend`."""

    def __init__(self, layers: Sequence[Layer], dtype: np.dtype, storage: int = FULL) -> None:
        if storage == INT8:
            raise DeviceError("device 'cuda' stores weights as float32 or bfloat16; pass weights='bfloat16'")
        self.properties = device.find()
        self.held = Held()
        self.layers, self.dtype, self.storage = list(layers), dtype, storage
        self.program = _lowered(self.layers, dtype, storage)
        with device.errors("putting the weights on the GPU", asked=self.program.weights.nbytes):
            self.loaded = Loaded.of(self.program)
        self._products: Products | None = None
        self._idle: list[Room] = []
        self._parcels: list[Parcel] = []
        self._equal: dict[tuple[int, int], DeviceArray] = {}

    def fitted(self, batch: int) -> Fit:
        """How a batch of so many rows is laid over the device."""
        return fit(self.program.sizes, self.properties, batch)

    @property
    def notes(self) -> list[str]:
        """For `model.report`."""
        found = [f"one sequence on the GPU: {self.fitted(1).text}"]
        if self._products is not None and self._products.trouble:
            found.append(self._products.trouble)
        return found

    @property
    def width(self) -> int:
        """V."""
        return self.program.output.stop - self.program.output.start

    def _room(self, loaded: Loaded, fitted: Fit, batch: int) -> Room:
        """One that no other call is using; a list's remove and append are one step to other threads."""
        for room in self._idle[::-1]:
            if room.loaded is loaded and room.batch == batch and room.fitted == fitted:
                try:
                    self._idle.remove(room)
                except ValueError:  # another thread has it
                    continue
                return room
        return Room(loaded, fitted, batch)

    def _launches(self, loaded: Loaded, batch: int) -> Iterator[tuple[slice, Room]]:
        """The rows of each launch, and its room, laid out as the whole batch is: its own fit could take several.

        What uses a room next is launched after these, so that it may be given back before they are done.
        """
        fitted = fit(loaded.program.sizes, self.properties, batch)
        most = fitted.row_groups * fitted.rows
        for first in range(0, batch, most):
            rows = slice(first, min(first + most, batch))
            room = self._room(loaded, fitted, rows.stop - rows.start)
            yield rows, room
            self._idle.append(room)
            del self._idle[:-_KEPT]

    @contextmanager
    def _parcel(self) -> Iterator[Parcel]:
        try:
            parcel = self._parcels.pop()
        except IndexError:
            parcel = Parcel()
        yield parcel
        if parcel.nbytes <= Parcel.KEPT:
            self._parcels.append(parcel)
            del self._parcels[:-_KEPT]

    def session(self, stream: int = LEGACY) -> Any:
        from fastlstm.backends.cuda.session import CudaSession

        self.held.check("stream")
        return CudaSession(self, stream)

    def step(self, xs: Arrays, state: Sequence[Pair]) -> tuple[NDArray[np.floating], list[Pair]]:
        ys, after = self.run(xs[:, None], state, np.ones(len(xs), np.int64))
        return ys[:, 0], after

    def run(
        self, xs: Arrays, state: Sequence[Pair], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.floating], list[Pair]]:
        batch, steps = xs.shape[:2]
        shape = batch, steps, self.width
        if steps == 0:
            return np.zeros(shape, self.dtype), [(c.copy(), h.copy()) for c, h in state]
        self.held.check("run")
        nbytes = xs.nbytes + math.prod(shape) * self.dtype.itemsize
        with device.errors("run", asked=nbytes), self._parcel() as parcel:
            sent = parcel.send([lengths, xs, packed(self.program, state, batch)], shape, self.dtype)
            on_device, inputs, after, ys = sent
            self._run(inputs, lengths, on_device, after, ys)
            found, outputs = parcel.fetch()
        return outputs, unpacked(self.program, found)

    def run_on_device(
        self, xs: DeviceArray | NDArray[np.int64], state: Sequence[tuple[Any, Any]] | None, lengths: NDArray[np.int64]
    ) -> tuple[DeviceArray, list[DevicePair]]:
        """`run` of what is on the GPU, where what it gives stays: xs in C order, or checked ids on the host.

        state  device arrays or NumPy's, their last axis without gaps; zeros where None
        """
        batch, steps = xs.shape[:2]
        shape = batch, steps, self.width
        self.held.check("run")
        size = memory.aligned(batch * state_width(self.program) * self.dtype.itemsize)
        nbytes = size + math.prod(shape) * self.dtype.itemsize
        with device.errors("run", asked=nbytes):
            whole, order = memory.allocated((nbytes,), np.uint8), memory.Order()
            after = DeviceArray(whole.owner, whole.address, (batch, state_width(self.program)), self.dtype)
            ys = DeviceArray(whole.owner, whole.address + size, shape, self.dtype)
            self._gather(state, after, order)
            if isinstance(xs, DeviceArray):
                memory.check_here(xs, self.held.device, "x" if steps == 1 else "xs")
                order.after(xs.stream)
            else:
                xs = memory.put(xs)
            if steps:
                self._run(xs, lengths, self._lengths(lengths, steps), after, ys)
            order.before()
        return ys, parts_of(self.program, after)

    def _gather(self, state: Sequence[tuple[Any, Any]] | None, target: DeviceArray, order: memory.Order) -> None:
        """The layers' states -> one array."""
        if state is None or not self.program.states:
            return memory.clear(target)
        given = [a for pair in state for a in pair]
        whole = whole_of(self.program, given)
        if whole is not None:
            memory.check_here(whole, self.held.device, "state")
            order.after(whole.stream)
            return memory.copy(whole, target)
        for k, a in enumerate(given):
            if isinstance(a, DeviceArray):
                memory.check_here(a, self.held.device, f"state of layer {k // 2}")
                order.after(a.stream)
            else:
                given[k] = memory.put(a) if a.size else DeviceArray(None, 0, a.shape, a.dtype)
        for source, part in zip(given, [a for pair in parts_of(self.program, target) for a in pair], strict=True):
            memory.copy(source, part)
        return None

    def _lengths(self, lengths: NDArray[np.int64], steps: int) -> DeviceArray:
        """On the GPU, where those of rows that are equally long stay."""
        if not (lengths == steps).all():
            return memory.put(lengths)
        key = len(lengths), steps
        found = self._equal.get(key)
        if found is None:
            if len(self._equal) >= _EQUAL:
                self._equal.clear()
            found = self._equal[key] = memory.put(lengths)
        return found

    def _run(
        self, xs: DeviceArray, lengths: NDArray[np.int64], on_device: DeviceArray, state: DeviceArray, ys: DeviceArray
    ) -> None:
        """A known sequence: ys and the state are written. lengths: the same on the host."""
        batch, steps = xs.shape[:2]
        if lengths.min() < steps:
            memory.clear(ys)
        if xs.ndim == 3 and batch * steps >= _LONG and takes_products(self.layers):
            if self._products is None:
                self._products = Products(self.layers, self.dtype, self.storage)
            products = self._products
            for rows, room in self._launches(products.loaded, batch):
                at = rows.start, rows.stop
                products.run(room, xs.part(*at), lengths[rows], state.part(*at), ys.part(*at))
            return
        kind = "xs" if xs.ndim == 3 else "ids"
        for rows, room in self._launches(self.loaded, batch):
            given = {kind: xs, "lengths": on_device, "state": state, "ys": ys}
            room.launch(steps, steps, **{name: a.part(rows.start, rows.stop) for name, a in given.items()})

    def generate(
        self, n: int, prime: Arrays, lengths: NDArray[np.int64], state: Sequence[Pair], drawing: Drawing | None
    ) -> tuple[Arrays, list[Pair]]:
        batch, steps = prime.shape[:2]
        shape: tuple[int, ...] = (batch, n) if drawing else (batch, n, self.width)
        dtype = np.dtype(np.int64) if drawing else self.dtype
        self.held.check("generate")
        stop = drawing.stop if drawing is not None and drawing.stop.size else np.full(1, -1, np.int64)
        nbytes = prime.nbytes + math.prod(shape) * dtype.itemsize
        with device.errors("generate", asked=nbytes), self._parcel() as parcel:
            sent = parcel.send([lengths, stop, prime, packed(self.program, state, batch)], shape, dtype)
            limits, ends, inputs, after, outputs = sent
            kinds = "xs" if prime.ndim == 3 else "ids", "drawn" if drawing else "ys"
            for rows, room in self._launches(self.loaded, batch):
                given = {kinds[0]: inputs, "lengths": limits, "state": after, kinds[1]: outputs}
                parts = {name: a.part(rows.start, rows.stop) for name, a in given.items()}
                room.launch(steps, n, drawing=drawing, first=rows.start, free=True, stop=ends, **parts)
            found, ids = parcel.fetch()
        return ids, unpacked(self.program, found)


def _lowered(layers: Sequence[Layer], dtype: np.dtype, storage: int) -> Program:
    """The program. Raise DeviceError where its offsets do not fit into the kernel's integers."""
    elements = sum(matrix.size for _, matrix in matrices(layers))
    try:
        if elements <= _MOST:
            return lower(layers, dtype, storage)
    except OverflowError:  # by what the matrices are filled up with
        pass
    raise DeviceError(
        f"the model's matrices have {elements:,} elements, and device 'cuda' takes {_MOST:,}, as 32-bit offsets reach "
        f"them; pass device='cpu'"
    )
