"""verify against live TensorFlow and Keras, and against what was tampered with."""

import json
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm import cli
from fastlstm.model import Model
from fastlstm.verification import compare

DATA = Path(__file__).parents[1] / "data"


def verified(file, **how):
    return fastlstm.verify(DATA / file, **{"device": "numpy", "steps": 60} | how)


def found(result, comparison):
    return {(d.layer, d.value): d for d in result.differences if d.comparison == comparison}


@pytest.mark.parametrize(
    "file",
    [
        "tf1.15/static/model",  # an unrolled loop
        "tf1.15/block/model",  # one fused operation for all steps
        "tf1.15/gru/model",
        "tf1.0/every_format/frozen.pb",
        "tf1.15/saved_model/saved_model",
    ],
)
def test_graphs(tensorflow, file):
    result = verified(file, batch=2)
    assert result.equal, result
    assert result.runner.startswith("TensorFlow ")
    assert found(result, "known") and found(result, "loop") and found(result, "free"), result


def test_a_token_model_on_the_command_line(tensorflow, capsys):
    path = str(DATA / "tf1.15" / "multi" / "model")
    assert cli.main(["verify", path, "--steps", "80", "--device", "numpy", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["equal"] is True
    assert said["feedback"] == "ids"
    assert said["steps"] == {"known": 100, "loop": 80, "compared": 80}
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


def test_a_saved_model_of_keras_3(tensorflow):
    """Its signature gives no state: one comparison, and the reason why there is no other."""
    result = verified("keras3/ids/exported")
    assert result.equal, result
    assert {d.comparison for d in result.differences} == {"whole"}
    assert "a signature gives no state" in str(result)


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


def test_a_changed_weight_is_found_where_it_is(tensorflow, monkeypatch):
    """In the second of three layers: the first agrees, the second differs from the step on that the weight matters."""

    def tampered(*args, **how):
        model = fastlstm.load(*args, **how)
        layers = list(model.layers)
        arrays = {name: a.copy() for name, a in layers[2].arrays().items()}
        arrays["recurrent_kernel"][3, 5] += 0.01  # not felt while h is zero
        layers[2] = type(layers[2]).from_arrays(arrays, layers[2].config())
        return Model(layers, device="numpy", report=model.report)

    monkeypatch.setattr(compare, "load", tampered)
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
