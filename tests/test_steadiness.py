"""What a deadline needs: nothing allocated in the loops, nothing compiled twice, streams that do not meet."""

import copy
import gc
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
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


def test_a_call_of_many_steps_allocates_no_more_than_one():
    """Beside its arrays. That compiled code does not allocate by itself is seen to where it is compiled."""
    vectors, ids = (fastlstm.Model(models.layers_of(d())) for d in (every_option, tokens))
    sampler = fastlstm.Sampler(0.9, top_k=5, top_p=0.9)
    calls = {
        "run": lambda n: vectors.run(np.zeros((2, n, 4))),
        "run ids": lambda n: ids.run(np.zeros((2, n), int)),
        "generate": lambda n: vectors.generate(n),
        "sample": lambda n: ids.generate(n, [1], sample=sampler, seed=1),
    }
    for name, call in calls.items():
        counts = []
        for n in (2, 1000):
            call(n)
            tracemalloc.start()
            kept = call(n)
            counts.append(sum(trace.count for trace in tracemalloc.take_snapshot().statistics("filename")))
            tracemalloc.stop()
            del kept
        assert counts[1] <= counts[0] + 2, name


@pytest.mark.parametrize("given", [np.ones(4), np.ones(8)[::2], np.ones(4, np.float32), [1, 1, 1, 1]])
def test_a_thousand_steps_keep_no_more_memory_than_one(given):
    stream = fastlstm.Model(models.layers_of(every_option())).stream()
    ids = fastlstm.Model(models.layers_of(tokens())).stream()

    def blocks(n):
        before = sys.getallocatedblocks()
        for _ in range(n):
            stream.step(given)
            ids.step(3)
        return sys.getallocatedblocks() - before

    blocks(10)
    assert blocks(1000) <= blocks(1) + 8, "Python's own free lists move by a few"


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


@pytest.fixture
def no_compiling(monkeypatch):
    """Fails where something would be compiled from here on."""
    from fastlstm.backends import objects

    def refuse(name):
        raise AssertionError(f"{name} is compiled")

    monkeypatch.setattr(objects, "compiled", refuse)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("description", [every_option, tokens, every_cell, masked_tokens])
def test_a_stream_compiles_nothing_later(monkeypatch, description, dtype):
    """It has all its code when it is made: nothing is even looked for later."""
    from fastlstm.backends import cpu, objects

    model = fastlstm.Model(models.layers_of(description(), dtype), dtype=dtype)
    stream = model.stream()
    monkeypatch.setattr(objects, "code", None)
    monkeypatch.setattr(cpu, "code", None)
    if model.takes_ids:
        inputs = [1, np.int64(1), np.int8(1), np.array(1), [1][0]]
        blocks = [[1, 2], np.array([1, 2], np.int32), np.arange(6)[::2]]
    else:
        base = np.ones(8, np.float64)
        frozen = np.ones(4, dtype)
        frozen.flags.writeable = False
        inputs = [base[::2], frozen, np.ones(4, np.int16), [1, 1, 1, 1], base[:4].astype(">f8")]
        blocks = [np.ones((3, 4), int), np.asfortranarray(np.ones((3, 4), dtype)), np.ones((6, 4))[::-2]]
    for x in inputs:
        first = stream.step(x).copy()
        stream.reset()
        np.testing.assert_array_equal(first, stream.step(inputs[0]))
        stream.reset()
    for xs in blocks:
        stream.process(xs)
        stream.state = stream.state
    assert type(stream.step).__name__ == "builtin_function_or_method"


def test_streams_and_calls_with_odd_arrays_share_their_code(no_compiling):
    """What the first calls have compiled serves read-only, reversed and strided arrays, and numbers of other types."""
    vectors, ids = fastlstm.Model(models.layers_of(every_option())), fastlstm.Model(models.layers_of(tokens()))

    def call(xs, numbers, top_k):
        ids.generate(2, numbers, sample=fastlstm.Sampler(np.float32(0.5), top_k=top_k), seed=np.int64(1))
        return vectors.run(xs)[0], vectors.generate(2, xs)[0], ids.run(numbers)[0]

    xs, numbers = np.ones((2, 3, 4)), np.ones((2, 3), np.int64)
    expected = call(xs, numbers, 3)
    xs.flags.writeable = numbers.flags.writeable = False
    for ys in (call(xs, numbers, np.int32(3)), call(np.asfortranarray(xs)[::-1], numbers[:, ::-1], 3)):
        for one, two in zip(ys, expected, strict=True):
            np.testing.assert_array_equal(one, two)


def test_what_python_subclasses_is_called():
    class Counting(fastlstm.Stream):
        calls = 0

        def step(self, x):
            self.calls += 1
            return super().step(x)

    stream = Counting(fastlstm.Model(models.layers_of(every_option())))
    stream.step(np.ones(4))
    assert stream.calls == 1


def test_a_step_keeps_what_it_needs_alive():
    step = fastlstm.Model(models.layers_of(every_option())).stream().step
    gc.collect()
    again = fastlstm.Model(models.layers_of(every_option())).stream()
    for _ in range(3):
        np.testing.assert_array_equal(step(np.ones(4)), again.step(np.ones(4)))


@pytest.mark.parametrize("bad", [np.ones(3), np.ones((1, 4)), "abcd", None, [[1], [2, 3]]])
def test_a_refused_input_leaves_the_state(bad):
    stream = fastlstm.Model(models.layers_of(every_option())).stream()
    stream.step(np.ones(4))
    before = stream.state
    with pytest.raises(fastlstm.ShapeError):
        stream.step(bad)
    for one, two in zip(stream.state, before, strict=True):
        np.testing.assert_array_equal(one.c, two.c)


@pytest.mark.parametrize("bad", [9, -1, 2**70, -(2**63)])
def test_a_refused_id_leaves_the_state(bad):
    stream = fastlstm.Model(models.layers_of(tokens())).stream()
    before = stream.state[0].c.copy()
    with pytest.raises(fastlstm.FastLSTMError):
        stream.step(bad)
    np.testing.assert_array_equal(stream.state[0].c, before)


def test_compiled_code_checks_its_arguments():
    """The way in from Python converts nothing: what does not fit is refused before it is looked at."""
    from fastlstm.backends import objects

    step, block = objects.code("step_float64").call, objects.code("run_block_float64").call
    for arguments in ([], [1, 2]):
        with pytest.raises(SystemError, match="wrong number of arguments"):
            step(*arguments)
    with pytest.raises(TypeError):
        step("1")
    for first in (1, np.zeros(3), np.zeros((1, 3), int), np.zeros(6, int)[::2], np.zeros(3, ">i8"), None):
        with pytest.raises(SystemError, match=r"argument 0 is not array\(int64, 1d, C\)"):
            block(first, *[None] * 10)


def test_denormals_are_flushed_in_the_loops_and_not_outside():
    """A state that decays would come to them, and each operation on one takes 100 cycles."""
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        layer = models.lstm(rng, 1, 8, scale=1e-3)
        layer[1]["bias"] = np.zeros(32)  # all gates at one half: c halves at each step
        model = fastlstm.Model(models.layers_of([layer], dtype), dtype=dtype)
        tiny = np.finfo(dtype).tiny
        stream = model.stream()
        stream.state = [(np.full((1, 8), 64 * tiny, dtype), np.full((1, 8), 64 * tiny, dtype))]
        for _ in range(40):
            stream.step(np.zeros(1, dtype))
            for part in stream.state[0]:
                assert not np.any((part != 0) & (np.abs(part) < tiny))
        assert not stream.state[0].c.any()
        assert tiny / 2 > 0, "the caller keeps its own mode"


def test_a_long_call_lets_other_threads_run():
    model = fastlstm.Model(models.layers_of(every_option()))
    times = []

    def work():
        times.append(time.perf_counter())
        model.generate(300_000)
        times.append(time.perf_counter())

    model.generate(1)
    thread, ticks = threading.Thread(target=work), []
    thread.start()
    while thread.is_alive():
        ticks.append(time.perf_counter())
        time.sleep(0.001)
    start, end = times
    quarter = (end - start) / 4
    assert any(start + quarter < tick < end - quarter for tick in ticks)


def test_code_of_older_sources_is_not_run(tmp_path):
    """An edit of any file that the compiled code is made of gives the object files other names."""
    shutil.copytree(
        REPOSITORY / "fastlstm", tmp_path / "fastlstm", ignore=shutil.ignore_patterns("data", "__pycache__")
    )
    code = "from fastlstm.backends import storage; print(storage.file_name('step_float32'), storage.__file__)"

    def name(**settings):
        command, environment = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": str(tmp_path)} | settings
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.split()[1].startswith(str(tmp_path))
        return done.stdout

    names = [name(), name(NUMBA_CPU_FEATURES="+sse2"), name(NUMBA_CPU_NAME="generic")]
    scalar = tmp_path / "fastlstm" / "backends" / "scalar.py"
    scalar.write_text(scalar.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    names.append(name())
    assert len(set(names)) == 4
    assert name(NUMBA_NUM_THREADS="1") == names[3], "what does not change the code"


def test_without_compilation_the_cpu_device_says_so():
    code = "import fastlstm as f, numpy as n; f.Model([f.LSTM(n.ones((1, 4)), n.ones((1, 4)))]).step([0.3])"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "DeviceError: device 'cpu' is compiled" in done.stderr
    assert "pass device='numpy'" in done.stderr


def test_code_that_allocates_is_refused():
    from numba import types

    from fastlstm.backends import native

    def allocates(n):
        return np.empty(n).sum() > 0

    with pytest.raises(AssertionError, match="NRT_"):
        native.object_file("allocates", allocates, types.int64(types.int64))


def test_a_warm_process_does_not_import_numba():
    """Any plan is walked by the same compiled functions, and they come from the disk the second time."""
    code = """
import sys
import numpy as np
sys.path.insert(0, ".")
import fastlstm
from tests import models
from tests.test_steadiness import every_cell, every_option, masked_tokens, tokens
for dtype in ("float32", "float64"):
    for description in (every_option(), tokens(), every_cell(), masked_tokens()):
        model = fastlstm.Model(models.layers_of(description, dtype), dtype=dtype)
        prime = [1, 2] if model.takes_ids else np.zeros((2, model.input_size))
        model.run(prime)
        model.run([prime, prime])
        model.generate(2, prime)
        stream = model.stream()
        stream.step(prime[0])
        stream.process(prime)
print("numba" in sys.modules)
"""
    from fastlstm.backends import entries, objects

    for name in entries.names(["float32", "float64"]):  # what `fastlstm warmup` compiles
        objects.code(name)
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_a_process_that_starts_imports_what_it_needs(device, tmp_path):
    """Of the package itself; and neither Numba, nor what other formats, verification and the command line need."""
    path = tmp_path / "model.safetensors"
    model = fastlstm.Model(models.layers_of(every_option()))
    fastlstm.save(model, path)
    model.stream()
    code = f"""
import sys
import numpy
before = set(sys.modules)  # Python 3.10's platform module, which NumPy imports, brings in subprocess
import fastlstm
at_import = sorted(name for name in sys.modules if name.startswith("fastlstm"))
fastlstm.load({str(path)!r}, device={device!r}).stream().step([1.0, 2.0, 3.0, 4.0])
print([name for name in at_import if name.startswith(("fastlstm.formats", "fastlstm.verification", "fastlstm.cli"))])
print(sorted({{"numba", "llvmlite", "h5py", "google", "subprocess", "numba.cuda"}} & set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['llvmlite']" if device == "cpu" else "[]"]
