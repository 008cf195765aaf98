"""How kernels and device functions are compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from numba import config, cuda

from fastlstm.backends.cuda.settings import MOST_THREADS

_KERNEL: dict[str, Any] = {"max_registers": min(255, 65536 // MOST_THREADS)}
_INLINED: dict[str, Any] = {"forceinline": True}  # so that it is known in which memory an array lies
if config.ENABLE_CUDASIM:  # which does not know this option
    _INLINED = {}


def kernel(function: Callable[..., None]) -> Any:
    """Of the GPU, launched by the host; kept on disk where something can be written."""
    if config.ENABLE_CUDASIM:
        return cuda.jit()(function)
    try:
        return cuda.jit(cache=True, **_KERNEL)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        _say_that_nothing_is_kept()
        return cuda.jit(**_KERNEL)(function)


@cache
def _say_that_nothing_is_kept() -> None:
    warnings.warn(
        "fastlstm: compiled CUDA kernels cannot be kept on disk, as neither the package's folder nor the user's cache "
        "can be written, so each process compiles for some 20 s; set NUMBA_CACHE_DIR to a folder that can be written",
        RuntimeWarning,
        stacklevel=2,
    )


device = cuda.jit(device=True, **_INLINED)
called = cuda.jit(device=True)  # large, and rarely called
