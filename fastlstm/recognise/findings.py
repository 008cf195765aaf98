"""What recognising an artefact gives: layers, and for every hyper-parameter how it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from fastlstm.layers import Layer

#: read: the file says it.  inferred: it follows from shapes or from what the file says elsewhere.
#: assumed: nothing in the file decides it, the source's default was taken.  given: the caller passed it.
How = Literal["read", "inferred", "assumed", "given"]


@dataclass(frozen=True)
class Finding:
    """One hyper-parameter of one layer.

    layer   the layer's name in the file, "" for the model as a whole
    what    the hyper-parameter by its TensorFlow or Keras name: "forget_bias", "activation", "cell_clip" ...
    value   its value
    how     see `How`
    source  the node, attribute, config key, shape or rule that says so
    """

    layer: str
    what: str
    value: Any
    how: How
    source: str


@dataclass(frozen=True)
class Recognised:
    """layers  in the order they run
    findings  what `Model.report` shows
    notes     anything that a user should know: variables that were left aside, and why
    initial_state
              (c (H,), h (P,)) of each LSTM and GRU, where the file has a state to start from, else None
    """

    layers: Sequence[Layer]
    findings: Sequence[Finding]
    notes: Sequence[str] = ()
    initial_state: Sequence[tuple[NDArray[Any], NDArray[Any]]] | None = None
