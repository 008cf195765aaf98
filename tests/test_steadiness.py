"""What a deadline needs: nothing allocated in the loops, nothing compiled twice, streams that do not meet."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from tests import models

REPOSITORY = Path(__file__).parents[1]


def every_option():
    rng = np.random.default_rng(0)
    return [
        models.lstm(rng, 4, 6, peepholes=True, cell_clip=0.5, activation="elu", recurrent_activation="hard_sigmoid"),
        models.lstm(rng, 6, 8, projection=6, proj_clip=0.3, residual=True),
        models.dense(rng, 6, 4, "softplus"),
    ]


def tokens():
    rng = np.random.default_rng(0)
    return [models.embedding(rng, 9, 4), models.lstm(rng, 4, 6), models.dense(rng, 6, 9, "softmax")]


@pytest.fixture
def allocations():
    """A function that counts what Numba's runtime allocates in a call."""
    from numba.core.runtime import _nrt_python, rtsys

    were_on = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()

    def count(call):
        call()
        before = rtsys.get_allocation_stats().alloc
        call()
        return rtsys.get_allocation_stats().alloc - before

    yield count
    if not were_on:
        _nrt_python.memsys_disable_stats()


def test_the_loops_do_not_allocate(allocations):
    vectors, ids = fastlstm.Model(models.layers_of(every_option())), fastlstm.Model(models.layers_of(tokens()))
    sampler = fastlstm.Sampler(0.9, top_k=5, top_p=0.9)
    calls = {
        "run": lambda n: vectors.run(np.zeros((2, n, 4))),
        "run ids": lambda n: ids.run(np.zeros((2, n), int)),
        "generate": lambda n: vectors.generate(n),
        "sample": lambda n: ids.generate(n, [1], sample=sampler, seed=1),
    }
    for name, call in calls.items():
        assert allocations(lambda: call(1)) == allocations(lambda: call(1000)), name  # noqa: B023
    stream = vectors.stream()
    x = np.zeros(4)
    assert allocations(lambda: [stream.step(x) for _ in range(1000)]) == 0


def test_a_stream_step_reuses_its_output():
    stream = fastlstm.Model(models.layers_of(every_option())).stream()
    first = stream.step(np.zeros(4))
    kept = first.copy()
    second = stream.step(np.ones(4))
    assert np.shares_memory(first, second)
    assert not np.array_equal(kept, second)


def test_streams_of_one_model_run_side_by_side():
    model = fastlstm.Model(models.layers_of(every_option()))
    xs = np.random.default_rng(1).normal(size=(8, 300, 4))
    expected, _ = model.run(xs)
    results = [None] * 8

    def work(k):
        stream = model.stream()
        results[k] = np.array([stream.step(x).copy() for x in xs[k]])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(results, expected)


def test_the_compiled_loops_release_the_gil():
    from fastlstm.backends import cpu_loops

    for name in ("advance", "run", "generate"):
        assert getattr(cpu_loops, name).targetoptions["nogil"]


def test_another_model_compiles_nothing_and_another_process_neither():
    """Any plan is walked by the same compiled functions, and they come from the disk the second time."""
    code = """
import json, sys
import numpy as np
sys.path.insert(0, ".")
import fastlstm
from tests import models
from tests.test_steadiness import every_option, tokens
from fastlstm.backends import cpu_loops
counts = []
for description in (every_option(), tokens(), [models.lstm(np.random.default_rng(0), 3, 3)]):
    model = fastlstm.Model(models.layers_of(description, "float32"), dtype="float32")
    prime = [1] if model.takes_ids else np.zeros((1, model.input_size))
    model.run(prime)
    model.generate(2, prime)
    model.stream()
    dispatchers = (cpu_loops.advance, cpu_loops.run, cpu_loops.generate)
    counts.append([sum(d.stats.cache_misses.values()) + sum(d.stats.cache_hits.values()) for d in dispatchers])
print(json.dumps([counts, [sum(d.stats.cache_misses.values()) for d in dispatchers]]))
"""
    runs = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout))
    for counts, _ in runs:
        assert counts[0] == counts[1] == counts[2]
    assert runs[1][1] == [0, 0, 0]
