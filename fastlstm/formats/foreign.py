"""Formats that are recognised and not read, each with what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fastlstm.formats.source import read_start


class Foreign(NamedTuple):
    """detect  whether a path, which may not exist, is of this format"""

    description: str
    advice: str
    detect: Callable[[Path], bool]


def _is_tflite(path: Path) -> bool:
    return read_start(path, 8)[4:] == b"TFL3"  # a FlatBuffer's identifier


FOREIGN: tuple[Foreign, ...] = (
    Foreign("a TensorFlow Lite model", "pass the model that it was converted from", _is_tflite),
)
