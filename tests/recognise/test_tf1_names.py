"""Checkpoints without a graph: what variables' names and shapes say, and what is assumed."""

import pytest
from tf1_graphs import artefact, found, recognise

from fastlstm.errors import RecognitionError
from fastlstm.layers import LSTM, Dense, Embedding
from fastlstm.recognise.tensorflow1.names import find_lstms as find_cells
from fastlstm.recognise.tensorflow1.names import stack_of, trained, within


def cell(scope, d, units, names=("kernel", "bias")):
    return {f"{scope}/{names[0]}": (d + units, 4 * units), f"{scope}/{names[1]}": (4 * units,)}


OLD = ("Linear/Matrix", "Linear/Bias")


@pytest.mark.parametrize(
    "variables",
    [
        cell("rnn/basic_lstm_cell", 3, 5),
        cell("rnn/lstm_cell", 3, 5, ("weights", "biases")),
        cell("rnn/my_cell", 3, 5),
        cell("deep/model/decoder/lstm_cell_1", 3, 5),
        cell("RNN/BasicLSTMCell", 3, 5, OLD),
        cell("RNN/LSTMCell", 3, 5, ("W_0", "B")),
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_names_of_every_version(variables):
    unclear = {"cell": "LSTMCell"} if "rnn/lstm_cell/weights" in variables else {}
    recognised = recognise(artefact(variables), **unclear)
    (layer,) = recognised.layers
    assert (layer.input_size, layer.hidden_size, layer.projection, layer.peepholes) == (3, 5, None, None)
    assert found(recognised, "forget_bias").value == 1.0
    assert {f.what: f.how for f in recognised.findings}["activation"] == "assumed"


@pytest.mark.parametrize(
    ("names", "projection", "diagonals"),
    [
        (("kernel", "bias"), "projection/kernel", "w_{}_diag"),
        (("weights", "biases"), "projection/weights", "w_{}_diag"),
        (("W_0", "B"), "W_P_0", "W_{}_diag"),
    ],
)
def test_projection_and_peepholes_follow_from_the_variables(names, projection, diagonals):
    scope = "rnn/lstm_cell"
    upper = diagonals.startswith("W")
    variables = {f"{scope}/{names[0]}": (3 + 4, 20), f"{scope}/{names[1]}": (20,), f"{scope}/{projection}": (5, 4)}
    variables |= {f"{scope}/{diagonals.format(gate.upper() if upper else gate)}": (5,) for gate in "ifo"}
    what = artefact(variables)
    (layer,) = recognise(what).layers
    assert (layer.input_size, layer.hidden_size, layer.output_size) == (3, 5, 4)
    for gate, weight in zip("ifo", layer.peepholes, strict=True):
        name = f"{scope}/{diagonals.format(gate.upper() if upper else gate)}"
        assert (weight == what.tensors[name]).all()


def test_layers_go_by_their_number():
    scopes = [f"rnn/multi_rnn_cell/cell_{k}/lstm_cell" for k in range(12)]
    variables = {}
    for k in reversed(range(12)):
        variables |= cell(scopes[k], 3 + k, 4 + k)
    assert [layer.name for layer in recognise(artefact(variables)).layers] == scopes


def test_layers_that_do_not_fit_are_no_stack():
    variables = cell("rnn/multi_rnn_cell/cell_0/lstm_cell", 3, 5) | cell("rnn/multi_rnn_cell/cell_1/lstm_cell", 4, 5)
    with pytest.raises(RecognitionError, match=r"gives 5 elements and .* takes 4"):
        recognise(artefact(variables))


def test_old_block_cells_clip():
    variables = {"RNN/LSTMBlockCell/W": (8, 20), "RNN/LSTMBlockCell/b": (20,)}
    clip = found(recognise(artefact(variables)), "cell_clip")
    assert (clip.value, clip.how) == (3.0, "assumed")


def test_cudnn_compatible_cells_add_no_forget_bias():
    variables = cell("rnn/multi_rnn_cell/cell_0/cudnn_compatible_lstm_cell", 3, 5)
    assert found(recognise(artefact(variables)), "forget_bias").value == 0.0


@pytest.mark.parametrize("name", ["embedding", "model/embedding", "embeddings"])
def test_an_embedding_is_known_by_name_and_size(name):
    recognised = recognise(artefact(cell("rnn/lstm_cell", 3, 5) | {name: (11, 3)}))
    assert isinstance(recognised.layers[0], Embedding)
    assert found(recognised, "embedding").how == "inferred"
    (layer,) = recognise(artefact(cell("rnn/lstm_cell", 3, 5) | {name: (11, 4)})).layers
    assert isinstance(layer, LSTM)


def test_two_embeddings_have_to_be_chosen_from():
    variables = cell("rnn/lstm_cell", 3, 5) | {"a/embedding": (11, 3), "b/embedding": (7, 3)}
    with pytest.raises(RecognitionError, match="several variables could be the embedding: a/embedding, b/embedding"):
        recognise(artefact(variables))
    assert recognise(artefact(variables), embedding="b/embedding").layers[0].vocabulary_size == 7
    assert len(recognise(artefact(variables), embedding=None).layers) == 1


@pytest.mark.parametrize(
    ("kernel", "bias", "name"),
    [
        ("softmax_w", "softmax_b", "softmax_w"),
        ("net/softmax_w", "net/softmax_b", "net/softmax_w"),
        ("dense/kernel", "dense/bias", "dense"),
        ("fully_connected/weights", "fully_connected/biases", "fully_connected"),
        ("output/kernel", None, "output"),
    ],
)
def test_a_head_is_known_by_name_and_size(kernel, bias, name):
    variables = cell("rnn/lstm_cell", 3, 5) | {kernel: (5, 2)} | ({bias: (2,)} if bias else {})
    recognised = recognise(artefact(variables))
    assert isinstance(recognised.layers[-1], Dense) and recognised.layers[-1].name == name
    activation = found(recognised, "head_activation")
    assert (activation.value, activation.how) == ("linear", "assumed")


def test_a_head_of_the_size_of_a_cell_is_a_head():
    """(16, 8) with a bias of 8 could be an LSTM's kernel: 2 units, 14 inputs."""
    variables = cell("rnn/lstm_cell", 3, 16) | {"dense/kernel": (16, 8), "dense/bias": (8,)}
    assert [type(layer) for layer in recognise(artefact(variables)).layers] == [LSTM, Dense]


def test_an_unknown_name_has_to_be_confirmed():
    variables = cell("thing", 3, 5)
    with pytest.raises(RecognitionError, match=r"could be an LSTM of 5 units or a dense layer.*scope='thing' takes it"):
        recognise(artefact(variables))
    assert recognise(artefact(variables), scope="thing").layers[0].hidden_size == 5


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"rnn/lstm_cell/kernel": (8, 20)}, "there is no bias 'rnn/lstm_cell/bias'"),
        (cell("rnn/lstm_cell", 3, 5) | {"rnn/lstm_cell/bias": (19,)}, r"has shape \(19,\)"),
        (cell("rnn/lstm_cell", 0, 5), "none are left for an input"),
        (cell("rnn/lstm_cell", 3, 5) | {"rnn/lstm_cell/w_i_diag": (5,)}, "not all are there"),
        (cell("rnn/lstm_cell", 3, 5) | {"rnn/lstm_cell/projection/kernel": (4, 4)}, r"expected \(5, P\)"),
        (cell("RNN/LSTMCell", 3, 5, ("W_0", "B")) | {"RNN/LSTMCell/W_1": (6, 20)}, "num_unit_shards"),
        (cell("rnn/lstm_cell", 3, 5) | {"rnn/lstm_cell/input/gamma": (5,)}, "more than an LSTM cell's variables"),
        (cell("lstm", 3, 5) | {"lstm/recurrent_kernel": (5, 20)}, "a Keras LSTM's weights"),
        ({"net/w": (8, 20)}, r"matrices with 4 u columns but without a bias of 4 u elements: net/w \(8, 20\)"),
        ({"conv/kernel": (3, 3, 1, 8)}, "convolution kernels"),
        ({}, "no variables at all"),
    ],
)
def test_near_misses_say_why(variables, says):
    with pytest.raises(RecognitionError, match=says) as error:
        recognise(artefact(variables))
    assert "no LSTM" in str(error.value) and "folder/model" in str(error.value)


def test_two_cells_of_one_scope_are_two_stacks():
    variables = cell("rnn/basic_lstm_cell", 3, 5) | cell("rnn/basic_lstm_cell_1", 5, 5)
    with pytest.raises(RecognitionError, match="2 LSTM stacks") as error:
        recognise(artefact(variables))
    assert "scope='rnn/basic_lstm_cell_1': 1 layer (5 -> 5)" in str(error.value)


def test_what_training_leaves_is_no_weight():
    weights = cell("rnn/lstm_cell", 3, 5)
    aside = {
        **{f"{name}/{slot}": shape for name, shape in weights.items() for slot in ("Adam", "Adam_1", "Momentum")},
        **{f"{name}/ExponentialMovingAverage": shape for name, shape in weights.items()},
        **{f"OptimizeLoss/{name}/RMSProp": shape for name, shape in weights.items()},
        **{f"{name}/HomeMadeSlot": shape for name, shape in weights.items()},
        "beta1_power": (),
        "global_step": (),
        "OptimizeLoss/learning_rate": (),
        "ids": (7, 7),
    }
    specs = artefact(weights | aside, dtypes={"ids": "int64"}).tensors.specs
    kept, left = trained(specs)
    assert kept == weights
    assert set(left) == set(aside)


def test_half_precision_and_float64_are_weights():
    specs = artefact(
        {"a": (2,), "b": (2,), "c": (2,), "d": (2,)}, dtypes={"a": "float16", "b": "bfloat16", "c": "float64"}
    )
    assert list(trained(specs.tensors.specs)[0]) == ["a", "b", "c", "d"]


def test_scopes_are_compared_by_whole_parts():
    assert within("enc/rnn/cell", "enc") and within("enc", "enc/") and within("enc", None)
    assert not within("encoder/rnn", "enc")


def test_stack_of_a_cell():
    assert stack_of("a/rnn/multi_rnn_cell/cell_0/lstm_cell") == "a/rnn"
    assert stack_of("RNN/MultiRNNCell/Cell1/BasicLSTMCell") == "RNN"
    assert stack_of("rnn/lstm_cell") == "rnn/lstm_cell"


def test_a_cell_at_the_root():
    assert list(find_cells({"kernel": (8, 20), "bias": (20,)}).cells) == [""]
