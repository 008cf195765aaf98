"""fastlstm.save and load: what comes back is what was saved, to the last bit, and damage has a name."""

import json
import os

import numpy as np
import pytest

from fastlstm import loading
from fastlstm.errors import ArgumentError, FormatError, MissingFileError, WriteError
from fastlstm.formats import open_artefact
from fastlstm.formats.safetensors_file import ARCHITECTURE, write_safetensors
from fastlstm.layers import LSTM, Dense, Embedding, OneHot
from fastlstm.model import Model
from fastlstm.recognise import Finding, Report


def rng():
    return np.random.default_rng(7)


def full_lstm(dtype=np.float32):
    """Every option at once: D 5, H 6, P 5."""
    r = rng()

    def draw(*shape):
        return r.normal(size=shape).astype(dtype)

    return LSTM(
        draw(5, 24), draw(5, 24), draw(24), gate_order="tensorflow1", forget_bias=1.0, activation="relu",
        recurrent_activation="hard_sigmoid", peepholes=[draw(6), draw(6), draw(6)], projection=draw(6, 5),
        cell_clip=3.0, proj_clip=2.0, residual=True, name="decode/lstm",
    )  # fmt: skip


def model(dtype=None, *, first=None):
    r = rng()
    first = Embedding(r.normal(size=(7, 5)), name="words") if first is None else first
    plain = LSTM(r.normal(size=(5, 12)), r.normal(size=(3, 12)), r.normal(size=12), name="top")
    head = Dense(r.normal(size=(3, 2)), r.normal(size=2), "softmax", name="out")
    report = Report(
        [Finding("top", "forget_bias", 1.0, "assumed", "a default"), Finding("", "head", ("a",), "read", "x")]
    )
    return Model([first, full_lstm(), plain, head], device="numpy", dtype=dtype, report=report)


@pytest.mark.parametrize("first", [None, OneHot(5)], ids=["embedding", "one_hot"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip(tmp_path, dtype, first):
    saved = model(dtype, first=first)
    path = tmp_path / "model.safetensors"
    loading.save(saved, path)
    loaded = loading.load(path, device="numpy")

    assert loaded.dtype == saved.dtype == np.dtype(dtype)
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in saved.layers]
    for got, want in zip(loaded.layers, saved.layers, strict=True):
        assert got.config() == want.config()
        assert got.arrays().keys() == want.arrays().keys()
        for name, array in want.arrays().items():
            assert got.arrays()[name].dtype == array.dtype
            assert got.arrays()[name].tobytes() == array.tobytes(), name
    assert loaded.report["forget_bias"] == [Finding("top", "forget_bias", 1.0, "assumed", "a default")]
    assert loaded.report["head"][0].value == ["a"]

    ids = np.array([[1, 4, 0, 2]])
    np.testing.assert_array_equal(loaded.run(ids)[0], saved.run(ids)[0])
    second = tmp_path / "again.safetensors"
    loading.save(loaded, second)
    assert second.read_bytes() == path.read_bytes()


def test_dtype_of_the_caller(tmp_path):
    path = tmp_path / "model.safetensors"
    loading.save(model("float64"), path)
    assert loading.load(path, device="numpy", dtype="float32").dtype == np.float32


def test_overrides(tmp_path):
    path = tmp_path / "model.safetensors"
    loading.save(model(), path)
    loaded = loading.load(path, device="numpy", activation="tanh", cell_clip=None, head_activation=None)
    assert [layer.activation.label for layer in loaded.layers[1:]] == ["tanh", "tanh", "linear"]
    assert loaded.layers[1].cell_clip is None
    assert [(f.layer, f.how) for f in loaded.report["activation"]] == [("decode/lstm", "given"), ("top", "given")]
    assert loaded.report["forget_bias"][0].how == "assumed"
    for what, value in {"forget_bias": 0.0, "num_layers": 1, "head": None}.items():
        with pytest.raises(ArgumentError, match=f"{what}=.* written by fastlstm.save, where that is settled"):
            loading.load(path, **{what: value})
    with pytest.raises(ArgumentError, match="activation 'nope' is not one"):
        loading.load(path, activation="nope")
    with pytest.raises(ArgumentError, match="scope"):
        loading.load(path, scope="decode")


def parts(path):
    artefact = open_artefact(path)
    return dict(artefact.tensors), artefact.architecture


def without(description, key):
    return {k: v for k, v in description.items() if k != key}


def with_layer(description, k, **changes):
    layers = [dict(entry) for entry in description["layers"]]
    layers[k] |= changes
    return dict(description, layers=layers)


DAMAGES = [
    (lambda d: dict(d, format=2), "saved in format 2; this version of fastlstm reads format 1"),
    (lambda d: without(d, "format"), "no format number"),
    (lambda d: without(d, "layers"), "lists no layers"),
    (lambda d: dict(d, layers=[]), "lists no layers"),
    (lambda d: dict(d, layers=["LSTM"]), "layer 0 has no configuration"),
    (lambda d: dict(d, dtype="float16"), "dtype is 'float16'"),
    (lambda d: with_layer(d, 1, type="RNN"), "layer 1 is a 'RNN'; expected one of LSTM"),
    (lambda d: with_layer(d, 1, type=["LSTM"]), r"layer 1 is a \['LSTM'\]"),
    (lambda d: with_layer(d, 1, config={"wings": 2}), r"layer 1 \(LSTM\): .*wings"),
    (lambda d: with_layer(d, 1, config={"activation": "nope"}), r"layer 1 \(LSTM\): .*'nope'"),
    (lambda d: with_layer(d, 1, config={"cell_clip": "three"}), r"layer 1 \(LSTM\)"),
    (lambda d: with_layer(d, 1, type="Embedding", config={}), r"layer 1 \(Embedding\) has no array 'table'"),
    (lambda d: dict(d, report={"findings": [{}], "notes": []}), "the report is not what fastlstm.save writes"),
    (lambda d: dict(d, report=5), "the report is not what fastlstm.save writes"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGES, ids=[says[:24] for _, says in DAMAGES])
def test_damaged_descriptions(tmp_path, damage, says):
    path = tmp_path / "model.safetensors"
    loading.save(model(), path)
    arrays, description = parts(path)
    write_safetensors(path, arrays, {ARCHITECTURE: json.dumps(damage(description))})
    with pytest.raises(FormatError, match=says) as caught:
        loading.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "lost", ["0/table", "1/kernel", "1/recurrent_kernel", "1/peephole_f", "1/projection", "3/bias"]
)
def test_missing_arrays(tmp_path, lost):
    path = tmp_path / "model.safetensors"
    loading.save(model(), path)
    arrays, description = parts(path)
    del arrays[lost]
    write_safetensors(path, arrays, {ARCHITECTURE: json.dumps(description)})
    with pytest.raises(FormatError, match="layer " + lost[0]):
        loading.load(path)


def test_text_that_is_no_json(tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"a": np.zeros(3)}, {ARCHITECTURE: "{"})
    with pytest.raises(FormatError):
        loading.load(path)


@pytest.mark.parametrize("name", ["model.h5", "model", "model.npz"])
def test_other_endings(tmp_path, name):
    with pytest.raises(ArgumentError, match=r"expected \.safetensors"):
        loading.save(model(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_unwritable_output(tmp_path):
    with pytest.raises(WriteError):
        loading.save(model(), tmp_path / "no" / "such" / "folder.safetensors")


@pytest.mark.parametrize("name", ["model.safetensors", "model.npz"])
def test_an_existing_file_survives_a_failure(tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.write_bytes(b"precious")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        loading.extract(model(), path)
    assert path.read_bytes() == b"precious"
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_every_changed_place_is_noticed(tmp_path):
    """One byte at a time."""
    path = tmp_path / "model.safetensors"
    lstm = LSTM(rng().normal(size=(2, 8)), rng().normal(size=(2, 8)))
    loading.save(Model([lstm], device="numpy"), path)
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(FormatError):
            loading.load(path, device="numpy")
    path.write_bytes(data)
    assert loading.load(path, device="numpy").layers[0].kernel.tobytes() == lstm.kernel.tobytes()


@pytest.mark.parametrize("path", [None, 5, ["model"], object])
def test_paths_that_are_none(tmp_path, path):
    expected = "expected a path as str, bytes or os.PathLike"
    for function in (loading.load, loading.read, loading.inspect):
        with pytest.raises(ArgumentError, match=f"{function.__name__}: path is .*{expected}"):
            function(path)
    with pytest.raises(ArgumentError, match=f"save: path is .*{expected}"):
        loading.save(model(), path)
    with pytest.raises(ArgumentError, match=f"extract: out is .*{expected}"):
        loading.extract(model(), path)
    with pytest.raises(ArgumentError, match=rf"extract: source is .*{expected} or a fastlstm\.Model"):
        loading.extract(path, tmp_path / "out.npz")
    with pytest.raises(ArgumentError, match=r"save: model is .*expected a fastlstm\.Model"):
        loading.save(path, tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def test_paths_as_bytes_and_from_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # Windows
    loading.save(model(), os.fsencode(tmp_path / "model.safetensors"))
    for path in (os.fsencode(tmp_path / "model.safetensors"), "~/model.safetensors"):
        assert len(loading.load(path, device="numpy").layers) == 4
        assert "1/kernel" in loading.read(path)
        assert loading.inspect(path).path == tmp_path / "model.safetensors"
    loading.extract("~/model.safetensors", "~/weights.npz")
    assert (tmp_path / "weights.npz").is_file()


def test_missing_file(tmp_path):
    for function in (loading.load, loading.read, loading.inspect):
        with pytest.raises(MissingFileError):
            function(tmp_path / "nothing.h5")


def test_unknown_override(tmp_path):
    path = tmp_path / "model.safetensors"
    loading.save(model(), path)
    with pytest.raises(ArgumentError, match="'forget_bais', which is no hyper-parameter"):
        loading.load(path, forget_bais=1.0)
