"""The order of layers whose file does not give one: each one's output has to fit the next one's input."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from fastlstm.errors import RecognitionError
from fastlstm.recognise.findings import Finding
from fastlstm.recognise.keras.chain import Link
from fastlstm.recognise.keras.kinds import EXPECTED, RECURRENT

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

_MAXIMUM_TRIES = 100_000

#: How many numbers go into a layer, and how many may come out.
Sizes = tuple[int, frozenset[int]]


def ordered(links: Sequence[Link], artefact: Artefact) -> tuple[list[Link], Finding]:
    """The order in which each layer's output fits the next one's input; an LSTM comes before a Dense where both fit.

    Layers of one class have been counted in their order. Raises RecognitionError if nothing fits.
    """
    ranks = {"Embedding": 0, "Dense": 2} | dict.fromkeys(RECURRENT, 1)
    queues: dict[tuple[int, str], list[Link]] = {}
    for link in links:
        queues.setdefault((ranks[link.kind], re.sub(r"_\d+(?=/|$)", "", link.name)), []).append(link)
    sizes = {id(link): _sizes(link, artefact) for link in links}
    tries = iter(range(_MAXIMUM_TRIES))
    orders = list(islice(_orders([queues[key] for key in sorted(queues)], sizes, None, tries), 2))
    if not orders:
        named = [(link.name, *sizes[id(link)]) for link in links]
        listed = ", ".join(f"{name} ({size}, {_either(outs)})" for name, size, outs in named)
        raise RecognitionError(
            f"{artefact.path}: no order of the layers ({listed or 'none'}) fits each one's output to the next one's "
            f"input. {EXPECTED}. If the model is one, load the whole model (model.save) instead of its weights"
        )
    order = " -> ".join(link.name for link in orders[0])
    if len(orders) == 1:
        return orders[0], Finding("", "order", "by shape", "inferred", f"the only order that fits: {order}")
    return orders[0], Finding("", "order", "LSTM first", "assumed", f"several orders fit the shapes; taken: {order}")


def _either(outs: frozenset[int]) -> str:
    return " or ".join(map(str, sorted(outs)))


def _orders(
    queues: list[list[Link]], sizes: dict[int, Sizes], widths: frozenset[int] | None, tries: Iterator[int]
) -> Iterator[list[Link]]:
    """Every way to take all links from the front of the queues such that each fits the one before."""
    if not any(queues):
        yield []
    for k, queue in enumerate(queues):
        if next(tries, None) is None or not queue:
            continue
        link = queue[0]
        size, outs = sizes[id(link)]
        if (widths is None or size in widths) and (link.kind != "Embedding" or widths is None):
            left = [*queues[:k], queue[1:], *queues[k + 1 :]]
            yield from ([link, *rest] for rest in _orders(left, sizes, outs, tries))


def _sizes(link: Link, artefact: Artefact) -> Sizes:
    if link.parts:
        ends = [(_sizes(part[0], artefact)[0], _sizes(part[-1], artefact)[1]) for part in link.parts]
        one, other = (min(outs) for _, outs in ends)
        return ends[0][0], frozenset({one + other} | ({one} if one == other else set()))  # concat, or sum, mul, ave
    first, *rest = (artefact.tensors.specs[weight].shape for weight in link.weights)
    return first[0], frozenset({rest[0][0] if link.kind in RECURRENT else first[1]})
