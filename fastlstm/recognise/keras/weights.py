"""Where the weights of a Keras chain are in the file.

Sources: keras.src.legacy.saving.legacy_h5_format (names in order under each layer), keras.src.saving.saving_lib
(folders by class).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import RecognitionError
from fastlstm.recognise.keras.chain import Link, Place

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

#: What a weights file calls a model's layers: now, and in Keras 2.12 and 2.13, which count a layer with weights twice.
LAYER_FOLDERS = ("layers", "_layer_checkpoint_dependencies")

#: A layer's weights in Keras' order; the bias is missing where use_bias is False.
WEIGHT_NAMES = {
    "LSTM": ("kernel", "recurrent_kernel", "bias"),
    "CuDNNLSTM": ("kernel", "recurrent_kernel", "bias"),
    "Dense": ("kernel", "bias"),
    "Embedding": ("embeddings",),
}

#: Keras 1 writes an LSTM as a kernel, a recurrent kernel and a bias for each gate in turn.
KERAS1_GATES = 4

_NUMBERED = re.compile(r"(^|/)vars/\d+$")


def located(links: Sequence[Link], artefact: Artefact) -> list[Link]:
    """`links` with the names of their weights.  Raises RecognitionError for weights that are not there."""
    if has_folders(artefact):
        return [replace(link, weights=_in_folder(link, artefact)) for link in links]
    return _listed(links, artefact)


def has_folders(artefact: Artefact) -> bool:
    """Whether the weights are in folders by class, as Keras 3 writes them; legacy HDF5 lists them by layer."""
    return any(_NUMBERED.search(name) for name in artefact.tensors)


def _expected(link: Link) -> tuple[str, ...]:
    names = WEIGHT_NAMES.get(link.kind, ())
    return names if link.config.get("use_bias", True) else tuple(name for name in names if name != "bias")


def _listed(links: Sequence[Link], artefact: Artefact) -> list[Link]:
    """Legacy HDF5: a layer of the outermost model has a list of names; a model in it has those of all its layers."""
    found: dict[Place, tuple[str, ...]] = {}
    for top in dict.fromkeys(link.place.top for link in links):
        parts = sorted((link for link in links if link.place.top == top), key=lambda link: link.place.order)
        names = artefact.keras.layer_weights.get(top, ())
        counts = [len(_expected(link)) for link in parts]
        if len(parts) == 1 and parts[0].kind == "LSTM" and len(names) == KERAS1_GATES * len(WEIGHT_NAMES["LSTM"]):
            counts = [len(names)]
        if len(names) != sum(counts):
            wanted = [f"{link.name}: {name}" for link in parts for name in _expected(link)]
            raise RecognitionError(
                f"{artefact.path}: layer {top!r}: {len(names)} weights in the file{_list(names)}; expected "
                f"{len(wanted)}{_list(wanted)}. The configuration and the weights do not belong together: save the "
                f"model again"
            )
        for link, count in zip(parts, counts, strict=True):
            found[link.place], names = names[:count], names[count:]
    return [replace(link, weights=found[link.place]) for link in links]


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
    kernel: NDArray[Any], recurrent: NDArray[Any], bias: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """CuDNNLSTM's weights as those of a plain LSTM with the same outputs.

    kernel     (D, 4H)  each gate's H columns hold the memory of an (H, D) matrix
    recurrent  (H, 4H)  each gate's H columns are transposed
    bias       (8H,)    of the kernel and of the recurrent kernel; an LSTM adds both
    Source: _convert_rnn_weights of keras' legacy hdf5_format.
    """
    size, units = kernel.shape[0], recurrent.shape[0]
    kernels = [gate.reshape(units, size).T for gate in np.split(kernel, 4, axis=1)]
    recurrents = [gate.T for gate in np.split(recurrent, 4, axis=1)]
    return np.concatenate(kernels, axis=1), np.concatenate(recurrents, axis=1), bias[: 4 * units] + bias[4 * units :]
