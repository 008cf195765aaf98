"""The driver's functions, called by NVIDIA's cuda-bindings: numba-cuda's own calls take longer than a step."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any


@lru_cache
def function(name: str) -> Callable[..., Any]:
    """The driver's function of this name -> what it gives, if anything; errors are raised as numba-cuda does."""
    from cuda.bindings import driver as api

    called, fine = getattr(api, name), api.CUresult.CUDA_SUCCESS
    without_context = api.CUresult.CUDA_ERROR_INVALID_CONTEXT

    def checked(*arguments: Any) -> Any:
        found = called(*arguments)
        if found[0] is not fine:
            if found[0] == without_context:  # a thread's first call has none
                _make_current()
                found = called(*arguments)
            _raise(name, found)
        return found[1] if len(found) > 1 else None

    return checked


def _make_current() -> None:
    from numba import cuda

    cuda.current_context()


def _raise(name: str, found: tuple[Any, ...]) -> None:
    from numba.cuda.cudadrv.driver import driver

    driver._check_cuda_python_error(name, found)


@lru_cache
def pointer() -> Callable[[int], Any]:
    """An address, as `function`'s take it."""
    from cuda.bindings.driver import CUdeviceptr

    return CUdeviceptr  # type: ignore[no-any-return]


@lru_cache(maxsize=64)
def stream(address: int) -> Any:
    """A CUDA stream, as `function`'s take it."""
    from cuda.bindings.driver import CUstream

    return CUstream(address)
