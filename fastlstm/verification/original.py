"""What the runner is told of an original: where it is, and between which tensors each layer is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastlstm.errors import RecognitionError, VerificationError
from fastlstm.formats.artefact import Artefact
from fastlstm.layers import Bidirectional, Layer, OneHot

if TYPE_CHECKING:
    from fastlstm.recognise.tensorflow1.places import LayerPlace

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
    described = [_described(artefact, *pair) for pair in zip(layers, places.layers, strict=True)]
    fetch = {f"y{k}": name for k, name in enumerate(places.y)}
    for when, states in (("0", places.begins), ("", places.states)):
        for k, (c, h) in enumerate(states):
            fetch |= {f"{what}{when}_{k}": name for what, name in (("c", c), ("h", h)) if name is not None}
    why_not = None
    if len(places.feeds) != 1:
        named = ", ".join(places.feeds[:3]) + (" ..." if len(places.feeds) > 3 else "")
        why_not = f"its input comes from {named}" if places.feeds else "its input is not fed"
    elif not places.y:
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
            "turned": places.turned,
            "orders": ["batch", "time"] if places.order is None else [places.order],
            "fetch": fetch,
            "why_not": why_not,
        },
        "cut": False,
    }


def _described(artefact: Artefact, layer: Layer, place: LayerPlace) -> dict[str, Any]:
    """One layer of the job; a Bidirectional's has those of both directions."""
    described: dict[str, Any] = {
        "kind": place.kind,
        "inputs": place.inputs,
        "outputs": place.outputs,
        "residual": getattr(layer, "residual", False),
        "sequence": place.kind == "cell" and _takes_a_sequence(artefact, place.outputs[1]),
        "size": layer.output_size if isinstance(layer, OneHot) else 0,
        "state": getattr(layer, "state_size", None),
    }
    if isinstance(layer, Bidirectional):
        for way in ("forward", "backward"):
            inner = zip(getattr(layer, way), getattr(place, way), strict=True)
            described[way] = [_described(artefact, *pair) for pair in inner]
        described |= {"mode": layer.merge_mode or "concat", "last": not layer.return_sequences}
    return described


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
