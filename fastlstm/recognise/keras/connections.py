"""The connections of a functional Keras model: from them comes the order in which its layers run.

Source: keras.Model.get_config (Keras 2 lists, Keras 3 `__keras_tensor__` entries).
"""

from __future__ import annotations

from typing import Any

from fastlstm.errors import RecognitionError
from fastlstm.recognise.keras.entries import histories, layer_name
from fastlstm.recognise.keras.kinds import EXPECTED, RECURRENT, refusal
from fastlstm.recognise.keras.masks import check_masks, without_masks


def running_order(model: dict[str, Any], layers: list[dict[str, Any]], source: str) -> list[dict[str, Any]]:
    """`layers` from the input to the output.  Raises RecognitionError for a model that is no chain."""
    config = model.get("config")
    if not isinstance(config, dict) or "output_layers" not in config:
        return layers
    by_name = {layer_name(layer): layer for layer in layers}
    inputs, outputs = (histories(config.get(key)) for key in ("input_layers", "output_layers"))
    if _several_of_one_layer(outputs, by_name):
        outputs = outputs[:1]
    for what, found in (("input", inputs), ("output", outputs)):
        if len(found) != 1:
            names = ", ".join(name for name, _ in found)
            raise RecognitionError(f"{source}: the model has {len(found)} {what}s ({names}); expected one. {EXPECTED}")
    (name, output), order = outputs[0], []
    while True:
        if name not in by_name or any(layer_name(done) == name for done in order):
            raise RecognitionError(
                f"{source}: the layers' connections lead to {name!r} twice or not at all. {EXPECTED}"
            )
        if output:
            raise RecognitionError(
                f"{source}: output {output} of layer {name!r} (a state) is used; only its output 0 can be. {EXPECTED}"
            )
        order.insert(0, by_name[name])
        sources = _inputs(by_name[name], source)
        if sources is None:
            break
        name, output = sources
    masks = check_masks(order, layers, source)
    left = [name for name in by_name if name not in {layer_name(layer) for layer in order} | masks]
    if left:
        raise RecognitionError(f"{source}: beside the chain from input to output: {', '.join(left)}. {EXPECTED}")
    return order


def _several_of_one_layer(outputs: list[tuple[str, int]], by_name: dict[str, dict[str, Any]]) -> bool:
    """Whether the outputs are all of one recurrent layer, in their order: its states, or a Bidirectional's halves."""
    name = outputs[0][0] if outputs else ""
    kind = by_name.get(name, {}).get("class_name")
    return kind in {*RECURRENT, "RNN"} and outputs == [(name, k) for k in range(len(outputs))]


def _inputs(layer: dict[str, Any], source: str) -> tuple[str, int] | None:
    """The layer whose output `layer` reads, and which output; None for the input layer."""
    nodes = layer.get("inbound_nodes") or []
    name, kind = layer_name(layer), layer.get("class_name")
    if len(nodes) > 1:
        raise refusal(source, name, f"{kind} that is used {len(nodes)} times", "each layer may be used once")
    found = histories(without_masks(nodes))
    if len(found) > 1:
        readers = ", ".join(repr(name) for name, _ in found)
        recurrent = kind in {*RECURRENT, "RNN"}
        why = "an initial state comes from outside" if recurrent else "it joins several branches"
        raise refusal(source, name, f"{kind} with {len(found)} inputs ({readers})", why)
    return found[0] if found else None
