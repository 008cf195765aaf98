"""What the caller of `load` says against the file, and the book that is kept of every hyper-parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from fastlstm.errors import ArgumentError
from fastlstm.recognise.findings import Finding, How

#: Every override by its name, with what it stands for.
KNOWN_OVERRIDES = {
    "forget_bias": "a number, added to the forget gate (TensorFlow 1 cells)",
    "cell_clip": "a number above 0, or None",
    "proj_clip": "a number above 0, or None",
    "activation": "the LSTM layers' activation, by name",
    "recurrent_activation": "the gates' activation, by name",
    "residual": "True or False: each layer adds its input to its output",
    "num_layers": "how many LSTM layers the stack has, from the bottom",
    "embedding": "the name of the embedding variable, or None for none",
    "one_hot": "True: the model takes ids and turns them into one-hot rows; False: it takes vectors",
    "head": "the names of the head's variables (kernel, bias) or (kernel,), or None for no head",
    "head_activation": "the head's activation, by name",
    "ema": "True: read the moving averages of the weights where the file has them",
    "reset_after": "True or False: a Keras GRU's reset gate comes after the recurrent kernel, or before it",
    "merge_mode": "how two directions are joined: 'concat', 'sum', 'mul' or 'ave'",
    "cell": "'LSTMCell' or 'LSTMBlockCell', where TensorFlow 1.0 and 1.1 gave both the same names",
    "num_units": "how many units each layer has, where a cuDNN buffer does not say",
    "direction": "'unidirectional' or 'bidirectional', where a cuDNN buffer does not say",
}

#: Those that only some layers have: refused where a file has none of these.
OF_SOME_LAYERS = ("reset_after", "merge_mode", "cell", "num_units", "direction")


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(float(value))
    except OverflowError:
        return False


def _is_clip(value: Any) -> bool:
    return value is None or (_is_number(value) and value > 0)


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


#: What may be said before the file is looked at; `head` and `num_layers` depend on it.
_ACCEPTED = {
    "forget_bias": _is_number,
    "cell_clip": _is_clip,
    "proj_clip": _is_clip,
    "activation": lambda value: value is None or _is_name(value),
    "recurrent_activation": lambda value: value is None or _is_name(value),
    "residual": _is_flag,
    "embedding": lambda value: value is None or _is_name(value),
    "one_hot": _is_flag,
    "head_activation": lambda value: value is None or _is_name(value),
    "ema": _is_flag,
    "reset_after": _is_flag,
    "merge_mode": lambda value: value in ("concat", "sum", "mul", "ave"),
    "cell": lambda value: value in ("LSTMCell", "LSTMBlockCell"),
    "num_units": lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0,
    "direction": lambda value: value in ("unidirectional", "bidirectional"),
}


class Book:
    """Takes overrides and notes how each value came to be known.

    overrides  what the caller passed to `load`.  Raises ArgumentError for a name that is not in KNOWN_OVERRIDES, or
               a value that is not what stands there.
    """

    def __init__(self, overrides: Mapping[str, Any]) -> None:
        unknown = sorted(set(overrides) - set(KNOWN_OVERRIDES))
        if unknown:
            raise ArgumentError(
                f"load() got {', '.join(map(repr, unknown))}, which is no hyper-parameter that can be overridden; "
                "these can be:" + "".join(f"\n  {name}: {what}" for name, what in KNOWN_OVERRIDES.items())
            )
        for what, value in overrides.items():
            if what in _ACCEPTED and not _ACCEPTED[what](value):
                raise ArgumentError(f"load({what}={value!r}): expected {KNOWN_OVERRIDES[what]}")
        self.findings: list[Finding] = []
        self._overrides = dict(overrides)

    def given(self, what: str) -> bool:
        """Whether the caller passed `what`."""
        return what in self._overrides

    def value(self, what: str) -> Any:
        """What the caller passed as `what`."""
        return self._overrides[what]

    def note(self, layer: str, what: str, value: Any, how: How, source: str) -> Any:
        """Note a hyper-parameter and give back its value: the caller's where one was passed, else `value`."""
        if self.given(what):
            found, value = value, self._overrides[what]
            how, source = "given", f"load({what}={value!r}); the file: {found!r} ({how}, {source})"
        self.findings.append(Finding(layer, what, value, how, source))
        return value
