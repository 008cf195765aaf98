"""Functions written out, node by node, and what damaged or endless ones give."""

import pytest

from fastlstm.errors import FormatError
from fastlstm.formats import proto
from fastlstm.formats.functions import Flattener, loop_constants
from fastlstm.formats.graph import Output
from fastlstm.formats.graphdef import graph_of


def graph_def(nodes=(), **functions):
    """nodes: (name, op, inputs, {attribute: function}).  functions: name=(arguments, returns, nodes)"""
    message = proto.new("GraphDef")
    for each in nodes:
        add(message.node, *each)
    for name, (arguments, returns, inside) in functions.items():
        function = message.library.function.add()
        function.signature.name = name.encode()
        for argument in arguments:
            function.signature.input_arg.add(name=argument.encode())
        for k, value in enumerate(returns):
            function.signature.output_arg.add(name=b"o%d" % k)
            function.ret.add(key=b"o%d" % k, value=value.encode())
        for each in inside:
            add(function.node_def, *each)
    return message


def add(where, name, op, inputs=(), called=None):
    node = where.add(name=name.encode(), op=op.encode(), input=[i.encode() for i in inputs])
    for attribute, function in (called or {}).items():
        node.attr.add(key=attribute.encode()).value.func.name = function.encode()


def flat(message):
    return {n.name: (n.op, [f"{o.node}:{o.index}" for o in n.inputs]) for n in graph_of(message, "g.pb").nodes.values()}


CALL = {"f": "F"}


def test_a_call_is_what_it_calls():
    message = graph_def(
        [("x", "Placeholder"), ("call", "PartitionedCall", ["x"], CALL), ("y", "Tanh", ["call"])],
        F=(["a"], ["m:y:0", "a"], [("m", "Relu", ["a", "^a"])]),
    )
    assert flat(message) == {"x": ("Placeholder", []), "m": ("Relu", ["x:0"]), "y": ("Tanh", ["m:0"])}


def test_outputs_by_name_and_names_that_are_taken():
    inside = [("x", "Identity", ["a"]), ("b", "BlockLSTM", ["x:output:0"]), ("s", "Split", ["x:output:0", "b:h:0"])]
    message = graph_def(
        [("x", "Placeholder"), ("F1", "F", ["x"]), ("F2", "F", ["F1:1"]), ("y", "Tanh", ["F2:1"])],
        F=(["a"], ["b:cs:0", "s:output:3"], inside),
    )
    found = flat(message)
    assert found["F1/x"] == ("Identity", ["x:0"])
    assert found["s"] == ("Split", ["F1/x:0", "b:6"])
    assert found["F2/x"] == ("Identity", ["s:3"])
    assert found["y"] == ("Tanh", ["F2/s:3"])


def test_a_loop_is_what_tensorflow_1_has():
    """Two variables: a counter, and a weight that the body hands on."""
    message = graph_def(
        [
            ("zero", "Const"), ("w", "VarHandleOp"),
            ("loop", "While", ["zero", "w"], {"cond": "C", "body": "B"}),
            ("y", "Tanh", ["loop:0"]), ("z", "Tanh", ["loop:1"]),
        ],
        C=(["k", "v"], ["less:z:0"], [("less", "Less", ["k", "k"])]),
        B=(["k", "v"], ["next:z:0", "same:output:0"], [("next", "Add", ["k", "v"]), ("same", "Identity", ["v"])]),
    )  # fmt: skip
    assert flat(message) == {
        "zero": ("Const", []),
        "w": ("VarHandleOp", []),
        "loop/Enter:0": ("Enter", ["zero:0"]),
        "loop/Enter:1": ("Enter", ["w:0"]),
        "loop/Merge:0": ("Merge", ["loop/Enter:0:0", "loop/Next:0:0"]),
        "less": ("Less", ["loop/Merge:0:0", "loop/Merge:0:0"]),
        "loop/LoopCond:0": ("LoopCond", ["less:0"]),
        "loop/Switch:0": ("Switch", ["loop/Merge:0:0", "loop/LoopCond:0:0"]),
        "next": ("Add", ["loop/Switch:0:1", "loop/Enter:1:0"]),
        "same": ("Identity", ["loop/Enter:1:0"]),
        "loop/Next:0": ("NextIteration", ["next:0"]),
        "loop/Exit:0": ("Exit", ["loop/Switch:0:0"]),
        "y": ("Tanh", ["loop/Exit:0:0"]),
        "z": ("Tanh", ["w:0"]),
    }


def test_branches_are_what_tensorflow_1_has():
    message = graph_def(
        [("p", "Placeholder"), ("x", "Placeholder"), ("y", "If", ["p", "x"], {"then_branch": "T", "else_branch": "E"}),
         ("z", "Tanh", ["y"])],
        T=(["a"], ["r:y:0"], [("r", "Relu", ["a"])]),
        E=(["a"], ["a"], []),
    )  # fmt: skip
    found = flat(message)
    assert found["r"] == ("Relu", ["y/Switch:0:1"])
    assert found["y/Merge:0"] == ("Merge", ["y/Switch:0:0", "r:0"])
    assert found["z"] == ("Tanh", ["y/Merge:0:0"])


def test_lowered_loops_that_hand_on_a_weight():
    """As TensorFlow's own lowering leaves them in frozen functions."""
    nodes = [
        ("w", "Const"), ("e", "Enter", ["w"]), ("m", "Merge", ["e", "n"]), ("s", "Switch", ["m", "c"]),
        ("i", "Identity", ["s:1"]), ("n", "NextIteration", ["i"]), ("c", "LoopCond", ["c0"]), ("c0", "Const"),
        ("e2", "Enter", ["w"]), ("m2", "Merge", ["e2", "n2"]), ("t", "Tanh", ["m2"]), ("n2", "NextIteration", ["t"]),
    ]  # fmt: skip
    found = flat(graph_def(nodes))
    assert found["m"] == ("Identity", ["e:0"])
    assert found["m2"] == ("Merge", ["e2:0", "n2:0"])
    assert loop_constants({}) == {}


def test_what_is_no_function_of_the_file_stays():
    nodes = [("x", "Placeholder"), ("c", "PartitionedCall", ["x"], {"f": "gone"}), ("w", "While", ["x"], {"cond": "F"})]
    found = flat(graph_def(nodes, F=(["a", "b"], ["a"], [])))
    assert found["c"] == ("PartitionedCall", ["x:0"])
    assert found["w"] == ("While", ["x:0"])


def chain(count, calls):
    """F0 calls F1 `calls` times, and so on."""
    return {
        f"F{k}": (["a"], ["a"], [(f"c{j}", f"F{k + 1}", ["a"]) for j in range(calls)]) for k in range(count - 1)
    } | {f"F{count - 1}": (["a"], ["n:y:0"], [("n", "Relu", ["a"])])}


@pytest.mark.parametrize(
    ("functions", "match"),
    [
        ({"F0": (["a"], ["c:o0:0"], [("c", "F0", ["a"])])}, "'F0' calls itself"),
        ({"F0": (["a"], ["a"], [("c", "F1", ["a"])]), "F1": (["a"], ["a"], [("d", "F0", ["a"])])}, "'F0' calls itself"),
        (chain(100, 1), "is called 65 functions deep"),
        (chain(30, 2), "more than 4 times the nodes of the file"),
        ({"F0": (["a"], ["n:y:0"], [])}, "there is no 'n:y:0'"),
        ({"F0": (["a"], ["n:y:x"], [("n", "Relu", ["a"])])}, "there is no 'n:y:x'"),
        ({"F0": (["a"], ["a"], [("n", "Relu", ["a"]), ("n", "Relu", ["a"])])}, "node 'n' is there twice"),
        ({"F0": (["a"], ["a"], [("n", "Relu", ["b"])])}, "there is no 'b'"),
    ],
)
def test_functions_that_cannot_be_followed(functions, match):
    message = graph_def([("x", "Placeholder"), ("y", "F0", ["x"])], **functions)
    with pytest.raises(FormatError, match=match):
        graph_of(message, "g.pb")


def test_calls_that_give_on_nothing_but_themselves():
    message = graph_def([("a", "F", ["b"]), ("b", "F", ["a"]), ("y", "Tanh", ["a"])], F=(["x"], ["x"], []))
    with pytest.raises(FormatError, match="give on nothing but themselves"):
        graph_of(message, "g.pb")


def test_an_output_that_is_not_returned_and_a_function_that_is_not_there():
    message = graph_def(F=(["a"], ["a"], []))
    del message.library.function[0].ret[:]
    with pytest.raises(FormatError, match="does not say what its output 'o0' is"):
        Flattener(message, "g.pb").call("F", [Output("x", 0)])
    with pytest.raises(FormatError, match="function 'G' with 1 inputs is not in the file's library"):
        Flattener(graph_def(), "g.pb").call("G", [Output("x", 0)])
