"""Kernels, compiled and launched: what a launch is told is written down once, and changed in place."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from numba import types

from fastlstm.backends.cuda import driver
from fastlstm.backends.cuda.device import errors, simulated
from fastlstm.backends.cuda.interface import LEGACY, DeviceArray
from fastlstm.backends.cuda.memory import in_simulator

_prepared: dict[Any, tuple[Any, int]] = {}  # kernel, types and device -> context, and the kernel's address in it


def prepare(kernel: Any, argument_types: Sequence[Any]) -> int:
    """Compile a kernel for the current device -> its address there.

    kernel  what `cuda.jit` gives; it is launched as always, or by a `Launcher`: a grid at once, and with all shared
            memory there is
    numba-cuda itself stays at 48 KiB (its issue 94), and starts a grid at once only where `this_grid` is called. A
    kernel has one limit: with that of one launch, one that was prepared before could fail. In the context that comes
    after one was closed, a kernel is asked for anew.
    """
    if simulated():
        return 0
    from cuda.bindings.driver import CUfunction_attribute
    from numba import cuda
    from numba.cuda.cudadrv.driver import driver as numbas

    with errors(f"compiling {kernel.py_func.__name__}"):
        context = cuda.current_context()
        key = kernel, tuple(argument_types), context.device.id
        found = _prepared.get(key)
        if found is None or found[0] is not context:
            compiled = kernel.compile(key[1])
            compiled.cooperative = True
            if found is not None:
                compiled._codelibrary._cufunc_cache.clear()
            function = compiled._codelibrary.get_cufunc()
            attribute = CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            most = function.device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
            numbas.cuKernelSetAttribute(attribute, most, function.handle, function.device.id)
            found = _prepared[key] = context, int(function.handle)
        return found[1]


class Launcher:
    """Launches a kernel on arguments that stay from call to call, but for those that are `set` again.

    at_once  all blocks of the grid run at the same time, or the driver says that they cannot
    stream   the address of a CUDA stream
    Not for two threads at a time. Raises what `device.errors` turns into DeviceError.
    """

    def __init__(
        self, kernel: Any, argument_types: Sequence[types.Type], blocks: int, threads: int, shared_bytes: int,
        arguments: Sequence[Any], stream: int = LEGACY, at_once: bool = True,
    ) -> None:  # fmt: skip
        self._types = list(argument_types)
        self._kept: list[Any] = [None] * len(argument_types)
        self.launch: Callable[[], None]
        self._fakes: list[Any] | None = None
        if simulated():
            self._fakes = fakes = [None] * len(argument_types)
            self.launch = lambda: kernel[blocks, threads, 0, shared_bytes](*fakes)
        else:
            # An array is an int64 each: nothing, nothing, its elements, their bytes, its address, shape and strides.
            sizes = [5 + 2 * t.ndim if isinstance(t, types.Array) else getattr(t, "count", 1) for t in self._types]
            self._places = [sum(sizes[:k]) for k in range(len(sizes))]
            self._values = (ctypes.c_int64 * sum(sizes))()
            start = ctypes.addressof(self._values)
            self._pointers = (ctypes.c_void_p * sum(sizes))(*range(start, start + 8 * sum(sizes), 8))
            self.launch = self._prepared(
                prepare(kernel, argument_types), blocks, threads, shared_bytes, stream, at_once
            )
        for k, value in enumerate(arguments):
            self.set(k, value)

    def _prepared(
        self, kernel: int, blocks: int, threads: int, shared_bytes: int, stream: int, at_once: bool
    ) -> Callable[[], None]:
        from cuda.bindings import driver as api

        function, config = api.CUfunction(kernel), api.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = blocks, 1, 1
        config.blockDimX, config.blockDimY, config.blockDimZ = threads, 1, 1
        config.sharedMemBytes, config.hStream = shared_bytes, api.CUstream(stream)
        if at_once:
            attribute = api.CUlaunchAttribute()
            attribute.id = api.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_COOPERATIVE
            attribute.value.cooperative = 1
            config.attrs, config.numAttrs = [attribute], 1
        call, held = driver.function("cuLaunchKernelEx"), (self._values, self._pointers)
        pointers = ctypes.addressof(self._pointers)

        def launch(_held: Any = held) -> None:
            call(config, function, pointers, 0)

        return launch

    def set(self, k: int, value: Any) -> None:
        """Argument k: a DeviceArray in C order, which is kept alive, a number or a tuple of ints."""
        kept = self._kept[k]
        if value is kept or (type(value) is tuple and value == kept):
            return
        kind, self._kept[k] = self._types[k], value
        if self._fakes is not None:
            self._fakes[k] = _as_fake(value) if isinstance(value, DeviceArray) else value
            return
        place = self._places[k]
        if isinstance(kind, types.Array):
            assert value.ndim == kind.ndim and value.contiguous, (k, kind, value)
            self._values[place + 2 : place + 5] = value.size, value.dtype.itemsize, value.address
            self._values[place + 5 : place + 5 + 2 * kind.ndim] = *value.shape, *value.strides
        elif isinstance(kind, types.UniTuple):
            self._values[place : place + kind.count] = value
        elif isinstance(kind, types.Float):
            real = ctypes.c_double if kind == types.float64 else ctypes.c_float
            real.from_buffer(self._values, 8 * place).value = value
        else:
            self._values[place] = value

    def aim(self, k: int, array: DeviceArray) -> Callable[[int], None]:
        """A call that sets argument k to an array like this one at another address, which it does not keep alive."""
        self.set(k, array)
        if simulated():
            shape, dtype = array.shape, array.dtype
            return lambda address: self.set(k, DeviceArray(None, address, shape, dtype))
        values, place = self._values, self._places[k] + 4

        def aimed(address: int) -> None:
            values[place] = address

        return aimed


def _as_fake(array: DeviceArray) -> Any:
    """As the simulator takes it."""
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    return FakeCUDAArray(in_simulator(array))
