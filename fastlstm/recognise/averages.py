"""Moving averages of the weights, which some training scripts keep beside them and run with.

Source: tf.train.ExponentialMovingAverage, whose shadow of the variable `w` is saved as `w/ExponentialMovingAverage`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from fastlstm.errors import ArgumentError

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact
    from fastlstm.recognise.overrides import Book

_SHADOW = "/ExponentialMovingAverage"


def has_averages(names: Iterable[str]) -> bool:
    """Whether moving averages of the weights are among `names`."""
    return any(name.endswith(_SHADOW) for name in names)


def chosen_weights(artefact: Artefact, book: Book) -> Artefact:
    """`artefact`; with ema=True, each variable that has a moving average is read from there.

    Raises ArgumentError for ema=True where there is none.
    """
    if not book.given("ema"):
        return artefact
    specs = artefact.tensors.specs
    shadows = {name: name + _SHADOW for name, spec in specs.items() if specs.get(name + _SHADOW, None) == spec}
    if book.value("ema") and not shadows:
        raise ArgumentError(
            f"load(ema=True): {artefact.path} has no moving averages (variables whose names end in {_SHADOW!r}); "
            f"leave ema out"
        )
    source = f"{len(shadows)} variables have moving averages beside them"
    if not book.note("", "ema", False, "read", source):
        return artefact
    from fastlstm.formats.tensors import Tensors  # with it come all formats, for `import fastlstm` too many

    fetch = artefact.tensors.__getitem__
    return replace(artefact, tensors=Tensors(specs, lambda name: fetch(shadows.get(name, name))))
