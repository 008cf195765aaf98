"""NumPy's `.npz`, written.  Source: numpy/lib/format.py."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import WriteError
from fastlstm.formats.atomic import replacing


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays of numbers for `numpy.load`; equal arrays give equal bytes.

    `numpy.savez` would take a tensor called "file" for its own argument.  A file that is already there is replaced at
    once or not at all.  Raises WriteError.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise WriteError(f"{path}: array {name!r} holds Python objects, expected numbers; leave it out")
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
