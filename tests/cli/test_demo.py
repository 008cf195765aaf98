"""The demonstration, with the data that comes with the package."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from fastlstm.demo import DATA, drawing, sine, timing


@pytest.fixture
def no_tensorflow(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_demo(run, no_tensorflow):
    done = run("demo")
    assert done.status == 0
    lines = done.out.splitlines()
    assert any(line.startswith("largest difference from TensorFlow's own feedback loop") for line in lines)
    assert "greedy: 500 of 500 characters equal TensorFlow's" in lines
    assert lines[-1].startswith("speed of the sine model: Stream.step ")
    assert lines[-1].endswith("TensorFlow is not installed here, so no comparison")
    assert "And God said" in done.out and "\u28ff" > max(done.out) > "\u2800"


def test_the_seed_decides_the_text(run, no_tensorflow):
    texts = [run("demo", "--seed", seed).out.partition("And God said")[2].partition("greedy")[0] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("steps", [1, 50, 1500])
def test_other_numbers_of_steps(run, no_tensorflow, steps):
    done = run("demo", "--steps", steps)
    assert done.status == 0 and f"in {min(steps, 1000)} steps (within 1e-10)" in done.out


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--steps", 0, "--steps is 0; expected at least 1"), ("--seed", -1, "--seed is -1; expected at least 0")],
)
def test_numbers_that_cannot_be_are_told_first(run, option, value, said):
    failed = run("demo", option, value)
    assert failed.status == 1 and failed.out == "" and said in failed.err


def test_another_answer_than_tensorflow_s_fails(run, no_tensorflow, monkeypatch):
    monkeypatch.setattr(sine, "TOLERANCE", 0.0)
    done = run("demo")
    assert done.status == 1 and "NOT WITHIN" in done.out


def test_plot(run, no_tensorflow, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "sine.png"
    assert run("demo", "--plot", path).status == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_plot_errors_come_first(run, tmp_path, monkeypatch):
    assert "ends in .png" in run("demo", "--plot", tmp_path / "sine.pdf").err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    failed = run("demo", "--plot", tmp_path / "sine.png")
    assert failed.status == 1 and failed.out == "" and "pip install matplotlib" in failed.err
    monkeypatch.setitem(sys.modules, "matplotlib", sys)
    assert "no such folder" in run("demo", "--plot", tmp_path / "nowhere" / "sine.png").err


# The curve in the terminal.


def test_braille():
    top, bottom = drawing.draw(np.array([-1.0, 1.0]), "utf-8", columns=4, rows=2)
    assert top == "   1.00 \u2800\u2800\u2860\u280a" and bottom == "  -1.00 \u2860\u280a\u2800\u2800"


def test_ascii_where_the_terminal_has_no_braille():
    lines = drawing.draw(np.linspace(-1, 1, 8), "ascii", columns=4, rows=4)
    assert lines == ["   1.00    *", "          *", "         *", "  -1.00 *"]
    for encoding in (None, "latin-1", "no such encoding"):
        assert drawing.draw(np.linspace(-1, 1, 8), encoding, columns=4, rows=4) == lines


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5], [1.0, -1.0], list(np.sin(np.arange(500)))])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_every_column_has_a_dot_and_the_curve_is_whole(values, encoding):
    grid, bottom, top = drawing._grid(np.array(values), 48, 144)
    assert grid.any(axis=0).all() and bottom <= top <= max(values)
    for column in grid.T:
        at = np.flatnonzero(column)
        assert at[-1] - at[0] + 1 == len(at)
    assert len(drawing.draw(np.array(values), encoding)) == 12


# The comparison with TensorFlow.


def _comparison(monkeypatch, answer):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())

    def tensorflow(data):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(timing, "_tensorflow", tensorflow)
    return timing._comparison(DATA / "sine", 1e-6)


def test_comparison(monkeypatch):
    found = {"version": "2.99", "seconds": 150e-6, "difference": 1e-15}
    assert _comparison(monkeypatch, found) == (
        "TensorFlow 2.99 session.run on one thread 150 us a step, 150 times Stream.step's"
    )
    assert "gave another answer (1.0e-03 away)" in _comparison(monkeypatch, found | {"difference": 1e-3})
    assert "gave another answer" in _comparison(monkeypatch, found | {"difference": float("nan")})


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            subprocess.CalledProcessError(1, "x", stderr="Traceback\nImportError: no libfoo\n"),
            "(ImportError: no libfoo)",
        ),
        (subprocess.CalledProcessError(-11, "x", stderr=""), "(exit status -11)"),
        (subprocess.TimeoutExpired("x", 180), "180 seconds"),
        (ValueError("not JSON"), "(not JSON)"),
    ],
)
def test_a_tensorflow_that_fails_is_told_and_no_more(monkeypatch, error, said):
    line = _comparison(monkeypatch, error)
    assert line.startswith("no comparison, for TensorFlow's loop failed here") and said in line


def test_tensorflow_itself():
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    found = timing._tensorflow(DATA / "sine")
    assert found["difference"] <= sine.TOLERANCE and found["seconds"] > 0
