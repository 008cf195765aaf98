"""How the compiled functions are compiled. What Python calls of them is listed in `entries.py`, and kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types

# contract: fused multiply-adds.  nsz: -0 is 0.  Not reassoc: the rounding trick of `sigmoids.py` needs its order.
FAST = {"contract", "nsz"}
# error_model: division by zero gives inf as in NumPy; Python's check for it would keep loops from being vectorised.
JIT: dict[str, Any] = {"fastmath": FAST, "error_model": "numpy", "nogil": True}

inlined = njit(inline="always")  # never compiled by itself: it becomes a part of each function that calls it
compiled = njit(no_cfunc_wrapper=True, **JIT)  # nobody passes these functions as values


def inner(function: Callable[..., Any], **options: Any) -> Any:
    """`compiled`, of what compiled code alone calls: a way in from Python would only take time to compile."""
    dispatcher = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options, **JIT)(function)
    if dispatcher is function:  # NUMBA_DISABLE_JIT
        return function
    for_types = dispatcher.get_call_template

    def for_plain_types(arguments: Any, named: Any) -> Any:
        """Numba would compile a function once more for each literal, 0 or 1, that it is called with."""
        return for_types([types.unliteral(a) for a in arguments], {k: types.unliteral(a) for k, a in named.items()})

    dispatcher.get_call_template = for_plain_types
    return dispatcher


def scalar(function: Callable[..., Any]) -> Any:
    """`inner`, and inlined: LLVM does not vectorise a loop with a call left in it."""
    return inner(function, forceinline=True)
