"""Where the weights of a Keras chain are in the file.

Sources: keras.src.legacy.saving.legacy_h5_format (names in order under each layer), keras.src.saving.saving_lib
(folders by class).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import RecognitionError
from fastlstm.recognise.keras.chain import Link, Place, leaves
from fastlstm.recognise.keras.kinds import LSTMS, refusal

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

#: What a weights file calls a model's layers: now, and in Keras 2.12 and 2.13, which count a layer with weights twice.
LAYER_FOLDERS = ("layers", "_layer_checkpoint_dependencies")

#: A layer's weights in Keras' order; the bias is missing where use_bias is False.
WEIGHT_NAMES = {
    **dict.fromkeys(("LSTM", "CuDNNLSTM", "GRU", "CuDNNGRU"), ("kernel", "recurrent_kernel", "bias")),
    "Dense": ("kernel", "bias"),
    "Embedding": ("embeddings",),
}

#: Keras 1 can write an LSTM or a GRU as a kernel, a recurrent kernel and a bias for each gate in turn.
GATES = {"LSTM": 4, "CuDNNLSTM": 4, "GRU": 3, "CuDNNGRU": 3}

_NUMBERED = re.compile(r"(^|/)vars/\d+$")


def located(links: Sequence[Link], artefact: Artefact) -> list[Link]:
    """`links` with the names of their weights.  Raises RecognitionError for weights that are not there."""
    if has_folders(artefact):
        return with_weights(links, {link.place: _in_folder(link, artefact) for link in leaves(links)})
    return with_weights(links, _listed(leaves(links), artefact))


def with_weights(links: Sequence[Link], found: Mapping[Place, tuple[str, ...]]) -> list[Link]:
    """`links` and their parts, each with the names that were found for its place."""
    return [
        replace(link, parts=tuple(tuple(with_weights(part, found)) for part in link.parts))
        if link.parts
        else replace(link, weights=found[link.place])
        for link in links
    ]


def has_folders(artefact: Artefact) -> bool:
    """Whether the weights are in folders by class, as Keras 3 writes them; legacy HDF5 lists them by layer."""
    return any(_NUMBERED.search(name) for name in artefact.tensors)


def _expected(link: Link) -> tuple[str, ...]:
    names = WEIGHT_NAMES.get(link.kind, ())
    return names if link.config.get("use_bias", True) else tuple(name for name in names if name != "bias")


def _listed(links: Sequence[Link], artefact: Artefact) -> dict[Place, tuple[str, ...]]:
    """Legacy HDF5: a layer of the outermost model has a list of names; a model in it has those of all its layers."""
    found: dict[Place, tuple[str, ...]] = {}
    version = artefact.keras.version
    for top in dict.fromkeys(link.place.top for link in links):
        parts = sorted((link for link in links if link.place.top == top), key=partial(_listing_order, version=version))
        names = left = artefact.keras.layer_weights.get(top, ())
        for link in parts:
            if link.config.get("lora_rank"):
                why = "load it as .keras, where Keras saves the sum of both, or merge them before saving"
                raise refusal(str(artefact.path), link.name, f"{link.kind} with LoRA weights", why)
            count = len(_expected(link))
            if is_by_gate(link.kind, left, artefact):
                count = GATES[link.kind] * len(WEIGHT_NAMES[link.kind])
            found[link.place], left = left[:count], left[count:]
            if len(found[link.place]) < count:
                raise _wrong_number(top, names, parts, artefact)
        if left:
            raise _wrong_number(top, names, parts, artefact)
    return found


def _listing_order(link: Link, *, version: str) -> tuple[bool, tuple[int, ...]]:
    """Trainable weights come first. Keras 3 asks the layer itself, those before asked all around it as well."""
    frozen = link.place.frozen or (False,)
    return frozen[-1] if version.startswith("3") else any(frozen), link.place.order


def is_by_gate(kind: str, names: Sequence[str], artefact: Artefact) -> bool:
    """Whether an LSTM's or a GRU's weights begin `names` one gate after the other: its second array is square."""
    shapes = [artefact.tensors.specs[name].shape for name in names[1:2]]
    return kind in GATES and any(len(shape) == 2 and shape[0] == shape[1] for shape in shapes)


def _wrong_number(top: str, names: Sequence[str], parts: Sequence[Link], artefact: Artefact) -> RecognitionError:
    wanted = [f"{link.name}: {name}" for link in parts for name in _expected(link)]
    return RecognitionError(
        f"{artefact.path}: layer {top!r}: {len(names)} weights in the file{_list(names)}; expected "
        f"{len(wanted)}{_list(wanted)}. The configuration and the weights do not belong together: save the "
        f"model again"
    )


def _in_folder(link: Link, artefact: Artefact) -> tuple[str, ...]:
    """Keras 3: folders named after the layers' classes and counted in the order of the layers."""
    expected = _expected(link)
    if not expected:
        return ()
    folder = ""
    for kind, ordinal in link.place.folders:
        candidates = folders_of(kind, folder, artefact.tensors)
        if ordinal >= len(candidates):
            raise RecognitionError(
                f"{artefact.path}: layer {link.name!r}: the file holds {len(candidates)} layers called "
                f"{folder}layers/{kind} with weights{_list(candidates)}; expected at least {ordinal + 1}. The "
                f"configuration and the weights do not belong together: save the model again"
            )
        folder = f"{candidates[ordinal]}/"
    folder += "".join(f"{part}/" for part in link.place.inside)
    names = tuple(f"{folder}vars/{k}" for k in range(len(expected)))
    missing = [f"{name} ({what})" for name, what in zip(names, expected, strict=True) if name not in artefact.tensors]
    if missing:
        raise RecognitionError(
            f"{artefact.path}: layer {link.name!r}: no weights {', '.join(missing)} in the file. Keras 3 leaves out "
            f"the weights of some wrapped cells when it saves; save the model with model.save('model.h5') instead"
        )
    return names


def folders_of(kind: str, within: str, names: Collection[str]) -> list[str]:
    """The folders lstm, lstm_1, lstm_2 ... (for `kind` "lstm") that hold weights, in the order of their numbers."""
    pattern = re.compile(rf"({re.escape(within)}(?:{'|'.join(LAYER_FOLDERS)})/{re.escape(kind)}(?:_(\d+))?)/(.*)")
    found = {}
    for name in names:
        match = pattern.fullmatch(name)
        if match and "seed_generator" not in match[3]:
            found[match[1]] = int(match[2] or 0)
    return sorted(found, key=found.__getitem__)


def _list(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def from_cudnn(
    kind: str, kernel: NDArray[Any], recurrent: NDArray[Any], bias: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """A CuDNNLSTM's or CuDNNGRU's weights as those of a plain layer with the same outputs; G is 4 or 3 gates.

    kernel     (D, GH)  each gate's H columns hold the memory of an (H, D) matrix
    recurrent  (H, GH)  each gate's H columns are transposed
    bias       (2GH,)   of the kernel and of the recurrent kernel; an LSTM adds both, a GRU keeps both: (2, GH)
    Source: _convert_rnn_weights of keras' legacy hdf5_format.
    """
    size, units, gates = kernel.shape[0], recurrent.shape[0], GATES[kind]
    kernels = [gate.reshape(units, size).T for gate in np.split(kernel, gates, axis=1)]
    recurrents = [gate.T for gate in np.split(recurrent, gates, axis=1)]
    biases = bias.reshape(2, gates * units)
    return (
        np.concatenate(kernels, axis=1),
        np.concatenate(recurrents, axis=1),
        biases[0] + biases[1] if kind in LSTMS else biases,
    )
