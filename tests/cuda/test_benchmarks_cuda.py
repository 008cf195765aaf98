"""`python -m benchmarks.cuda` as far as it goes without a GPU: its checks, its arithmetic and its report."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from benchmarks import plots
from benchmarks.cuda import checks, peers, report
from fastlstm.backends.cuda.device import SIMULATED, Properties
from fastlstm.bench.interleave import interleave

REPOSITORY = Path(__file__).parents[2]
simulator = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" and os.environ.get("NUMBA_DISABLE_JIT") == "1"
TINY = replace(checks.TINY, device="numpy", exact="numpy")


def run(scale=TINY, before=lambda: None):
    said = []
    return checks.run(scale, 3, before, said.append), said


def test_the_checks_are_right_of_a_device_that_is():
    found, said = run()
    assert said == [] and all(check["right"] for check in found)
    names = [check["check"] for check in found]
    assert len(set(names)) == len(names) > 10
    errors = {check["check"]: check["error"] for check in found}
    assert 0 < errors["lstm, float32, batch 2"] < 1e-6 and errors["ids that stop"] == 0
    assert 1e-5 < errors["(3, 8), bfloat16"] < 1e-2


def test_every_kind_is_checked_in_both_types():
    names = {check.name for check in checks.checks(checks.FULL, 1)}
    assert {f"{kind}, {dtype}, batch 18" for kind in checks.KINDS for dtype in ("float32", "float64")} <= names
    assert {"10000 steps fed back", "1000 ids of the demonstration, against the CPU"} <= names


def test_every_run_draws_its_own_numbers():
    first, again, other = (
        [c["error"] for c in checks.run(replace(TINY, ids=1), seed, lambda: None, print)] for seed in (1, 1, 2)
    )
    assert first == again and first[:4] != other[:4]


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        (lambda ys: ys + 1e-4, "e-05|0.0001"),
        (lambda ys: np.where(np.arange(ys.shape[1])[:, None] == 1, np.nan, ys), "nan from the answer"),
    ],
)
def test_a_wrong_answer_is_found(monkeypatch, call, wrong):
    right = fastlstm.Model.run

    def run_wrongly(self, *arguments):
        ys, state = right(self, *arguments)
        return call(ys).astype(ys.dtype), state

    monkeypatch.setattr(fastlstm.Model, "run", run_wrongly)
    found, said = run(replace(TINY, kinds=("lstm",), ids=1))
    wrong_ones = [check["check"] for check in found if not check["right"]]
    assert {"lstm, float32, batch 2", "lstm, float64, batch 2", "(3, 8), batch 2"} <= set(wrong_ones)
    assert all(text.startswith("WRONG: ") for text in said) and len(said) == len(wrong_ones)
    with pytest.raises(AssertionError, match=wrong):
        raise AssertionError(said[0])


def test_other_ids_and_other_bits_are_found(monkeypatch):
    right, calls = fastlstm.Model.generate, []

    def generate_wrongly(self, *arguments, **options):
        outputs, state = right(self, *arguments, **options)
        calls.append(1)
        wrong = 1 - outputs if outputs.dtype == np.int64 else np.nextafter(outputs, len(calls), dtype=outputs.dtype)
        return wrong if len(calls) % 2 else outputs, state

    monkeypatch.setattr(fastlstm.Model, "generate", generate_wrongly)
    found, _ = run(replace(TINY, kinds=("lstm",)))
    wrong = {check["check"] for check in found if not check["right"]}
    assert {"(3, 8), the same bits 2 times", "2 ids of the demonstration, against the CPU"} <= wrong


def test_a_check_that_fails_leaves_the_others(monkeypatch):
    def fail():
        raise fastlstm.DeviceError("the GPU stopped")

    found, said = run(replace(TINY, kinds=("lstm",), ids=1), before=fail)
    assert not any(check["right"] for check in found) and len(said) == len(found) > 5
    assert found[0]["said"] == "DeviceError: the GPU stopped"


@pytest.mark.skipif(simulator, reason="the simulator stands for a device")
def test_without_a_gpu():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cuda", "--quick"],
        capture_output=True, text=True, cwd=REPOSITORY, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("no GPU, so nothing was checked or timed: device 'cuda'")


@pytest.mark.skipif(simulator, reason="starts the simulator itself")
def test_the_command_in_the_simulator(tmp_path):
    """The checks of the kernels themselves, from the command line to the file."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.cuda", "--simulator", "-o", str(tmp_path / "found")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found["checks"]) == 13 and all(check["right"] for check in found["checks"])
    assert f"13 of 13 checks against the oracle were right (seed {found['seed']})." in done.stdout


@pytest.mark.skipif(not simulator, reason="needs the simulator")
def test_the_limits_read_what_they_say():
    from benchmarks.cuda.limits import Limits, Sizes

    limits = Limits(SIMULATED, Sizes(memory=4096, l2=8192, times=3, exchanges=5, threads=4), words=6)
    numbers = np.random.default_rng(0).normal(size=2048).astype(np.float32)  # as the limits draw them

    def sums(name):
        function, argument = limits.calls[name]
        limits.sums.copy_to_device(np.zeros(8, np.float32))
        function(argument)
        return limits.sums.copy_to_host()

    np.testing.assert_allclose(sums("device memory").sum(), numbers[:1024].sum(), rtol=1e-4)
    np.testing.assert_allclose(sums("L2").sum(), 3 * numbers.sum(), rtol=1e-4)
    np.testing.assert_allclose(sums("shared memory").sum(), 30 * numbers.sum(), rtol=1e-3)
    for _ in range(2):  # stamps and turns go on from the call before
        np.testing.assert_array_equal(sums("exchange")[:4], [5 * (0 + 4), 5 * (1 + 5), 5 * 2, 5 * 3])
        sums("barrier")
        sums("CUDA's grid barrier")
    assert limits.counters.copy_to_host()[0] == 10


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.skipif(not simulator, reason="needs the simulator")
def test_what_is_timed_on_a_gpu_runs():
    """Every step from a peer to a column, with the simulator for a GPU; the times mean nothing."""
    from benchmarks.cuda import limits as kernels
    from benchmarks.cuda import parts
    from tests.cuda.simulator import all_blocks

    take = partial(interleave, slice_seconds=1e-4)
    with all_blocks(kernels.read):
        limits = kernels.Limits(SIMULATED, kernels.Sizes(memory=4096, l2=8192, times=2, exchanges=3, threads=4))
        options = parts.Options(limits, ((3, 8),), (8,), (2,), (3, 8), (2, (3, 8)), 2, 20, 1, "nobody", take)
        assert set(limits.measured(take(limits.calls, rounds=1))) == set(limits.calls)
        for name in ("loops", "sequences", "steps"):
            (column,) = parts.PARTS[name](options)
            ours = [peer for peer in getattr(peers, name.upper()) if peer.startswith("fastlstm")]
            assert column["refused"] == {} and list(column["median_us"]) == ours
            assert column["bound_us"] > 0 and max(column["error"].values()) < 1e-2


@pytest.mark.skipif(not simulator and find_spec("numba_cuda") is None, reason="needs numba-cuda or the simulator")
def test_a_bound_is_the_reading_and_the_exchanges_of_the_layout():
    from benchmarks.cuda.limits import fitted, needed
    from benchmarks.peers import ours
    from benchmarks.problem import Problem

    small, kept, streamed = (
        needed(ours.model(Problem(*size), head=True), 1, H200) for size in ((16, 64), (256, 512), (64, 2048))
    )
    weights = 4 * (512 * 4 * (256 + 512) + 256 * 512)
    assert kept == {"shared memory": weights / 128 * 132, "L2": 0, "device memory": 0, "exchange": 2}
    assert small["exchange"] == 0 and small["shared memory"] == 132 * 4 * (64 * 4 * (16 + 64) + 16 * 64)
    model = ours.model(Problem(64, 2048), head=True)
    stays = streamed["shared memory"] / 132 * fitted(model, 1, H200).unit_groups  # of the layer a part
    assert stays + streamed["device memory"] == 4 * (2048 * 4 * (64 + 2048) + 2048 * 64) and streamed["L2"] == 0
    assert 1 < streamed["device memory"] / stays < 3


H200 = Properties("Paper H200", (9, 0), 132, 2048, 232448, 233472, 1024, 65536, 60 << 20, 141 * 10**9, 1.98e9, 4.9e12)


def column(label, times, bound=1.0, **more):
    return {
        "label": label, "bound_us": bound, "median_us": times, "best_us": times, "refused": {},
        "times_the_bound": {name: t / bound for name, t in times.items()},
        "times_the_first": {name: t / next(iter(times.values())) for name, t in times.items()},
        "error": dict.fromkeys(times, 1e-7), **more,
    }  # fmt: skip


@pytest.fixture
def result():
    """Figures made up, so that each goal is reached, or not, or was not measured."""
    graph, cudnn, ours = "PyTorch LSTMCell step, CUDA graph", "PyTorch nn.LSTM (cuDNN)", "fastlstm generate"
    latency = {"p50": 9.0, "p90": 9.5, "p99": 10.0, "p99.9": 12.0, "p99.99": 13.0, "max": 20.0}
    return {
        "date": "2020-02-20",
        "processor": H200.name,
        "device": asdict(replace(H200, driver=(13, 0), toolkit=(12, 9))),
        "versions": {"python": "3"},
        "seed": 7,
        "checks": [
            {"check": "lstm, float32, batch 1", "error": 2e-7, "tolerance": 5e-6, "right": True, "said": ""},
            {"check": "gru, float64, batch 1", "error": 1e-3, "tolerance": 1e-12, "right": False, "said": ""},
            {"check": "9 ids of the demonstration", "error": 1, "tolerance": 0, "right": True, "said": ""},
        ],
        "limits": {"device memory": 4300.0, "exchange": 0.9, "barrier": 1.25, "CUDA's grid barrier": 1.5},
        "layouts": {"(256, 512), 1 row": "128 of 132 multiprocessors"},
        "kernels": {"loop": {"registers": 96, "spilled": 0}},
        "loops": [
            column(
                "256, 512", {ours: 3.0, f"{ours}, bfloat16": 2.0, f"{ours}, by a barrier": 2.5, graph: 16.0},
                narrow_bound_us={"bfloat16": 0.8},
            ),
            column("512, 1024", {ours: 7.0, graph: 20.0}, narrow_bound_us={"bfloat16": 0.9}),
        ],
        "sequences": [column("256, 512", {"fastlstm run": 3.0, cudnn: 4.0})],
        "large_batches": [column("64 x (512, 1024), one of 100", {"fastlstm run": 12.0, cudnn: 10.0})],
        "sizes": [column(f"1, {h}", {ours: h / 100.0}, size=[1, h]) for h in (64, 512)],
        "batches": [column(f"{b} x (128, 256)", {ours: 2.0 * b}, size=[128, 256], batch=b) for b in (1, 64)],
        "latency": [
            {"label": "256, 512", "steps": 100, "refused": {}, "percentiles_us": {"fastlstm Stream.step": latency},
             "curve_us": {"fastlstm Stream.step": list(np.linspace(9, 20, 48))}},
        ],
    }  # fmt: skip


def test_goals(result):
    rows = {row[0]: row[2:] for row in report.goals(result)}
    assert rows.pop("float32 against the oracle, a step") == ["2e-07", "yes"]
    assert rows.pop("a step inside generate, H = 512, batch 1") == ["3 us", "yes"]
    assert rows.pop("a step inside generate, H = 1024, batch 1") == ["7 us", "**no**"]
    assert rows.pop("of PyTorch's step replayed as a CUDA graph, H = 512") == ["0.188", "yes"]
    assert rows.pop("of PyTorch's step replayed as a CUDA graph, H = 1024") == ["0.35", "**no**"]
    assert rows.pop("of cuDNN over a known sequence, H = 512") == ["0.75", "yes"]
    assert rows.pop("of cuDNN over a sequence, 64 rows, H = 1024") == ["1.2", "yes"]
    assert rows.pop("greedy ids of the demonstration that are not the CPU's") == ["1", "**no**"]
    assert len(rows) == 4 and all(row == ["", "not measured"] for row in rows.values())


@pytest.mark.skipif(simulator, reason="runs without the simulator too")
def test_report_and_pictures(result, tmp_path):
    pytest.importorskip("matplotlib")
    result = json.loads(json.dumps(result))  # as `--redraw` reads it
    pictures = plots.draw(result, tmp_path / "paper", report.figures)
    names = ("loops", "sequences", "sizes", "batches", "latency")
    assert [file for _, file in pictures] == [f"paper-{name}.svg" for name in names]
    for _, file in pictures:
        assert b"Paper H200, 2020-02-20" in (tmp_path / file).read_bytes()
        assert (tmp_path / file).with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    text = report.markdown(result, pictures)
    assert text.startswith("# Paper H200, 2020-02-20\n\nCompute capability 9.0, 132 multiprocessors at up to 1980 MHz")
    assert "2 of 3 checks against the oracle were right (seed 7).\n\n- gru, float64, batch 1: error 0.001, at" in text
    assert "Measured alone: device memory 4.3e+03 GB/s, exchange 0.9 us, barrier 1.25 us, CUDA's grid" in text
    assert "1.25, CUDA's this_grid().sync() 1.5; the fastest: results that carry their step's number." in text
    assert "A step at 256, 512: 3, by the barrier 2.5: the barrier it is." in text
    assert "| fastlstm generate, bfloat16 | 2 (40%) |" in text and "| loop | 96 | 0 |" in text
    for heading in ("## Goals", *(f"## {heading}" for heading, _ in report.PARTS.values() if "symbols" not in heading)):
        assert heading in text or "driven from Python, x and y" in heading


def test_a_run_that_only_checks_has_no_goals(result):
    for part in ("limits", *report.PARTS):
        result.pop(part, None)
    assert "Goals" not in report.markdown(result) and SIMULATED.name not in report.markdown(result)
