"""What of a graph of objects is a model, in which order, and what is asked for where the file does not tell."""

from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm.errors import ArgumentError, FormatError, RecognitionError
from fastlstm.formats import open_artefact
from fastlstm.recognise import recognise
from tests.recognise_objects.objects import CONFIG, dense, layers, lstm, recognised

DATA = Path(__file__).parents[1] / "data"


def test_layers_come_in_their_order_not_in_that_of_the_keys():
    model = {
        "layer_with_weights-10": dense(4, 2),
        "layer_with_weights-2": lstm(3, 5),
        "layer_with_weights-9": lstm(5, 4),
    }
    assert layers(recognised({"model": model})) == [
        ("LSTM", "model/layer_with_weights-2", 3, 5),
        ("LSTM", "model/layer_with_weights-9", 5, 4),
        ("Dense", "model/layer_with_weights-10", 4, 2),
    ]


def test_keras_3_operations_and_its_underscore():
    operations = {"0": {}, "10": dense(4, 4, "_kernel"), "2": lstm(4, 4)}
    found = recognised({"model": {"_functional": {"_operations": operations}, "optimizer": {}}})
    assert [name for _, name, _, _ in layers(found)] == [f"model/_functional/_operations/{k}" for k in (2, 10)]


def test_what_is_no_part_of_the_model_is_left_aside():
    layer = lstm(3, 4, states={"0": (1, 4), "1": (1, 4)}, keras_api={"states": {"0": (1, 4)}}, _random_generator={})
    optimizer = {"iter": (), "learning_rate": (), "momentum": {"0": (3, 16)}}
    seed = {"seed_generator_state": (2,)}
    tree = {"net": {"layer_with_weights-0": layer}, "save_counter": (), "step": (), "adam_of_mine": optimizer}
    tree["net"] |= {"keras_api": {"metrics": {"0": {"total": (4, 16)}}}, "seed_generator": seed}
    assert layers(recognised(tree)) == [("LSTM", "net/layer_with_weights-0", 3, 4)]


def test_attributes_are_ordered_by_shape_and_it_is_said():
    found = recognised({"answer": dense(4, 2), "upper": lstm(6, 4), "below": lstm(3, 6)})
    assert [name for _, name, _, _ in layers(found)] == ["below", "upper", "answer"]
    (order,) = [f for f in found.findings if f.what == "order"]
    assert (order.how, order.source) == ("inferred", "the only order that fits: below -> upper -> answer")


def test_a_list_of_layers_is_in_order():
    found = recognised({"stack": {"0": lstm(4, 4), "1": lstm(4, 4)}})
    assert [name for _, name, _, _ in layers(found)] == ["stack/0", "stack/1"]


def test_an_object_on_two_paths_and_in_a_cycle_is_one():
    shared = lstm(3, 4)
    tree = {"first": shared, "again": shared}
    tree["root"] = tree
    shared["parent"] = tree
    assert layers(recognised(tree)) == [("LSTM", "first", 3, 4)]


def test_several_models_need_a_scope():
    tree = {"encoder": {"layer_with_weights-0": lstm(3, 4)}, "decoder": {"layer_with_weights-0": lstm(2, 4)}}
    with pytest.raises(
        RecognitionError, match=r"2 models with an LSTM; pick one:\n  scope='encoder'.*\n  scope='decod"
    ):
        recognised(tree)
    assert layers(recognised(tree, scope="decoder")) == [("LSTM", "decoder/layer_with_weights-0", 2, 4)]
    assert layers(recognised(tree, scope="encoder/layer_with_weights-0")) == [
        ("LSTM", "encoder/layer_with_weights-0", 3, 4)
    ]


def test_a_scope_that_is_nowhere():
    with pytest.raises(RecognitionError, match="no variable lies below scope 'decoder'"):
        recognised({"encoder": {"layer_with_weights-0": lstm(3, 4)}}, scope="decoder")


def test_trap_hard_sigmoid_of_the_old_era_is_asked_for():
    tree = {"layer_with_weights-0": lstm(3, 4)}
    with pytest.raises(RecognitionError, match=r"layer_with_weights-0.*Pass recurrent_activation='sigmoid' or 'hard_s"):
        recognised(tree, recent=False)
    (layer,) = recognised(tree, recent=False, recurrent_activation="hard_sigmoid").layers
    assert layer.recurrent_activation.label == "hard_sigmoid"


def test_the_default_of_a_recent_file_is_assumed():
    found = recognised({"layer_with_weights-0": lstm(3, 4)})
    (finding,) = [f for f in found.findings if f.what == "recurrent_activation"]
    assert (finding.value, finding.how) == ("sigmoid", "assumed")


def test_trap_stacked_cells_that_keras_3_leaves_out():
    with pytest.raises(RecognitionError, match=r"object 'rnn' is a recurrent layer whose cell has no weights.*stacked"):
        recognised({"rnn": {"cell": {}}, "more": lstm(3, 4)})
    with pytest.raises(
        RecognitionError, match=r"object 'model/_operations/1' is a recurrent layer whose cell has no w"
    ):
        fastlstm.load(DATA / "keras3" / "stacked" / "checkpoint-1")


def test_a_layer_with_other_weights_is_named():
    odd = {"gamma": (4,), "beta": (4,)}
    with pytest.raises(RecognitionError, match=r"layer_with_weights-1: the weights layer_with_weights-1/beta \(4,\)"):
        recognised({"layer_with_weights-0": lstm(3, 4), "layer_with_weights-1": odd})


def config(kind, **settings):
    return {"class_name": kind, "config": settings}


def test_configurations_kept_with_the_objects():
    """OBJECT_CONFIG_JSON, as TensorFlow 1.13 to 2.x may keep it."""
    said = config(
        "LSTM", name="mine", units=4, activation="relu", recurrent_activation="hard_sigmoid", return_sequences=True
    )
    head = dense(4, 2) | {CONFIG: config("Dense", name="out", units=2, activation="tanh")}
    tree = {"layer_with_weights-1": head, "layer_with_weights-0": lstm(3, 4) | {CONFIG: said}}
    found = recognised(tree, recent=False)
    assert [layer.activation.label for layer in found.layers] == ["relu", "tanh"]
    assert found.layers[0].recurrent_activation.label == "hard_sigmoid"
    (finding,) = [f for f in found.findings if f.what == "recurrent_activation"]
    assert finding.source == "config key 'recurrent_activation' of layer 'layer_with_weights-0'"


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '"x"', "[1]"])
def test_configurations_that_are_none(text):
    tree = {"layer_with_weights-0": lstm(3, 4) | {CONFIG: text}}
    if text.startswith(("{", "[[")):
        with pytest.raises(FormatError, match="the metadata of object 1 is not JSON"):
            recognised(tree)
    else:
        assert layers(recognised(tree)) == [("LSTM", "layer_with_weights-0", 3, 4)]


def test_cells_of_tensorflow_1_kept_as_objects():
    cell = {"_kernel": (7, 16), "_bias": (16,)}
    names = {"cell/_kernel": "rnn/basic_lstm_cell/kernel", "cell/_bias": "rnn/basic_lstm_cell/bias"}
    found = recognised({"cell": cell}, names=names)
    assert layers(found) == [("LSTM", "rnn/basic_lstm_cell", 3, 4)]
    assert any(f.what == "forget_bias" and f.how == "assumed" for f in found.findings)


def test_near_misses_are_explained():
    with pytest.raises(RecognitionError, match=r"no LSTM.*\n.*'lstm/kernel' has shape \(7, 15\)"):
        recognised({"lstm": {"kernel": (7, 15), "bias": (15,)}})


def test_paths_that_no_python_object_has():
    tree = deep = {}
    for _ in range(70):
        deep["a"] = deep = {}
    deep["b"] = lstm(3, 4)
    with pytest.raises(FormatError, match="is 65 edges from the root; the file is damaged"):
        recognised(tree)
    with pytest.raises(FormatError, match="edges from the root"):
        recognised({"x" * 1000: {"y" * 1000: lstm(3, 4)}})


@pytest.mark.parametrize(
    ("file", "what", "source"),
    [
        (
            "tf2.15/no_bias_hard/without_traces",
            "recurrent_activation",
            "config key 'recurrent_activation' of layer 'lstm'",
        ),
        ("keras2/one_layer/saved_model", "units", "config key 'units' of layer 'lstm'"),
        (
            "keras3/no_bias_hard/exported",
            "recurrent_activation",
            r"node 'sequential_1/lstm_1/while/lstm_cell_1/truediv' of",
        ),
        ("keras2/no_bias_hard/session", "recurrent_activation", "node 'lstm/while/clip_by_value"),
        ("tf2.15/module/saved_model", "cell_clip", "node 'rnn/while/lstm_cell/clip_by_value"),
        ("tf2.15/objects/weights", "activation", "the file holds weights only"),
    ],
)
def test_the_report_says_where_from(file, what, source):
    found = recognise(open_artefact(DATA / file))
    assert any(f.what == what and source in f.source for f in found.findings), [
        f.source for f in found.findings if f.what == what
    ]


def test_the_two_hard_sigmoids_are_told_apart_in_graphs():
    labels = [
        fastlstm.load(DATA / file, device="numpy").layers[0].recurrent_activation.label
        for file in ("keras2/no_bias_hard/session", "keras3/no_bias_hard/exported")
    ]
    assert labels == ["hard_sigmoid", "hard_sigmoid_keras3"]


def test_a_saved_model_by_its_functions_alone(tmp_path):
    """tf.keras' SavedModel without what Keras says of it: its functions say the same."""
    import shutil

    from fastlstm.formats import proto

    folder = DATA / "tf2.15" / "one_layer" / "saved_model"
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "keras_metadata.pb").unlink()
    one, two = (fastlstm.load(path, device="numpy") for path in (folder, tmp_path / "m"))
    assert proto.parse("SavedModel", (folder / "saved_model.pb").read_bytes(), "").meta_graphs
    assert one.layers[0].kernel.tobytes() == two.layers[0].kernel.tobytes()
    assert "node" in two.report["activation"][0].source
    x = np.random.default_rng(0).normal(size=(1, 9, 3)).astype(np.float32)
    np.testing.assert_array_equal(one.run(x)[0], two.run(x)[0])


def test_overrides_that_do_not_apply():
    with pytest.raises(ArgumentError, match="num_layers"):
        recognised({"layer_with_weights-0": lstm(3, 4)}, num_layers=2)


def test_the_signature_decides_between_two_stacks():
    from dataclasses import replace

    from fastlstm.formats.graph import Output
    from tests.recognise.tf1_graphs import Builder, artefact, recognise

    net = Builder()
    x = net.placeholder()
    (served, _), _ = (net.dynamic_rnn(scope, x, (3, 4)) for scope in ("served", "other"))
    with pytest.raises(RecognitionError, match="2 LSTM stacks; pick one"):
        recognise(net.artefact())
    graph = replace(net.graph(), outputs=(Output(served, 0),))
    assert [layer.name for layer in recognise(artefact(net.shapes, graph)).layers] == ["served"]


def test_a_softmax_that_the_signature_gives_is_the_models():
    from dataclasses import replace

    from fastlstm.formats.graph import Output
    from tests.recognise.tf1_graphs import Builder, artefact, recognise

    net = Builder()
    (ys, _) = net.dynamic_rnn("rnn/lstm_cell", net.placeholder(), (3, 4))
    softmax = net.add("Softmax", "softmax", net.dense("dense", ys, (4, 2)))
    for version, activation in (("2.21.0", "softmax"), ("1.15.5", "linear")):
        graph = replace(net.graph(), tensorflow_version=version, outputs=(Output(softmax, 0),))
        assert recognise(artefact(net.shapes, graph)).layers[-1].activation.label == activation
