"""A computation as plain data: operations on named values, as TensorFlow Lite and ONNX write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Value:
    """What a file says of a value.

    shape       None where it is not known; a size that is not known is None
    dtype       "float32", "int8" ...
    scale, zero_point, axis
                of a quantised value: real = scale * (stored - zero_point), one of each or one for every index of `axis`
    """

    shape: tuple[int | None, ...] | None
    dtype: str
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    axis: int = 0


@dataclass(frozen=True)
class Operation:
    """One operation.

    name     for messages; need not be unique
    op       "LSTM", "FULLY_CONNECTED" ... as the format calls it
    inputs   names of values, "" for one that is left out
    outputs  names of the values that it makes
    attrs    name -> int, float, bytes, list of these, or array
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataflow:
    """Operations in the order in which the file lists them, each value made before it is read.

    inputs, outputs  names of values
    values           what the file says of its values; need not be all of them
    bodies           other dataflows, that operations refer to by number
    The constants among the values are the artefact's tensors.
    """

    operations: tuple[Operation, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: Mapping[str, Value] = field(default_factory=dict)
    bodies: Mapping[int, Dataflow] = field(default_factory=dict)
