"""How the compiled functions are compiled, and how they are kept on disk."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import config, njit

# contract: fused multiply-adds.  nsz: -0 is 0.  Not reassoc: the rounding trick of `scalar._scaled_*` needs its order.
FAST = {"contract", "nsz"}
# error_model: division by zero gives inf as in NumPy; Python's check for it would keep loops from being vectorised.
JIT: dict[str, Any] = {"fastmath": FAST, "error_model": "numpy", "nogil": True}

scalar = njit(forceinline=True, **JIT)  # LLVM does not vectorise a loop with a call left in it
inlined = njit(inline="always")  # never compiled by itself: it becomes a part of each function that calls it

_on_disk: list[Any] = []


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a loop when it is first called, and keep it in Numba's disk cache; in memory where there is none."""
    if config.DISABLE_JIT:
        return function
    options["no_cfunc_wrapper"] = True  # nobody passes these functions as values
    try:
        dispatcher = njit(cache=True, **JIT, **options)(function)
    except RuntimeError:  # Numba found no folder that it can write to
        _warn_once()
        return njit(**JIT, **options)(function)
    _on_disk.append(dispatcher)
    return dispatcher


def inner(function: Callable[..., Any]) -> Any:
    """`compiled`, of what compiled code alone calls: a way in from Python would only take time to compile."""
    return compiled(function, no_cpython_wrapper=True)


@cache
def _warn_once() -> None:
    warnings.warn(
        "fastlstm: Numba finds no folder to keep compiled code in, so each process compiles for some seconds; "
        "set NUMBA_CACHE_DIR to a folder that can be written",
        RuntimeWarning,
        stacklevel=3,
    )


_FILES = (
    "jit",
    "memory",
    "simd",
    "scalar",
    "plan",
    "cpu_vectors",
    "cpu_products",
    "cpu_cells",
    "cpu_draw",
    "cpu_loops",
)


def _sources() -> int:
    """A number that changes with any file that the compiled code is made of."""
    here = Path(__file__).parent
    files = [here / f"{name}.py" for name in _FILES]
    text = b"".join(file.read_bytes() for file in [*files, here.parent / "layers" / "activations.py"])
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "little")


_NOW = _sources()


@compiled
def _sources_when_compiled():
    return _NOW


def forget_stale_code() -> None:
    """Empty the disk cache of code that was compiled from other sources.

    Numba looks only at the file of the function itself, and would run loops of an older `plan.py` or `scalar.py`.
    """
    if not config.DISABLE_JIT and _sources_when_compiled() != _NOW:
        for dispatcher in reversed(_on_disk):  # the one that tells, last
            dispatcher.recompile()
