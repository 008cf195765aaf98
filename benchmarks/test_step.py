"""One step driven from Python, a size at a time: `pytest benchmarks/test_step.py`."""

import pytest

from benchmarks.peers import AT_ONE_SIZE, STEPS, checked_step
from benchmarks.problem import SIZES, Problem
from fastlstm.bench.interleave import interleave

CASES = [(size, name) for size in SIZES for name in STEPS if AT_ONE_SIZE.get(name, size) == size]


@pytest.mark.parametrize(("size", "peer"), CASES, ids=lambda value: str(value))
def test_step(benchmark, size, peer):
    call, x = checked_step(peer, Problem(*size))
    benchmark.group = f"step, (input, hidden) = {size}"
    iterations = 1 if peer in AT_ONE_SIZE else 100
    benchmark.pedantic(call, args=(x,), rounds=30, iterations=iterations, warmup_rounds=2)


def test_a_hundred_times_tensorflow():
    """The headline: at H=32 `Stream.step` is at least 100 times as fast as a step of tf.function, in the same run."""
    pytest.importorskip("tf_keras", reason="needs TensorFlow")
    names = ["fastlstm Stream.step", "tf.function"]
    ours, theirs = interleave({name: checked_step(name, Problem(1, 32)) for name in names}).values()
    assert theirs.ratio(ours) >= 100
