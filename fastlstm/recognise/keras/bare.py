"""The chain of a Keras file that holds weights and no configuration, told from names and shapes.

What such a file does not hold (activations, merge modes) is left out of the links' configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from fastlstm.errors import RecognitionError
from fastlstm.recognise.findings import Finding
from fastlstm.recognise.keras.chain import Link, Place
from fastlstm.recognise.keras.kinds import EXPECTED
from fastlstm.recognise.keras.order import ordered
from fastlstm.recognise.keras.shapes import kind_of
from fastlstm.recognise.keras.weights import GATES, has_folders, is_by_gate

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

#: The last part of a weight's name: "kernel", "kernel:0", "kernel_1:0".
_WEIGHT = re.compile(r"(embeddings|kernel|recurrent_kernel|bias)(?:_\d+)?(?::0)?")
_KERAS1_WEIGHT = re.compile(r"_([WUb])(?:_([icfozrh]))?(?::0)?$")
_KERAS1_ROLES = {"W": "kernel", "U": "recurrent_kernel", "b": "bias"}
_NOT_WEIGHTS = re.compile(
    r"(^|/)(optimizer|_optimizer|metrics|_metrics|seed_generator|optimizer_weights|_loss_tracker)(/|$)"
)
_HALF = re.compile(r"(?:^|[/_])(forward|backward)_")


def bare_chain(artefact: Artefact) -> tuple[list[Link], Finding | None]:
    """The links, with their weights, in the order they run; and how that is known where the file does not list them so.

    Raises RecognitionError if the weights are not those of a chain.
    """
    if has_folders(artefact):
        return ordered(_foldered(artefact), artefact)
    layers = artefact.keras.layer_weights.items()
    links = [link for layer, names in layers for link in _joined(list(_named(layer, names, artefact)))]
    return (links, None) if artefact.keras.ordered else ordered(links, artefact)


def _named(layer: str, names: Sequence[str], artefact: Artefact) -> Iterator[Link]:
    """Legacy HDF5: the layers come in their order, and weights have names."""
    roles = [_role(name) for name in names]
    start = 0
    while start < len(names):
        rest = roles[start:]
        embedding = rest[0] == "embeddings" or (rest == ["kernel"] and "embedding" in layer)
        if embedding:
            count = 1
        elif rest[:2] == ["kernel", "recurrent_kernel"]:
            count = 3 if rest[2:3] == ["bias"] else 2
            if is_by_gate("LSTM", names[start:], artefact):
                count = 3 * GATES["LSTM" if "i" in _gate(names[start]) else "GRU"]
        elif rest[0] == "kernel":
            count = 2 if rest[1:2] == ["bias"] else 1
        elif is_by_gate("LSTM", names[start:], artefact) and len(names) in {9, 12}:
            count = len(names)
        else:
            raise unknown(artefact, layer, names)
        yield _link(layer, tuple(names[start : start + count]), artefact, embedding=embedding)
        start += count


def _role(name: str) -> str | None:
    last = name.rsplit("/", maxsplit=1)[-1]
    old = _KERAS1_WEIGHT.search(last)
    match = _WEIGHT.fullmatch(last)
    return _KERAS1_ROLES[old[1]] if old else match and match[1]


def _gate(name: str) -> str:
    """The letter of the gate that a weight of Keras 1 is of: "i" for "lstm_1_W_i:0"."""
    found = _KERAS1_WEIGHT.search(name)
    return (found and found[2]) or ""


def _half(link: Link) -> str:
    """ "forward" or "backward" for what is in a Bidirectional by the names of its weights, else ""."""
    found = _HALF.search("/".join(link.weights[0].split("/")[1:]) or link.weights[0])
    return found[1] if found else ""


def _joined(links: list[Link]) -> list[Link]:
    """`links` with each run of forward ones and the run of backward ones after it as one Bidirectional."""
    runs = [(half, tuple(run)) for half, run in groupby(links, key=_half)]
    result: list[Link] = []
    while runs:
        half, run = runs.pop(0)
        if half == "forward" and runs and runs[0][0] == "backward":
            result.append(_bidirectional(run, runs.pop(0)[1], run[0].name))
        else:
            result += run
    return result


def _bidirectional(forward: tuple[Link, ...], backward: tuple[Link, ...], name: str) -> Link:
    halves = (
        tuple(replace(link, name=f"{name}/{half}") for link in links)
        for half, links in (("forward", forward), ("backward", backward))
    )
    return Link("Bidirectional", name, {}, Place(name, (), ()), parts=tuple(halves))


def _foldered(artefact: Artefact) -> list[Link]:
    """Keras 3: one folder a layer, by class; the weights have numbers and the folders come in no order."""
    folders: dict[str, list[str]] = {}
    for name in artefact.tensors:
        folder, vars_, number = name.rpartition("/vars/")
        if vars_ and number.isdigit() and not _NOT_WEIGHTS.search(name):
            folders.setdefault(folder, []).append(name)
    links: list[Link] = []
    halves: dict[str, dict[str, list[Link]]] = {}
    for folder in sorted(folders, key=_by_number):
        names = tuple(sorted(folders[folder], key=lambda name: int(name.rpartition("/")[2])))
        link = _link(folder, names, artefact, embedding=bool(re.search(r"embedding[^/]*$", folder)))
        inside = re.match(r"(.*)/(forward|backward)_layer(/|$)", folder)
        if inside:
            halves.setdefault(inside[1], {}).setdefault(inside[2], []).append(link)
        else:
            links.append(link)
    for around, found in halves.items():
        if set(found) != {"forward", "backward"}:
            raise unknown(artefact, around, [name for each in found.values() for link in each for name in link.weights])
        forward, backward = (tuple(ordered(found[half], artefact)[0]) for half in ("forward", "backward"))
        links.append(_bidirectional(forward, backward, around))
    return sorted(links, key=lambda link: _by_number(link.name))


def _by_number(folder: str) -> list[tuple[str, int]]:
    """Sorts lstm, lstm_2, lstm_10 as they were counted."""
    parts = [re.fullmatch(r"(.*?)(?:_(\d+))?", part) for part in folder.split("/")]
    return [(part[1], int(part[2] or 0)) for part in parts if part]


def _link(name: str, weights: tuple[str, ...], artefact: Artefact, *, embedding: bool) -> Link:
    """A link of the kind that the shapes of its weights are those of."""
    shapes = [artefact.tensors.specs[weight].shape for weight in weights]
    kind = kind_of(shapes, embedding=embedding)
    if kind is None:
        raise unknown(artefact, name, weights)
    biasless = len(weights) == {"Dense": 1, "Embedding": 0}.get(kind, 2)
    config = {"name": name, **({"use_bias": False} if biasless else {})}
    return Link(kind, name, config, Place(name, (), ()), weights)


def unknown(artefact: Artefact, name: str, weights: Sequence[str]) -> RecognitionError:
    specs = artefact.tensors.specs
    listed = ", ".join(f"{weight} {specs[weight].shape}" for weight in weights)
    return RecognitionError(
        f"{artefact.path}: {name}: the weights {listed} are not those of an LSTM, a GRU, a Dense or an Embedding. "
        f"{EXPECTED}"
    )
