"""The layers in a graph of objects, each with its weights, found along the edges and never by keys.

    layer    an object with weights, or one around a cell or a layer: RNN, Bidirectional, TimeDistributed
    row      objects in a known order: a Sequential's or functional model's layers, a list
    bag      all others, e.g. a subclassed model, whose attributes are in no order that says how it computes

Sources: keras.src.engine.functional (layer_with_weights-K), keras.src.ops.function (_operations),
tensorflow/python/trackable/data_structures.py (lists).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastlstm.errors import FormatError

if TYPE_CHECKING:
    from fastlstm.formats.objects import ObjectGraph, ObjectNode
    from fastlstm.formats.tensors import TensorSpec

VALUE = "VARIABLE_VALUE"
_NUMBERED = re.compile(r"layer_with_weights-(\d+)")
_ROWS = ("_functional", "_operations", "_layers", "layers")  # edges that lead to a model's layers in their order
_INNER = ("cell", "layer", "forward_layer", "backward_layer")  # what a wrapper wraps
_ASIDE = re.compile(  # edges to what is no part of a forward pass, or is reached on others too
    r"root|signatures|keras_api|save_counter|states|state_size|state_spec|\w*metrics\w*|\w*loss(es|_tracker)?|"
    r"\w*optimizer\w*|\w*seed_generator\w*|_random_generator|_?(non_)?trainable_variables|variables|_all_variables|"
    r"layer-\d+|_compile\w*|__call__|\w*_function|call_\w+|_default_save_signature|_tracked|_(in|out)bound_nodes"
)
_OPTIMIZER = ({"iter", "learning_rate"}, {"_iterations", "_learning_rate"})  # edges that only an optimizer has
ORDER = ("embeddings", "kernel", "recurrent_kernel", "bias")  # as Keras creates a layer's weights
_LONGEST, _DEEPEST = 1024, 64  # characters of a path, edges; far more than a model has


@dataclass(frozen=True)
class Weight:
    """path: of edges, the last without the underscore of Keras 3's `_kernel`.  key: the tensor's name in the file."""

    path: str
    key: str


@dataclass(frozen=True)
class Layer:
    """number  of its object.  weights: in the order of Keras' layer.weights; none where they are not in the file"""

    path: str
    number: int
    weights: tuple[Weight, ...]

    @property
    def recurrent(self) -> bool:
        return any(weight.path.endswith("/recurrent_kernel") for weight in self.weights)


@dataclass(frozen=True)
class Group:
    """ordered  a row; otherwise a bag"""

    path: str
    ordered: bool
    items: tuple[Layer | Group, ...]

    @property
    def recurrent(self) -> bool:
        return any(item.recurrent for item in self.items)

    def layers(self) -> Iterator[Layer]:
        for item in self.items:
            yield from (item,) if isinstance(item, Layer) else item.layers()


class Tree:
    """An object graph as a tree: each object where it is met first, rows before attributes.

    specs   of the file's tensors
    source  what the errors call the file
    """

    def __init__(self, graph: ObjectGraph, specs: Mapping[str, TensorSpec], source: str) -> None:
        self.nodes = graph.nodes
        self.specs = specs
        self.source = source

    def walk(self, edges: tuple[str, ...]) -> int | None:
        """The object that edges lead to from the root."""
        number = 0
        for edge in edges:
            found = self.nodes[number].children.get(edge)
            if found is None:
                return None
            number = found
        return number

    def below(self, number: int, path: str) -> Layer | Group:
        """The object at `path` with all in it.  Raises FormatError for paths that no Python object has."""
        return self._item(number, path, {number}, 0) or Group(path, False, ())

    def _item(self, number: int, path: str, seen: set[int], depth: int) -> Layer | Group | None:
        node = self.nodes[number]
        if len(path) > _LONGEST or depth > _DEEPEST:
            raise FormatError(
                f"{self.source}: object {path[:60]!r}... is {depth} edges from the root; the file is damaged"
            )
        if any(edges <= node.children.keys() for edges in _OPTIMIZER):
            return None
        if any(edge in node.children for edge in _INNER):
            return Layer(path, number, tuple(self._weights(number, path, seen, depth)))
        rows = self._row(node)
        own = () if rows else tuple(self._weights(number, path, seen, depth))
        items: list[Layer | Group] = [Layer(path, number, own)] if own else []
        for edge, child in rows or node.children.items():
            if child not in seen and (rows or not _ASIDE.fullmatch(edge)):
                seen.add(child)
                item = self._item(child, f"{path}/{edge}" if path else edge, seen, depth + 1)
                if isinstance(item, Layer) or (item and item.items):
                    items.append(item)
        if len(items) == 1 and (own or isinstance(items[0], Group)):
            return items[0]
        return Group(path, bool(rows), tuple(items))

    def _is_weight(self, number: int) -> bool:
        """Whether an object is a variable that a layer computes with: no counter, no seed."""
        spec = self.specs.get(self.nodes[number].attributes.get(VALUE, ""))
        return spec is not None and bool(spec.shape) and "float" in spec.dtype

    def _row(self, node: ObjectNode) -> list[tuple[str, int]]:
        """The edges of an object that is a row, in order; empty for a bag."""
        numbered = [(int(match[1]), edge) for edge in node.children if (match := _NUMBERED.fullmatch(edge))]
        if not numbered and node.children and all(edge.isdecimal() for edge in node.children):
            numbered = [(int(edge), edge) for edge in node.children]
        if not numbered:
            return [(edge, node.children[edge]) for edge in _ROWS if edge in node.children][:1]
        return [(edge, node.children[edge]) for _, edge in sorted(numbered)]

    def _weights(self, number: int, path: str, seen: set[int], depth: int) -> Iterator[Weight]:
        """The weights of a layer, those of the layers and cells in it after its own."""
        if depth > _DEEPEST:
            raise FormatError(f"{self.source}: object {path[:60]!r}... holds itself; the file is damaged")
        children = self.nodes[number].children
        own = {}
        for edge, child in children.items():
            if self._is_weight(child) and not _ASIDE.fullmatch(edge) and child not in seen:
                own[edge.removeprefix("_")] = child
        for name in sorted(own, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
            seen.add(own[name])
            yield Weight(f"{path}/{name}" if path else name, self.nodes[own[name]].attributes[VALUE])
        cells = children.get("cells")
        inner = [(edge, children[edge]) for edge in _INNER if edge in children]
        if cells is not None:
            listed = self.nodes[cells].children
            inner += [(f"cells/{edge}", listed[edge]) for edge in sorted(filter(str.isdecimal, listed), key=int)]
        for edge, child in inner:
            if child not in seen:
                seen.add(child)
                yield from self._weights(child, f"{path}/{edge}" if path else edge, seen, depth + 1)
