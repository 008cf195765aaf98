"""How kernels and device functions are compiled."""

from __future__ import annotations

from typing import Any

from numba import config, cuda

from fastlstm.backends.cuda.settings import MOST_THREADS

_KERNEL: dict[str, Any] = {"cache": True, "max_registers": min(255, 65536 // MOST_THREADS)}
_INLINED: dict[str, Any] = {"forceinline": True}  # so that it is known in which memory an array lies
if config.ENABLE_CUDASIM:  # which does not know these options
    _KERNEL, _INLINED = {}, {}

kernel = cuda.jit(**_KERNEL)
device = cuda.jit(device=True, **_INLINED)
called = cuda.jit(device=True)  # large, and rarely called
