"""What the runner is told of an original: where it is, and between which tensors each layer is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastlstm.errors import RecognitionError, VerificationError
from fastlstm.formats.artefact import Artefact
from fastlstm.layers import Layer, OneHot, recurrent_layers

_ONLY_WEIGHTS = "it holds weights and nothing that TensorFlow could run; verify {instead}"
_WHOLE = _ONLY_WEIGHTS.format(instead="the whole model's file (model.save) instead")
_INSTEAD = {
    "checkpoint": "needs the graph, the .meta file that was saved beside it: put it there",
    "checkpoint-v1": "needs the graph, the .meta file that was saved beside it: put it there",
    "keras": _WHOLE,
    "keras-h5": _WHOLE,
    "keras-shards": _WHOLE,
    "safetensors": _ONLY_WEIGHTS.format(instead="the file that the model was loaded from"),
}


_LONGEST = 2000  # steps of a window that is still run


def describe_original(artefact: Artefact, layers: Sequence[Layer], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the runner's job that says what to run.

    Raises VerificationError where there is nothing to run.
    """
    path, cut = str(artefact.path), "head" in overrides
    if artefact.graph is not None and artefact.architecture is None:
        return _graph(artefact, layers)
    if artefact.program is not None:
        return {"kind": "signature", "path": path, "version": "2", "cut": cut}
    if artefact.keras is not None and artefact.keras.model is not None:
        return {"kind": "keras", "path": path, "version": artefact.keras.version, "cut": cut}
    if artefact.objects is not None:
        raise VerificationError(f"{path}: {_ONLY_WEIGHTS.format(instead='the SavedModel or Keras file of the model')}")
    advice = _INSTEAD.get(artefact.format, _ONLY_WEIGHTS.format(instead="the model that it was made from"))
    raise VerificationError(f"{path}: {advice}")


def _graph(artefact: Artefact, layers: Sequence[Layer]) -> dict[str, Any]:
    from fastlstm.recognise.tensorflow1.places import find_places

    try:
        places = find_places(artefact, layers)
    except RecognitionError as error:
        raise VerificationError(f"{artefact.path}: the graph does not show where the layers are: {error}") from error
    highways = [layer.name for layer in recurrent_layers(layers) if getattr(layer, "highway", None) is not None]
    described = []
    for layer, place in zip(layers, places.layers, strict=True):
        described.append({
            "kind": place.kind,
            "inputs": place.inputs,
            "outputs": place.outputs,
            "residual": getattr(layer, "residual", False),
            "sequence": bool(place.inputs) and _takes_a_sequence(artefact, place.outputs[-1]),
            "size": layer.output_size if isinstance(layer, OneHot) else 0,
        })  # fmt: skip
    fetch = {f"{what}_{k}": name for k, pair in enumerate(places.states) for what, name in zip("ch", pair, strict=True)}
    fetch = {"y": places.y} | fetch
    why_not = None
    if len(places.feeds) != 1:
        named = ", ".join(places.feeds[:3]) + (" ..." if len(places.feeds) > 3 else "")
        why_not = f"its input comes from {named}" if places.feeds else "its input is not fed"
    elif places.y is None:
        why_not = "what its last layer gives stays in a loop"
    load = {"saved-model": "saved_model", "frozen-graph": "frozen"}.get(artefact.format, "meta")
    return {
        "kind": "graph",
        "load": load,
        "path": str(artefact.path),
        "meta": f"{artefact.path}.meta",
        "tags": ["serve"],
        "layers": described,
        "whole": {
            "feed": places.feeds[0] if places.feeds else None,
            "fetch": {what: name for what, name in fetch.items() if name is not None},
            "why_not": why_not,
        },
        "cut": False,
        "single_steps": f"{highways[0]!r} is within a highway, which is not a part of its cell" if highways else None,
    }


def _takes_a_sequence(artefact: Artefact, output: str) -> bool:
    assert artefact.graph is not None
    node = artefact.graph.nodes.get(output.rpartition(":")[0])
    return node is not None and node.op.startswith("BlockLSTM")


def window_of(artefact: Artefact) -> int:
    """The number of steps that the file's input has, where it says so; a batch's size may be taken for one."""
    sizes: list[int] = []
    if artefact.keras is not None and artefact.keras.model is not None:
        pending: list[Any] = [artefact.keras.model]
        while pending:
            value = pending.pop()
            if isinstance(value, dict):
                shapes = [value.get(key) for key in ("batch_shape", "batch_input_shape")]
                sizes += [n for shape in shapes if isinstance(shape, list) for n in shape[1:2] if type(n) is int]
                pending.extend(value.values())
            elif isinstance(value, list):
                pending.extend(value)
    elif artefact.graph is not None:
        for node in artefact.graph.nodes.values():
            shape = node.attrs.get("shape") if node.op == "Placeholder" else None
            sizes += [n for n in shape[:2] if type(n) is int] if isinstance(shape, tuple) else []
    return max((n for n in sizes if n <= _LONGEST), default=0)
