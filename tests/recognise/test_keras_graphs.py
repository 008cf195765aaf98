"""Keras' layers in graphs alone: what is read of them, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm.formats.graph import Graph, Node, Output
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.hard_sigmoid import hard_sigmoid_before
from fastlstm.recognise.tensorflow1.keras_gru_cell import _Reader

DATA = Path(__file__).parent.parent / "data"


@pytest.mark.parametrize(
    "path",
    ["tf2.15/gru_graph/without_metadata", "tf2.15/gru_graph/frozen.pb", "keras3/gru_graph/exported"],
)
def test_a_gru_says_where_in_the_graph_each_setting_was_read(path):
    model = fastlstm.load(DATA / path)
    assert [layer.reset_after for layer in model.layers[:2]] == [True, False]
    said = {(f.layer, f.what): f for f in model.report.findings}
    for scope in [layer.name for layer in model.layers[:2]]:
        for what in ("activation", "recurrent_activation", "gate_order", "reset_after"):
            assert said[scope, what].how == "read"
            assert "node " in said[scope, what].source


def test_a_masked_graph_is_refused_with_what_to_load_instead():
    with pytest.raises(fastlstm.RecognitionError, match=r"mask.*load the \.keras or \.h5 file"):
        fastlstm.load(DATA / "keras3/masked_graph/exported")


def test_go_backwards_is_a_reverse_where_the_graph_reverses_its_input():
    model = fastlstm.load(DATA / "keras3/backwards/exported")
    assert [type(layer).__name__ for layer in model.layers] == ["Reverse", "LSTM", "Dense"]
    assert any("reversed time" in note for note in model.report.notes)


def graph_of(*nodes):
    return Walker(Graph({n.name: n for n in nodes}, (), "1.15", "a graph", ()), {"w": (2, 6), "k": (3, 6)})


def const(name, value):
    return Node(name, "Const", (), lambda: {"value": np.asarray(value)})


def node(op, name, *inputs, **attrs):
    return Node(name, op, tuple(Output(i, 0) if isinstance(i, str) else Output(*i) for i in inputs), lambda: attrs)


@pytest.mark.parametrize(
    ("scale", "shift", "ends", "name"),
    [(0.2, 0.5, (0.0, 1.0), "hard_sigmoid"), (1 / 6, 0.5, (0.0, 1.0), "hard_sigmoid_keras3"),
     (0.3, 0.5, (0.0, 1.0), None), (0.2, 0.5, (0.0, 2.0), None), (0.2, 0.4, (0.0, 1.0), None)],
)  # fmt: skip
def test_a_hard_sigmoid_is_told_by_its_numbers(scale, shift, ends, name):
    walker = graph_of(
        node("Placeholder", "z"), const("a", scale), const("b", shift), const("l", ends[0]), const("h", ends[1]),
        node("Mul", "az", "a", "z"), node("AddV2", "azb", "az", "b"), node("ClipByValue", "y", "azb", "l", "h"),
    )  # fmt: skip
    found = hard_sigmoid_before(walker, Output("y", 0))
    assert found == (name and (name, Output("z", 0)))


@pytest.mark.parametrize(
    ("sizes", "columns"), [([2, 2, 2], (2, 4)), ([1, -1, 2], (1, 4)), ([2, 2, 1], None), ([-1, -1, 2], None)]
)
def test_columns_of_a_product_split_by_sizes(sizes, columns):
    walker = graph_of(
        node("Placeholder", "x"), node("VariableV2", "k"), const("sizes", sizes), const("axis", -1),
        node("MatMul", "xk", "x", "k"), node("SplitV", "parts", "xk", "sizes", "axis"),
    )  # fmt: skip
    (term,) = _Reader(walker).terms(Output("parts", 1))
    if columns is None:
        assert term.weight is None
    else:
        assert (term.of, term.weight) == (Output("x", 0), ("k", None, *columns))


@pytest.mark.parametrize(("index", "row"), [(0, 0), (1, 1)])
def test_a_row_of_a_bias(index, row):
    walker = graph_of(node("VariableV2", "w"), node("Unpack", "rows", "w", num=2))
    assert _Reader(walker).columns(Output("rows", index)) == ("w", row, 0, 6)
