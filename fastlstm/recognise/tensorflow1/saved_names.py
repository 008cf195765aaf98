"""Variables that were saved under other names than the graph's: tf.train.Saver({"name in the file": variable}).

The graph's save operations say which variable each name of the file holds the values of.
Source: training/saver.py, BaseSaverBuilder.save_op; Save(file, names, ...), SaveSlices and SaveV2(file, names, slices,
...).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fastlstm.formats.artefact import Artefact, Tensors
from fastlstm.formats.graph import Graph, Node
from fastlstm.recognise.tensorflow1.graph import Walker

_FIRST_TENSOR = {"Save": 2, "SaveSlices": 3, "SaveV2": 3}
_VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})


def with_graph_names(artefact: Artefact) -> tuple[Artefact, list[str]]:
    """`artefact` with its tensors called as its graph calls their variables, and a note where that changes any name.

    Nothing is changed where two savers of the graph contradict each other, or two names would become one.
    """
    graph, specs = artefact.graph, artefact.tensors.specs
    renamed: dict[str, str] = {}
    for name, variable in _saved(graph) if graph is not None else ():
        if name in specs and renamed.setdefault(name, variable) != variable:
            return artefact, []
    renamed = {name: variable for name, variable in renamed.items() if name != variable}
    original = {renamed.get(name, name): name for name in specs}
    if not renamed or graph is None or len(original) < len(specs):
        return artefact, []
    tensors = Tensors({new: specs[old] for new, old in original.items()}, lambda new: artefact.tensors[original[new]])
    shown = ", ".join(f"{name!r} is {variable!r}" for name, variable in list(renamed.items())[:3])
    more = f" and {len(renamed) - 3} more" if len(renamed) > 3 else ""
    note = f"{graph.source} says which variables were saved under other names, and its names are used: {shown}{more}"
    return replace(artefact, tensors=tensors), [note]


def _saved(graph: Graph) -> Iterator[tuple[str, str]]:
    """(name in the file, variable) of all that the graph's savers write whole."""
    walker = Walker(graph, {})
    for node in graph.nodes.values():
        first = _FIRST_TENSOR.get(node.op)
        if first is None or len(node.inputs) <= first:
            continue
        names = _texts(walker, node, 1)
        slices = _texts(walker, node, 2) if first == 3 else [""] * len(names)
        for name, part, tensor in zip(names, slices, node.inputs[first:], strict=False):
            read = walker.node(walker.plain(tensor))
            while read.op == "ReadVariableOp" and read.inputs:
                read = walker.node(walker.plain(read.inputs[0]))
            if not part and read.op in _VARIABLES:
                yield name, read.name


def _texts(walker: Walker, node: Node, index: int) -> list[str]:
    """The strings of a constant; none where it is anything else."""
    value = walker.node(node.inputs[index]).attrs.get("value")
    flat = value.reshape(-1).tolist() if hasattr(value, "reshape") else []
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in flat]
