"""The GPU: found through numba-cuda when it is first asked for, its figures, and its driver's errors as DeviceError."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from numba.core import config

from fastlstm.backends.cuda import process
from fastlstm.errors import DeviceError

_ELSEWHERE = "pass device='cpu' to run without a GPU"
_OLDEST = (7, 0)  # compute capability: threads of a warp that go their own ways, which spinning on a flag needs


@dataclass(frozen=True)
class Properties:
    """What is known of a device.

    capability         compute capability (major, minor)
    multiprocessors    how many
    threads_per_sm     that can be resident on one
    shared_per_block   bytes of shared memory, the most that a kernel can opt in to
    shared_per_sm      bytes; each block takes `shared_reserved` more than it asks for
    registers_per_sm   of 32 bits
    clock              Hz, the multiprocessors'
    memory_bandwidth   bytes a second, two transfers a clock of the memory
    cooperative        whether all blocks of a grid can be started at once, or an error tells that they cannot
    driver, toolkit    CUDA versions (major, minor): what the driver is for, and what compiles
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    threads_per_sm: int
    shared_per_block: int
    shared_per_sm: int
    shared_reserved: int
    registers_per_sm: int
    l2_bytes: int
    memory_bytes: int
    clock: float
    memory_bandwidth: float
    cooperative: bool = True
    driver: tuple[int, int] = (0, 0)
    toolkit: tuple[int, int] = (0, 0)


#: What Numba's simulator stands for: one block at a time, so that a grid-wide barrier ends; four warps of four threads
#: (`simulated.py`), as each is a thread of Python, and larger blocks would need more room for their sums.
SIMULATED = Properties(
    "CUDA simulator", (7, 0), 1, 16, 96 << 10, 96 << 10, 0, 65536, 1 << 20, 1 << 30, clock=1e6, memory_bandwidth=1e9
)


def simulated() -> bool:
    """Whether kernels run in Numba's simulator (NUMBA_ENABLE_CUDASIM=1)."""
    return bool(config.ENABLE_CUDASIM)


_found: tuple[Any, Properties] | None = None  # and of which context


def find() -> Properties:
    """The current device.  Raises DeviceError: what was found, and what to install or change."""
    global _found
    cuda = _numba_cuda()
    if simulated():
        return SIMULATED
    process.check_not_forked("device 'cuda'")
    if _found is not None and _found[0] is cuda.current_context():
        return _found[1]
    driver = _driver()
    toolkit = _toolkit(cuda)
    if toolkit[0] > driver[0]:
        older = f", or pip install 'numba-cuda[cu{driver[0]}]'" if driver[0] >= 12 else ""
        raise DeviceError(
            f"the NVIDIA driver is for CUDA {_dotted(driver)}, and the toolkit that numba-cuda found is "
            f"{_dotted(toolkit)}, which needs a driver for {toolkit[0]}.0 at least; update the driver{older}; "
            f"{_ELSEWHERE}"
        )
    with errors("looking for the GPU"):
        context = cuda.current_context()
        process.cuda_is_started()
        _found = context, _usable(_properties(context.device, context, driver, toolkit))
    return _found[1]


@contextlib.contextmanager
def errors(doing: str, asked: int = 0) -> Iterator[None]:
    """Turn what the driver and numba-cuda raise inside into DeviceError.

    doing  for the message, e.g. "generate"
    asked  bytes of device memory that are allocated inside
    """
    try:
        yield
    except Exception as error:
        told = told_of(error, doing, asked)
        if told is None:
            raise
        raise told from error


def told_of(error: Exception, doing: str, asked: int = 0) -> DeviceError | None:
    """What to raise of an error of the driver's, as `errors`; None of any other."""
    if isinstance(error, DeviceError) or not _of_the_driver(error):
        return None
    return DeviceError(f"{doing}: {_explained(str(error), asked)}")


def _numba_cuda() -> Any:
    if not simulated() and find_spec("numba_cuda") is None:
        raise DeviceError(f"device 'cuda' needs numba-cuda, which is not installed: {_install()}; {_ELSEWHERE}")
    try:
        from numba import cuda
    except Exception as error:  # the toolkit's libraries are looked for while it is imported
        raise DeviceError(f"numba-cuda cannot be imported ({_line(error)}): {_install()}; {_ELSEWHERE}") from error
    return cuda


def _install() -> str:
    return "pip install 'numba-cuda[cu12]>=0.30', as fastlstm's extra 'cuda' does"


def _driver() -> tuple[int, int]:
    """The CUDA version that the driver is for."""
    from numba.cuda.cudadrv.driver import driver
    from numba.cuda.cudadrv.error import CudaDriverError, CudaSupportError

    try:
        version, count = driver.get_version(), int(driver.get_device_count())
    except (CudaSupportError, CudaDriverError) as error:
        raise DeviceError(f"device 'cuda': {_no_device(_line(error))}; {_ELSEWHERE}") from error
    if count == 0:
        raise DeviceError(f"device 'cuda': {_no_device('CUDA_ERROR_NO_DEVICE')}; {_ELSEWHERE}")
    return int(version[0]), int(version[1])


def _no_device(text: str) -> str:
    """Why there is none, of what numba-cuda says."""
    if "NUMBA_DISABLE_CUDA" in text:
        return "the environment has NUMBA_DISABLE_CUDA=1, which switches CUDA off; unset it"
    if "cannot be found" in text:
        return "no NVIDIA driver is installed (libcuda is not found); install one, so that nvidia-smi lists the GPU"
    if "NO_DEVICE" in text:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        where = "" if visible is None else f", and CUDA_VISIBLE_DEVICES is {visible!r}: it hides the others"
        return f"the NVIDIA driver sees no GPU{where}; nvidia-smi has to list one"
    if "MISMATCH" in text or "COMPAT_NOT_SUPPORTED" in text:
        return f"the NVIDIA driver's parts are of different versions ({text}); restart the machine, or reinstall it"
    if "NOT_INITIALIZED" in text or "fork" in text:
        return f"the NVIDIA driver cannot be used ({text}), as in {process.FORKED}; nvidia-smi has to list the GPU"
    return f"the NVIDIA driver cannot be used ({text}); nvidia-smi has to list the GPU"


def _toolkit(cuda: Any) -> tuple[int, int]:
    """The version of what compiles: NVRTC, which says which devices it knows, and NVVM."""
    from numba.cuda.cudadrv import nvvm

    try:
        version = cuda.runtime.get_version()
        nvvm.NVVM()
        nvvm.open_libdevice()
    except Exception as error:
        raise DeviceError(
            f"CUDA's compiler libraries (nvvm, nvrtc, libdevice) are not there ({_line(error)}): {_install()}, or "
            f"install the CUDA toolkit and set CUDA_HOME to its folder; {_ELSEWHERE}"
        ) from error
    return int(version[0]), int(version[1])


def _properties(device: Any, context: Any, driver: tuple[int, int], toolkit: tuple[int, int]) -> Properties:
    """device: numba-cuda's, whose attributes have the driver's names; clocks come in kHz, the bus in bits."""
    name = device.name
    return Properties(
        name=name.decode() if isinstance(name, bytes) else str(name),
        capability=tuple(map(int, device.compute_capability)),
        multiprocessors=int(device.MULTIPROCESSOR_COUNT),
        threads_per_sm=int(device.MAX_THREADS_PER_MULTIPROCESSOR),
        shared_per_block=int(device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
        shared_per_sm=int(device.MAX_SHARED_MEMORY_PER_MULTIPROCESSOR),
        shared_reserved=int(device.RESERVED_SHARED_MEMORY_PER_BLOCK),
        registers_per_sm=int(device.MAX_REGISTERS_PER_MULTIPROCESSOR),
        l2_bytes=int(device.L2_CACHE_SIZE),
        memory_bytes=int(context.get_memory_info().total),
        clock=1e3 * int(device.CLOCK_RATE),
        memory_bandwidth=2e3 * int(device.MEMORY_CLOCK_RATE) * int(device.GLOBAL_MEMORY_BUS_WIDTH) / 8,
        cooperative=bool(int(device.COOPERATIVE_LAUNCH)),
        driver=driver,
        toolkit=toolkit,
    )


def _usable(found: Properties) -> Properties:
    from numba.cuda.cudadrv import nvrtc
    from numba.cuda.cudadrv.error import CCSupportError

    if found.capability < _OLDEST:
        raise DeviceError(
            f"{found.name} has compute capability {_dotted(found.capability)}; {_dotted(_OLDEST)} is needed (Volta or "
            f"newer); {_ELSEWHERE}"
        )
    try:
        nvrtc.find_closest_arch(found.capability)
    except CCSupportError as error:
        raise DeviceError(
            f"{found.name} has compute capability {_dotted(found.capability)}, for which CUDA {_dotted(found.toolkit)} "
            f"does not compile any more; pip install 'numba-cuda[cu12]'; {_ELSEWHERE}"
        ) from error
    if not found.cooperative:
        raise DeviceError(
            f"{found.name} takes no cooperative launches with this driver, and blocks that wait for each other need "
            f"them; {_ELSEWHERE}"
        )
    return found


def _of_the_driver(error: Exception) -> bool:
    """numba-cuda raises its own errors and those of NVIDIA's cuda-bindings and cuda-core, which share no class."""
    rooms = ("numba.cuda.cudadrv", "cuda.bindings", "cuda.core", "cuda.pathfinder")
    return any(kind.__module__.startswith(rooms) for kind in type(error).__mro__)


def _explained(text: str, asked: int) -> str:
    """What to do about the driver's error in `text`."""
    named = re.search(r"CUDA_ERROR_\w+", text)
    what = named.group() if named else " ".join(text.split())
    if "OUT_OF_MEMORY" in what:
        wanted = f"{_megabytes(asked)} were asked for, " if asked else ""
        return (
            f"the GPU is out of memory: {wanted}{_memory()}; use a smaller batch or n, or weights='bfloat16', or end "
            f"other programs that hold its memory (nvidia-smi lists them)"
        )
    if "COOPERATIVE_LAUNCH_TOO_LARGE" in what or "OUT_OF_RESOURCES" in what:
        return (
            f"the GPU does not take the whole grid at once ({what}), as when another program keeps a part of it; end "
            f"that, or {_ELSEWHERE}"
        )
    if "PTX" in what or "NO_BINARY" in what or "JIT" in what:
        return (
            f"the driver does not take what the toolkit compiled ({what}): they are of different versions; update the "
            f"driver, or install the toolkit that fits it (pip install 'numba-cuda[cu12]', or [cu13]); {_ELSEWHERE}"
        )
    if "STREAM_CAPTURE" in what:
        return (
            f"a CUDA graph is being captured ({what}); only Stream.step can be captured, with a device array, of a "
            f"stream that was made for the captured one: model.stream(cuda_stream=...)"
        )
    if "CONTEXT" in what or "INVALID_HANDLE" in what or "INVALID_RESOURCE" in what:
        return (
            f"the GPU's context is not that in which the model was loaded ({what}): the GPU was reset, or another one "
            f"is current in this thread; load the model again, or make its GPU current"
        )
    if "INITIALIZED" in what or "forking" in what:
        return f"the driver is not at hand ({what}), as in {process.FORKED}"
    if "LAUNCH_TIMEOUT" in what:
        return f"the call ran into the time limit of a GPU that drives a display ({what}); use a smaller n"
    if "ILLEGAL" in what or "LAUNCH_FAILED" in what or "ECC" in what or "ASSERT" in what:
        return f"the GPU stopped at an error ({what}), and takes no more calls from this process: start a new one"
    return f"the GPU's driver says {what}; nvidia-smi shows its state; {_ELSEWHERE}"


def _memory() -> str:
    from numba import cuda

    try:
        free, total = cuda.current_context().get_memory_info()
    except Exception:  # on the way to telling of another error
        return "how much is free cannot be told"
    return f"{_megabytes(free)} of {_megabytes(total)} are free"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
