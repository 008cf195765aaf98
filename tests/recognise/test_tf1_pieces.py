"""Variables in several pieces that a graph joins, and constants of a frozen graph that are no weights."""

import dataclasses

import numpy as np
import pytest
from tf1_graphs import Builder, artefact, recognise

from fastlstm.errors import RecognitionError
from fastlstm.formats.graph import Node, Output
from fastlstm.layers import LSTM, Dense
from fastlstm.recognise.tensorflow1.frozen import weights_among
from fastlstm.recognise.tensorflow1.row_shards import with_rows_joined

SHARDS = {"rnn/LSTMCell/W_0": (5, 16), "rnn/LSTMCell/W_1": (4, 16), "rnn/LSTMCell/W_2": (4, 16)}
BIAS = {"rnn/LSTMCell/B": (16,)}


def test_rows_without_a_graph():
    given = artefact(SHARDS | BIAS)
    whole = with_rows_joined(given)
    assert whole.tensors.specs["rnn/LSTMCell/W_0"].shape == (13, 16)
    assert sorted(whole.tensors) == ["rnn/LSTMCell/B", "rnn/LSTMCell/W_0"]
    expected = np.concatenate([given.tensors[name] for name in SHARDS])
    assert np.array_equal(whole.tensors["rnn/LSTMCell/W_0"], expected)
    (layer,) = recognise(given).layers
    assert (layer.input_size, layer.hidden_size) == (9, 4)
    assert np.array_equal(whole.tensors["rnn/LSTMCell/B"], given.tensors["rnn/LSTMCell/B"])


@pytest.mark.parametrize(
    "shapes",
    [
        {"net/W_0": (5, 16), "net/W_1": (4, 16)},  # dense layers of somebody's
        {"net/W_0": (4, 16), "net/W_1": (5, 16), "net/B": (16,)},
        {"net/W_0": (9, 16), "net/W_1": (4, 16), "net/B": (16,)},
        {"net/W_0": (5, 16), "net/W_1": (4, 12), "net/B": (16,)},
        {"net/W_0": (5, 16), "net/W_2": (4, 16), "net/B": (16,)},
        {"net/W_0": (5, 16), "net/W_1": (16,), "net/B": (16,)},
        {"net/W/part_0": (5, 16), "net/W/part_1": (4, 16)},  # only a graph says along which axis
    ],
)
def test_what_is_no_row(shapes):
    given = artefact(shapes)
    assert with_rows_joined(given) is given


def joining(order=(0, 1), axis=0, op="Concat"):
    """W_0 and W_1 read, joined, and multiplied with."""
    net = Builder()
    reads = [net.variable(f"rnn/LSTMCell/W_{k}", *shape) for k, shape in enumerate([(5, 16), (4, 16)])]
    parts = [reads[k] for k in order]
    at = net.const(axis)
    net.add(op, "rnn/LSTMCell/W/concat", *((at, *parts) if op == "Concat" else (*parts, at)))
    net.add("MatMul", "rnn/MatMul", "x", "rnn/LSTMCell/W/concat")
    return net.artefact(**BIAS)


@pytest.mark.parametrize("op", ["Concat", "ConcatV2"])
def test_rows_that_a_graph_joins(op):
    whole = with_rows_joined(joining(op=op))
    assert whole.tensors.specs["rnn/LSTMCell/W_0"].shape == (9, 16)
    assert whole.graph.nodes["rnn/LSTMCell/W/concat"].op == "Identity"


@pytest.mark.parametrize("how", [{"order": (1, 0)}, {"axis": 1}, {"order": (0,)}, {"order": (0, 1, 1)}, {"axis": 7}])
def test_rows_that_a_graph_joins_otherwise(how):
    given = joining(**how)
    assert with_rows_joined(given).tensors.specs == given.tensors.specs


def test_a_partitioned_kernel_that_each_step_joins_anew():
    net = Builder()
    steps = net.add("Unpack", "unstack", net.placeholder(), axis=1)
    zeros = net.add("Fill", "zeros", net.const([2, 4]), net.const(np.float32(0)))
    states = [(zeros, zeros)]
    for t in range(3):
        states.append(net.cell("rnn/lstm_cell", f"{steps}:{t}", *states[-1], (3, 4), at=f"step_{t}"))
    net.dense("dense", net.add("Pack", "stack", *(h for h, _ in states[1:]), axis=1), (4, 2))
    kernel = "rnn/lstm_cell/kernel"
    parts = [net.variable(f"{kernel}/part_{k}", *shape) for k, shape in enumerate([(4, 16), (3, 16)])]
    for t in range(3):
        concat = net.add("ConcatV2", f"{kernel}/ConcatPartitions/concat_{t}", *parts, net.const(0))
        again = Output(net.add("Identity", f"{kernel}_{t}", concat) if t else kernel, 0)
        at = f"step_{t}/MatMul"
        net.nodes[at] = Node(at, "MatMul", (net.nodes[at].inputs[0], again), dict)
    net.nodes[kernel] = Node(kernel, "Identity", (Output(f"{kernel}/ConcatPartitions/concat_0", 0),), dict)
    for k in range(2):
        del net.shapes[f"{kernel}/part_{k}"]
    assert [type(layer) for layer in recognise(net.artefact()).layers] == [LSTM, Dense]


def frozen(builder, extra=None):
    """The builder's graph as if its variables were constants."""
    given = builder.artefact(**(extra or {}))
    return dataclasses.replace(given, format="frozen-graph")


def test_constants_that_are_no_weights():
    """A first state and a row of labels, of which no note speaks; the cell's own are weights."""
    net = Builder()
    net.dynamic_rnn("rnn/lstm_cell", net.add("Placeholder", "x"), (3, 4))
    zeros = np.zeros((2, 4), np.float32)
    net.const(zeros, "zeros")
    recognised = recognise(frozen(net, {"zeros": zeros.shape}))
    assert [type(layer) for layer in recognised.layers] == [LSTM]
    assert not recognised.notes


def test_a_norms_beta_is_a_weight():
    """beta - mean * scale, as tf.nn.batch_normalization writes a layer norm."""
    net = Builder()
    beta, mean = net.variable("norm/beta", 4), net.variable("norm/mean", 4)
    net.add("Sub", "norm/sub", beta, mean)
    assert weights_among(net.graph(), net.shapes) == {"norm/beta": (4,)}


def test_a_fused_grus_variables_are_weights():
    net = Builder()
    variables = [net.variable(name, *shape) for name, shape in zip("abcd", ((9, 8), (9, 4), (8,), (4,)), strict=True)]
    net.add("GRUBlockCell", "cell", net.placeholder(), net.placeholder("h"), *variables)
    assert weights_among(net.graph(), net.shapes) == net.shapes


def test_a_frozen_graph_without_an_lstm():
    net = Builder()
    net.dense("dense", net.add("Placeholder", "x"), (3, 4))
    with pytest.raises(RecognitionError, match="no LSTM"):
        recognise(frozen(net))
