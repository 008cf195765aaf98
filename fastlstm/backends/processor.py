"""What the CPU has, as Numba compiles for it: known without Numba, which takes longer to import than all the rest."""

from __future__ import annotations

import os

import numpy as np
from llvmlite import binding

#: Numba's heuristic: CPUs with the first version of AVX, which gains nothing there.
_SLOW_AVX = {"corei7-avx", "core-avx-i", "sandybridge", "ivybridge"}


def name() -> str:
    """The CPU's, as LLVM knows it, or NUMBA_CPU_NAME."""
    return os.environ.get("NUMBA_CPU_NAME") or binding.get_host_cpu_name()


def features() -> set[str]:
    """The names of the instruction sets that code may use; those of NUMBA_CPU_FEATURES where it is set."""
    given = os.environ.get("NUMBA_CPU_FEATURES")
    if given is None and name().lower() == "generic":
        given = ""
    if given is not None:
        return {feature[1:] for feature in given.split(",") if feature.startswith("+")}
    try:
        found = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell, on this kind of machine
        return set()
    avx = os.environ.get("NUMBA_ENABLE_AVX") or str(int(name() not in _SLOW_AVX))
    return {feature for feature, there in found.items() if there and (avx != "0" or not feature.startswith("avx"))}


def _vector_bytes(names: set[str]) -> int:
    return 64 if "avx512f" in names else 32 if "avx" in names else 16


VECTOR_BYTES = _vector_bytes(features())

#: Bytes that `read_loop.read` takes at a time.
READ_BLOCK = 256


def lanes(dtype: np.dtype) -> int:
    """Elements of a vector register."""
    return VECTOR_BYTES // dtype.itemsize
