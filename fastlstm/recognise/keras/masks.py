"""The masks of a functional Keras 3 model: layers NotEqual and Any, whose output is an argument of later layers.

Keras works a mask out by itself where a model runs, and puts these layers in the file. They are left aside once it is
sure that they are what it would work out: NotEqual(ids, 0) of an Embedding with mask_zero, Any(NotEqual(x, mask_value))
of a Masking; of the ids or x as they are, or after a Cast.

Source: keras.layers.Embedding.compute_mask, keras.layers.Masking.compute_mask.
"""

from __future__ import annotations

from typing import Any

from fastlstm.recognise.keras.entries import histories, layer_name, settings_of
from fastlstm.recognise.keras.kinds import refusal

#: (name of the layer that is looked at, the value that is masked, whether all elements of a step have to be it)
Mask = tuple[str, float, bool]


def without_masks(nodes: Any) -> Any:
    """A layer's inbound nodes without their argument `mask`."""
    if not isinstance(nodes, list):
        return nodes
    return [
        dict(node, kwargs={key: value for key, value in node["kwargs"].items() if key != "mask"})
        if _mask_argument(node) is not None
        else node
        for node in nodes
    ]


def check_masks(order: list[dict[str, Any]], layers: list[dict[str, Any]], source: str) -> set[str]:
    """The names of the layers that only work out the masks of the chain `order`.

    Raises RecognitionError where a layer is given another mask than the one that Keras would work out.
    """
    known = _masks_in(layers)
    current: Mask | None = None
    used: set[str] = set()
    for layer in order:
        kind, settings = layer.get("class_name"), settings_of(layer)
        nodes = layer.get("inbound_nodes")
        for name, _ in histories([_mask_argument(node) for node in nodes] if isinstance(nodes, list) else None):
            if current is None or known.get(name) != current:
                raise refusal(
                    source, layer_name(layer), f"{kind} with a mask ({name!r}) of its own", "expected the mask of the "
                    "Embedding or Masking before it",
                )  # fmt: skip
            used.add(name)
        read = [name for name, _ in histories(without_masks(nodes))]
        if kind == "Embedding" and read:
            current = (read[0], 0, False) if settings.get("mask_zero") else None
        elif kind == "Masking" and read:
            current = (read[0], settings.get("mask_value", 0.0), True)
    used |= {name for name in _behind(used, layers) if name in _compared(layers)}
    return used | {name for name in _behind(used, layers) if name in _casts(layers)}


def _mask_argument(node: Any) -> Any:
    """What a node of Keras 3 is given as `mask`; None where it is given none."""
    kwargs = node.get("kwargs") if isinstance(node, dict) else None
    return kwargs.get("mask") if isinstance(kwargs, dict) else None


def _compared(layers: list[dict[str, Any]]) -> dict[str, tuple[str, float]]:
    """(what it looks at, the value) of each layer NotEqual."""
    found = {}
    casts = _casts(layers)
    for layer in layers:
        nodes = layer.get("inbound_nodes")
        if layer.get("class_name") != "NotEqual" or not isinstance(nodes, list) or len(nodes) != 1:
            continue
        arguments = nodes[0].get("args") if isinstance(nodes[0], dict) else None
        if isinstance(arguments, list) and len(arguments) == 2 and isinstance(arguments[1], int | float):
            read = histories(arguments[0])
            if len(read) == 1:
                found[layer_name(layer)] = (casts.get(read[0][0], read[0][0]), arguments[1])
    return found


def _casts(layers: list[dict[str, Any]]) -> dict[str, str]:
    """What each layer Cast reads: Keras casts what a mask is made of where the layer runs in another dtype."""
    casts = [layer for layer in layers if layer.get("class_name") == "Cast"]
    read = {layer_name(layer): histories(layer.get("inbound_nodes")) for layer in casts}
    return {name: found[0][0] for name, found in read.items() if len(found) == 1}


def _masks_in(layers: list[dict[str, Any]]) -> dict[str, Mask]:
    compared = _compared(layers)
    masks: dict[str, Mask] = {name: (*what, False) for name, what in compared.items()}
    for layer in layers:
        settings = settings_of(layer)
        read = histories(layer.get("inbound_nodes"))
        plain = settings.get("axis") in (-1, 2) and not settings.get("keepdims")
        if layer.get("class_name") == "Any" and plain and len(read) == 1 and read[0][0] in compared:
            masks[layer_name(layer)] = (*compared[read[0][0]], True)
    return masks


def _behind(names: set[str], layers: list[dict[str, Any]]) -> set[str]:
    """What the layers called `names` read."""
    return {read for layer in layers if layer_name(layer) in names for read, _ in histories(layer.get("inbound_nodes"))}
