"""The vectors that a user begins a continuous model with."""

from __future__ import annotations

import warnings
from typing import Any

from fastlstm.errors import ArgumentError, FormatError, MissingFileError


def read(text: str, size: int) -> Any:
    """(T, size) numbers, from a .npy or .csv file with a row a step, or from "0.1,0.2,0.3" with `size` numbers a step.

    Raises ArgumentError, FormatError.
    """
    import numpy as np

    if text.lower().endswith((".npy", ".csv")):
        return _file(text, size)
    try:
        values = np.array([float(part) for part in text.split(",")])
    except ValueError:
        raise ArgumentError(
            f"--prime: {text!r}; this model takes vectors of {size}: expected numbers, e.g. --prime 0.1,0.25, "
            f"or a .npy or .csv file with a row a step"
        ) from None
    if len(values) % size:
        raise ArgumentError(f"--prime: {len(values)} numbers; expected {size} for each step, the model's input size")
    return values.reshape(-1, size)


def _file(path: str, size: int) -> Any:
    import numpy as np

    try:
        if path.lower().endswith(".npy"):
            values = np.load(path, allow_pickle=False)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of an empty file, which is refused below
                values = np.loadtxt(path, delimiter=",", ndmin=2)
    except FileNotFoundError:
        raise MissingFileError(f"--prime: {path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise FormatError(f"--prime: {path}: cannot be read as numbers: {error}") from error
    if values.ndim == 1 and size == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != size or not len(values) or values.dtype.kind not in "fiub":
        raise ArgumentError(
            f"--prime: {path} holds {values.dtype} of shape {values.shape}; expected (T, {size}), a row a step "
            f"of the model's {size} numbers"
        )
    return values
