"""What a deadline needs: nothing allocated in the loops, nothing compiled twice, streams that do not meet."""

import copy
import gc
import json
import os
import pickle
import shutil
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


def every_cell():
    rng = np.random.default_rng(0)
    return [
        models.masking(4),
        models.gru(rng, 4, 4, residual=True, zero_output_for_mask=True),
        models.gru(rng, 4, 5, reset_after=True, activation="relu"),
        models.lstm(rng, 5, 5, norm=models.norm(rng, 5), highway=models.highway(rng, 5, True)),
        models.lstm(rng, 5, 4),
    ]


def masked_tokens():
    rng = np.random.default_rng(0)
    return [models.embedding(rng, 9, 4, mask_zero=True), models.gru(rng, 4, 6), models.dense(rng, 6, 9, "softmax")]


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


@pytest.mark.parametrize(("vectors", "ids"), [(every_option, tokens), (every_cell, masked_tokens)])
def test_the_loops_do_not_allocate(allocations, vectors, ids):
    vectors, ids = fastlstm.Model(models.layers_of(vectors())), fastlstm.Model(models.layers_of(ids()))
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
    assert allocations(lambda: [stream.step(x + 1) for _ in range(1000)]) == 0


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


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copied_stream_is_a_stream_of_its_own(copied):
    stream = fastlstm.Model(models.layers_of(every_option())).stream()
    stream.step(np.ones(4))
    other, expected = copied(stream), stream.state
    other.step(np.ones(4))
    for one, two in zip(stream.state, expected, strict=True):
        np.testing.assert_array_equal(one.c, two.c)
    del stream
    gc.collect()
    again = other.state
    y = other.step(np.zeros(4)).copy()
    other.state = again
    np.testing.assert_array_equal(other.step(np.zeros(4)), y)


def test_a_pickled_model_is_the_same_model():
    model = fastlstm.Model(models.layers_of(tokens(), "float32"))
    model.step(1)
    again = pickle.loads(pickle.dumps(model))
    assert again.dtype is np.dtype(np.float32)
    np.testing.assert_array_equal(again.run([1, 2, 3])[0], model.run([1, 2, 3])[0])


def test_what_a_step_gives_cannot_change_the_state():
    for device in ("cpu", "numpy"):
        stream = fastlstm.Model([fastlstm.LSTM(np.ones((1, 8)), np.ones((2, 8)))], device=device).stream()
        y = stream.step(0.5)
        with pytest.raises(ValueError, match="read-only"):
            y[:] = 9


def test_ids_are_checked_in_a_copy_of_our_own():
    """Compiled code reads them without the GIL: what the caller's memory holds by then must not matter."""
    model = fastlstm.Model(models.layers_of(tokens()))
    ids = np.array([[1, 2, 3]])
    for checked in (model.inputs(ids, "BT", name="xs")[0], model.inputs(ids[0], "BT", name="xs")[0]):
        assert not np.shares_memory(checked, ids)


def test_read_only_arguments_compile_nothing():
    from fastlstm.backends import cpu_loops

    vectors, ids = fastlstm.Model(models.layers_of(every_option())), fastlstm.Model(models.layers_of(tokens()))

    def call(xs, numbers, top_k):
        vectors.run(xs)
        vectors.generate(2, xs)
        ids.run(numbers)
        ids.generate(2, numbers, sample=fastlstm.Sampler(np.float32(0.5), top_k=top_k), seed=np.int64(1))

    xs, numbers = np.zeros((2, 3, 4)), np.zeros((2, 3), np.int64)
    call(xs, numbers, 3)
    before = [len(d.signatures) for d in (cpu_loops.run, cpu_loops.generate)]
    xs.flags.writeable = numbers.flags.writeable = False
    call(xs, numbers, np.int32(3))
    call(np.asfortranarray(xs)[::-1], numbers[:, ::-1], 3)
    assert [len(d.signatures) for d in (cpu_loops.run, cpu_loops.generate)] == before


def test_code_of_older_sources_is_not_run(tmp_path):
    """Numba's cache looks at a function's own file; an edit of the file beside it has to count too."""
    shutil.copytree(
        REPOSITORY / "fastlstm", tmp_path / "fastlstm", ignore=shutil.ignore_patterns("data", "__pycache__")
    )
    code = "import fastlstm as f, numpy as n; print(f.Model([f.LSTM(n.ones((1, 4)), n.ones((1, 4)))]).step([0.3])[0])"
    place = {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def output():
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=os.environ | place, cwd=tmp_path, capture_output=True, check=True).stdout

    first = output()
    scalar = tmp_path / "fastlstm" / "backends" / "scalar.py"
    text = scalar.read_text(encoding="utf-8")
    assert text.count("return type(x)(1) / (type(x)(1) + (s + s * p))") == 1
    scalar.write_text(text.replace("return type(x)(1) / (", "return type(x)(0.5) / ("), encoding="utf-8")
    assert output() != first


def test_without_a_disk_cache_code_is_kept_in_memory():
    from fastlstm.backends import jit

    names = {}
    exec("def twice(x):\n    return x + x", names)  # a function without a file: Numba has no place for its code
    jit._warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="set NUMBA_CACHE_DIR") as said:
        twice = jit.compiled(names["twice"])
        jit.compiled(names["twice"])
    assert len(said) == 1, "one warning, not one for each function"
    assert twice(4) == 8


def test_without_compilation_the_cpu_device_says_so():
    code = "import fastlstm as f, numpy as n; f.Model([f.LSTM(n.ones((1, 4)), n.ones((1, 4)))]).step([0.3])"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "DeviceError: device 'cpu' is compiled" in done.stderr
    assert "pass device='numpy'" in done.stderr


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
from tests.test_steadiness import every_cell, every_option, masked_tokens, tokens
from fastlstm.backends import cpu_loops
counts = []
for description in (every_option(), tokens(), every_cell(), masked_tokens()):
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
        assert all(count == counts[0] for count in counts)
    assert runs[1][1] == [0, 0, 0]
