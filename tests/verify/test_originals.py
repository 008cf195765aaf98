"""verify against live TensorFlow and Keras, and against what was tampered with."""

import json
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm import cli
from fastlstm.layers import recurrent_layers
from fastlstm.model import Model
from fastlstm.verification import compare

DATA = Path(__file__).parents[1] / "data"


def verified(file, **how):
    return fastlstm.verify(DATA / file, **{"device": "numpy", "steps": 30} | how)


def found(result, comparison):
    return {(d.layer, d.value): d for d in result.differences if d.comparison == comparison}


@pytest.mark.parametrize(
    "file",
    [
        "tf1.15/static/model",  # an unrolled loop
        "tf1.15/block/model",  # one fused operation for all steps
        "cells_tf1.15/gru_cell/model",
        "cells_tf1.15/layer_norm/model",
        "cells_tf1.15/highway_uncoupled/model",
        "cells_tf1.15/projections/model",
        "tf1.15/reused_scope/model",  # two layers of one scope
        "tf0.12/two_shards/model",  # without the operations that restore it
        "tf1.0/every_format/frozen.pb",
        "tf1.15/saved_model/saved_model",
    ],
)
def test_graphs(tensorflow, file):
    result = verified(file, batch=2)
    assert result.equal, result
    assert result.runner.startswith("TensorFlow ")
    assert found(result, "known") and found(result, "loop") and found(result, "free"), result


def test_a_token_model_on_the_command_line(tensorflow, alone, capsys):
    path = str(DATA / "tf1.15" / "multi" / "model")
    assert cli.main(["verify", path, "--steps", "40", "--device", "numpy", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["equal"] is True
    assert said["feedback"] == "ids"
    assert said["steps"] == {"known": 100, "loop": 40, "compared": 40, "long": 140}
    cells = [f"rnn/multi_rnn_cell/cell_{k}/basic_lstm_cell" for k in range(3)]
    rows = [(d["layer"], d["value"]) for d in said["differences"] if d["comparison"] == "known"]
    assert rows == [*((cell, value) for cell in cells for value in "ch"), ("softmax_w", "output")]
    assert {d["comparison"] for d in said["differences"]} == {"whole", "known", "loop", "free"}
    (ids,) = [d for d in said["differences"] if d["value"] == "ids"]
    assert (ids["largest"], ids["begins"]) == (0, None)


def test_keras_3(tensorflow):
    result = verified("keras3/sequential/model.keras")
    assert result.equal, result
    assert result.runner.startswith("Keras 3")
    assert set(found(result, "known")) >= {("lstm", "c"), ("lstm_1", "h"), ("time_distributed", "output")}
    assert found(result, "whole")["", "output"].begins is None
    assert "EQUAL within 2e-06" in str(result)


@pytest.mark.parametrize("file", ["tf_keras/hard_sigmoid/model.h5"])
def test_keras_2(tf_keras, file):
    result = verified(file)
    assert result.equal, result
    assert result.runner.startswith("tf_keras")


@pytest.mark.parametrize("file", ["cells_tf1.15/bidirectional_apart/model", "cells_tf1.15/bidirectional_stack/model"])
def test_both_directions(tensorflow, file):
    """Layer by layer, each way step by step; no loop, which is said, but a long sequence."""
    result = verified(file)
    assert result.equal, result
    assert {d.comparison for d in result.differences} == {"whole", "known", "long"}
    layers = {layer for layer, _ in found(result, "known")}
    assert any("/fw/" in layer for layer in layers) and any("/bw/" in layer for layer in layers)
    assert "a loop that feeds its output back: there is none" in str(result)
    assert "in one call over 30 steps of random input:" in str(result)


def test_a_stateful_model(tensorflow):
    """What it keeps from the call before is not in the next."""
    assert verified("keras3/stateful/model.keras", steps=5).equal


def test_both_directions_in_keras(tensorflow):
    result = verified("keras3/two_ways/model.keras")
    assert result.equal, result
    assert {d.comparison for d in result.differences} == {"whole", "known", "long"}
    assert len({layer for layer, value in found(result, "known") if value == "c"}) == 3


def test_an_unrolled_graph_takes_no_long_sequence(tensorflow):
    """The layers of it do."""
    result = verified("cells_tf1.15/bidirectional_static/model")
    assert result.equal, result
    assert found(result, "long")["", "output"].begins is None


def test_an_encoders_state_is_where_the_decoder_begins(tensorflow):
    result = verified("tf1.15/two_stacks/model", scope="decoder")
    assert result.equal and found(result, "whole"), result


def test_a_saved_model_of_keras_3(tensorflow):
    """Its signature gives no state: in one call, it is run over a long sequence."""
    result = verified("keras3/one_layer/exported")
    assert result.equal, result
    assert {d.comparison for d in result.differences} == {"whole", "long"}
    assert "a signature gives no state" in str(result)
    assert "in one call over 130 steps of random input:" in str(result)


def test_a_saved_model_with_a_fixed_number_of_steps(tensorflow):
    result = verified("keras3/ids/exported")
    assert result.equal, result
    assert {d.comparison for d in result.differences} == {"whole"}
    assert "over a long sequence: its input has" in str(result)


def test_a_saved_model_of_keras_2(tf_keras):
    result = verified("tf2.15/ids/without_traces")
    assert result.equal, result
    assert result.runner.startswith("tf_keras")
    assert found(result, "known") and found(result, "loop")


def test_a_wrong_override_is_found(tensorflow, capsys):
    path = str(DATA / "tf1.15" / "basic" / "model")
    argv = ["verify", path, "--steps", "20", "--device", "numpy", "--set", "forget_bias=0.0"]
    assert cli.main(argv) == 1
    said = capsys.readouterr().out
    assert "DIFFERENT: " in said
    assert "from step 1 on" in said  # at step 0 the state is zero, and the forget gate changes nothing


def moved(array):
    def change(arrays, config):
        array_of(arrays, array).flat[3] += 1e-3

    return change


def array_of(arrays, ending):
    return next(a for name, a in sorted(arrays.items()) if name.endswith(ending))


def set_to(**settings):
    return lambda arrays, config: config.update(settings)


def gates_swapped(arrays, config):
    bias = array_of(arrays, "bias")
    i, f, g, o = np.split(bias.copy(), 4)
    bias[:] = np.concatenate([f, i, g, o])


def forgotten(arrays, config):
    bias = array_of(arrays, "bias")
    bias[len(bias) // 4 : len(bias) // 2] -= 1.0


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("tf1.15/basic/model", moved("recurrent_kernel")),
        ("tf1.15/basic/model", gates_swapped),
        ("tf1.15/lstm_peephole_proj_clip/model", forgotten),
        ("tf1.15/lstm_peephole_proj_clip/model", set_to(cell_clip=None)),
        ("tf1.15/lstm_peephole_proj_clip/model", set_to(proj_clip=None)),
        ("tf1.15/lstm_peephole_proj_clip/model", moved("peephole_f")),
        ("tf1.15/saved_model/saved_model", forgotten),
        ("tf1.0/every_format/frozen.pb", moved("recurrent_kernel")),
        ("cells_tf1.15/block_fused_clip/model", set_to(cell_clip=None)),
        ("cells_tf1.15/layer_norm/model", moved("norm_gamma")),
        ("cells_tf1.15/highway/model", moved("carry_bias")),
        ("cells_tf1.15/gru_cell/model", moved("recurrent_kernel")),
        ("cells_tf1.15/coupled/model", forgotten),
        ("cells_tf1.15/bidirectional_concat/model", moved("backward/0/recurrent_kernel")),
        ("keras3/sequential/model.keras", moved("recurrent_kernel")),
        ("keras3/hard_sigmoid/model.keras", set_to(recurrent_activation="hard_sigmoid")),
        ("keras3/ids/exported", moved("recurrent_kernel")),
        ("keras3/ids/exported", forgotten),
        ("keras3/two_ways_exported/exported", gates_swapped),
        ("tf_keras/hard_sigmoid/model.h5", set_to(recurrent_activation="hard_sigmoid_keras3")),
        ("tf2.15/ids/without_traces", moved("bias")),
    ],
)
def test_what_is_wrong_is_found(tensorflow, monkeypatch, file, change):
    """One weight off by 0.001, a clip left out, another era's hard sigmoid: in every kind of file."""
    if file.startswith(("tf_keras", "tf2")):
        pytest.importorskip("tf_keras", reason="files of Keras 2 run in tf_keras")
    tampered(monkeypatch, change)
    result = verified(file, steps=5)
    assert not result.equal, result
    assert "DIFFERENT" in str(result)


def tampered(monkeypatch, change, number=0):
    """Have verify load a model that `change(arrays, config)` has changed one layer with a state of."""

    def load(*args, **how):
        model = fastlstm.load(*args, **how)
        layers = list(model.layers)
        at = [k for k, layer in enumerate(layers) if recurrent_layers([layer])][number]
        arrays, config = {name: a.copy() for name, a in layers[at].arrays().items()}, layers[at].config()
        change(arrays, config)
        layers[at] = type(layers[at]).from_arrays(arrays, config)
        return Model(layers, device="numpy", report=model.report)

    monkeypatch.setattr(compare, "load", load)


def test_a_changed_weight_is_found_where_it_is(tensorflow, monkeypatch):
    """In the second of three layers: the first agrees, the second differs from the step on that the weight matters."""

    def change(arrays, config):
        arrays["recurrent_kernel"][3, 5] += 0.01  # not felt while h is zero

    tampered(monkeypatch, change, number=1)
    result = verified("tf1.15/multi/model")
    assert not result
    cells = [f"rnn/multi_rnn_cell/cell_{k}/basic_lstm_cell" for k in range(3)]
    known, loop = found(result, "known"), found(result, "loop")
    assert known[cells[0], "c"].begins is None and known[cells[0], "h"].begins is None
    assert known[cells[1], "c"].begins == 1 and known[cells[1], "h"].begins >= 1
    assert known[cells[2], "c"].begins >= 1
    assert known["softmax_w", "output"].begins is not None
    assert loop[cells[0], "h"].begins is None and loop[cells[1], "c"].begins == 0
    assert np.isfinite(known[cells[1], "c"].largest)
    assert f"DIFFERENT: output from step {found(result, 'whole')['', 'output'].begins} on" in str(result)
