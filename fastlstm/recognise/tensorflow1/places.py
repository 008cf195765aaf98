"""Where in the graph each layer of a recognised model stands: what to feed and fetch to run the original.

Nothing here says what a layer computes, only between which tensors ("name:0") the graph computes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastlstm.errors import RecognitionError
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.graph import Node, Output
from fastlstm.layers import GRU, LSTM, Dense, Embedding, Layer, OneHot
from fastlstm.recognise.tensorflow1.cell_use import ACTIVATIONS, CellUse
from fastlstm.recognise.tensorflow1.graph_ops import ADDS, FEEDS, is_upkeep
from fastlstm.recognise.tensorflow1.recognition import uses_in_graph

_GATHERS = frozenset({"Gather", "GatherV2", "ResourceGather"})
_COLLECTS = ("TensorArrayGather", "TensorArrayPack", "TensorArrayConcat", "Pack", "Concat")
_SQUASHES = frozenset(ACTIVATIONS) | {"Softmax"}
_FAR = 12  # readers between a product and the end of its dense layer, more than there are


@dataclass(frozen=True)
class LayerPlace:
    """One layer's operations.

    kind     "cell": inputs x, c, h; outputs c, h.  "rows": one input and one output, each of (rows, size).
             "one_hot": computed without the graph
    """

    kind: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Places:
    """layers  one for each layer of the model
    feeds   where the graph takes its input; empty where it is not fed
    y       what the last layer gives, all steps of it, as the graph has it; None where that cannot be fetched
    states  for each cell (c, h) after the last step, as far as they can be fetched
    """

    layers: tuple[LayerPlace, ...]
    feeds: tuple[str, ...]
    y: str | None
    states: tuple[tuple[str | None, str | None], ...]


def find_places(artefact: Artefact, layers: Sequence[Layer]) -> Places:
    """Where the layers that `recognise` made of `artefact` stand in its graph.

    Raises RecognitionError for a layer that the graph does not show.
    """
    assert artefact.graph is not None
    return _Finder(artefact, layers).places()


class _Finder:
    def __init__(self, artefact: Artefact, layers: Sequence[Layer]) -> None:
        names = {layer.name for layer in layers if isinstance(layer, LSTM | GRU)}
        self.walker, uses = uses_in_graph(artefact, names)
        self.uses = {use.cell.scope: use for use in reversed(uses)}  # the first of each
        self.layers = layers

    def places(self) -> Places:
        found = [self._place(layer) for layer in self.layers]
        uses = [use for _, use, _ in found if use is not None]
        last_use, last_end = found[-1][1], found[-1][2]
        y = last_end if last_use is None else self._collected(last_use.h)
        feeds = [Output(name, int(k)) for name, k in (text.rsplit(":", 1) for text in found[0][0].inputs[:1])]
        if found[0][0].kind == "one_hot":
            feeds = [node.inputs[0] for node in self._forward_nodes() if node.op == "OneHot"]
        return Places(
            tuple(place for place, _, _ in found),
            tuple(dict.fromkeys(_text(o) for feed in feeds for o in self._fed(feed))),
            None if y is None or self._in_loop(y) else _text(y),
            tuple((self._final(use.c), self._final(use.h)) for use in uses),
        )

    def _place(self, layer: Layer) -> tuple[LayerPlace, CellUse | None, Output | None]:
        """The place, the use of a cell, and the last output of anything else."""
        if isinstance(layer, LSTM | GRU):
            use = self.uses.get(layer.name)
            if use is None:
                raise self._missing(layer.name)
            inputs = (_text(use.x), _text(use.c_before), _text(use.h_before))
            return LayerPlace("cell", inputs, (_text(use.c), _text(use.h))), use, None
        if isinstance(layer, Embedding):
            node = self._reader(layer.name, _GATHERS, 0)
            end = Output(node.name, 0)
            return LayerPlace("rows", (_text(node.inputs[1]),), (_text(end),)), None, end
        if isinstance(layer, Dense):
            node, end = self._dense(layer)
            return LayerPlace("rows", (_text(node.inputs[0]),), (_text(end),)), None, end
        if isinstance(layer, OneHot):
            return LayerPlace("one_hot"), None, None
        raise RecognitionError(f"{layer!r} takes all steps at once")

    def _dense(self, layer: Dense) -> tuple[Node, Output]:
        """The product, and the last of the bias and the activation that follow it."""
        names = (layer.name, f"{layer.name}/kernel", f"{layer.name}/weights")
        kernel = next((name for name in names if name in self.walker.shapes), None)
        if kernel is None:
            raise self._missing(layer.name)
        product = self._reader(kernel, frozenset({"MatMul"}), 1)
        end = Output(product.name, 0)
        wanted = layer.activation.label
        for _ in range(_FAR):
            step = next((node for node in self._after(end) if self._continues(node, wanted)), None)
            if step is None:
                break
            end = Output(step.name, 0)
            if step.op in _SQUASHES:
                break
        return product, end

    def _after(self, output: Output) -> Iterator[Node]:
        yield from (use.node for use in self.walker.uses.get(output, ()) if not is_upkeep(use.node))

    def _continues(self, node: Node, activation: str) -> bool:
        """Whether `node` is the bias, a reshape on the way to it, or the activation that the layer has."""
        if node.op in ADDS:
            return any(self.walker.variable(value) is not None for value in node.inputs)
        if node.op in ("Reshape", "Identity"):
            onward = [n for n in self._after(Output(node.name, 0)) if n.op in ADDS | _SQUASHES]
            return any(self._continues(n, activation) for n in onward)
        return (activation == "softmax" and node.op == "Softmax") or ACTIVATIONS.get(node.op) == activation

    def _reader(self, variable: str, ops: frozenset[str], position: int) -> Node:
        for use in self.walker.uses_of_variable(variable):
            if use.node.op in ops and use.input == position and not is_upkeep(use.node):
                return use.node
        raise self._missing(variable)

    def _missing(self, name: str) -> RecognitionError:
        return RecognitionError(f"{self.walker.graph.source}: no operation that computes with {name!r}")

    def _forward_nodes(self) -> Iterator[Node]:
        yield from (node for node in self.walker.graph.nodes.values() if not is_upkeep(node))

    def _fed(self, start: Output) -> list[Output]:
        """The placeholders that give `start` its elements."""
        pending, seen, found = [start], set[Output](), []
        while pending:
            output = pending.pop()
            if output in seen:
                continue
            seen.add(output)
            node = self.walker.node(output)
            if node.op in FEEDS and node.name not in self.walker.shapes:
                found.append(output)
            pending.extend(self.walker.carried(node, output.index) or ())
        return found

    def _in_loop(self, output: Output) -> bool:
        """Whether a value is computed within a while loop, from where it cannot be fetched."""
        pending, seen = [output.node], set[str]()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            node = self.walker.node(Output(name, 0))
            if node.op in ("Merge", "RefMerge", "Enter", "RefEnter"):
                return True
            if not node.op.startswith(("Exit", "RefExit")):
                pending.extend(source.node for source in node.inputs)
        return False

    def _collected(self, h: Output) -> Output | None:
        """All steps of a cell's output in one value, outside of any loop."""
        if self.walker.node(h).op.startswith("BlockLSTM"):
            return h
        pending, seen = [h], {h}
        while pending:
            output = pending.pop(0)
            for use in self.walker.uses.get(output, ()):
                node = use.node
                onward = Output(node.name, 0)
                if onward in seen or is_upkeep(node) or not self.walker.carries(use):
                    continue
                if node.op.startswith(_COLLECTS) and not self._in_loop(onward):
                    return onward
                seen.add(onward)
                pending.append(onward)
        return None

    def _final(self, value: Output) -> str | None:
        """A state after the last step, where a loop leaves it."""
        pending, seen = [value], {value}
        while pending:
            output = pending.pop(0)
            for use in self.walker.uses.get(output, ()):
                node = use.node
                onward = Output(node.name, 0)
                if node.op in ("Exit", "RefExit"):
                    return _text(onward)
                if onward in seen or node.op.startswith(("TensorArray", *_COLLECTS)) or not self.walker.carries(use):
                    continue
                seen.add(onward)
                pending.append(onward)
        return None


def _text(output: Output) -> str:
    return f"{output.node}:{output.index}"
