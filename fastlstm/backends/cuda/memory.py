"""Memory on the GPU: taking it, and the copies to it, from it and on it. In the simulator it is the host's."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import DTypeLike, NDArray

from fastlstm.backends.cuda import driver
from fastlstm.backends.cuda.device import simulated
from fastlstm.backends.cuda.interface import LEGACY, DeviceArray, rows_of
from fastlstm.backends.packing import padded
from fastlstm.errors import ArgumentError, ShapeError

_known: set[tuple[int, int]] = set()  # (device, address) that were looked at
_KNOWN = 4096


def aligned(nbytes: int) -> int:
    """As many bytes, or some more, after which any array may begin."""
    return padded(nbytes, 16)


def allocated(shape: tuple[int, ...], dtype: DTypeLike, stream: int = LEGACY) -> DeviceArray:
    """With anything in it."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    owner = cuda.device_array(max(1, nbytes), np.uint8)
    address = owner._ary.ctypes.data if simulated() else owner.__cuda_array_interface__["data"][0]
    return DeviceArray(owner, address, shape, dtype, None, stream)


def put(host: NDArray[Any]) -> DeviceArray:
    """A copy on the GPU."""
    array = allocated(host.shape, host.dtype)
    send(np.ascontiguousarray(host), array)
    return array


def in_simulator(array: DeviceArray) -> NDArray[Any]:
    """What a device array is there: a view of the host's memory."""
    if not array.size:
        return np.empty(array.shape, array.dtype)
    found = {"data": (array.address, False), "strides": array.strides, "shape": array.shape}
    view = np.asarray(SimpleNamespace(__array_interface__=found | {"typestr": array.dtype.str, "version": 3}))
    return view


def send(host: NDArray[Any], array: DeviceArray, stream: int = LEGACY) -> None:
    """host -> array, both in C order and of one size; host may be changed when this returns."""
    if host.nbytes:
        sender(host, array, stream)()


def fetch(array: DeviceArray, host: NDArray[Any], stream: int = LEGACY) -> None:
    """array -> host, when the stream is done: as `send`."""
    if host.nbytes:
        fetcher(array, host, stream)()


def sender(host: NDArray[Any], array: DeviceArray, stream: int = LEGACY) -> Callable[[], None]:
    """A call that sends; what it is given has to live as long."""
    if simulated():
        theirs, ours = _bytes(array, host)
        return lambda: theirs.__setitem__(slice(None), ours)
    at, of, size = _places(array, host)
    if stream == LEGACY:
        wait = driver.function("cuMemcpyHtoD")
        return lambda: wait(at, of, size)
    give, to = driver.function("cuMemcpyHtoDAsync"), driver.stream(stream)
    return lambda: give(at, of, size, to)


def fetcher(array: DeviceArray, host: NDArray[Any], stream: int = LEGACY) -> Callable[[], None]:
    """A call that fetches: as `sender`."""
    if simulated():
        theirs, ours = _bytes(array, host)
        return lambda: ours.__setitem__(slice(None), theirs)
    at, of, size = _places(array, host)
    if stream == LEGACY:
        wait = driver.function("cuMemcpyDtoH")
        return lambda: wait(of, at, size)
    give, done, via = (
        driver.function("cuMemcpyDtoHAsync"), driver.function("cuStreamSynchronize"), driver.stream(stream)
    )  # fmt: skip

    def fetch_now() -> None:
        give(of, at, size, via)
        done(via)

    return fetch_now


def _bytes(array: DeviceArray, host: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Of both, in the simulator."""
    return in_simulator(array).reshape(-1).view(np.uint8), host.reshape(-1).view(np.uint8)


def _places(array: DeviceArray, host: NDArray[Any]) -> tuple[Any, int, int]:
    """Where both are, as the driver takes it, and how many bytes."""
    return driver.pointer()(array.address), host.__array_interface__["data"][0], host.nbytes


def fetched(array: DeviceArray, stream: int | None = None) -> NDArray[Any]:
    """A NumPy array, when `stream` is done, or the one that the array names."""
    stream = stream or array.stream or LEGACY
    host = np.empty(array.shape, array.dtype)
    if not array.contiguous:
        whole = allocated(array.shape, array.dtype)
        copy(array, whole, stream)
        array = whole
    fetch(array, host, stream)
    return host


def copy(source: DeviceArray, target: DeviceArray, stream: int = LEGACY) -> None:
    """source -> target, of one shape of at most three axes and one dtype, the last without gaps, on the GPU."""
    if not target.size:
        return
    if simulated():
        in_simulator(target)[...] = in_simulator(source)
    elif source.contiguous and target.contiguous:
        address = driver.pointer()
        given = address(target.address), address(source.address), target.nbytes, driver.stream(stream)
        driver.function("cuMemcpyDtoDAsync")(*given)
    else:
        driver.function("cuMemcpy3DAsync")(_strided(source, target), driver.stream(stream))


def _strided(source: DeviceArray, target: DeviceArray) -> Any:
    """What the driver calls a copy of layers of rows."""
    from cuda.bindings.driver import CUDA_MEMCPY3D, CUmemorytype

    if not rows_of(source):
        raise ShapeError(f"{source!r} with strides {source.strides} has gaps inside of its rows")
    shape = (1,) * (3 - target.ndim) + target.shape
    asked = CUDA_MEMCPY3D()
    asked.srcMemoryType = asked.dstMemoryType = CUmemorytype.CU_MEMORYTYPE_DEVICE
    asked.srcDevice, asked.dstDevice = source.address, target.address
    asked.srcPitch, asked.srcHeight = _pitches(source, shape)
    asked.dstPitch, asked.dstHeight = _pitches(target, shape)
    asked.WidthInBytes, asked.Height, asked.Depth = shape[2] * target.dtype.itemsize, shape[1], shape[0]
    return asked


def _pitches(array: DeviceArray, shape: tuple[int, ...]) -> tuple[int, int]:
    """Bytes from row to row, and rows from layer to layer."""
    row = shape[2] * array.dtype.itemsize
    pitch = array.strides[-2] if shape[1] > 1 else row
    if shape[0] == 1:
        return pitch, shape[1]
    if shape[1] == 1:
        return array.strides[-3], 1
    return pitch, array.strides[-3] // pitch


def clear(array: DeviceArray, stream: int = LEGACY) -> None:
    """Make it zero; in C order."""
    if simulated():
        in_simulator(array)[...] = 0
    elif array.size:
        given = driver.pointer()(array.address), 0, array.nbytes, driver.stream(stream)
        driver.function("cuMemsetD8Async")(*given)


def finish() -> None:
    """Wait until the GPU is done with everything."""
    if not simulated():
        cuda.synchronize()


def captured(stream: int) -> bool:
    """Whether what is put in this stream becomes part of a CUDA graph."""
    return not simulated() and int(driver.function("cuStreamIsCapturing")(driver.stream(stream))) != 0


def check_here(array: DeviceArray, device: int, name: str) -> None:
    """Raise ArgumentError unless the memory is that of the GPU with this number. An address is asked for once."""
    if simulated() or not array.size or (device, array.address) in _known:
        return
    from cuda.bindings.driver import CUpointer_attribute

    asked = CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    try:
        found = int(driver.function("cuPointerGetAttribute")(asked, driver.pointer()(array.address)))
    except Exception as error:
        if "INVALID_VALUE" not in str(error):
            raise
        raise ArgumentError(f"{name}: the GPU knows no memory at its address {array.address:#x}") from None
    if found != device:
        raise ArgumentError(
            f"{name}: an array on GPU {found}; the model is on GPU {device}: copy it there, or load the model on it"
        )
    if len(_known) >= _KNOWN:
        _known.clear()
    _known.add((device, array.address))


class Order:
    """Lets one CUDA stream wait for what others have been given, and these for it; the host waits for nothing."""

    def __init__(self, stream: int = LEGACY) -> None:
        self._stream, self._others = stream, set[int]()
        self._event: Any = None

    def after(self, other: int | None) -> None:
        """other: None, or this stream itself, is in order already."""
        if other is None or other == self._stream or simulated():
            return
        self._wait(self._stream, other)
        self._others.add(other)

    def before(self) -> None:
        """Let those others wait in turn: what they are given next may be what was read here."""
        for other in self._others:
            self._wait(other, self._stream)
        self._others.clear()

    def _wait(self, waiting: int, awaited: int) -> None:
        if self._event is None:
            self._event = driver.function("cuEventCreate")(2)  # without its time
            weakref.finalize(self, driver.function("cuEventDestroy"), self._event).atexit = False
        driver.function("cuEventRecord")(self._event, driver.stream(awaited))
        driver.function("cuStreamWaitEvent")(driver.stream(waiting), self._event, 0)
