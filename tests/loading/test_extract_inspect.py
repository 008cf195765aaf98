"""extract, read, inspect and the report's text."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastlstm import loading
from fastlstm.errors import ArgumentError, FormatError, WeightError
from fastlstm.formats import open_artefact
from fastlstm.formats.safetensors_file import ARCHITECTURE, write_safetensors
from fastlstm.layers import LSTM, Dense, Embedding
from fastlstm.model import Model
from fastlstm.recognise import Finding, Report

DATA = Path(__file__).parents[1] / "data"
KERAS = DATA / "keras3" / "sequential" / "model.keras"
BARE = DATA / "keras3" / "sequential" / "model.weights.h5"


def model():
    r = np.random.default_rng(3)
    lstms = [LSTM(r.normal(size=(4, 16)), r.normal(size=(4, 16)), r.normal(size=16), name=f"cell_{k}") for k in (0, 1)]
    table = Embedding(r.normal(size=(9, 4)), name="words")
    return Model([table, *lstms, Dense(r.normal(size=(4, 9)), name="logits")], device="numpy", dtype="float64")


def test_extract_npz(tmp_path):
    source, out = model(), tmp_path / "weights.npz"
    arrays = loading.extract(source, out)
    assert list(arrays) == [
        "embedding/table",
        "lstm_0/kernel", "lstm_0/recurrent_kernel", "lstm_0/bias",
        "lstm_1/kernel", "lstm_1/recurrent_kernel", "lstm_1/bias",
        "dense_0/kernel", "dense_0/bias",
    ]  # fmt: skip
    with np.load(out) as file:
        assert set(file.files) == {*arrays, "architecture"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(file[name], array)
        described = json.loads(str(file["architecture"]))
    assert [(entry["type"], entry["arrays"]) for entry in described["layers"]] == [
        ("Embedding", "embedding"), ("LSTM", "lstm_0"), ("LSTM", "lstm_1"), ("Dense", "dense_0"),
    ]  # fmt: skip
    assert described["dtype"] == "float64"


def test_extract_safetensors_can_be_loaded(tmp_path):
    out = tmp_path / "weights.safetensors"
    arrays = loading.extract(KERAS, out)
    assert arrays["lstm_1/kernel"].shape == (12, 40)
    loaded, original = loading.load(out, device="numpy"), loading.load(KERAS, device="numpy")
    assert str(loaded.report) == str(original.report)
    ids = np.arange(11)[None]
    np.testing.assert_array_equal(loaded.run(ids)[0], original.run(ids)[0])


def test_extract_takes_overrides_with_a_file_only(tmp_path):
    arrays = loading.extract(KERAS, tmp_path / "a.npz", head=None)
    assert "dense_0/kernel" not in arrays
    with pytest.raises(ArgumentError, match="scope, head given with a Model"):
        loading.extract(model(), tmp_path / "b.npz", scope="x", head=None)
    with pytest.raises(ArgumentError, match=r"ends in '\.txt'; expected \.npz or \.safetensors"):
        loading.extract(KERAS, tmp_path / "b.txt")
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_read_gives_everything_under_its_own_name():
    variables = loading.read(KERAS)
    assert variables["layers/lstm/cell/vars/0"].shape == (8, 48)
    assert all(isinstance(array, np.ndarray) for array in variables.values())


def test_inspect():
    found = loading.inspect(KERAS)
    assert found.problem is None
    assert [repr(layer) for layer in found.layers][1:3] == ["LSTM(8, 12)", "LSTM(12, 10)"]
    assert found.tensors["layers/embedding/vars/0"].shape == (11, 8)
    assert found.files == [KERAS]
    text = str(found)
    for part in ("model.keras: keras", "layers/lstm/cell/vars/0", "(8, 48)", "float32", "LSTM(8, 12)", "lstm_1",
                 "recurrent_activation", "config key 'activation' of layer 'lstm'", "9 tensors"):  # fmt: skip
        assert part in text, part
    assert max(len(line) for line in text.splitlines()) < 160


def test_inspect_says_why_an_lstm_is_not_recognised():
    found = loading.inspect(BARE)
    assert "recurrent_activation" in found.problem
    assert (list(found.layers), len(found.report)) == ([], 0)
    assert "No LSTM that can be run as it is" in str(found)
    assert "layers/dense" not in str(found.layers)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("tf1.15/basic/model", "TensorFlow 1.15.5"),
        ("tf1.0/basic/model", "TensorFlow 1.0.1"),
        ("keras2.1/model.h5", "Keras 2.1"),
        ("keras3/sequential/model.keras", "Keras 3"),
        ("keras3/sequential/model.weights.h5", ""),
    ],
)
def test_inspect_says_who_wrote_the_file(file, says):
    found = loading.inspect(DATA / file)
    assert found.written_by.startswith(says) and bool(found.written_by) == bool(says)
    assert (f", written by {says}" in str(found)) == bool(says)


def test_inspect_takes_overrides():
    found = loading.inspect(BARE, recurrent_activation="sigmoid")
    assert found.problem is None
    assert {finding.how for finding in found.report["recurrent_activation"]} == {"given"}
    with pytest.raises(ArgumentError, match="no hyper-parameter"):
        loading.inspect(BARE, recurrent_activatoin="sigmoid")


def test_inspect_of_a_checkpoint_lists_its_files():
    prefix = DATA / "tf1.15" / "multi" / "model"
    found = loading.inspect(prefix)
    names = [file.name for file in found.files]
    assert names == ["model.data-00000-of-00001", "model.index", "model.meta"]
    assert all(name in str(found) for name in names)
    assert [file.name for file in loading.inspect(prefix.parent).files] == names or "checkpoint" in str(
        loading.inspect(prefix.parent)
    )


def test_inspect_of_a_prefix_that_is_a_pattern(tmp_path):
    for file in (DATA / "tf1.15" / "multi").glob("model.*"):
        shutil.copy(file, tmp_path / file.name.replace("model", "run[1]"))
    names = ["run[1].data-00000-of-00001", "run[1].index", "run[1].meta"]
    assert [file.name for file in loading.inspect(tmp_path / "run[1]").files] == names


def test_inspect_of_nan_weights(tmp_path):
    bad = Model([LSTM(np.ones((2, 8)), np.ones((2, 8)))], device="numpy")
    path = tmp_path / "bad.safetensors"
    loading.save(bad, path)
    artefact = open_artefact(path)
    arrays = dict(artefact.tensors)
    arrays["0/kernel"][-1, -1] = np.nan
    write_safetensors(path, arrays, {ARCHITECTURE: json.dumps(artefact.architecture)})
    with pytest.raises((FormatError, WeightError), match="NaN"):
        loading.load(path)


def test_many_tensors_are_cut_in_the_text(tmp_path):
    from fastlstm.formats.tensors import TensorSpec
    from fastlstm.inspection import Inspection

    specs = {f"variable_{k}": TensorSpec((3,), "float32") for k in range(100)}
    text = str(Inspection(tmp_path, "checkpoint", [], specs, [], Report(), "no LSTM"))
    assert "100 tensors, 300 elements" in text
    assert "... and 40 more" in text
    assert "(3,)" in text


def test_report():
    report = Report(
        [
            Finding("lstm", "forget_bias", 1.0, "assumed", "TensorFlow's default"),
            Finding("lstm", "cell_clip", None, "read", "no Minimum in the graph"),
            Finding("a_long_name", "forget_bias", 0.5, "given", "load(forget_bias=0.5)"),
        ],
        ["two variables were left aside"],
    )
    lines = str(report).splitlines()
    assert lines[0].split() == ["layer", "hyper-parameter", "value", "how", "source"]
    assert lines[2] == "lstm         cell_clip        none   read     no Minimum in the graph"
    assert lines[-1] == "note: two variables were left aside"
    assert [f.value for f in report["forget_bias"]] == [1.0, 0.5]
    assert len(report) == len(list(report)) == 3
    with pytest.raises(KeyError, match="speaks of: forget_bias, cell_clip"):
        report["residual"]
    again = Report.from_json(json.loads(json.dumps(report.to_json())))
    assert (again.findings, again.notes) == (report.findings, report.notes)
    assert "nothing is known" in str(Report())


@pytest.mark.parametrize("data", [None, {}, {"findings": [], "notes": None}, {"findings": [1], "notes": []}])
def test_report_that_is_none(data):
    with pytest.raises(FormatError):
        Report.from_json(data)


def test_numpy_values_become_plain():
    report = Report([Finding("", "x", (np.float32(0.5), np.int64(3), object), "read", "s")])
    value = json.loads(json.dumps(report.to_json()))["findings"][0]["value"]
    assert value[:2] == [0.5, 3]


def test_importing_needs_numpy_only():
    code = (
        "import sys, fastlstm.loading, fastlstm.inspection;"
        "print([m for m in ('numba', 'h5py', 'google.protobuf', 'safetensors', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_inspect_lists_the_files_of_v1_shards_alone():
    """Beside a V2 checkpoint and a frozen graph of the same name."""
    folder = DATA / "tf0.12" / "two_shards"
    files = loading.inspect(folder / "model-00001-of-00002").files
    assert [file.name for file in files] == ["model-00000-of-00002", "model-00001-of-00002", "model.meta"]
    files = loading.inspect(folder / "model").files
    assert [file.name for file in files] == [
        "model.data-00000-of-00002",
        "model.data-00001-of-00002",
        "model.index",
        "model.meta",
    ]
    assert [file.name for file in loading.inspect(folder / "frozen.pb").files] == ["frozen.pb"]
