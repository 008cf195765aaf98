"""The chain of a Keras file that holds weights and no configuration, told from names and shapes.

What such a file does not hold (activations) is left out of the links' configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from fastlstm.errors import RecognitionError
from fastlstm.recognise.findings import Finding
from fastlstm.recognise.keras.chain import EXPECTED, LSTMS, Link, Place
from fastlstm.recognise.keras.weights import has_folders

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

#: The last part of a weight's name: "kernel", "kernel:0", "kernel_1:0".
_WEIGHT = re.compile(r"(embeddings|kernel|recurrent_kernel|bias)(?:_\d+)?(?::0)?")
_KERAS1_WEIGHT = re.compile(r"_([WUb])(?::0)?$")
_KERAS1_ROLES = {"W": "kernel", "U": "recurrent_kernel", "b": "bias"}
_NOT_WEIGHTS = re.compile(
    r"(^|/)(optimizer|_optimizer|metrics|_metrics|seed_generator|optimizer_weights|_loss_tracker)(/|$)"
)
_MAXIMUM_TRIES = 100_000


def bare_chain(artefact: Artefact) -> tuple[list[Link], Finding | None]:
    """The links, with their weights, in the order they run; and how that is known where the file does not list them so.

    Raises RecognitionError if the weights are not those of a chain.
    """
    if has_folders(artefact):
        return _ordered(list(_foldered(artefact)), artefact)
    layers = artefact.keras.layer_weights.items()
    links = [link for layer, names in layers for link in _named(layer, names, artefact)]
    return (links, None) if artefact.keras.ordered else _ordered(links, artefact)


def _named(layer: str, names: Sequence[str], artefact: Artefact) -> Iterator[Link]:
    """Legacy HDF5: the layers come in their order, and weights have names."""
    specs = artefact.tensors.specs
    roles = [_role(name) for name in names]
    start = 0
    while start < len(names):
        rest = roles[start:]
        if rest[0] == "embeddings" or (rest == ["kernel"] and "embedding" in layer):
            kind, count = "Embedding", 1
        elif rest[:2] == ["kernel", "recurrent_kernel"]:
            kind, count = "LSTM", 3 if rest[2:3] == ["bias"] else 2
        elif rest[0] == "kernel":
            kind, count = "Dense", 2 if rest[1:2] == ["bias"] else 1
        elif len(names) == 12 and [specs[name].shape for name in names[3:6]] == [specs[n].shape for n in names[:3]]:
            kind, count = "LSTM", 12  # Keras 1
        else:
            raise _unknown(artefact, layer, names)
        yield _link(kind, layer, tuple(names[start : start + count]), artefact)
        start += count


def _role(name: str) -> str | None:
    last = name.rsplit("/", maxsplit=1)[-1]
    old = _KERAS1_WEIGHT.search(last)
    match = _WEIGHT.fullmatch(last)
    return _KERAS1_ROLES[old[1]] if old else match and match[1]


def _foldered(artefact: Artefact) -> Iterator[Link]:
    """Keras 3: one folder a layer, by class; the weights have numbers and the folders come in no order."""
    folders: dict[str, list[str]] = {}
    for name in artefact.tensors:
        folder, vars_, number = name.rpartition("/vars/")
        if vars_ and number.isdigit() and not _NOT_WEIGHTS.search(name):
            folders.setdefault(folder, []).append(name)
    for folder in sorted(folders, key=_by_number):
        names = tuple(sorted(folders[folder], key=lambda name: int(name.rpartition("/")[2])))
        if re.search(r"(^|/)cell(/cells/lstm_cell(_\d+)?)?$|(^|/)lstm_cell(_\d+)?$", folder):
            yield _link("LSTM", folder, names, artefact)
        else:
            yield _link("Embedding" if re.search(r"embedding[^/]*$", folder) else "Dense", folder, names, artefact)


def _by_number(folder: str) -> list[tuple[str, int]]:
    """Sorts lstm, lstm_2, lstm_10 as they were counted."""
    parts = [re.fullmatch(r"(.*?)(?:_(\d+))?", part) for part in folder.split("/")]
    return [(part[1], int(part[2] or 0)) for part in parts if part]


def _link(kind: str, name: str, weights: tuple[str, ...], artefact: Artefact) -> Link:
    """A link, once the shapes of its weights have been seen to be those of its kind."""
    shapes = [artefact.tensors.specs[weight].shape for weight in weights]
    path = "/".join([name, *weights])
    if re.search(r"(^|[/_])(forward|backward)_", path):
        raise RecognitionError(
            f"{artefact.path}: {name}: the weights are those of a Bidirectional layer, which is not supported: it also "
            f"reads the sequence from its end, so it cannot run one step at a time. {EXPECTED}"
        )
    dims = tuple(len(shape) for shape in shapes)
    if kind == "LSTM" and dims in {(2, 2), (2, 2, 1)}:
        units = shapes[1][0]
        fits = shapes[0][1] == shapes[1][1] == 4 * units
        if fits and len(shapes) == 3 and shapes[2] == (8 * units,):
            kind = "CuDNNLSTM"
    else:
        allowed = {"LSTM": {(2, 2, 1) * 4}, "Dense": {(2,), (2, 1)}, "Embedding": {(2,)}}[kind]
        fits = dims in allowed
    if not fits:
        raise _unknown(artefact, name, weights)
    biasless = kind != "Embedding" and dims[-1] == 2
    config = {"name": name, **({"use_bias": False} if biasless else {})}
    return Link(kind, name, config, Place(name, (), ()), weights)


def _unknown(artefact: Artefact, name: str, weights: Sequence[str]) -> RecognitionError:
    specs = artefact.tensors.specs
    listed = ", ".join(f"{weight} {specs[weight].shape}" for weight in weights)
    return RecognitionError(
        f"{artefact.path}: {name}: the weights {listed} are not those of an LSTM, a Dense or an Embedding. {EXPECTED}"
    )


def _ordered(links: list[Link], artefact: Artefact) -> tuple[list[Link], Finding]:
    """The order in which each layer's output fits the next one's input; an LSTM comes before a Dense where both fit."""
    ranks = {"Embedding": 0, "LSTM": 1, "CuDNNLSTM": 1, "Dense": 2}
    queues: dict[tuple[int, str], list[Link]] = {}
    for link in links:  # layers of one class are numbered in their order
        queues.setdefault((ranks[link.kind], re.sub(r"_\d+(?=/|$)", "", link.name)), []).append(link)
    sizes = {link.name: _sizes(link, artefact) for link in links}
    orders = list(islice(_orders([queues[key] for key in sorted(queues)], sizes, None, iter(range(_MAXIMUM_TRIES))), 2))
    if not orders:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise RecognitionError(
            f"{artefact.path}: no order of the layers ({listed or 'none'}) fits each one's output to the next one's "
            f"input. {EXPECTED}. If the model is one, load the whole model (model.save) instead of its weights"
        )
    order = " -> ".join(link.name for link in orders[0])
    if len(orders) == 1:
        return orders[0], Finding("", "order", "by shape", "inferred", f"the only order that fits: {order}")
    return orders[0], Finding("", "order", "LSTM first", "assumed", f"several orders fit the shapes; taken: {order}")


def _orders(
    queues: list[list[Link]], sizes: dict[str, tuple[int, int]], width: int | None, tries: Iterator[int]
) -> Iterator[list[Link]]:
    """Every way to take all links from the front of the queues such that each fits the one before."""
    if not any(queues):
        yield []
    for k, queue in enumerate(queues):
        if next(tries, None) is None or not queue:
            continue
        link = queue[0]
        if width in (None, sizes[link.name][0]) and (link.kind != "Embedding" or width is None):
            left = [*queues[:k], queue[1:], *queues[k + 1 :]]
            yield from ([link, *rest] for rest in _orders(left, sizes, sizes[link.name][1], tries))


def _sizes(link: Link, artefact: Artefact) -> tuple[int, int]:
    """How many numbers go in and come out."""
    first, *rest = (artefact.tensors.specs[weight].shape for weight in link.weights)
    return (first[0], rest[0][0]) if link.kind in LSTMS else (first[0], first[1])
