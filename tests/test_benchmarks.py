"""The benchmark suite's own parts: the problems and their answers, who is left out, the report and the pictures."""

import json
from functools import partial
from pathlib import Path

import pytest

from benchmarks import columns, peers, plots, report
from benchmarks.bounds import Bound
from benchmarks.latency import NOTHING, latencies
from benchmarks.peers import Peer, ours, tuned_numpy
from benchmarks.problem import Characters, Problem, WrongAnswer
from fastlstm.bench.interleave import Timing

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
ON_NUMPY = Peer(partial(ours.stream_step, device="numpy"))


@pytest.mark.parametrize("layers", [1, 2])
def test_a_step_is_what_fastlstm_computes(layers):
    assert 0 < peers.checked_step("fastlstm", ON_NUMPY, Problem(3, 8, layers=layers)).error < 1e-6


def test_a_loop_is_what_fastlstm_computes():
    peer = Peer(partial(ours.generate, device="numpy"))
    assert peers.checked_loop("fastlstm", peer, Problem(3, 8), 20).error < 1e-6


def test_characters_are_lively_and_clearly_chosen():
    ids, margin = Characters().greedy(100)
    assert len(set(ids.tolist())) > 10
    assert margin > 1e-3
    peers.checked_characters("fastlstm", Peer(partial(ours.characters, device="numpy")), Characters(16), 20)
    peers.checked_characters("NumPy", Peer(tuned_numpy.characters), Characters(16), 20)


@pytest.mark.parametrize("batch", [1, 3])
def test_sequences(batch):
    problem = Problem(3, 8, batch=batch, steps=12)
    peers.checked_sequence("fastlstm", Peer(partial(ours.sequence, device="numpy")), problem)
    peers.checked_sequence("NumPy", Peer(tuned_numpy.sequence), problem)
    peers.checked_step("NumPy", Peer(tuned_numpy.step), problem)


def test_a_wrong_answer_is_not_timed():
    def forgetful(problem):
        call, reset, shape = tuned_numpy.step(problem)
        return lambda x: (reset(), call(x))[1], reset, shape

    with pytest.raises(WrongAnswer, match=r"forgetful: .* expected at most 1e-05"):
        peers.checked_step("forgetful", Peer(forgetful), Problem(3, 8))


def test_peers_that_are_not_installed_and_arguments_that_are_not_taken(monkeypatch, capsys):
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    some = {name: peer for name, peer in peers.STEPS.items() if peer.needs}
    assert {"LiteRT", "ONNX Runtime, IOBinding", "OpenVINO", "JAX jit", "PyTorch LSTMCell", "tf.function"} <= set(some)
    some["fastlstm, int3"] = Peer(partial(ours.stream_step, device="numpy", weights="int3"))
    some["broken"] = Peer(lambda problem: 1 / 0)
    some["fastlstm"] = ON_NUMPY
    ready, refused = columns.prepare("(3, 8)", columns.stepped(Problem(3, 8), some))
    assert list(ready) == ["fastlstm"]
    assert refused.pop("fastlstm, int3").startswith("not available: ")
    assert refused.pop("broken") == "failed: ZeroDivisionError: division by zero"
    assert all(reason.startswith("not installed: ") for reason in refused.values())
    assert "broken failed" in capsys.readouterr().err


def test_a_bound_is_shares_of_what_was_timed():
    bound = Bound({}, {"a": 0.5}) + Bound({}, {"b": 2.0})
    assert bound.timing({"a": Timing((2.0, 4.0)), "b": Timing((1.0, 0.5))}).rounds == (3.0, 3.0)


@pytest.fixture(scope="module")
def result():
    """A small result of columns that are really timed, on NumPy, against a bound that is a loop of Python's."""
    bound = Bound({"counting": (sum, range(10))}, {"counting": 0.5})
    problem = Problem(1, 8, steps=4)
    missing = Peer(tuned_numpy.step, needs=("no_such_module",))
    stepped = columns.stepped(
        problem, {"fastlstm Stream.step": ON_NUMPY, "NumPy, tuned": Peer(tuned_numpy.step), "X": missing}
    )
    looped = columns.looped(problem, {"fastlstm generate": Peer(partial(ours.generate, device="numpy"))}, limit=10)
    narrow = {"NumPy": Bound({"less counting": (sum, range(5))}, {"less counting": 0.25})}
    column = columns.column("1, 8", {**stepped, **looped}, bound, 3, narrow=narrow, size=[1, 8])
    call, _, shape = tuned_numpy.step(problem)
    measured = latencies({"NumPy, tuned": (call, problem.xs[0].reshape(shape))}, steps=400, turns=2)
    return {
        "date": "2020-02-20",
        "processor": "Abacus <1>",
        "cores": 1,
        "versions": {"python": "3"},
        "read_bandwidth_gb_s": {4096: 1.0, 2**21: 0.5},
        "multiply_add_gflop_s": 2.0,
        **{part: [column] for part in report.PARTS},
        "latency": [{"label": "1, 8", "size": [1, 8], "refused": {}, **measured}],
        "load_s": {"load": 0.1},
        "load_average": [0.5, None],
    }


def test_a_column(result):
    column = result["steps"][0]
    timed = ["fastlstm Stream.step", "NumPy, tuned", "fastlstm generate"]
    assert list(column["median_us"]) == list(column["times_the_bound"]) == list(column["error"]) == timed
    assert column["times_the_first"]["fastlstm Stream.step"] == 1
    assert 0 < column["bound_us"] < column["best_us"]["NumPy, tuned"] <= column["median_us"]["NumPy, tuned"]
    assert column["refused"] == {"X": "not installed: no_such_module"}


def test_latencies(result):
    column = result["latency"][0]
    assert list(column["percentiles_us"]) == ["NumPy, tuned", NOTHING]
    values = list(column["percentiles_us"]["NumPy, tuned"].values())
    assert values == sorted(values) and values[0] > column["percentiles_us"][NOTHING]["p50"]


def test_report_and_pictures(result, tmp_path):
    pytest.importorskip("matplotlib")
    result = json.loads(json.dumps(result))  # as `--redraw` reads it
    pictures = plots.draw(result, tmp_path / "small")
    assert [file for _, file in pictures] == [f"small-{part}.svg" for part in ("steps", "loops", "sizes", "latency")]
    for _, file in pictures:
        assert b"Abacus &lt;1&gt;, 2020-02-20" in (tmp_path / file).read_bytes()
        assert (tmp_path / file).with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    text = report.markdown(result, pictures)
    for _, (heading, _) in report.PARTS.items():
        assert f"\n## {heading}\n" in text
    assert "- X was not timed at (1, 8): not installed: no_such_module" in text
    assert "4 KiB 1, 2 MiB 0" in text and "Multiply-adds of one thread: 2 GFLOP/s" in text
    assert "| (1, 8), 400 steps | p50 | p90 | p99 | p99.9 | p99.99 | max | p99.9 / p50 |" in text
    assert "![Latency of single steps](small-latency.svg)" in text
    widths = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert set(widths) == {3, 9}
    column = result["steps"][0]
    assert 0 < column["narrow_bound_us"]["NumPy"] < column["bound_us"]
    share = column["narrow_bound_us"]["NumPy"] / column["best_us"]["NumPy, tuned"]
    assert f"| NumPy, tuned | {column['median_us']['NumPy, tuned']:.3g} ({share:.0%}) |" in text


KEPT = [path for path in sorted(RESULTS.glob("*.json")) if "steps" in json.loads(path.read_text())]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_results_that_are_kept_can_be_read(path):
    result = json.loads(path.read_text())
    text = report.markdown(result)
    assert f"# {result['processor']}, {result['date']}" in text
    row = next(line for line in text.splitlines() if line.startswith("| fastlstm Stream.step |"))
    figures = [float(cell.split("(")[0]) for cell in row.split("|")[2:-1]]
    assert figures == pytest.approx([c["median_us"]["fastlstm Stream.step"] for c in result["steps"]], rel=0.01)
