"""The functions of a TensorFlow 2 SavedModel, each of which can be had as a graph.

Source: tensorflow/core/protobuf/saved_object_graph.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastlstm.errors import FormatError
from fastlstm.formats import proto
from fastlstm.formats.functions import Flattener, needed
from fastlstm.formats.graph import Graph


@dataclass(frozen=True)
class Program:
    """The functions of a TensorFlow 2 SavedModel.

    signatures  signature, or name of a function of the root object -> what it runs; the one for serving first
    functions   function -> the objects that its last inputs are bound to, by their numbers
    """

    signatures: dict[str, str]
    functions: dict[str, tuple[int, ...]]
    tensorflow_version: str
    source: str
    definition: Any  # the GraphDef message

    def graph(self, function: str, variables: Mapping[int, str]) -> Graph:
        """A function as a graph without functions: what its outputs depend on.

        variables  number of an object -> the name that its node shall have in the graph
        Raises FormatError.
        """
        flattener = Flattener(self.definition, self.source)
        bound = self.functions.get(function, ())
        known = flattener.functions.get(function)
        if known is None or len(known.signature.input_arg) < len(bound):
            raise FormatError(
                f"{self.source}: function {function!r}, bound to {len(bound)} objects, is not in the file's library; "
                "the file is damaged"
            )
        given = known.signature.input_arg[: len(known.signature.input_arg) - len(bound)]
        inputs = [flattener.add(f"input:{proto.text(arg.name, self.source)}", "Placeholder") for arg in given]
        objects = {number: variables.get(number, f"object:{number}") for number in bound}
        handles = {name: flattener.add(name, "VarHandleOp") for name in dict.fromkeys(objects.values())}
        outputs = flattener.call(function, [*inputs, *(handles[objects[number]] for number in bound)])
        outputs = tuple(map(flattener.resolved, outputs))
        nodes = needed(flattener.nodes(), outputs)
        return Graph(nodes, (), self.tensorflow_version, self.source, outputs)
