"""One step driven from Python, a size at a time: `pytest benchmarks/test_step.py`."""

import pytest

from benchmarks.columns import stepped
from benchmarks.parts import BATCHED, BATCHES, LARGE
from benchmarks.peers import BATCHES as BATCH_PEERS
from benchmarks.peers import NARROW, STEPS, THREADS, checked_step
from benchmarks.problem import SIZES, Problem
from fastlstm.bench.interleave import interleave


def _benchmark(benchmark, ready, group, iterations):
    benchmark.group = group
    benchmark.extra_info["error"] = ready.error
    benchmark.pedantic(ready.call, args=(ready.argument,), rounds=30, iterations=iterations, warmup_rounds=2)


CASES = [(size, name) for size in SIZES for name, peer in STEPS.items() if not peer.sizes or size in peer.sizes]


@pytest.mark.parametrize(("size", "peer"), CASES, ids=str)
def test_step(benchmark, installed, size, peer):
    ready = installed(peer, stepped(Problem(*size), STEPS)[peer])
    iterations = 1 if peer.startswith("Keras") else max(1, min(100, 5120 // size[1]))
    _benchmark(benchmark, ready, f"step, (input, hidden) = {size}", iterations)


@pytest.mark.parametrize("peer", BATCH_PEERS)
@pytest.mark.parametrize("batch", BATCHES)
def test_batch(benchmark, installed, batch, peer):
    ready = installed(peer, stepped(Problem(*BATCHED, batch=batch), BATCH_PEERS)[peer])
    _benchmark(benchmark, ready, f"step of a batch of {batch}, (input, hidden) = {BATCHED}", 10)


@pytest.mark.parametrize("peer", THREADS)
def test_threads(benchmark, installed, peer):
    ready = installed(peer, stepped(Problem(*LARGE[0]), THREADS)[peer])
    _benchmark(benchmark, ready, f"threads, (input, hidden) = {LARGE[0]}", 10)


@pytest.mark.parametrize("peer", NARROW)
def test_narrow(benchmark, installed, peer):
    ready = installed(peer, stepped(Problem(*LARGE[0]), NARROW)[peer])
    _benchmark(benchmark, ready, f"weights of fewer bytes, (input, hidden) = {LARGE[0]}", 10)


def test_a_hundred_times_tensorflow():
    """The headline: at H=32 `Stream.step` is at least 100 times as fast as a step of tf.function, in the same run."""
    if missing := STEPS["tf.function"].missing:
        pytest.skip(f"needs {missing}")
    names = ["fastlstm Stream.step", "tf.function"]
    ready = {name: checked_step(name, STEPS[name], Problem(1, 32)) for name in names}
    ours, theirs = interleave({name: (one.call, one.argument) for name, one in ready.items()}).values()
    assert theirs.ratio(ours) >= 100
