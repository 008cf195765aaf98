"""How device functions are compiled."""

from __future__ import annotations

from numba import config, cuda

# Inlined, so that inside it is known what is constant and in which memory an array lies.
device = cuda.jit(device=True, **({} if config.ENABLE_CUDASIM else {"forceinline": True}))
called = cuda.jit(device=True)  # large, and rarely called
