"""`fastlstm bench`: what it shows and writes, and what it refuses. No figure is judged."""

import json
from pathlib import Path

import pytest

from fastlstm.bench import bandwidth, contenders, peers
from fastlstm.bench.peers.common import Step

QUICK = ("--device", "numpy", "--steps", 20, "--seconds", 0.05)
BIDIRECTIONAL = Path(__file__).parents[1] / "data" / "keras3" / "bidirectional" / "model.keras"


@pytest.fixture(autouse=True)
def small_working_sets(monkeypatch):
    monkeypatch.setattr(bandwidth, "WORKING_SETS", [2**12, 2**16])


def _json(run, *arguments):
    done = run("bench", *arguments, *QUICK, "--json", "-")
    assert done.status == 0, done.err
    return json.loads(done.out)


def test_the_table(run, pair_model):
    done = run("bench", pair_model, *QUICK, "--against", "numpy")
    assert done.status == 0
    titles = ["bound: reading 688 bytes", "Stream.step from", "Stream.process, blocks of 64", "generate, ", "NumPy "]
    lines = done.out.splitlines()
    assert [next(n for n, line in enumerate(lines) if line.startswith(title)) for title in titles] == [5, 6, 7, 8, 9]
    assert "LSTM(2, 5), Dense(5, 2, linear)" in lines[0] and "float32, on numpy, 1 thread; " in lines[1]
    assert "latency of 20 calls of Stream.step, us: p50 " in done.out and "steps a second" not in done.out
    assert "loading NumPy" in done.err and "measuring, about 0.05 s ..." in done.err


def test_json_is_complete(run, text_model):
    found = _json(run, text_model, "--against", "numpy", "--rate", 48000)
    assert set(found) == {
        "path", "date", "model", "machine", "difference_from_float64", "weight_bytes_a_step", "read_bandwidth_gb_s",
        "bound_us", "timed", "latency", "rate", "peers",
    }  # fmt: skip
    assert found["model"] == {
        "layers": ["Embedding(11, 4)", "LSTM(4, 6)", "Dense(6, 11, linear)"], "parameters": 44 + 264 + 77,
        "device": "numpy", "dtype": "float32", "weights": "float32", "threads": 1,
    }  # fmt: skip
    assert found["weight_bytes_a_step"] == 4 * (24 + 6 * 24 + 24 + 6 * 11 + 11)  # of the kernel one row
    assert found["difference_from_float64"] < 1e-5
    assert {"processor", "cores", "load_average", "versions"} == set(found["machine"])
    rates = found["read_bandwidth_gb_s"]
    assert found["bound_us"] == pytest.approx(found["weight_bytes_a_step"] / max(rates.values()) / 1e3)
    assert [timed["what"] for timed in found["timed"]] == ["step", "process", "generate", "numpy"]
    for timed in found["timed"]:
        assert 0 < timed["best_us"] <= timed["median_us"] and min(timed["rounds_us"]) == timed["best_us"]
        bounded = timed["what"] != "process"
        assert timed["share_of_bound"] == (pytest.approx(found["bound_us"] / timed["best_us"]) if bounded else None)
    assert found["timed"][0]["times_the_first"] == 1
    taken = found["latency"]
    assert taken["calls"] == 20 and taken["steps_a_call"] == 1 and taken["clock_us"] > 0
    assert list(taken["percentiles_us"]) == ["p50", "p99", "p99.9", "max"]
    assert sorted(taken["percentiles_us"].values()) == list(taken["percentiles_us"].values())
    (peer,) = found["peers"]
    assert (peer["name"], peer["status"], peer["reason"]) == ("numpy", "timed", "") and peer["difference"] < 1e-5


@pytest.mark.parametrize(("rate", "fits", "over"), [(1e-3, True, 0), (1e12, False, 20)])
def test_whether_it_keeps_up(run, pair_model, rate, fits, over):
    found = _json(run, pair_model, "--against", "none", "--rate", rate)["rate"]
    assert found["steps_a_second"] == rate and found["budget_us"] == pytest.approx(1e6 / rate)
    assert found["fits"] is fits and found["calls_over_budget"] == over
    assert (found["share_of_budget_p99.9"] <= 1) is fits
    said = run("bench", pair_model, *QUICK, "--against", "none", "--rate", rate)
    assert said.status == 0 and ("YES, it fits" if fits else "NO, it does not fit") in said.out


def test_files(run, pair_model, tmp_path):
    paths = [tmp_path / name for name in ("b.json", "b.md", "b.svg")]
    options = ["--json", paths[0], "--markdown", paths[1], "--plot", paths[2]]
    done = run("bench", pair_model, *QUICK, "--against", "none", "--rate", 48000, *options)
    assert done.status == 0 and "Stream.step" in done.out
    assert json.loads(paths[0].read_text("utf-8"))["rate"]["budget_us"] == pytest.approx(20.8333, abs=1e-3)
    assert "| Stream.step from Python | " in paths[1].read_text("utf-8")
    assert str(tmp_path) not in paths[1].read_text("utf-8")
    assert "<svg" in paths[2].read_text("utf-8")


def test_a_model_that_needs_the_whole_sequence(run):
    found = _json(run, BIDIRECTIONAL, "--against", "all", "--rate", 1e-3)
    assert [timed["what"] for timed in found["timed"]] == ["run", "numpy"]
    assert found["latency"]["steps_a_call"] == 64 and found["rate"]["budget_us"] == 64e9
    statuses = {peer["name"]: peer["status"] for peer in found["peers"]}
    assert statuses.pop("numpy") == "timed" and set(statuses.values()) <= {"cannot express", "not installed"}


def test_a_wrong_peer_is_not_timed(run, pair_model, monkeypatch):
    monkeypatch.setattr(peers, "build", lambda name, model, threads: Step(lambda x: x + 1))
    done = run("bench", pair_model, *QUICK, "--against", "numpy")
    assert done.status == 0 and "not compared: NumPy (device='numpy'): WRONG: its outputs are " in done.out
    assert not any(line.startswith("NumPy") for line in done.out.splitlines())


def test_a_peer_that_breaks_does_not_break_the_bench(run, pair_model, monkeypatch):
    monkeypatch.setattr(peers, "build", lambda name, model, threads: {}["state"])
    done = run("bench", pair_model, *QUICK, "--against", "numpy")
    assert done.status == 0 and "it failed here: KeyError: 'state'" in done.out


def test_a_wrong_model_is_not_timed(run, pair_model, monkeypatch):
    monkeypatch.setattr(contenders, "_outputs", lambda model, xs: [model.run(xs)[0] + 0.01])
    failed = run("bench", pair_model, *QUICK, "--against", "none")
    assert failed.status == 1 and failed.out == "" and "nothing was timed: on numpy" in failed.err


def test_a_peer_that_is_not_installed(run, pair_model, monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda package: None)
    failed = run("bench", pair_model, *QUICK, "--against", "numpy,torch")
    assert failed.status == 1 and "torch is not installed here; pip install torch" in failed.err
    done = run("bench", pair_model, *QUICK, "--against", "all")
    assert done.status == 0 and "not installed here: TensorFlow, tf.function; LiteRT; ONNX Runtime; PyTorch" in done.out


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--rate", 0, "rate is 0.0; expected a number above 0"),
        ("--rate", "nan", "rate is nan"),
        ("--rate", -48000, "rate is -48000.0"),
        ("--seconds", 0, "seconds is 0.0"),
        ("--steps", 0, "steps is 0; expected at least 1"),
        ("--against", "numpy,keras", "--against: 'keras' is no peer; expected all, none, or some of numpy, tensorflow"),
        ("--against", "", "--against: '' is no peer"),
        ("--plot", "b.gif", "--plot: 'b.gif'; expected a name that ends in .svg or .png"),
        ("--json", "nowhere/b.json", "--json: nowhere/b.json cannot be written: no such folder"),
        ("--weights", "float3", "weights is 'float3'"),
        ("--threads", 0, "threads is 0"),
    ],
)
def test_refused(run, pair_model, option, value, said):
    failed = run("bench", pair_model, "--device", "numpy", "--against", "none", option, value)
    assert failed.status == 1 and failed.out == "" and said in failed.err and "measuring" not in failed.err


def test_a_rate_that_is_no_number_is_a_usage_error(run, pair_model):
    assert run("bench", pair_model, "--rate", "fast").status == 2


def test_compiled(run, pair_model):
    done = run("bench", pair_model, *QUICK[2:], "--against", "none")
    assert done.status == 0 and "on cpu, 1 thread" in done.out and "generate, " in done.out
