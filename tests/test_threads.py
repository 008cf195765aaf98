"""threads: the same bits as one thread, whoever computes what; helpers that are late, gone, or shared by callers."""

import gc
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fastlstm
import fastlstm.devices
from fastlstm.backends import team as t
from tests import models

# From here on products are shared, with vectors of 64 bytes too; not a multiple of any vector. int8 has a quarter of
# the work.
SIZE, NARROW_SIZE = 150, 310
CORES = fastlstm.devices._cores()


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(fastlstm.devices, "_cores", lambda: 4)


def layers(kind, dtype="float32", size=SIZE):
    rng = np.random.default_rng(7)
    stack = {
        "lstm": [models.lstm(rng, 9, size, scale=0.1), models.lstm(rng, size, 128, scale=0.1)],
        "options": [models.lstm(rng, 9, size + 30, projection=70, peepholes=True, cell_clip=1.0, scale=0.1)],
        "norm": [models.lstm(rng, 9, size, norm=models.norm(rng, size), scale=0.1)],
        "gru": [models.gru(rng, 9, size, scale=0.1), models.gru(rng, size, size, reset_after=True, scale=0.1)],
        "highway": [models.lstm(rng, 9, size), models.gru(rng, size, size, highway=models.highway(rng, size))],
        "masked": [models.masking(9), models.lstm(rng, 9, size, scale=0.1)],
        "ids": [models.embedding(rng, 9, 120), models.lstm(rng, 120, size, scale=0.1)],
        "both": [models.bidirectional([models.lstm(rng, 9, size)], [models.lstm(rng, 9, size)])],
    }[kind]
    width = {"options": 70, "both": 2 * size, "lstm": 128}.get(kind, size)
    return models.layers_of([*stack, models.dense(rng, width, 9)], dtype)


def pair(kind, threads, dtype="float32", weights=None):
    own = layers(kind, dtype, SIZE if weights is None else NARROW_SIZE)
    return [fastlstm.Model(own, dtype=dtype, weights=weights, threads=number) for number in (1, threads)]


def same(one, other):
    (ys, state), (others, other_state) = one, other
    assert np.array_equal(ys, others)
    for a, b in zip(state, other_state, strict=True):
        assert np.array_equal(a.c, b.c) and np.array_equal(a.h, b.h)


def inputs(kind, *shape):
    rng = np.random.default_rng(3)
    if kind == "ids":
        return rng.integers(0, 9, shape)
    xs = rng.normal(size=(*shape, 9)).astype(np.float32)
    if kind == "masked":
        xs[..., 2::5, :] = 0
    return xs


def let_them_help(one, shared, call, seconds=20.0):
    """Compare until shares have been given: helpers are woken only when there is work for a while."""
    want, crew = call(one), shared.backend.team._crew
    start, given = time.monotonic(), 0
    while given == 0 and time.monotonic() < start + seconds:
        same(want, call(shared))
        given = max(crew.get(block + t.TICKET) for block in crew.blocks)
    assert given, "no share has been given"


@pytest.mark.parametrize(
    ("kind", "weights"),
    [(kind, None) for kind in ("lstm", "options", "norm", "gru", "highway", "masked", "ids")]
    + [(kind, weights) for kind in ("lstm", "gru", "highway") for weights in ("bfloat16", "int8")],
)
def test_same_bits_for_any_number_of_threads(kind, weights):
    for threads in (2, 4):
        one, shared = pair(kind, threads, weights=weights)
        let_them_help(one, shared, lambda model: model.run(inputs(kind, 1500)))
        for shape in [(3,), (13,)]:
            same(one.step(inputs(kind, *shape)), shared.step(inputs(kind, *shape)))
            lengths = np.arange(shape[0]) % 20
            for limits in (None, lengths):
                xs = inputs(kind, *shape, 20)
                same(one.run(xs, lengths=limits), shared.run(xs, lengths=limits))
        if kind != "masked":
            prime = inputs(kind, 3, 5)
            options = {"stop": [2], "seed": 5, "sample": fastlstm.Sampler(0.9)} if kind == "ids" else {}
            same(one.generate(50, prime, **options), shared.generate(50, prime, **options))
        a, b = one.stream(), shared.stream()
        for x in inputs(kind, 60):
            assert np.array_equal(a.step(x), b.step(x))
        assert np.array_equal(a.process(inputs(kind, 30)), b.process(inputs(kind, 30)))


def test_same_bits_in_both_directions():
    one, shared = pair("both", 3)
    xs = inputs("both", 2, 30)
    for lengths in (None, [30, 11]):
        same(one.run(xs, lengths=lengths), shared.run(xs, lengths=lengths))


def test_a_model_too_small_to_share():
    rng = np.random.default_rng(1)
    own = models.layers_of([models.lstm(rng, 3, 5), models.dense(rng, 5, 3)], "float32")
    one, shared = fastlstm.Model(own), fastlstm.Model(own, threads=4)
    same(one.generate(300), shared.generate(300))
    crew = shared.backend.team._crew
    assert [crew.get(block + t.TICKET) for block in crew.blocks] == [0, 0, 0]


def test_what_does_not_come_back_is_computed_by_the_leader():
    one, shared = pair("lstm", 3)
    crew = shared.backend.team._crew
    crew.threads.append(threading.current_thread())  # so that none is started
    for block in crew.blocks:  # they look as if they stood ready
        crew.set(block + t.DONE, crew.get(block + t.TICKET))
    same(one.generate(100), shared.generate(100))
    assert all(crew.get(block + t.TICKET) > crew.get(block + t.DONE) for block in crew.blocks)
    crew.threads.clear()


def test_helpers_that_cannot_be_started_are_absent(monkeypatch):
    """They are given nothing, and nothing is kept for them."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    one, shared = pair("lstm", 3)
    crew = shared.backend.team._crew
    for _ in range(2):
        assert [crew.get(block + t.DONE) for block in crew.blocks] == [t.ABSENT, t.ABSENT]
        for batch in range(2, 12):
            x = inputs("lstm", batch)
            assert np.array_equal(one.step(x)[0], shared.step(x)[0])
        assert [crew.get(block + t.TICKET) for block in crew.blocks] == [0, 0]
        assert crew.idle() and not crew.buried
        crew.begin()


@pytest.mark.skipif(CORES < 2, reason="a helper that shares the leader's core seldom has a tile in time")
def test_tiles_of_a_helper_are_taken_over():
    one, shared = pair("lstm", 2)
    want, crew = one.generate(300), shared.backend.team._crew
    (block,) = crew.blocks
    end = time.monotonic() + 60
    while time.monotonic() < end and not (crew.get(block + t.COUNT) and crew.get(block + t.DONE) > 100):
        same(want, shared.generate(300))
    assert crew.get(block + t.COUNT) > 0 and crew.get(block + t.DONE) > 100


def test_several_callers_have_the_right_answers():
    one, shared = pair("lstm", 2)
    want, xs = one.generate(20)[0], inputs("lstm", 20)
    stream = one.stream()
    steps = [stream.step(x).copy() for x in xs]
    wrong = []

    def call():
        own = shared.stream()
        for _ in range(30):
            wrong.extend([1] * (not np.array_equal(shared.generate(20)[0], want)))
            own.reset()
            wrong.extend(x for x, y in zip(xs, steps, strict=True) if not np.array_equal(own.step(x), y))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_models_that_come_and_go():
    """What a late helper still reads or writes is not the next model's memory."""
    one, kept = pair("lstm", 2)
    want = one.generate(5)[0]
    kept.generate(5)
    for _ in range(40):
        model = fastlstm.Model(layers("lstm"), threads=2)
        assert np.array_equal(model.generate(5)[0], want)
        model.stream().process(inputs("lstm", 3))


def test_helpers_end_with_the_last_model():
    gc.collect()
    before = [thread for thread in threading.enumerate() if thread.name == "fastlstm helper"]
    _, shared = pair("lstm", 3)
    shared.generate(5)
    assert threading.active_count() >= 2
    del shared
    gc.collect()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        left = [thread for thread in threading.enumerate() if thread.name == "fastlstm helper"]
        if len(left) <= len(before):
            return
        time.sleep(0.01)
    raise AssertionError(left)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_child():
    one, shared = pair("lstm", 2)
    stream, xs = shared.stream(), inputs("lstm", 10)
    want = one.generate(200)[0]
    same(one.generate(200), shared.generate(200))
    steps = one.stream()
    child = os.fork()
    if child == 0:
        right = False
        try:
            right = all(np.array_equal(steps.step(x), stream.step(x)) for x in xs)
            shared.step(xs)
            right = right and len(shared.backend.team._crew.threads) == 1
            right = right and all(np.array_equal(shared.generate(200)[0], want) for _ in range(10))
        finally:
            os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    same(one.generate(200), shared.generate(200))


def test_a_process_ends_with_helpers_at_work():
    code = (
        "import numpy as np, fastlstm, fastlstm.devices as d; d._cores = lambda: 4\n"
        "r = np.random.default_rng(0)\n"
        "model = fastlstm.Model([fastlstm.LSTM(r.normal(size=(9, 512)).astype('f'), r.normal(size=(128, 512))"
        ".astype('f')), fastlstm.Dense(r.normal(size=(128, 9)).astype('f'))], threads=4)\n"
        "model.generate(300); stream = model.stream(); stream.step(np.zeros(9, 'f')); print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_call_that_is_interrupted_leaves_the_team_free():
    """It is left by the arena that leads, whether or not anybody got to know that it does; by no other one."""
    team = t.Team(2, np.dtype(np.float32))
    one, other = np.zeros(64, np.float32), np.zeros(64, np.float32)
    with pytest.raises(KeyboardInterrupt), team.led_from(one):
        assert team._crew.get(t.LEADER) == one.ctypes.data
        with team.led_from(other):
            pass
        assert team._crew.get(t.OWNED) == 1, "the inner call did not lead"
        raise KeyboardInterrupt
    assert (team._crew.get(t.OWNED), team._crew.get(t.LEADER)) == (0, 0)


def test_a_stream_that_is_collected_while_the_team_is_locked():
    team = t.Team(2, np.dtype(np.float32))
    with team._crew.lock:
        team.bury(np.zeros(4))


def test_a_start_that_is_interrupted_is_not_repeated(monkeypatch):
    """Two threads on one block would both write where the leader sends one of them."""
    crew = t._Crew(1, t.code("work_float32"))
    started = []

    def start(thread):
        started.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(t.threading.Thread, "start", start)
    with pytest.raises(KeyboardInterrupt):
        crew.start()
    assert crew.threads == started
    assert [thread.ident for thread in crew.stop()] == [None]
