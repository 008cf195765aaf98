"""What kind of layer weights are of, by their shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastlstm.recognise.keras.weights import GATES

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

Shape = tuple[int, ...]

_MOST = 5  # how many look-alikes an error names


def kind_of(shapes: Sequence[Shape], *, embedding: bool = False) -> str | None:
    """ "LSTM", "CuDNNLSTM", "GRU", "CuDNNGRU", "Dense", or "Embedding" where that is what the name says; else None.

    shapes  of a layer's weights, in Keras' order
    """
    dims = tuple(len(shape) for shape in shapes)
    if embedding and dims == (2,):
        return "Embedding"
    if dims == (2,) or (dims == (2, 1) and shapes[0][1] == shapes[1][0]):
        return "Dense"
    for kind, gates in GATES.items():
        if dims == (2, 2, 1) * gates and all(shapes[k] == shapes[k % 3] for k in range(len(shapes))):
            units = shapes[1][0]  # Keras 1, gate by gate
            if shapes[1] == (units, units) and shapes[0][1] == units and shapes[2] == (units,):
                return kind
        if dims not in {(2, 2), (2, 2, 1), (2, 2, 2)}:
            continue
        units, columns = shapes[1]
        biases: set[Shape] = {(2 * columns,)} if kind.startswith("CuDNN") else {(columns,)}
        if kind == "GRU":
            biases.add((2, columns))
        if columns == shapes[0][1] == gates * units and (
            shapes[2] in biases if len(shapes) > 2 else kind in {"LSTM", "GRU"}
        ):
            return kind
    return None


def lookalikes(artefact: Artefact) -> str:
    """A sentence on the weights that look like those of an LSTM or a GRU, for an error; "" where there are none."""
    groups: dict[str, list[str]] = {}
    for name in artefact.tensors:
        groups.setdefault(name.rpartition("/")[0], []).append(name)
    found = []
    for group, names in groups.items():
        shapes = [artefact.tensors.specs[name].shape for name in names]
        kind = kind_of(shapes)
        if kind in GATES:
            found.append(f"{kind}({shapes[0][0]}, {shapes[1][0]}) in {group.removesuffix('/vars')!r}")
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return f". Its weights look like {', '.join(found[:_MOST])}{more}" if found else ""
