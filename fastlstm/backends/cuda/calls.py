"""The driver's calls that a step or launch makes, prepared once: numba-cuda's own take longer than a step."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends.cuda.device import errors, simulated
from fastlstm.errors import ShapeError

_prepared: dict[Any, Any] = {}  # kernel, types and device -> what is compiled


def prepare(kernel: Any, argument_types: Sequence[Any]) -> Any:
    """Compile a kernel for the current device, for launches of a grid at once, and with all shared memory there is.

    kernel  what `cuda.jit` gives; it is launched as always, or with `launcher`
    numba-cuda itself stays at 48 KiB (its issue 94), and starts a grid at once only where `this_grid` is called. A
    kernel has one limit: with that of this launch, one that was prepared before could fail.
    """
    if simulated():
        return kernel
    from cuda.bindings.driver import CUfunction_attribute
    from numba import cuda
    from numba.cuda.cudadrv.driver import driver

    with errors(f"compiling {kernel.py_func.__name__}"):
        key = kernel, tuple(argument_types), cuda.get_current_device().id
        if key not in _prepared:
            compiled = kernel.compile(key[1])
            compiled.cooperative = True
            function = compiled._codelibrary.get_cufunc()
            attribute = CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            most = function.device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
            driver.cuKernelSetAttribute(attribute, most, function.handle, function.device.id)
            _prepared[key] = compiled
        return _prepared[key]


def launcher(
    kernel: Any,
    argument_types: Sequence[Any],
    blocks: int,
    threads: int,
    shared_bytes: int,
    arguments: Sequence[Any],
    stream: int = 0,
) -> Callable[[], None]:
    """A call that launches `kernel` with these arguments, which are converted once: arrays have to be the device's.

    stream  the address of a CUDA stream
    What is returned keeps the arguments alive, and raises what `device.errors` turns into DeviceError.
    """
    compiled = prepare(kernel, argument_types)
    if simulated():
        return lambda: kernel[blocks, threads, 0, shared_bytes](*arguments)
    from cuda.bindings import driver as api

    converted: list[Any] = []
    for kind, value in zip(compiled.argument_types, arguments, strict=True):
        compiled._prepare_args(kind, value, stream, [], converted)
    held = [v if isinstance(v, ctypes._SimpleCData) else ctypes.c_int64(int(v)) for v in converted]
    places = (ctypes.c_void_p * len(held))(*map(ctypes.addressof, held))
    function = api.CUfunction(int(compiled._codelibrary.get_cufunc().handle))
    at_once = api.CUlaunchAttribute()
    at_once.id = api.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_COOPERATIVE
    at_once.value.cooperative = 1
    config = api.CUlaunchConfig()
    config.gridDimX, config.gridDimY, config.gridDimZ = blocks, 1, 1
    config.blockDimX, config.blockDimY, config.blockDimZ = threads, 1, 1
    config.sharedMemBytes, config.hStream = shared_bytes, api.CUstream(stream)
    config.attrs, config.numAttrs = [at_once], 1
    return _calling(api.cuLaunchKernelEx, (config, function, ctypes.addressof(places), 0), (arguments, held, places))


def sender(host: NDArray[Any], array: Any) -> Callable[[], None]:
    """A call that copies `host` to a device array: both contiguous, of one size, and kept alive."""
    if simulated():
        return lambda: array.copy_to_device(host)
    from cuda.bindings.driver import cuMemcpyHtoD

    return _calling(cuMemcpyHtoD, (_address(array), host.ctypes.data, host.nbytes), (host, array))


def fetcher(array: Any, host: NDArray[Any]) -> Callable[[], None]:
    """A call that waits for the device and copies an array of it to `host`: see `sender`."""
    if simulated():
        return lambda: array.copy_to_host(host)
    from cuda.bindings.driver import cuMemcpyDtoH

    return _calling(cuMemcpyDtoH, (host.ctypes.data, _address(array), host.nbytes), (host, array))


def taker(array: Any) -> Callable[[Any], None]:
    """A call that copies another device array to `array`: of CuPy, PyTorch, Numba, by its `__cuda_array_interface__`.

    It raises ShapeError where that has not as many contiguous elements of the same dtype.
    """
    if simulated():  # whose device memory is the host's
        return lambda x: array.copy_to_device(
            np.asarray(SimpleNamespace(__array_interface__=_fitting(x, array) | {"version": 3})).reshape(array.shape)
        )
    from cuda.bindings.driver import CUdeviceptr, CUstream, cuMemcpyDtoD, cuStreamSynchronize

    target, size, copy, wait = _address(array), array.nbytes, _checked(cuMemcpyDtoD), _checked(cuStreamSynchronize)

    def take(x: Any) -> None:
        found = _fitting(x, array)
        stream = found.get("stream")
        if stream is not None and stream != 1:  # 1: the stream that launches are in, and so in order with them
            wait(CUstream(stream))
        copy(target, CUdeviceptr(found["data"][0]), size)

    return take


def _fitting(x: Any, array: Any) -> dict[str, Any]:
    """x's `__cuda_array_interface__`, if it fits into `array`."""
    found = x.__cuda_array_interface__
    shape, strides = found["shape"], found.get("strides")
    if found["typestr"] == array.dtype.str and math.prod(shape) == array.size:
        step = array.dtype.itemsize
        for length, stride in zip(reversed(shape), reversed(strides or ()), strict=False):
            if length > 1 and stride != step:
                break
            step *= length
        else:
            return found
    raise ShapeError(
        f"x: a device array of shape {tuple(shape)}, {np.dtype(found['typestr'])}, strides {strides}; expected "
        f"{array.size} contiguous elements of {array.dtype}"
    )


def _address(array: Any) -> Any:
    from cuda.bindings.driver import CUdeviceptr

    return CUdeviceptr(array.__cuda_array_interface__["data"][0])


def _calling(function: Callable[..., Any], arguments: tuple[Any, ...], keep: Any) -> Callable[[], None]:
    """A call of the driver's `function`; keep: what has to live as long."""
    checked = _checked(function)

    def call(_keep: Any = keep) -> None:
        checked(*arguments)

    return call


def _checked(function: Callable[..., Any]) -> Callable[..., None]:
    """The driver's function, with its errors raised as numba-cuda raises them."""
    from cuda.bindings.driver import CUresult
    from numba import cuda
    from numba.cuda.cudadrv.driver import driver

    fine = CUresult.CUDA_SUCCESS

    def call(*arguments: Any) -> None:
        if function(*arguments)[0] != fine:
            cuda.current_context()  # a thread's first call has none
            driver._check_cuda_python_error(function.__name__, function(*arguments))

    return call
