"""verify where the original cannot be run: exit status 2, why, and what to do."""

import json
import shutil
import time
from pathlib import Path

import pytest

import fastlstm
from fastlstm import cli
from fastlstm.errors import ArgumentError, VerificationError

DATA = Path(__file__).parents[1] / "data"
BASIC = DATA / "tf1.15" / "basic" / "model"
FAST = ["--device", "numpy", "--steps", "5"]


def failed(capsys, *argv):
    assert cli.main(["verify", *map(str, argv), *FAST]) == 2
    return capsys.readouterr()


def test_a_python_without_tensorflow(interpreter, capsys):
    python = interpreter('exec $PYTHON -S "$@"')  # -S: nothing is installed there
    said = failed(capsys, BASIC, "--python", python).err
    assert f"{python} has no TensorFlow that runs" in said
    assert "pip install tensorflow-cpu" in said and "--python" in said


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo it is broken >&2; exit 3", "ended with status 3 and without an answer:\nit is broken"),
        ('for last; do :; done; echo "{" > "$last/answer.json"; echo half', "ended without an answer:\nhalf"),
    ],
)
def test_something_that_does_not_answer(interpreter, capsys, script, says):
    assert says in failed(capsys, BASIC, "--python", interpreter(script)).err


def test_no_such_interpreter(tmp_path, capsys):
    said = failed(capsys, BASIC, "--python", tmp_path / "none").err
    assert "none: cannot be started: No such file or directory; pass the path of a Python" in said


def test_time_limit(interpreter):
    begin = time.perf_counter()
    with pytest.raises(VerificationError, match=r"did not finish within 0\.2 s; allow more with --timeout"):
        fastlstm.verify(BASIC, device="numpy", steps=5, python=interpreter("exec sleep 20"), timeout=0.2)
    assert time.perf_counter() - begin < 10


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("keras3/sequential/model.weights.h5", "recurrent_activation"),  # load itself asks for it
        ("tf1.15/dtypes/model", "no LSTM"),
    ],
)
def test_files_that_do_not_load(file, says, capsys):
    assert says in failed(capsys, DATA / file).err


def test_a_checkpoint_without_its_graph(tmp_path, capsys):
    for file in BASIC.parent.glob("model.*"):
        if file.suffix != ".meta":
            shutil.copy(file, tmp_path)
    said = failed(capsys, tmp_path / "model").err
    assert "needs the graph, the .meta file that was saved beside it" in said


def test_a_file_by_save(tmp_path, capsys):
    fastlstm.save(fastlstm.load(BASIC, device="numpy"), tmp_path / "model.safetensors")
    said = failed(capsys, tmp_path / "model.safetensors").err
    assert "holds weights and nothing that TensorFlow could run; verify the file that the model was loaded from" in said


def test_a_damaged_file(tmp_path, capsys):
    (tmp_path / "model.keras").write_bytes((DATA / "keras3/sequential/model.keras").read_bytes()[:-30])
    out, said = failed(capsys, tmp_path / "model.keras", "--json")
    assert "damaged" in said
    assert json.loads(out)["equal"] is None
    assert "damaged" in json.loads(out)["problem"]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}, {"tolerance": -1.0}, {"tolerance": float("nan")}])
def test_arguments(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        fastlstm.verify(BASIC, device="numpy", **wrong)
