"""What kind of file a path is, and the reader for it: one row for each format."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fastlstm.errors import FormatError, MissingFileError
from fastlstm.formats import (
    checkpoint,
    frozen,
    json_model,
    keras_h5,
    keras_shards,
    keras_zip,
    onnx_file,
    safetensors_file,
    saved_model,
    tflite,
    torch_zip,
)
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.source import check_access, is_file, is_folder, read_start


class Format(NamedTuple):
    """A row of the table.

    detect  whether a path, which may not exist, is of this format: looks at names and first or last bytes only
    read    Raises FormatError
    """

    name: str
    description: str
    detect: Callable[[Path], bool]
    read: Callable[[Path], Artefact]


FORMATS: tuple[Format, ...] = (  # the first that detects the path reads it
    Format(
        "saved-model",
        "TensorFlow SavedModel (its folder, with saved_model.pb and variables/)",
        saved_model.detect,
        saved_model.read,
    ),
    Format(
        "checkpoint",
        "TensorFlow checkpoint (V2: <prefix>.index with <prefix>.data-?????-of-?????; V1: a file, or its shards; "
        "beside it <prefix>.meta; or their folder)",
        checkpoint.detect,
        checkpoint.read,
    ),
    Format("frozen-graph", "frozen TensorFlow graph (.pb, .pbtxt)", frozen.detect, frozen.read),
    Format("pytorch", "PyTorch state_dict (.pt, .pth)", torch_zip.detect, torch_zip.read),
    Format("keras", "Keras 3 model (.keras)", keras_zip.detect, keras_zip.read),
    Format(
        "keras-folder", "Keras 3 model in a folder (config.json ...)", keras_zip.detect_folder, keras_zip.read_folder
    ),
    Format("keras-shards", "Keras 3 weights in shards (.weights.json)", keras_shards.detect, keras_shards.read),
    Format("keras-h5", "Keras model or weights in HDF5 (.h5, .weights.h5)", keras_h5.detect, keras_h5.read),
    Format(
        "safetensors",
        "safetensors: what fastlstm.save writes, and PyTorch state_dicts",
        safetensors_file.detect,
        safetensors_file.read,
    ),
    Format("tflite", "TensorFlow Lite model (.tflite)", tflite.detect, tflite.read),
    Format("onnx", "ONNX model (.onnx)", onnx_file.detect, onnx_file.read),
    Format("json", "RTNeural, NeuralAmpModeler or GuitarML model (.json, .nam)", json_model.detect, json_model.read),
)


def open_artefact(path: str | os.PathLike[str]) -> Artefact:
    """Read whatever is at `path`: names, shapes, graph and configuration now, each tensor when it is asked for.

    Raises MissingFileError if there is nothing, FormatError if it is damaged or of no format in `FORMATS`.
    """
    path = Path(path)
    for row in FORMATS:
        if row.detect(path):
            return row.read(path)
    check_access(path)
    known = "; ".join(row.description for row in FORMATS)
    if is_folder(path):
        raise FormatError(f"{path}: a folder without a checkpoint; pass the path of a file.  fastlstm reads: {known}")
    if not is_file(path):
        raise MissingFileError(f"{path}: no such file or folder, nor {path.name}.index; check the path")
    start = read_start(path, 8)
    raise FormatError(
        f"{path}: starts with {start.hex(' ') or 'nothing, it is empty'}: of another format, damaged or truncated.  "
        f"fastlstm reads: {known}"
    )


def read_variables(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """All tensors of whatever is at `path`, by name.

    Raises as `open_artefact` does, also for a tensor that NumPy cannot hold.
    """
    return dict(open_artefact(path).tensors)
