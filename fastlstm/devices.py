"""Where and how a model runs: what `device`, `weights` and `threads` may be, and the backend that they name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastlstm import arguments
from fastlstm.backends.narrow import DEEPEST, STORAGES, matrices
from fastlstm.errors import ArgumentError, DeviceError
from fastlstm.layers import Layer

DEVICES = ("cpu", "cuda", "numpy")


def backend_of(device: str) -> Any:
    """The class of a device's backend."""
    if device == "numpy":
        from fastlstm.backends.reference import ReferenceBackend

        return ReferenceBackend
    with _numba_needed(device):
        if device == "cuda":
            from fastlstm.backends.cuda.device import find

            find()  # before what cannot be imported without it
            from fastlstm.backends.cuda.backend import CudaBackend

            return CudaBackend
        from fastlstm.backends.cpu import CpuBackend

        return CpuBackend


@contextmanager
def _numba_needed(device: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise DeviceError(
            f"device {device!r} needs Numba, which cannot be imported ({error}); install numba, or pass device='numpy'"
        ) from error


def checked_device(device: str) -> str:
    if device not in DEVICES:
        raise DeviceError(f"device {device!r} is not known; expected one of {', '.join(map(repr, DEVICES))}")
    return device


def checked_threads(threads: int, device: str) -> int:
    n, most = arguments.count(threads, name="threads"), _cores()
    if n > 1 and device != "cpu":
        theirs = {
            "numpy": "those of NumPy's own linear algebra; set them there (OMP_NUM_THREADS)",
            "cuda": "the GPU's, as many as the model and the batch need; leave threads at 1",
        }
        raise ArgumentError(
            f"threads is {n}, and device is {device!r}, whose threads are {theirs[device]}, or pass device='cpu'"
        )
    if n > most:
        cores = f"{most} core{'s' if most > 1 else ''}"
        raise ArgumentError(f"threads is {n}; this process may run on {cores}: expected 1 to {most}")
    return n


def _cores() -> int:
    """How many cores the process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def checked_weights(weights: str | None, dtype: np.dtype, layers: tuple[Layer, ...]) -> str:
    """How the matrices are stored.  Raises ArgumentError."""
    if weights is None or weights == dtype.name:
        return dtype.name
    if weights not in STORAGES:
        raise ArgumentError(
            f"weights is {weights!r}; expected one of {', '.join(map(repr, STORAGES))}, or None to store them as dtype"
        )
    if dtype != np.float32:
        raise ArgumentError(f"weights is {weights!r}, and the model's dtype {dtype.name}; pass dtype='float32' with it")
    for name, matrix in matrices(layers) if weights == "int8" else ():
        if len(matrix) > DEEPEST:
            raise ArgumentError(
                f"weights is 'int8': {name} has {len(matrix)} rows; expected at most {DEEPEST}, beyond which its sums "
                f"may not fit into 32 bits; pass weights='bfloat16'"
            )
    return weights
