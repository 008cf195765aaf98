"""What is no chain of LSTM layers: each refusal says what it is and what was expected."""

import pytest
from keras_helpers import DENSE2, LSTM4, folders, functional, layer, legacy, recognised, sequential, small, weights_of

from fastlstm.errors import RecognitionError

KINDS = [
    "Add", "BatchNormalization", "Concatenate", "Conv1D", "ConvLSTM2D", "Flatten", "Lambda", "LayerNormalization",
    "MultiHeadAttention", "MyLayer", "PReLU", "RepeatVector", "Reshape", "SimpleRNN",
]  # fmt: skip


def changed(entry, **config):
    return dict(entry, config=dict(entry["config"], **config))


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_are_not_run(kind):
    with pytest.raises(
        RecognitionError, match=f"made.h5: layer 'x' is a {kind}, which is not supported: .*a chain with"
    ):
        recognised(small(LSTM4, layer(kind, "x"), DENSE2))


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([changed(LSTM4, activation={"class_name": "LeakyReLU", "config": {}})], "activation is a LeakyReLU object"),
        ([changed(LSTM4, activation={"class_name": "__lambda__"})], "activation is a __lambda__ object"),
        ([changed(LSTM4, activation="glu")], "activation: activation 'glu' is not one"),
        ([changed(LSTM4, activation="my_own")], "activation 'my_own' is not one"),
        ([changed(LSTM4, dtype={"class_name": "P", "config": {"name": "int8_from_float32"}})], "quantised to int8"),
        ([LSTM4, layer("Activation", "a", activation="relu")], "Activation after LSTM 'lstm'"),
        ([LSTM4, changed(DENSE2, activation="relu"), layer("Activation", "a", activation="tanh")], r"'dense' \(relu\)"),
        ([layer("Activation", "a", activation="relu"), LSTM4], "Activation after the input"),
        ([LSTM4, DENSE2, layer("Softmax", "a", axis=1)], "Softmax over axis 1"),
        ([LSTM4, DENSE2, layer("ReLU", "a", negative_slope=0.3)], "negative_slope=0.3"),
        ([DENSE2], r"no LSTM among its layers \(Dense 'dense'\)"),
        ([], r"no LSTM among its layers \(none\)"),
        ([layer("TimeDistributed", "t", layer=LSTM4)], r"TimeDistributed\(LSTM\)"),
        ([LSTM4, layer("Embedding", "dense", input_dim=4, output_dim=2)], "2 weights in the file"),
        ([changed(LSTM4, units=5)], "are for units = 4; the configuration says 5"),
        ([changed(LSTM4, use_bias=False)], r"3 weights in the file .*expected 2"),
        ([changed(LSTM4, name="other")], "layer 'other': 0 weights in the file; expected 3"),
    ],
)
def test_settings_that_are_not_run(layers, says):
    artefact = small(*layers)
    if layers and layers[0]["class_name"] == "Embedding":
        artefact = legacy(sequential(*layers), e=weights_of("Embedding", 5, 3), lstm=weights_of("LSTM", 3, 4))
    with pytest.raises(RecognitionError, match=f"made.h5: .*{says}"):
        recognised(artefact)


def test_an_lstm_after_one_that_gives_its_last_output_only():
    weights = {"a": weights_of("LSTM", 3, 4), "b": weights_of("LSTM", 4, 4)}
    first, second = changed(LSTM4, name="a", return_sequences=False), changed(LSTM4, name="b")
    with pytest.raises(RecognitionError, match="LSTM 'b' comes after 'a', which gives its last output only"):
        recognised(legacy(sequential(first, second), **weights))


def test_an_embedding_that_is_not_first():
    model = sequential(LSTM4, layer("Embedding", "e", input_dim=5, output_dim=3))
    with pytest.raises(RecognitionError, match="Embedding after other layers"):
        recognised(legacy(model, lstm=weights_of("LSTM", 3, 4), e=weights_of("Embedding", 5, 3)))


def test_sizes_that_do_not_fit_the_layer_before():
    weights = {"a": weights_of("LSTM", 3, 4), "b": weights_of("LSTM", 5, 4)}
    model = sequential(changed(LSTM4, name="a"), changed(LSTM4, name="b"))
    with pytest.raises(
        RecognitionError, match=r"'b' \(LSTM\): weight 'b/b/kernel:0' has shape \(5, 16\); expected .*\(4, 16\)"
    ):
        recognised(legacy(model, **weights))


def model_of(*layers, **ends):
    return functional((layer("InputLayer", "in"), []), *layers, **ends)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (model_of((LSTM4, ["in"]), (layer("Add", "out"), ["lstm", "in"])), "'out' is a Add with 2 inputs"),
        (model_of((LSTM4, ["in", "in2"]), outputs=["lstm"]), "initial state comes from outside"),
        (model_of((LSTM4, ["in"]), (DENSE2, ["lstm"]), outputs=["lstm", "dense"]), r"2 outputs \(lstm, dense\)"),
        (model_of((LSTM4, ["in"]), inputs=["in", "in2"], outputs=["lstm"]), r"2 inputs \(in, in2\)"),
        (
            model_of((LSTM4, ["in"]), (DENSE2, ["lstm"]), outputs=["lstm"]),
            "beside the chain from input to output: dense",
        ),
        (model_of((LSTM4, ["dense"]), (DENSE2, ["lstm"]), outputs=["lstm"]), "lead to 'lstm' twice"),
        (model_of((LSTM4, ["nowhere"]), outputs=["lstm"]), "lead to 'nowhere'"),
    ],
)
def test_graphs_that_are_no_chain(model, says):
    with pytest.raises(RecognitionError, match=says):
        recognised(legacy(model, lstm=weights_of("LSTM", 3, 4), dense=weights_of("Dense", 4, 2)))


def test_a_layer_used_twice():
    model = model_of((LSTM4, ["in"]), outputs=["lstm"])
    entry = model["config"]["layers"][1]
    entry["inbound_nodes"] = entry["inbound_nodes"] * 2
    with pytest.raises(RecognitionError, match="LSTM that is used 2 times"):
        recognised(legacy(model, lstm=weights_of("LSTM", 3, 4)))


def test_a_subclassed_model():
    with pytest.raises(RecognitionError, match=r"is a 'MyModel' whose configuration lists no layers.*save_weights"):
        recognised(folders({"class_name": "MyModel", "config": {"units": 4}}))


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([layer("Bidirectional", "b", layer=layer("SimpleRNN", "r"))], r"Bidirectional\(SimpleRNN\)"),
        ([layer("Bidirectional", "b", layer=LSTM4, merge_mode="add")], "merge_mode='add'"),
        ([layer("Bidirectional", "b", layer=LSTM4, backward_layer=LSTM4)], "the same go_backwards"),
        (
            [layer("Bidirectional", "b", layer=layer("RNN", "r", cell=layer("StackedRNNCells", "s", cells=[])))],
            "RNN without cells",
        ),
        ([layer("Masking", "m", mask_value="x"), LSTM4], "Masking with mask_value='x'"),
        ([layer("Masking", "m"), LSTM4, DENSE2, layer("Softmax", "s")], "Softmax after 'm', which masks steps"),
        (
            [layer("Masking", "m"), changed(LSTM4, go_backwards=True), changed(LSTM4, name="a")],
            "LSTM after 'lstm', which goes backwards over masked steps",
        ),
        (
            [changed(LSTM4, return_sequences=False), changed(LSTM4, name="a", go_backwards=True)],
            "Reverse 'a' comes after",
        ),
        ([LSTM4, DENSE2, layer("LeakyReLU", "r", alpha=0.3)], "LeakyReLU with a slope of 0.3; expected 0.2"),
        ([LSTM4, DENSE2, layer("LeakyReLU", "r")], "LeakyReLU with a slope of 0.3; expected 0.2"),
        ([LSTM4, DENSE2, layer("ELU", "r", alpha=0.5)], "ELU with alpha=0.5; expected 1"),
        ([layer("SimpleRNN", "r"), DENSE2], r"look like LSTM\(3, 4\) in 'lstm/lstm', LSTM\(4, 4\) in 'a/a'"),
    ],
)
def test_masks_and_halves_that_are_not_run(layers, says):
    arrays = {"lstm": weights_of("LSTM", 3, 4), "dense": weights_of("Dense", 4, 4), "a": weights_of("LSTM", 4, 4)}
    with pytest.raises(RecognitionError, match=says):
        recognised(legacy(sequential(*layers), "2.15.0", **arrays))


@pytest.mark.parametrize("kind", ["LeakyReLU", "ELU"])
def test_activation_layers_with_the_known_slope(kind):
    found = recognised(small(LSTM4, DENSE2, layer(kind, "a", alpha=0.2 if kind == "LeakyReLU" else 1.0)))
    assert found.layers[1].activation.label == {"LeakyReLU": "leaky_relu", "ELU": "elu"}[kind]


@pytest.mark.parametrize("unroll", [True, False])
def test_zeros_that_keras_misplaces(unroll):
    """Where it unrolls a layer that goes backwards over masked steps."""
    settings = {"zero_output_for_mask": True, "go_backwards": True, "unroll": unroll}
    made = small(layer("Masking", "m", mask_value=0.0), changed(LSTM4, **settings), DENSE2)
    if not unroll:
        assert len(recognised(made).layers) == 4
        return
    with pytest.raises(RecognitionError, match=r"'lstm' is a LSTM with unroll=True that goes backwards over masked"):
        recognised(made)
    half = {"layer": changed(LSTM4, unroll=True)}
    three = weights_of("LSTM", 3, 4)
    made = legacy(sequential(layer("Masking", "m", mask_value=0.0), layer("Bidirectional", "b", **half)), "2.15.0",
                  b=[*three, *three])  # fmt: skip
    with pytest.raises(RecognitionError, match=r"'b' is a Bidirectional with unroll=True that goes backwards"):
        recognised(made)


@pytest.mark.parametrize(("version", "refused"), [("2.2.4-tf", True), ("2.15.0", False)])
def test_masks_that_tensorflow_1_does_not_hand_on(version, refused):
    inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": [LSTM4]}}
    made = legacy(sequential(layer("Masking", "m", mask_value=0.0), inner), version, inner=weights_of("LSTM", 3, 4))
    if not refused:
        assert len(recognised(made).layers) == 2
        return
    with pytest.raises(RecognitionError, match=r"'lstm' is a LSTM of a model within the model, after 'm', which masks"):
        recognised(made)
