"""A TensorFlow graph as plain data: nodes, their inputs and attributes, and who reads whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple


class Output(NamedTuple):
    """One output of a node: "split:2" is Output("split", 2), "split" is Output("split", 0)."""

    node: str
    index: int


class Node:
    """A NodeDef.

    name    unique in its graph
    op      "MatMul", "Const" ...
    inputs  data inputs in order (control inputs "^x" left out)
    attrs   name -> Python value (int, float, bool, str, bytes, numpy array for a tensor, tuple for a list or a shape),
            decoded when first asked for
    """

    __slots__ = ("_attrs", "_decode", "inputs", "name", "op")

    def __init__(self, name: str, op: str, inputs: tuple[Output, ...], decode: Callable[[], Mapping[str, Any]]) -> None:
        self.name = name
        self.op = op
        self.inputs = inputs
        self._decode = decode
        self._attrs: Mapping[str, Any] | None = None

    @property
    def attrs(self) -> Mapping[str, Any]:
        if self._attrs is None:
            self._attrs = self._decode()
        return self._attrs

    def __repr__(self) -> str:
        return f"Node({self.op} {self.name!r})"


class Use(NamedTuple):
    """`node` reads an output at its input number `input`."""

    node: Node
    input: int


@dataclass(frozen=True)
class Graph:
    """Nodes by name, in the file's order.

    variables           names of the variables in the "variables" or "global_variables" collection; may be empty
    tensorflow_version  as written in the file, "" where it does not say
    outputs             what a signature says that the graph gives; empty where there is none
    """

    nodes: dict[str, Node]
    variables: tuple[str, ...] = ()
    tensorflow_version: str = ""
    source: str = field(default="graph", compare=False)  # the file's name, for messages
    outputs: tuple[Output, ...] = ()

    @cached_property
    def uses(self) -> dict[Output, list[Use]]:
        """Output -> who reads it."""
        result: dict[Output, list[Use]] = {}
        for node in self.nodes.values():
            for position, output in enumerate(node.inputs):
                result.setdefault(output, []).append(Use(node, position))
        return result
