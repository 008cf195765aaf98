"""Functions of a TensorFlow 2 graph, written out as TensorFlow 1 would have it: calls become what they call,
loops and branches become operations of their own.

    f(x)                 the nodes of f
    While(v; cond, body) Enter, Merge, LoopCond, Switch, the nodes of the body, NextIteration, Exit
    If(p, v; then, else) Switch, the nodes of both, Merge

What a loop's body only hands on enters the loop once, as a constant of it.
Sources: tensorflow/core/common_runtime/lower_while_op.cc, lower_if_op.cc, tensorflow/core/framework/function.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from fastlstm.errors import FormatError
from fastlstm.formats import proto
from fastlstm.formats.graph import Node, Output
from fastlstm.formats.nodedef import attributes_of

#: Operations that call a function, and the attribute that names it.
_CALLED = {"PartitionedCall": b"f", "StatefulPartitionedCall": b"f", "TPUPartitionedCall": b"f"}
_WHILE = frozenset({"While", "StatelessWhile"})
_IF = frozenset({"If", "StatelessIf"})
CALLS = frozenset({*_CALLED, *_WHILE, *_IF})

#: The outputs, by name, of operations that have several; all others have one, or one list of them.
_OUTPUTS = {
    "Switch": ("output_false", "output_true"),
    "Merge": ("output", "value_index"),
    "TensorListPopBack": ("output_handle", "tensor"),
    "TensorArrayV3": ("handle", "flow"),
    "TopKV2": ("values", "indices"),
    "GRUBlockCell": ("r", "u", "c", "h"),
} | dict.fromkeys(("LSTMBlockCell", "BlockLSTM", "BlockLSTMV2"), ("i", "cs", "f", "o", "ci", "co", "h"))
_OUTPUTS |= dict.fromkeys(
    ("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3"), ("output", "output_h", "output_c", "reserve_space", "host_reserved")
)
_DEEPEST = 64  # calls within calls
_GROWTH = 4  # so many nodes for each that the file has


class Function(NamedTuple):
    """A FunctionDef.

    inputs   names of its arguments
    outputs  for each, the argument or the node's output that it is: "x", "MatMul:product:0"
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: Sequence[Any]


class Flattener:
    """Collects nodes.

    graph   a GraphDef message
    source  the file's name, for messages
    Raises FormatError for functions that call themselves, or that grow beyond all measure when they are written out.
    """

    def __init__(self, graph: Any, source: str) -> None:
        self.source = source
        self.functions = {proto.text(f.signature.name, source): f for f in graph.library.function}
        self.left = _GROWTH * (len(graph.node) + sum(len(f.node_def) for f in graph.library.function)) + 1000
        self._parsed: dict[str, Function] = {}
        self._nodes: dict[str, tuple[str, tuple[Output, ...], Callable[[], Mapping[str, Any]]]] = {}
        self._same: dict[Output, Output] = {}
        self._taken: set[str] = set()  # names of nodes, also of those to come

    def add_graph(self, definitions: Sequence[tuple[Any, str, str, tuple[Output, ...]]]) -> None:
        """(NodeDef, name, op, inputs) of a graph's own nodes."""
        self._taken.update(name for _, name, _, _ in definitions)
        for definition, name, op, inputs in definitions:
            self._place(definition, name, op, inputs, ())

    def call(self, name: str, inputs: Sequence[Output]) -> tuple[Output, ...]:
        """Write out a function.  -> its outputs.  Raises FormatError where there is no such function."""
        function = self._function(name)
        if function is None or len(function.inputs) != len(inputs):
            raise FormatError(
                f"{self.source}: function {name!r} with {len(inputs)} inputs is not in the file's library; the file is "
                "damaged"
            )
        return self._body(name, function, inputs, "", ())

    def add(self, name: str, op: str, *inputs: Output) -> Output:
        """A node without attributes."""
        return self._add(name, op, inputs, dict)

    def nodes(self) -> dict[str, Node]:
        """All that was collected."""
        return {
            name: Node(name, op, tuple(map(self.resolved, inputs)), decode)
            for name, (op, inputs, decode) in self._nodes.items()
        }

    def resolved(self, output: Output) -> Output:
        """What a call's output is."""
        for _ in range(len(self._same) + 1):
            if output not in self._same:
                return output
            output = self._same[output]
        raise FormatError(f"{self.source}: the functions around {output.node!r} give on nothing but themselves")

    def _function(self, name: str) -> Function | None:
        if name not in self._parsed:
            definition = self.functions.get(name)
            if definition is None:
                return None
            where = f"{self.source}: function {name!r}"
            returns = {entry.key: entry.value for entry in definition.ret}
            missing = [arg.name for arg in definition.signature.output_arg if arg.name not in returns]
            if missing:
                output = proto.text(missing[0], where)
                raise FormatError(f"{where} does not say what its output {output!r} is; the file is damaged")
            self._parsed[name] = Function(
                tuple(proto.text(arg.name, where) for arg in definition.signature.input_arg),
                tuple(proto.text(returns[arg.name], where) for arg in definition.signature.output_arg),
                definition.node_def,
            )
        return self._parsed[name]

    def _add(self, name: str, op: str, inputs: Sequence[Output], decode: Callable[[], Mapping[str, Any]]) -> Output:
        self.left -= 1
        if self.left < 0:
            raise FormatError(
                f"{self.source}: its functions, written out, are more than {_GROWTH} times the nodes of the file; "
                "it is damaged, or its functions are of a kind that fastlstm does not follow"
            )
        if name in self._nodes:
            raise FormatError(f"{self.source}: node {name!r} is there twice; the file is damaged")
        self._taken.add(name)
        self._nodes[name] = (op, tuple(inputs), decode)
        return Output(name, 0)

    def _place(self, definition: Any, name: str, op: str, inputs: tuple[Output, ...], stack: tuple[str, ...]) -> None:
        """A node, or what stands for it."""
        if op in _WHILE:
            if self._loop(definition, name, inputs, stack):
                return
        elif op in _IF:
            if self._branches(definition, name, inputs, stack):
                return
        else:
            called = self._named(definition, _CALLED[op]) if op in _CALLED else op
            function = self._function(called)
            if function is not None and len(function.inputs) == len(inputs):
                for k, output in enumerate(self._body(called, function, inputs, name, stack)):
                    self._same[Output(name, k)] = output
                return
        where = f"{self.source}: node {name!r}"
        self._add(name, op, inputs, partial(attributes_of, definition, where))

    def _named(self, definition: Any, attribute: bytes) -> str:
        """The function that an attribute names; "" where none does."""
        found = next((entry.value.func.name for entry in definition.attr if entry.key == attribute), b"")
        return proto.text(found, self.source)

    def _body(
        self, name: str, function: Function, inputs: Sequence[Output], prefix: str, stack: tuple[str, ...]
    ) -> tuple[Output, ...]:
        """Add a function's nodes.  -> its outputs."""
        where = f"{self.source}: function {name!r}"
        if name in stack or len(stack) > _DEEPEST:
            how = "calls itself" if name in stack else f"is called {len(stack)} functions deep"
            raise FormatError(f"{where} {how}; fastlstm does not follow that")
        scope = dict(zip(function.inputs, inputs, strict=True))
        placed: dict[str, tuple[str, str]] = {}  # a node's name in the function -> its name here, its op
        for definition in function.nodes:
            inner = proto.text(definition.name, where)
            if inner in placed:
                raise FormatError(f"{where}: node {inner!r} is there twice; the file is damaged")
            placed[inner] = (self._free(inner, prefix), proto.text(definition.op, where))

        def output(text: str) -> Output:
            if text in scope:
                return scope[text]
            inner, _, rest = text.partition(":")
            which, _, index = rest.partition(":")
            if inner not in placed or not (index.isascii() and index.isdecimal() and len(index) < 10):
                raise FormatError(f"{where}: there is no {text!r}; the file is damaged")
            here, op = placed[inner]
            return Output(here, self._offset(op, which) + int(index))

        for definition in function.nodes:
            here, op = placed[definition.name.decode()]
            read = tuple(output(proto.text(data, where)) for data in definition.input if data[:1] != b"^")
            self._place(definition, here, op, read, (*stack, name))
        return tuple(output(text) for text in function.outputs)

    def _free(self, name: str, prefix: str) -> str:
        """A name that no other node has: its own, or below the node that calls."""
        while name in self._taken:
            name = f"{prefix}/{name}"
        self._taken.add(name)
        return name

    def _offset(self, op: str, which: str) -> int:
        """The number of the first of the outputs that are called `which`."""
        function = self.functions.get(op)
        names = [arg.name.decode(errors="replace") for arg in function.signature.output_arg] if function else ()
        names = names or _OUTPUTS.get(op, ())
        return names.index(which) if which in names else 0

    def _loop(self, definition: Any, name: str, inputs: Sequence[Output], stack: tuple[str, ...]) -> bool:
        """Write out a While; False where it is not one that can be."""
        names = self._named(definition, b"cond"), self._named(definition, b"body")
        condition, body = map(self._function, names)
        if condition is None or body is None or not condition.outputs:
            return False
        if {len(condition.inputs), len(body.inputs), len(body.outputs)} != {len(inputs)}:
            return False
        constant = self._handed_on(body)
        enters = [self.add(f"{name}/Enter:{k}", "Enter", value) for k, value in enumerate(inputs)]
        merges = [
            enter if k in constant else self.add(f"{name}/Merge:{k}", "Merge", enter, Output(f"{name}/Next:{k}", 0))
            for k, enter in enumerate(enters)
        ]
        going = self._body(names[0], condition, merges, name, stack)[0]
        going = self.add(f"{name}/LoopCond:0", "LoopCond", going)
        switches = [
            merge if k in constant else self.add(f"{name}/Switch:{k}", "Switch", merge, going)
            for k, merge in enumerate(merges)
        ]
        inside = [switch if k in constant else Output(switch.node, 1) for k, switch in enumerate(switches)]
        after = self._body(names[1], body, inside, name, stack)
        for k, value in enumerate(after):
            if k in constant:
                self._same[Output(name, k)] = inputs[k]
            else:
                self.add(f"{name}/Next:{k}", "NextIteration", value)
                self._same[Output(name, k)] = self.add(f"{name}/Exit:{k}", "Exit", switches[k])
        return True

    def _handed_on(self, body: Function) -> set[int]:
        """The loop variables that each step leaves as they are."""
        names = {proto.text(node.name, self.source): node for node in body.nodes}
        found = set()
        for k, text in enumerate(body.outputs):
            for _ in range(_DEEPEST):
                node = names.get(text.partition(":")[0])
                if text in body.inputs or node is None or node.op != b"Identity" or not node.input:
                    break
                text = proto.text(node.input[0], self.source)
            if text == body.inputs[k]:
                found.add(k)
        return found

    def _branches(self, definition: Any, name: str, inputs: Sequence[Output], stack: tuple[str, ...]) -> bool:
        """Write out an If; False where it is not one that can be."""
        names = self._named(definition, b"then_branch"), self._named(definition, b"else_branch")
        then, other = map(self._function, names)
        if then is None or other is None or {len(then.inputs), len(other.inputs)} != {len(inputs) - 1}:
            return False
        if len(then.outputs) != len(other.outputs):
            return False
        switches = [self.add(f"{name}/Switch:{k}", "Switch", x, inputs[0]) for k, x in enumerate(inputs[1:])]
        yes = self._body(names[0], then, [Output(s.node, 1) for s in switches], name, stack)
        no = self._body(names[1], other, switches, name, stack)
        for k, pair in enumerate(zip(no, yes, strict=True)):
            self._same[Output(name, k)] = self.add(f"{name}/Merge:{k}", "Merge", *pair)
        return True


def loop_constants(nodes: dict[str, Node]) -> dict[str, Node]:
    """`nodes` where a loop variable that every step hands on as it is has become what enters the loop.

    TensorFlow's own lowering, which frozen functions go through, leaves weights to go round in loops.
    """
    result = dict(nodes)
    for name, node in nodes.items():
        if node.op != "Merge" or len(node.inputs) != 2:
            continue
        enter, onward = (nodes.get(source.node) for source in node.inputs)
        if enter is None or onward is None or enter.op != "Enter" or onward.op != "NextIteration":
            continue
        source = onward.inputs[0] if onward.inputs else None
        for _ in range(_DEEPEST):
            if source is None or source.node == name:
                break
            step = nodes.get(source.node)
            handed = step is not None and step.inputs and step.op in ("Identity", "Switch")
            source = step.inputs[0] if step is not None and handed else None
        if source is not None and source == Output(name, 0):
            result[name] = Node(name, "Identity", (Output(enter.name, 0),), dict)
    return result


def needed(nodes: Mapping[str, Node], outputs: Iterable[Output]) -> dict[str, Node]:
    """Those of `nodes` that `outputs` depend on, in their order."""
    pending, seen = [output.node for output in outputs], set[str]()
    while pending:
        name = pending.pop()
        if name not in seen and name in nodes:
            seen.add(name)
            pending.extend(source.node for source in nodes[name].inputs)
    return {name: node for name, node in nodes.items() if name in seen}
