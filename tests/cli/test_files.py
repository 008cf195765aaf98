"""inspect and extract, and the script over extract."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import fastlstm

SCRIPT = Path(fastlstm.__file__).parents[1] / "tools" / "extract_weights.py"


@pytest.fixture
def no_lstm(tmp_path):
    """A weight file that says nothing of what it computes."""
    with h5py.File(tmp_path / "dense.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        group = file.create_group("dense")
        group.attrs["weight_names"] = [b"dense/kernel:0"]
        group["dense/kernel:0"] = np.zeros((2, 3), np.float32)
    return tmp_path / "dense.h5"


def test_inspect_prints_what_the_library_says(run, text_model):
    assert run("inspect", text_model).out == f"{fastlstm.inspect(text_model)}\n"


def test_inspect_without_an_lstm_prints_and_fails(run, no_lstm):
    shown = run("inspect", no_lstm)
    assert shown.status == 1 and "dense/kernel" in shown.out
    assert shown.err == f"fastlstm: error: {fastlstm.inspect(no_lstm).problem}\n"


def test_inspect_json(run, text_model, no_lstm):
    found = json.loads(run("inspect", text_model, "--json").out)
    assert [layer["type"] for layer in found["layers"]] == ["Embedding", "LSTM", "Dense"]
    assert found["layers"][1]["arrays"]["kernel"] == [4, 24] and found["problem"] is None
    assert found["tensors"]["1/kernel"] == {"shape": [4, 24], "dtype": "float32"}
    failed = run("inspect", no_lstm, "--json")
    assert failed.status == 1 and json.loads(failed.out)["problem"] in failed.err


def test_inspect_scope_reaches_the_library(run, text_model):
    assert "scope is 'decoder'" in run("inspect", text_model, "--scope", "decoder").err


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_extract_writes_and_lists(run, text_model, tmp_path, ending):
    out = tmp_path / f"weights{ending}"
    done = run("extract", text_model, "-o", out)
    lines = [line.split() for line in done.out.splitlines()]
    assert done.status == 0 and ["lstm_0/kernel", "(4,", "24)", "float32"] in lines
    assert done.out.endswith(f"6 arrays written to {out}\n")
    if ending == ".npz":
        with np.load(out) as arrays:
            assert arrays["lstm_0/recurrent_kernel"].shape == (6, 24)
    else:
        assert fastlstm.load(out).state_sizes == [(6, 6)]


def test_extract_overrides(run, text_model, tmp_path):
    out = tmp_path / "weights.safetensors"
    done = run("extract", text_model, "-o", out, "--set", "activation=relu", "--set", "cell_clip=2.5")
    assert done.status == 0
    layer = fastlstm.load(out).layers[1]
    assert layer.activation.label == "relu" and layer.cell_clip == 2.5


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["-o", "weights.txt"], 1, "expected .npz or .safetensors"),
        (["-o", "nowhere/weights.npz"], 1, "nowhere/weights.npz: cannot be written"),
        ([], 2, "required: -o"),
        (["-o", "w.npz", "--set", "forget_bias"], 2, "expected NAME=VALUE"),
        (["-o", "w.npz", "--set", "out=3"], 2, "'out' is not a hyper-parameter"),
        (["-o", "w.npz", "--set", "nonsense=3"], 1, "nonsense"),
    ],
)
def test_extract_errors(run, text_model, tmp_path, monkeypatch, arguments, status, said):
    monkeypatch.chdir(tmp_path)
    failed = run("extract", text_model, *arguments)
    assert failed.status == status and said in failed.err
    assert list(tmp_path.iterdir()) == []


def test_the_script_extracts(process, text_model, tmp_path):
    out = tmp_path / "weights.npz"
    done = process(text_model, "-o", out, program=(str(SCRIPT),))
    assert done.returncode == 0 and b"lstm_0/kernel" in done.stdout and out.is_file()
    assert process(text_model, "-o", "x.txt", program=(str(SCRIPT),)).returncode == 1
