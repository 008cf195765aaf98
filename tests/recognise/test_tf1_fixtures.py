"""What genuine TensorFlow 1 wrote, with its graph and without: the layers, how they are known, what they compute."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tf1_graphs import recognise

from fastlstm.errors import RecognitionError
from fastlstm.formats import open_artefact
from fastlstm.layers import LSTM, Dense, Embedding, OneHot

DATA = Path(__file__).parents[1] / "data"
CASES = sorted(path.parent for era in ("tf0.12", "tf1.0", "tf1.15") for path in (DATA / era).glob("*/expect.json"))
LSTMS = [case for case in CASES if json.loads((case / "expect.json").read_text())["layers"]]
OTHERS = [case for case in CASES if case not in LSTMS]
#: Cases whose graph says something else than TensorFlow's defaults, or something that names cannot say.
NEEDS_GRAPH = {
    "basic_f64_tanh_head": {"activation"},  # of the head
    "saved_model": {"activation"},
    "basic_forget_bias": {"forget_bias", "activation"},
    "lstm_forget0": {"forget_bias"},
    "lstm_peephole_proj_clip": {"cell_clip", "proj_clip"},
    "residual_dropout": {"residual"},
    "tf1.0/block": {"cell_clip"},
    "every_format": {"forget_bias", "activation", "cell_clip"},
}
UNCLEAR = {"tf1.0/block", "tf1.0/lstm_forget0", "tf1.0/every_format"}  # an LSTMCell's names, or an LSTMBlockCell's
NEEDS_TOPOLOGY = {"onehot_softmax", "reused_scope", "tf1.15/same_cell_twice", "dense_around"}


def name(case):
    return f"{case.parent.name}/{case.name}"


def load(case):
    return open_artefact(case / "model"), json.loads((case / "expect.json").read_text())


def described(layer, want):
    """A layer in the words of expect.json, as far as `want` has them."""
    if isinstance(layer, Embedding):
        return {"type": "Embedding", "vocab": layer.vocabulary_size, "dim": layer.output_size, "name": layer.name}
    if isinstance(layer, OneHot):
        return {"type": "OneHot", "vocab": layer.vocabulary_size}
    if isinstance(layer, Dense):
        activation = None if layer.activation.label == "linear" else layer.activation.label
        result = {"type": "Dense", "in": layer.input_size, "out": layer.output_size, "activation": activation}
        return result | {"name": layer.name if want["name"] else None}
    return {
        "type": "LSTM",
        "input": layer.input_size,
        "hidden": layer.hidden_size,
        "projection": None if layer.projection is None else layer.output_size,
        "cell_clip": layer.cell_clip,
        "proj_clip": layer.proj_clip,
        "activation": layer.activation.label,
        "recurrent_activation": layer.recurrent_activation.label,
        "peepholes": layer.peepholes is not None,
        "residual": layer.residual,
        "name": layer.name,
    }


def expected(want, dtype):
    """A row of expect.json, with numbers as a graph of this dtype holds them."""
    as_stored = np.dtype(dtype).type
    row = {k: float(as_stored(v)) if k.endswith("_clip") and v else v for k, v in want.items()}
    return {k: v for k, v in row.items() if k not in ("variables", "forget_bias")}


def forget_biases(recognised):
    return [finding.value for finding in recognised.findings if finding.what == "forget_bias"]


@pytest.mark.parametrize("case", LSTMS, ids=name)
def test_with_its_graph_everything_is_found(case):
    artefact, expect = load(case)
    if artefact.graph is None:
        pytest.skip("the fixture has no graph")
    recognised = recognise(artefact, scope=expect["scope"])
    want = expect["layers"]
    assert [described(*pair) for pair in zip(recognised.layers, want, strict=True)] == [
        expected(row, expect["dtype"]) for row in want
    ]
    cells = [row for row in want if row["type"] == "LSTM"]
    assert forget_biases(recognised) == [float(np.dtype(expect["dtype"]).type(row["forget_bias"])) for row in cells]
    assert {finding.how for finding in recognised.findings} <= {"read", "inferred"}
    assert all("model.meta" in f.source for f in recognised.findings if f.what in ("forget_bias", "activation"))


@pytest.mark.parametrize("case", [c for c in LSTMS if not NEEDS_TOPOLOGY & {c.name, name(c)}], ids=name)
def test_without_its_graph_names_and_defaults_are_found(case):
    artefact, expect = load(case)
    unclear = {"cell": "LSTMCell"} if name(case) in UNCLEAR else {}
    recognised = recognise(dataclasses.replace(artefact, graph=None), scope=expect["scope"], **unclear)
    unknown = NEEDS_GRAPH.get(case.name, set()) | NEEDS_GRAPH.get(name(case), set())
    for layer, row in zip(recognised.layers, expect["layers"], strict=True):
        want = expected(row, expect["dtype"])
        got = described(layer, row)
        assert {k: v for k, v in got.items() if k not in unknown} == {k: v for k, v in want.items() if k not in unknown}
    assert set(forget_biases(recognised)) == {1.0}
    how = {finding.what: finding.how for finding in recognised.findings}
    assert how["forget_bias"] == how["activation"] == how["cell_clip"] == how["residual"] == "assumed"
    assert how["gate_order"] == how["use_peepholes"] == how["num_layers"] == "inferred"


def test_one_hot_rows_cannot_be_told_without_a_graph():
    artefact, _ = load(DATA / "tf1.15" / "onehot_softmax")
    artefact = dataclasses.replace(artefact, graph=None)
    assert isinstance(recognise(artefact).layers[0], LSTM)
    assert recognise(artefact, one_hot=True).layers[0].vocabulary_size == 9


def test_a_cell_used_twice_can_be_said_without_a_graph():
    artefact, expect = load(DATA / "tf1.15" / "same_cell_twice")
    recognised = recognise(dataclasses.replace(artefact, graph=None), num_layers=2)
    assert [layer.name for layer in recognised.layers] == [row["name"] for row in expect["layers"]]


def test_dense_layers_in_a_row_are_ambiguous_without_a_graph():
    artefact, _ = load(DATA / "tf1.15" / "dense_around")
    with pytest.raises(RecognitionError, match=r"(?s)2 heads follow the LSTM.*dense_1/kernel.*-> dense_2/kernel"):
        recognise(dataclasses.replace(artefact, graph=None))


def test_two_stacks_are_listed():
    artefact, _ = load(DATA / "tf1.15" / "two_stacks")
    for graph in (artefact.graph, None):
        with pytest.raises(RecognitionError, match="2 LSTM stacks") as error:
            recognise(dataclasses.replace(artefact, graph=graph))
        assert "scope='encoder': 1 layer (3 -> 10)" in str(error.value)
        assert "scope='decoder': 1 layer (5 -> 10)" in str(error.value)
    assert recognise(artefact, scope="encoder").layers[0].input_size == 3


@pytest.mark.parametrize(
    ("case", "says"),
    [("cnn", r"convolution kernels: conv2d/kernel \(3, 3, 1, 4\)")],
)
def test_what_is_no_lstm_is_named(case, says):
    artefact, _ = load(DATA / "tf1.15" / case)
    for graph in (artefact.graph, None):
        with pytest.raises(RecognitionError, match=says) as error:
            recognise(dataclasses.replace(artefact, graph=graph))
        assert "no LSTM, and fastlstm runs LSTMs and GRUs" in str(error.value)


@pytest.mark.parametrize("case", [c for c in OTHERS if c.name not in ("gru", "cnn")], ids=name)
def test_what_is_no_network_is_refused(case):
    artefact, _ = load(case)
    with pytest.raises(RecognitionError, match="no LSTM"):
        recognise(artefact)


def test_softmax_of_the_logits_is_told_but_not_run():
    artefact, _ = load(DATA / "tf1.15" / "onehot_softmax")
    recognised = recognise(artefact)
    assert recognised.layers[-1].activation.label == "linear"
    (head,) = [f for f in recognised.findings if f.what == "head_activation"]
    assert "probabilities are the softmax of the logits; outputs are logits" in head.source
    assert recognise(artefact, head_activation="softmax").layers[-1].activation.label == "softmax"


def test_slots_and_averages_are_left_aside():
    artefact, _ = load(DATA / "tf1.15" / "training")
    notes = " ".join(recognise(artefact).notes)
    assert "18 tensors left aside" in notes and "ExponentialMovingAverage" in notes
    assert "variables that no layer uses" not in notes


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


FUNCTIONS = {"linear": lambda v: v, "tanh": np.tanh, "sigmoid": sigmoid, "relu": lambda v: np.maximum(v, 0)}


def run_lstm(layer, x, c, h):
    phi, sigma, ys = FUNCTIONS[layer.activation.label], FUNCTIONS[layer.recurrent_activation.label], []
    w_i, w_f, w_o = layer.peepholes or (0.0, 0.0, 0.0)
    for t in range(x.shape[1]):
        z = x[:, t] @ np.float64(layer.kernel) + h @ np.float64(layer.recurrent_kernel) + layer.bias
        i, f, g, o = np.split(z, 4, axis=1)
        c = sigma(f + w_f * c) * c + sigma(i + w_i * c) * phi(g)
        c = np.clip(c, -layer.cell_clip, layer.cell_clip) if layer.cell_clip else c
        h = sigma(o + w_o * c) * phi(c)
        h = h if layer.projection is None else h @ np.float64(layer.projection)
        h = np.clip(h, -layer.proj_clip, layer.proj_clip) if layer.proj_clip else h
        ys.append(h + x[:, t] if layer.residual else h)
    return np.stack(ys, axis=1), c, h


@pytest.mark.parametrize("case", [c for c in LSTMS if c.name not in ("state_array", "state_list", "half")], ids=name)
def test_the_layers_compute_what_tensorflow_computed(case):
    """float64 loops over the layers against golden.npz, up to the shortest full length."""
    artefact, expect = load(case)
    golden = np.load(case / "golden.npz")
    if artefact.graph is None:
        pytest.skip("the fixture has no graph")
    x, k = golden["x"], 0
    whole = golden["lengths"] == golden["lengths"].max() if "lengths" in golden else np.ones(len(x), bool)
    for layer in recognise(artefact, scope=expect["scope"]).layers:
        if isinstance(layer, Embedding):
            x = np.float64(layer.table)[x]
        elif isinstance(layer, OneHot):
            x = np.eye(layer.vocabulary_size)[x]
        elif isinstance(layer, Dense):
            x = FUNCTIONS[layer.activation.label](x @ np.float64(layer.kernel) + layer.bias)
        else:
            start = [
                golden[f"{role}0_{k}"] if f"{role}0_{k}" in golden else np.zeros((len(x), size))
                for role, size in (("c", layer.hidden_size), ("h", layer.output_size))
            ]
            x, c, h = run_lstm(layer, np.float64(x), *start)
            np.testing.assert_allclose(c[whole], golden[f"c_{k}"][whole], rtol=0, atol=2e-5)
            np.testing.assert_allclose(h[whole], golden[f"h_{k}"][whole], rtol=0, atol=2e-5)
            k += 1
    np.testing.assert_allclose(x[whole], golden["y"][whole], rtol=0, atol=1e-4)
