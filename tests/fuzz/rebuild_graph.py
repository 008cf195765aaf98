"""Graphs that parse, and that no TensorFlow would write: nodes rewired, their operations and attributes exchanged."""

from __future__ import annotations

import random
import struct

from tests.fuzz.protobuf_tree import Field, build, change_tree, parse, varint
from tests.fuzz.rebuild import Files, Rebuild

NODE_NAME, NODE_OP, NODE_INPUT, NODE_ATTR = 1, 2, 3, 5
OPERATIONS = b"""
Const Identity Transpose GatherV2 Split SplitV StridedSlice Slice ConcatV2 Concat Pack Unpack Reshape MatMul
BiasAdd Add AddV2 Mul Sub Sigmoid Tanh Relu Enter Exit Merge Switch NextIteration While StatelessWhile
TensorArrayV3 TensorArrayReadV3 Placeholder VariableV2 VarHandleOp ReadVariableOp Maximum Minimum Select
ClipByValue Fill OneHot Gather ResourceGather LSTMBlockCell BlockLSTM Cast Tile RealDiv PartitionedCall
StatefulPartitionedCall If NoOp ReverseV2 ReverseSequence CudnnRNN Softmax AssignVariableOp Assign RestoreV2
""".split()


def message(number: int, contents: bytes) -> Field:
    return number, 2, contents


def _tensor(dtype: int, sizes: tuple[int, ...], *values: Field) -> bytes:
    shape = build([message(2, build([(1, 0, varint(size))])) for size in sizes])
    return build([(1, 0, varint(dtype)), message(2, shape), *values])


ONE = struct.pack("<f", 1.0)
TENSORS = (
    _tensor(7, (), message(8, b"x")),
    _tensor(7, (2,), message(8, b"1"), message(8, b"\xff")),
    _tensor(1, (1 << 30, 1 << 10), message(5, ONE)),
    _tensor(3, (1 << 30, 1 << 10), message(7, b"\1")),
    _tensor(3, (0,)),
    _tensor(3, (-1,)),
    _tensor(1, (), message(5, struct.pack("<f", float("nan")))),
    _tensor(1, (), message(5, struct.pack("<f", float("inf")))),
    _tensor(2, (), message(6, struct.pack("<d", -1e308))),
    _tensor(9, (), message(10, varint(1 << 62))),
    _tensor(9, (4,), message(10, varint(-(1 << 63)))),
    _tensor(3, (1,) * 32, message(7, b"\1")),
    _tensor(8, (), message(9, ONE + ONE)),
    _tensor(10, (), message(11, b"\1")),
    _tensor(20, ()),
    _tensor(99, (1,), message(4, b"1")),
)
ATTRIBUTES = (  # AttrValues of every kind
    b"",
    build([message(2, b"text\xff")]),
    build([(3, 0, varint(1 << 62))]),
    build([(3, 0, varint(-1))]),
    build([(4, 5, struct.pack("<f", float("nan")))]),
    build([(5, 0, b"\1")]),
    build([(6, 0, b"\x01")]),
    build([(6, 0, b"\x63")]),
    build([message(7, build([message(2, build([(1, 0, varint(1 << 62))]))] * 3))]),
    build([message(7, build([(3, 0, b"\1")]))]),
    build([message(1, build([(3, 0, varint(7))] * 5))]),
    build([message(1, build([message(2, b"a")] * 5))]),
    build([message(10, build([message(1, b"no such function")]))]),
    *(build([message(8, tensor)]) for tensor in TENSORS),
)


def graph_nodes(name: str, *path: int) -> Rebuild:
    """A GraphDef that lies at `path`, a field number for each message around it; or a function in its library."""

    def rebuild(files: Files, dice: random.Random) -> dict[str, bytes]:
        return {name: _inside(files[name], path, dice)}

    return rebuild


def _inside(data: bytes, path: tuple[int, ...], dice: random.Random) -> bytes:
    fields = parse(data) or []
    if not path:
        return build(_changed(fields, dice))
    at = next(k for k, field in enumerate(fields) if field[0] == path[0])
    fields[at] = message(path[0], _inside(fields[at][2], path[1:], dice))
    return build(fields)


def _changed(graph: list[Field], dice: random.Random) -> list[Field]:
    """A GraphDef {1: nodes, 2: {1: functions {3: nodes}}} with one to three changed nodes."""
    libraries = [k for k, (number, kind, _) in enumerate(graph) if (number, kind) == (2, 2)]
    functions = parse(graph[libraries[0]][2]) or [] if libraries else []
    bodies = [
        k
        for k, (number, _, contents) in enumerate(functions)
        if number == 1 and any(f[0] == 3 for f in parse(contents) or ())
    ]
    if bodies and dice.random() < 0.8:
        at = dice.choice(bodies)
        functions[at] = message(1, build(_nodes_changed(parse(functions[at][2]) or [], 3, dice)))
        graph[libraries[0]] = message(2, build(functions))
        return graph
    return _nodes_changed(graph, 1, dice)


def _nodes_changed(fields: list[Field], number: int, dice: random.Random) -> list[Field]:
    places = [k for k, field in enumerate(fields) if field[0] == number and field[1] == 2]
    nodes = [parse(fields[k][2]) or [] for k in places]
    for _ in range(dice.choice((1, 1, 2, 3))):
        at = dice.randrange(len(nodes))
        _change_node(nodes, at, dice)
    for k, node in zip(places, nodes, strict=True):
        fields[k] = message(number, build(node))
    return fields


def _change_node(nodes: list[list[Field]], at: int, dice: random.Random) -> None:
    node = nodes[at]
    inputs = [k for k, field in enumerate(node) if field[0] == NODE_INPUT]
    attributes = [k for k, field in enumerate(node) if field[0] == NODE_ATTR]
    other = dice.choice(nodes)
    other_name = next((contents for number, _, contents in other if number == NODE_NAME), b"")
    action = dice.randrange(9)
    if action == 0 and inputs:
        del node[dice.choice(inputs)]
    elif action == 1 and inputs:
        node[dice.choice(inputs)] = message(
            NODE_INPUT, other_name + dice.choice((b"", b"", b":1", b":9", b":output:0", b":-1"))
        )
    elif action == 2:
        node.append(message(NODE_INPUT, other_name))
    elif action == 3:
        operation = dice.choice((*OPERATIONS, next((f[2] for f in other if f[0] == NODE_OP), b"")))
        node[:] = [message(NODE_OP, operation) if field[0] == NODE_OP else field for field in node]
    elif action == 4 and inputs:
        node[:] = [field for field in node if field[0] != NODE_INPUT]
    elif action == 5 and inputs:
        order = [node[k] for k in inputs]
        dice.shuffle(order)
        for k, field in zip(inputs, order, strict=True):
            node[k] = field
    elif action == 6 and attributes:
        del node[dice.choice(attributes)]
    elif attributes:
        k = dice.choice(attributes)
        key = (parse(node[k][2]) or [message(1, b"")])[0]
        theirs = [field for field in other if field[0] == NODE_ATTR]
        choice = dice.random()
        if choice < 0.2 and theirs:
            value = (parse(dice.choice(theirs)[2]) or [key])[-1][2]
        elif choice < 0.4:
            node[k] = message(NODE_ATTR, change_tree(node[k][2], dice))
            return
        else:
            value = dice.choice(ATTRIBUTES)
        node[k] = message(NODE_ATTR, build([key, message(2, value)]))
