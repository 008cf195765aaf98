"""TensorFlow Lite, ONNX, PyTorch and audio JSON: what is read, assumed and refused. Numbers: tests/test_golden.py."""

import json
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm.errors import ArgumentError, FormatError, RecognitionError
from fastlstm.formats import Artefact, Tensors, TensorSpec
from fastlstm.formats.dataflow import Dataflow, Operation, Value
from fastlstm.formats.safetensors_file import write_safetensors
from fastlstm.recognise import recognise
from tests import oracle

DATA = Path(__file__).parents[1] / "data"
RANDOM = np.random.default_rng(7)


def draw(*shape):
    return RANDOM.normal(0, 0.4, shape).astype("f4")


# Graphs, made here as plain data.


def artefact(kind, arrays, operations, shape=(None, None, 3), outputs=("y",), dtype="float32", inputs=("x",)):
    tensors = Tensors({k: TensorSpec(a.shape, a.dtype.name) for k, a in arrays.items()}, arrays.__getitem__)
    values = {name: Value(shape, dtype) for name in inputs}
    steps = tuple(Operation(f"{op} {k}", op, tuple(i), tuple(o), a) for k, (op, i, o, a) in enumerate(operations))
    return Artefact(Path("m"), kind, tensors, dataflow=Dataflow(steps, tuple(inputs), tuple(outputs), values))


def onnx(*after, cell=None, arrays=None, before=(), outputs=("y",), shape=(None, None, 3), dtype="float32"):
    """An LSTM 3 -> 4 (D, H), time-major, whose output "h" is (T, B, 4), with operations after it."""
    weights = {"W": draw(1, 16, 3), "R": draw(1, 16, 4), "B": draw(1, 32), "one": np.array([1])}
    lstm = ("LSTM", ("x", "W", "R", "B"), ("Y", "Y_h", "Y_c"), cell or {})
    steps = [*before, lstm, ("Squeeze", ("Y", "one"), ("h",), {}), *after]
    return recognise(artefact("onnx", weights | (arrays or {}), steps, shape, outputs, dtype))


DENSE = ("MatMul", ("h", "V"), ("y",), {})
HEAD = {"V": draw(4, 2), "b": draw(2)}


def test_onnx_chain():
    found = onnx(DENSE, arrays=HEAD)
    assert [type(layer).__name__ for layer in found.layers] == ["LSTM", "Dense"]
    assert any("time-major" in note for note in found.notes)


def test_onnx_bias_after_activation_is_refused():
    steps = [("MatMul", ("h", "V"), ("a",), {}), ("Tanh", ("a",), ("t",), {}), ("Add", ("t", "b"), ("y",), {})]
    with pytest.raises(RecognitionError, match="adds a constant, and no dense layer"):
        onnx(*steps, arrays=HEAD)


def test_onnx_residual():
    square = {"W": draw(1, 16, 4)}
    found = onnx(("Add", ("x", "h"), ("y",), {}), arrays=square, shape=(None, None, 4))
    assert found.layers[0].residual


@pytest.mark.parametrize(
    ("cell", "match"),
    [
        ({"clip": 3.0}, "clip 3.0"),
        ({"activations": [b"Sigmoid", b"Tanh", b"Relu"]}, "activation tanh of the candidate and relu"),
        ({"activations": [b"Sigmoid", b"ThresholdedRelu", b"Tanh"]}, "activation 'ThresholdedRelu'"),
        ({"activations": [b"LeakyRelu", b"Tanh", b"Tanh"]}, "with alpha 0.01"),
        ({"direction": b"sideways"}, "direction 'sideways'"),
        ({"hidden_size": 5}, "expected 4 gates"),
    ],
)
def test_onnx_cells_that_no_layer_is(cell, match):
    with pytest.raises(RecognitionError, match=match):
        onnx(DENSE, arrays=HEAD, cell=cell)


@pytest.mark.parametrize(
    ("steps", "match"),
    [
        ([("LayerNormalization", ("h",), ("y",), {})], "LayerNormalization 'LayerNormalization 2' is no operation"),
        ([("Sigmoid", ("h",), ("y",), {})], "it can only follow a dense layer"),
        ([("Mul", ("h", "V"), ("y",), {})], "fold it into the weights"),
        ([("MatMul", ("h", "nowhere"), ("y",), {})], "'nowhere' is made nowhere"),
        ([("MatMul", ("h", "B"), ("y",), {})], "a product of 4 features"),
        (
            [("Transpose", ("h",), ("t",), {"perm": [0, 2, 1]}), ("MatMul", ("t", "V"), ("y",), {})],
            "several steps at once",
        ),
        ([("Flatten", ("h",), ("f",), {"axis": 1}), ("MatMul", ("f", "V"), ("y",), {})], "several steps at once"),
        ([("Transpose", ("h",), ("y",), {"perm": [0, 0, 2]})], "transposition"),
        ([("Reshape", ("h", "V"), ("y",), {})], "reshape"),
        ([("Gather", ("h", "one"), ("y",), {"axis": 0})], "only the last step of time"),
        ([("Softmax", ("h",), ("y",), {"axis": 0})], "not the last"),
    ],
)
def test_onnx_graphs_that_are_no_chain(steps, match):
    with pytest.raises(RecognitionError, match=match):
        onnx(*steps, arrays=HEAD)


def test_onnx_an_output_beside_the_chain():
    with pytest.raises(RecognitionError, match="several outputs"):
        onnx(DENSE, ("MatMul", ("h", "U"), ("z",), {}), arrays=HEAD | {"U": draw(4, 5)}, outputs=("y", "z"))
    found = onnx(DENSE, arrays=HEAD, outputs=("y", "Y_h", "Y_c"))
    assert any("left aside: Y_h, Y_c" in note for note in found.notes)


def test_onnx_second_layer_along_another_axis():
    turned = ("Transpose", ("h",), ("t",), {"perm": [1, 0, 2]})
    again = ("LSTM", ("t", "W", "R", "B"), ("Z", "", ""), {})
    with pytest.raises(RecognitionError, match="does not run along the time axis"):
        onnx(turned, again, ("Squeeze", ("Z", "one"), ("y",), {}), arrays={"W": draw(1, 16, 4)}, shape=(None, None, 4))


def test_onnx_overrides():
    path = DATA / "onnx/keras_stacked/model.onnx"
    assert len(fastlstm.load(path, device="numpy", head=None).layers) == 2
    assert fastlstm.load(path, device="numpy", head_activation="relu").layers[-1].activation.label == "relu"
    with pytest.raises(ArgumentError, match="leave scope out"):
        fastlstm.load(path, scope="x")
    with pytest.raises(ArgumentError, match="2 recurrent layers"):
        fastlstm.load(path, num_layers=3)


def test_tensors_of_another_graph_are_not_looked_for(tmp_path):
    """A graph without any recurrent layer says so."""
    found = artefact("onnx", {"V": draw(3, 2)}, [("MatMul", ("x", "V"), ("y",), {})])
    with pytest.raises(RecognitionError, match="no output comes from an LSTM or a GRU"):
        recognise(found)


# TensorFlow Lite.


def test_tflite_converters_clip_is_read():
    model = fastlstm.load(DATA / "tflite/keras2_stacked/model.tflite", device="numpy")
    assert [finding.value for finding in model.report["cell_clip"]] == [10.0, 10.0]
    assert {finding.how for finding in model.report["cell_clip"]} == {"read"}


def test_tflite_loops_are_read():
    """Keras 3's converter writes no LSTM operator, and no clip."""
    model = fastlstm.load(DATA / "tflite/keras3_stacked/model.tflite", device="numpy")
    assert [layer.cell_clip for layer in model.layers[:2]] == [None, None]
    assert "body of WHILE" in model.report["activation"][0].source


def test_tflite_8_bit_weights_are_told():
    report = fastlstm.load(DATA / "tflite/int8_weights/model.tflite", device="numpy").report
    assert any("8-bit integers" in note for note in report.notes)


def tflite(changes, attrs=None):
    """An LSTM operator 3 -> 4 with some of its inputs changed."""
    inputs = ["x", *"abcd", *"efgh", "", "", "", *"ijkl", "", "", "s", "t", "", "", "", ""]
    arrays = {name: draw(4, 3) for name in "abcd"} | {name: draw(4, 4) for name in "efgh"}
    arrays |= {name: draw(4) for name in "ijklmno"} | {"P": draw(4, 4)}
    for k, name in changes.items():
        inputs[k] = name
    options = {"fused": "TANH", "cell_clip": 0.0, "proj_clip": 0.0, "time_major": 0, "diagonal": 0}
    step = ("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, ("y",), options | (attrs or {}))
    return recognise(artefact("tflite", arrays, [step]))


@pytest.mark.parametrize(
    ("changes", "attrs", "match"),
    [
        ({20: "m", 21: "n", 22: "o", 23: "m"}, {}, "normalises its gates"),
        ({16: "P", 17: "m"}, {}, "a projection with a bias"),
        ({2: ""}, {}, "a gate without weights or bias"),
        ({9: "m", 10: "n"}, {}, "2 of its peepholes"),
        ({2: "e"}, {}, "different shapes"),
        ({}, {"fused": "SIGN_BIT"}, "activation SIGN_BIT"),
        ({}, {"diagonal": 1}, "diagonal"),
    ],
)
def test_tflite_operators_that_no_layer_is(changes, attrs, match):
    with pytest.raises(RecognitionError, match=match):
        tflite(changes, attrs)


def test_tflite_plain_operator():
    assert [layer.hidden_size for layer in tflite({}).layers] == [4]


# PyTorch.


def torch_lstm(prefix, inputs, units, gates=4, number=0):
    rows = gates * units
    shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, units), "bias_ih": (rows,), "bias_hh": (rows,)}
    return {f"{prefix}.{key}_l{number}": draw(*shape) for key, shape in shapes.items()}


def linear(prefix, inputs, outputs):
    return {f"{prefix}.weight": draw(outputs, inputs), f"{prefix}.bias": draw(outputs)}


@pytest.fixture
def saved(tmp_path):
    def save(arrays):
        write_safetensors(tmp_path / "m.safetensors", arrays)
        return tmp_path / "m.safetensors"

    return save


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def test_torch_order_by_shape(saved):
    """safetensors sorts the names: the head comes before the LSTM."""
    path = saved(linear("a_head", 5, 2) | torch_lstm("z_rnn", 3, 5) | torch_lstm("z_rnn", 5, 5, number=1))
    model = fastlstm.load(path, device="numpy")
    assert kinds(model) == ["LSTM", "LSTM", "Dense"]
    assert model.report["order"][0].how == "inferred"
    assert any("pass head_activation" in note for note in model.report.notes)


def test_torch_biases_are_summed(saved):
    arrays = torch_lstm("rnn", 3, 5)
    layer = fastlstm.load(saved(arrays), device="numpy").layers[0]
    assert layer.bias.tolist() == (arrays["rnn.bias_ih_l0"] + arrays["rnn.bias_hh_l0"]).tolist()


def test_torch_cells(saved):
    """nn.LSTMCell has no number: each is a layer."""
    arrays = {}
    for k, inputs in enumerate((3, 5)):
        arrays |= {name.replace("_l0", ""): a for name, a in torch_lstm(f"cells.{k}", inputs, 5).items()}
    model = fastlstm.load(saved(arrays), device="numpy")
    assert [layer.input_size for layer in model.layers] == [3, 5]


def test_torch_two_orders(saved):
    """The names' alphabetical order says nothing: a head as wide as the input comes after the LSTM."""
    arrays = torch_lstm("rnn", 3, 5) | linear("fc", 5, 3)
    model = fastlstm.load(saved(arrays), device="numpy")
    assert kinds(model) == ["LSTM", "Dense"]
    assert model.report["order"][0].how == "assumed"
    assert "other orders" in model.report["order"][0].source


def test_torch_overrides(saved):
    arrays = linear("odd", 7, 7) | torch_lstm("rnn", 3, 5) | linear("out", 5, 2) | {"table": draw(11, 3)}
    with pytest.raises(RecognitionError):
        fastlstm.load(saved(arrays))
    options = {"head": ("out.weight", "out.bias"), "embedding": "table", "head_activation": "softmax"}
    model = fastlstm.load(saved(arrays), device="numpy", **options)
    assert kinds(model) == ["Embedding", "LSTM", "Dense"]
    assert model.layers[-1].activation.label == "softmax"
    with pytest.raises(ArgumentError, match="has no tensors 'nothing'"):
        fastlstm.load(saved(arrays), head=("nothing",))


def test_torch_scope(saved):
    arrays = torch_lstm("encoder.rnn", 3, 5) | torch_lstm("decoder.rnn", 4, 6) | linear("decoder.out", 6, 2)
    model = fastlstm.load(saved(arrays), scope="decoder", device="numpy")
    assert (model.input_size, kinds(model)) == (4, ["LSTM", "Dense"])
    with pytest.raises(ArgumentError, match=r"there are: decoder\.out"):
        fastlstm.load(saved(arrays), scope="other")


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        (torch_lstm("rnn", 3, 5, gates=1), "1 gates of 5 units"),
        (torch_lstm("rnn", 3, 5) | {"bn.weight": draw(5), "bn.bias": draw(5), "bn.running_mean": draw(5)}, "'bn'"),
        ({k: a for k, a in torch_lstm("rnn", 3, 5).items() if "bias_hh" not in k}, "expected two of"),
        ({k: a for k, a in torch_lstm("rnn", 3, 5).items() if "weight_hh" not in k}, "not those of an LSTM"),
        (linear("a", 3, 4), "no weight_ih_l0"),
        ({"w": draw(20, 5)}, "neither LSTM|no weight_ih_l0"),
        (torch_lstm("rnn", 3, 5) | linear("a", 9, 9), "orders of its modules"),
    ],
)
def test_torch_refusals(saved, arrays, match):
    with pytest.raises(RecognitionError, match=match):
        fastlstm.load(saved(arrays))


def test_torch_gap_in_the_layers(saved):
    with pytest.raises(RecognitionError, match="not those of an LSTM"):
        fastlstm.load(saved(torch_lstm("rnn", 3, 5) | torch_lstm("rnn", 5, 5, number=2)))


# JSON of audio software.


def changed(tmp_path, name, change):
    model = json.loads((DATA / name).read_text())
    change(model)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model))
    return path


def test_first_state_is_kept(tmp_path):
    golden = np.load(DATA / "nam/lstm/golden.npz")
    model = fastlstm.load(DATA / "nam/lstm/model.nam", device="numpy")
    pairs = [(golden[f"c0_{k}"][0], golden[f"h0_{k}"][0]) for k in range(2)]
    for ours, theirs in zip(model.report.initial_state, pairs, strict=True):
        assert [a.tolist() for a in ours] == [a.tolist() for a in theirs]
    ys, _ = model.run(golden["x"][0], model.report.initial_state)
    assert np.abs(ys - golden["y"][0]).max() < 2e-6
    fastlstm.save(model, tmp_path / "m.safetensors")
    again = fastlstm.load(tmp_path / "m.safetensors", device="numpy")
    assert np.array_equal(again.report.initial_state[1][0], model.report.initial_state[1][0])


def test_skip_connection_against_the_oracle():
    """y = dense(h) + x, by the oracle's loops over the file's own arrays."""
    state = json.loads((DATA / "guitarml/lstm/model.json").read_text())["state_dict"]
    w = {name: np.array(value, np.float32).astype(np.float64) for name, value in state.items()}
    x = draw(30, 1)
    cell = {
        "kernel": w["rec.weight_ih_l0"].T,
        "recurrent_kernel": w["rec.weight_hh_l0"].T,
        "bias": w["rec.bias_ih_l0"] + w["rec.bias_hh_l0"],
        "gates": "ifgo",
    }
    layers = [("lstm", cell), ("dense", {"kernel": w["lin.weight"].T, "bias": w["lin.bias"]})]
    expected, _ = oracle.run(layers, x, oracle.zero_states(layers))
    model = fastlstm.load(DATA / "guitarml/lstm/model.json", device="numpy")
    ys, state = model.run(x)
    assert np.abs(ys - expected - x).max() < 2e-6
    assert not state[0].h[:, -1].any()


@pytest.mark.parametrize(
    ("name", "change", "error", "match"),
    [
        (
            "nam/lstm/model.nam",
            lambda m: m.update(architecture="WaveNet"),
            RecognitionError,
            "'WaveNet'; expected LSTM",
        ),
        ("nam/lstm/model.nam", lambda m: m["weights"].pop(), FormatError, "weights, expected"),
        ("nam/lstm/model.nam", lambda m: m["config"].update(hidden_size=-1), FormatError, "hidden_size is '-1'"),
        ("nam/lstm/model.nam", lambda m: m["config"].update(num_layers=10**9), FormatError, "num_layers"),
        ("nam/lstm/model.nam", lambda m: m.update(config=[]), FormatError, "num_layers is 'None'"),
        ("guitarml/lstm/model.json", lambda m: m["model_data"].update(num_layers=2), RecognitionError, "2 layers"),
        ("guitarml/lstm/model.json", lambda m: m["model_data"].update(skip=2), RecognitionError, "skip 2"),
        (
            "guitarml/lstm/model.json",
            lambda m: m["state_dict"].pop("lin.weight"),
            RecognitionError,
            "without lin.weight",
        ),
        (
            "rtneural/lstm/model.json",
            lambda m: m["layers"][1].update(activation="relu"),
            RecognitionError,
            "runs tanh all",
        ),
        ("rtneural/lstm/model.json", lambda m: m["layers"][1].update(type="conv1d"), RecognitionError, "conv1d"),
        ("rtneural/gru/model.json", lambda m: m["layers"][1]["weights"].pop(), FormatError, "biases of shape"),
    ],
)
def test_audio_refusals(tmp_path, name, change, error, match):
    with pytest.raises(error, match=match):
        fastlstm.load(changed(tmp_path, name, change))


def test_audio_without_skip(tmp_path):
    path = changed(tmp_path, "guitarml/lstm/model.json", lambda m: m["model_data"].update(skip=0))
    assert kinds(fastlstm.load(path, device="numpy")) == ["LSTM", "Dense"]


@pytest.mark.parametrize(
    "name", ["tflite/coupled/model.tflite", "onnx/peepholes/model.onnx", "pytorch/gru/model.pt", "nam/lstm/model.nam"]
)
def test_inspect(name):
    seen = fastlstm.inspect(DATA / name)
    assert seen.problem is None
    assert seen.tensors
    assert str(seen)
