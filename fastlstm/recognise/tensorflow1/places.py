"""Where in the graph each layer of a recognised model stands: what to feed and fetch to run the original.

Nothing here says what a layer computes, only between which tensors ("name:0") the graph computes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastlstm.errors import RecognitionError
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.graph import Node, Output, Use
from fastlstm.layers import GRU, LSTM, Bidirectional, Dense, Embedding, Layer, OneHot, recurrent_layers
from fastlstm.recognise.tensorflow1.cell_use import ACTIVATIONS, CellUse
from fastlstm.recognise.tensorflow1.graph_ops import ADDS, FEEDS, PAIRS, is_upkeep
from fastlstm.recognise.tensorflow1.marks import FromCell
from fastlstm.recognise.tensorflow1.recognition import topology_of

_GATHERS = frozenset({"Gather", "GatherV2", "ResourceGather"})
_COLLECTS = ("TensorArrayGather", "TensorArrayPack", "TensorArrayConcat", "Pack", "Concat")
_SQUASHES = frozenset(ACTIVATIONS) | {"Softmax"}
_TURNS = frozenset({"ReverseSequence", "ReverseV2", "Reverse"})
_FAR = 12  # readers between a product and the end of its dense layer, more than there are


@dataclass(frozen=True)
class LayerPlace:
    """One layer's operations.

    kind     "cell": inputs x, c, h; outputs c, h, and in a highway what comes out of that.  "rows": one input and one
             output, each of (rows, size).  "one_hot": computed without the graph.  "both": two stacks
    """

    kind: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    forward: tuple[LayerPlace, ...] = ()
    backward: tuple[LayerPlace, ...] = ()


@dataclass(frozen=True)
class Places:
    """layers  one for each layer of the model
    feeds   where the graph takes its input; empty where it is not fed
    turned  the input is turned round in time before the first layer takes it
    order   "batch" or "time", the first axis of the input where only one can be; None where either may be
    y       what the last layer gives, all steps of it, as the graph has it, in parts that stand side by side; none
            where that cannot be fetched
    states  for each cell (c, h) after the last step, as far as they can be fetched
    begins  the same before the first step
    """

    layers: tuple[LayerPlace, ...]
    feeds: tuple[str, ...]
    turned: bool
    order: str | None
    y: tuple[str, ...]
    states: tuple[tuple[str | None, str | None], ...]
    begins: tuple[tuple[str | None, str | None], ...]


def find_places(artefact: Artefact, layers: Sequence[Layer]) -> Places:
    """Where the layers that `recognise` made of `artefact` stand in its graph.

    Raises RecognitionError for a layer that the graph does not show.
    """
    assert artefact.graph is not None
    return _Finder(artefact, layers).places()


class _Finder:
    def __init__(self, artefact: Artefact, layers: Sequence[Layer]) -> None:
        self.topology = topology_of(artefact, {layer.name for layer in recurrent_layers(layers)})
        self.walker = self.topology.walker
        self.firsts = {use.cell.scope: use for use in reversed(self.topology.uses)}
        apart = (u for u in self.topology.uses if u.c_before != u.h_before)  # and not one and the same zeros
        self.uses = self.firsts | {use.cell.scope: use for use in reversed(list(apart))}
        self.layers = layers
        self.shared = self._shared(recurrent_layers(layers))

    def places(self) -> Places:
        found = [self._place(layer) for layer in self.layers]
        feeds, turned = self._feeds(found[0])
        uses = [self._use(layer) for layer in recurrent_layers(self.layers)]
        return Places(
            layers=tuple(place for place, _ in found),
            feeds=tuple(_text(feed) for feed in feeds),
            turned=turned,
            order=self._order(feeds),
            y=tuple(map(_text, self._outputs(self.layers[-1], found[-1][1]))),
            states=tuple((self._final(use.c), self._final(use.h)) for use in uses),
            begins=tuple(
                (self._begin(first.c_before), self._begin(first.h_before))
                for first in (self.firsts[use.cell.scope] for use in uses)
            ),
        )

    def _use(self, layer: Layer) -> CellUse:
        if layer.name not in self.uses:
            raise self._missing(layer.name)
        return self.shared.get(id(layer), self.uses[layer.name])

    def _shared(self, layers: Sequence[Layer]) -> dict[int, CellUse]:
        """The uses of layers that share their weights: as many in loops as there are layers, in the graph's order."""
        found: dict[int, CellUse] = {}
        for name in {layer.name for layer in layers}:
            alike = [layer for layer in layers if layer.name == name]
            uses = [use for use in self.topology.uses if use.cell.scope == name and self._in_loop(use.h)]
            if len(alike) == len(uses) > 1:
                found |= {id(layer): use for layer, use in zip(alike, uses, strict=True)}
        return found

    def _place(self, layer: Layer) -> tuple[LayerPlace, Output | None]:
        """The place, and the layer's output where that is a single value."""
        if isinstance(layer, LSTM | GRU):
            use = self._use(layer)
            end = self._highway(use) if layer.highway is not None else None
            outputs = (use.c, use.h) if end is None else (use.c, use.h, end)
            inputs = (use.x, use.c_before, use.h_before)
            return LayerPlace("cell", tuple(map(_text, inputs)), tuple(map(_text, outputs))), end or use.h
        if isinstance(layer, Bidirectional):
            ways = (tuple(self._place(inner)[0] for inner in way) for way in (layer.forward, layer.backward))
            forward, backward = ways
            return LayerPlace("both", forward[0].inputs[:1], (), forward, backward), None
        if isinstance(layer, Embedding):
            node = self._reader(layer.name, _GATHERS, 0)
            end = Output(node.name, 0)
            return LayerPlace("rows", (_text(node.inputs[1]),), (_text(end),)), end
        if isinstance(layer, Dense):
            node, end = self._dense(layer)
            return LayerPlace("rows", (_text(node.inputs[0]),), (_text(end),)), end
        if isinstance(layer, OneHot):
            return LayerPlace("one_hot"), None
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

    def _highway(self, use: CellUse) -> Output:
        """The sum of the cell's input and output, each times its gate."""
        for node in self._forward_nodes():
            if node.op in ADDS:
                end = Output(node.name, 0)
                if any(
                    isinstance(m, FromCell) and m.highway and m.use is use for m in self.topology.landmarks.marks(end)
                ):
                    return end
        raise self._missing(f"{use.cell.scope} in its highway")

    def _feeds(self, first: tuple[LayerPlace, Output | None]) -> tuple[list[Output], bool]:
        """The placeholders that give the first layer its input, and whether time is turned round on the way."""
        if first[0].kind == "one_hot":
            starts = [node.inputs[0] for node in self._forward_nodes() if node.op == "OneHot"]
        else:
            starts = [Output(name, int(k)) for name, k in (text.rsplit(":", 1) for text in first[0].inputs[:1])]
        pending, seen, found, turned = starts, set[Output](), [], False
        while pending:
            output = pending.pop()
            if output in seen:
                continue
            seen.add(output)
            node = self.walker.node(output)
            if node.op in FEEDS and node.name not in self.walker.shapes:
                found.append(output)
            turned ^= node.op in _TURNS
            pending.extend(node.inputs[:1] if node.op in _TURNS else self.walker.carried(node, output.index) or ())
        return list(dict.fromkeys(found)), turned

    def _order(self, feeds: Sequence[Output]) -> str | None:
        """The order of axes that BlockLSTM needs, which ends the process where it is given another."""
        for layer in recurrent_layers(self.layers):
            if self.walker.node(self._use(layer).h).op.startswith("BlockLSTM"):
                pending, seen = list(feeds), set[Output]()
                while pending:
                    output = pending.pop()
                    seen.add(output)
                    for use in self.walker.uses.get(output, ()):
                        if use.node.op == "Transpose":
                            return "batch"
                        onward = Output(use.node.name, 0)
                        if onward not in seen and self.walker.carries(use):
                            pending.append(onward)
                return "time"
        return None

    def _outputs(self, layer: Layer, end: Output | None) -> list[Output]:
        """All steps of the model's output, outside of any loop."""
        if isinstance(layer, Bidirectional):
            return self._merged(layer)
        if end is None:
            return []
        if isinstance(layer, LSTM | GRU):
            found = self._collected(end) or self._collected(end, wrapped=True)
        else:
            found = (self._collected(end) or self._collected(end, wrapped=True)) if self._in_loop(end) else end
        return [] if found is None else [found]

    def _merged(self, layer: Bidirectional) -> list[Output]:
        """Where both directions are put together; both by themselves where they are not."""
        one, other = (self._use(recurrent_layers(way)[-1]).h for way in (layer.forward, layer.backward))
        pending, seen, pairs = [one], {one}, list[Output]()
        while pending:
            output = pending.pop(0)
            for use in self.walker.uses.get(output, ()):
                node, onward = use.node, Output(use.node.name, 0)
                if onward in seen or is_upkeep(node) or not (self._gives_on(use) or node.op in PAIRS):
                    continue
                seen.add(onward)
                if not self._in_loop(onward) and other.node in self.walker.everything_before([onward]):
                    if node.op in PAIRS and not node.op.startswith("Pack"):
                        pairs.append(onward)
                        pending.append(onward)
                    elif pairs and node.op.startswith("Pack"):
                        return [onward]
                    continue
                if node.op not in PAIRS:
                    pending.append(onward)
        if pairs:
            return pairs[:1]
        ways = [self._collected(one), self._collected(other)]
        back = [node for node in self._near(ways[1])]
        turn = next((k for k, node in enumerate(back) if node.op in _TURNS), None)
        if None in ways or turn is None:
            return []
        ways[1] = Output(back[turn].name, 0)
        if any(node.op == "Transpose" for node in back[:turn]):
            ways[0] = next((Output(n.name, 0) for n in self._near(ways[0]) if n.op == "Transpose"), None)
        return [way for way in ways if way is not None]

    def _near(self, output: Output | None) -> Iterator[Node]:
        """What reads `output`, and what reads that, where elements are moved around alone."""
        pending = [] if output is None else [output]
        for output in pending:  # grows
            for use in self.walker.uses.get(output, ()):
                onward = Output(use.node.name, 0)
                if self._gives_on(use) and onward not in pending:
                    yield use.node
                    pending.append(onward)

    def _gives_on(self, use: Use) -> bool:
        return self.walker.carries(use) or (use.node.op in _TURNS and use.input == 0)

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

    def _collected(self, h: Output, *, wrapped: bool = False) -> Output | None:
        """All steps of a cell's output in one value, outside of any loop.

        wrapped  what a wrapper computes of the output within its step counts too
        """
        if self.walker.node(h).op.startswith("BlockLSTM"):
            return h
        pending, seen = [h], {h}
        while pending:
            output = pending.pop(0)
            for use in self.walker.uses.get(output, ()):
                node = use.node
                onward = Output(node.name, 0)
                within = wrapped and node.op not in ("NextIteration", "RefNextIteration") and self._in_loop(onward)
                if onward in seen or is_upkeep(node) or not (within or self.walker.carries(use)):
                    continue
                if self._writes_nothing(use, wrapped):
                    continue
                if node.op.startswith(_COLLECTS) and not self._in_loop(onward):
                    return onward
                seen.add(onward)
                pending.append(onward)
        return None

    def _begin(self, before: Output) -> str | None:
        """A state before the first step, outside of the loop."""
        for _ in range(_FAR):
            node = self.walker.node(before)
            if node.op in ("Merge", "RefMerge"):
                return next((_text(n.inputs[0]) for n in map(self.walker.node, node.inputs) if "Enter" in n.op), None)
            if not self._in_loop(before):
                return _text(before)
            carried = self.walker.carried(node, before.index)
            if not carried:
                return None
            before = carried[0]
        return None

    def _writes_nothing(self, use: Use, wrapped: bool) -> bool:
        """Whether it is a loop's state that goes on to the next step: a wrapper's output is only written."""
        before = self.walker.node(use.node.inputs[use.input])
        return wrapped and use.node.op.endswith("NextIteration") and not before.op.startswith("TensorArrayWrite")

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
