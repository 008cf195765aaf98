"""save(known_answer=True): the answer is stored, replayed, and refused where it differs."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm import cli
from fastlstm.errors import ArgumentError, FormatError
from fastlstm.formats import open_artefact
from fastlstm.formats.safetensors_file import ARCHITECTURE, write_safetensors
from fastlstm.layers import GRU, LSTM, Bidirectional, Dense, Embedding, OneHot
from fastlstm.model import Model
from tests import oracle

KERAS = Path(__file__).parents[1] / "data" / "keras3" / "sequential" / "model.keras"


def draw(*shape, seed=5):
    return np.random.default_rng(seed).normal(size=shape)


def full_lstm():
    return LSTM(
        draw(4, 20), draw(4, 20), draw(20), forget_bias=1.0, activation="softsign", peepholes=draw(3, 5),
        projection=draw(5, 4), cell_clip=3.0, proj_clip=2.0, residual=True,
    )  # fmt: skip


def saved(tmp_path, layers, **how):
    path = tmp_path / "model.safetensors"
    fastlstm.save(Model(layers, device="numpy", **how), path, known_answer=True)
    return path


def rewritten(path, change, describe=lambda d: d):
    """The file with its arrays changed in place, and all checksums made anew."""
    artefact = open_artefact(path)
    arrays = {name: np.array(array) for name, array in artefact.tensors.items()}
    change(arrays)
    write_safetensors(path, arrays, {ARCHITECTURE: json.dumps(describe(artefact.architecture))})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip(tmp_path, dtype):
    layers = [Embedding(draw(7, 4)), full_lstm(), Dense(draw(4, 2), draw(2), "softmax")]
    original = Model(layers, device="numpy", dtype=dtype)
    path = tmp_path / "model.safetensors"
    fastlstm.save(original, path, known_answer=True)
    loaded = fastlstm.load(path, device="numpy")
    for got, want in zip(loaded.layers, original.layers, strict=True):
        assert got.config() == want.config()
        assert {n: a.tobytes() for n, a in got.arrays().items()} == {n: a.tobytes() for n, a in want.arrays().items()}
    again = tmp_path / "again.safetensors"
    fastlstm.save(loaded, again, known_answer=True)
    assert again.read_bytes() == path.read_bytes()
    fastlstm.save(loaded, again)
    assert not [name for name in fastlstm.read(again) if name.startswith("known_answer")]
    assert str(loaded.report) == str(fastlstm.load(again, device="numpy").report)


def test_the_answer_is_the_oracles(tmp_path):
    kernel, recurrent, bias = draw(3, 20), draw(5, 20), draw(20)
    head = {"kernel": draw(5, 2), "bias": draw(2)}
    lstm = {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias}
    theirs = [("lstm", lstm | {"gates": "ifgo"}), ("dense", head | {"activation": "tanh"})]
    arrays = fastlstm.read(saved(tmp_path, [LSTM(**lstm), Dense(**head, activation="tanh")], dtype="float64"))
    x = arrays["known_answer/x"]
    assert x.shape == (6, 3, 3)
    for row in range(6):
        ys, ((c, h),) = oracle.run(theirs, x[row], oracle.zero_states(theirs))
        np.testing.assert_allclose(arrays["known_answer/y"][row], ys[[0, -1]], rtol=0, atol=1e-13)
        np.testing.assert_allclose(arrays["known_answer/c_0"][row], c, rtol=0, atol=1e-13)
        np.testing.assert_allclose(arrays["known_answer/h_0"][row], h, rtol=0, atol=1e-13)


LAYERS = {
    "lstm": lambda: [LSTM(draw(3, 16), draw(4, 16), draw(16))],
    "full": lambda: [full_lstm()],
    "ids": lambda: [Embedding(draw(30, 4)), LSTM(draw(4, 12), draw(3, 12)), Dense(draw(3, 30))],
    "bidirectional": lambda: [Bidirectional([LSTM(draw(3, 8), draw(2, 8))], [LSTM(draw(3, 8, seed=1), draw(2, 8))])],
    "one_hot": lambda: [OneHot(9), GRU(draw(9, 12), draw(4, 12), draw(12))],
}


@pytest.mark.parametrize("which", LAYERS)
def test_any_changed_weight_is_noticed(tmp_path, which):
    """Any of them: one element of each array, and every row of a table of tokens."""
    path = saved(tmp_path, LAYERS[which]())
    untouched = path.read_bytes()
    fastlstm.load(path, device="numpy")
    names = [name for name in fastlstm.read(path) if not name.startswith("known_answer")]
    for name in names:
        path.write_bytes(untouched)
        size = fastlstm.read(path)[name].size
        places = range(0, size, 4) if name.endswith("table") else [size // 2]
        for place in places:
            path.write_bytes(untouched)
            rewritten(path, lambda arrays, n=name, at=place: arrays[n].reshape(-1).__setitem__(at, 0.321))
            with pytest.raises(
                FormatError, match="answer to the stored input differs from the stored answer"
            ) as caught:
                fastlstm.load(path, device="numpy")
            assert str(path) in str(caught.value) and "save the model again" in str(caught.value)


def test_a_changed_setting_is_noticed(tmp_path):
    path = saved(tmp_path, LAYERS["lstm"]())

    def relu(description):
        description["layers"][0]["config"]["activation"] = "relu"
        return description

    rewritten(path, lambda arrays: None, relu)
    with pytest.raises(
        FormatError, match=r"differs from the stored answer: \w+\[\d.*\] is .*, expected .* \(allowed \de-09"
    ):
        fastlstm.load(path, device="numpy")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.pop("known_answer/x"), "has no input, expected 'known_answer/x'"),
        (lambda a: a.pop("known_answer/h_0"), r"the known answer is c_0 .*, expected .*h_0 \(6, 4\)"),
        (lambda a: a.update({"known_answer/y": np.zeros((1, 2, 4))}), r"y \(1, 2, 4\), expected .*y \(6, 2, 4\)"),
        (lambda a: a.update({"known_answer/x": np.zeros((1, 2, 9))}), "input does not fit the model"),
        (lambda a: a.update({"known_answer/x": np.full((6, 3, 3), np.nan)}), "differs|does not fit"),
        (lambda a: a["known_answer/c_0"].fill(np.nan), "differs"),
    ],
)
def test_damaged_answers(tmp_path, change, says):
    path = saved(tmp_path, LAYERS["lstm"]())
    rewritten(path, change)
    with pytest.raises(FormatError, match=says):
        fastlstm.load(path)


def test_overrides_change_the_answer_and_are_taken(tmp_path):
    path = saved(tmp_path, LAYERS["lstm"]())
    assert fastlstm.load(path, device="numpy", activation="relu").layers[0].activation.label == "relu"


def test_an_answer_that_is_not_finite(tmp_path):
    lstm = LSTM(np.full((3, 8), 1e200), np.ones((2, 8)), activation="exponential")
    with pytest.raises(ArgumentError, match="not finite; save it without"):
        saved(tmp_path, [lstm])
    assert not list(tmp_path.iterdir())


def test_a_large_vocabulary_has_a_small_answer(tmp_path):
    path = saved(tmp_path, [Embedding(draw(5000, 4)), LSTM(draw(4, 12), draw(3, 12)), Dense(draw(3, 5000))])
    arrays = fastlstm.read(path)
    assert sum(a.size for name, a in arrays.items() if name.startswith("known_answer")) <= 1 << 17
    assert fastlstm.load(path, device="numpy").output_size == 5000


def test_extract_on_the_command_line_and_inspect(tmp_path, capsys):
    source, out = KERAS, tmp_path / "model.safetensors"
    assert cli.main(["extract", str(source), "-o", str(out), "--known-answer"]) == 0
    assert cli.main(["inspect", str(out)]) == 0
    assert "the known answer that is stored was replayed: the largest difference is" in capsys.readouterr().out
    assert cli.main(["extract", str(source), "-o", str(tmp_path / "w.npz"), "--known-answer"]) == 1
    assert "known_answer is for a file that load reads" in capsys.readouterr().err


def test_loading_takes_no_longer_and_compiles_nothing(tmp_path):
    """A model of usual size; Numba, which would take seconds, is not even asked for."""
    layers = [LSTM(draw(8, 1024), draw(256, 1024)), LSTM(draw(256, 1024), draw(256, 1024)), Dense(draw(256, 8))]
    path = saved(tmp_path, layers, dtype="float32")
    fastlstm.load(path)
    begin = time.perf_counter()
    loaded = fastlstm.load(path)
    assert time.perf_counter() - begin < 0.5
    assert "backend" not in loaded.__dict__
