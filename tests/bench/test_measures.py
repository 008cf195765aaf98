"""The bandwidth's loop, the bytes of a step, latencies and turns: what they count, not how fast."""

import numpy as np
import pytest

import fastlstm
from fastlstm.backends import read_loop
from fastlstm.bench import bandwidth, traffic
from fastlstm.bench.interleave import Timing, interleave
from fastlstm.bench.latency import Latency, latency
from tests import models


def test_every_byte_is_read():
    rng = np.random.default_rng(0)
    for blocks in (1, 3, 16):
        words = rng.integers(0, 2**62, blocks * read_loop.BLOCK // 8 + 8)
        words = words[-words.ctypes.data % 64 // 8 :][: blocks * read_loop.BLOCK // 8]
        for times, expected in ((1, np.bitwise_xor.reduce(words)), (2, 0), (3, np.bitwise_xor.reduce(words))):
            assert read_loop.read(words.ctypes.data, blocks, times) == expected


@pytest.mark.parametrize("threads", [1, 2])
def test_levels(threads):
    measured = bandwidth.levels([2**12, 2**14], rounds=1, slice_bytes=2**15, threads=threads)
    assert list(measured) == [2**12, 2**14] and all(rate > 0 for rate in measured.values())


def test_the_bound_is_the_best_of_the_levels_that_are_large_enough():
    measured = {2**12: 50.0, 2**14: 200.0, 2**20: 100.0}
    assert bandwidth.bound(1000, measured) == 1000 / 200
    assert bandwidth.bound(2**14 + 1, measured) == (2**14 + 1) / 100
    assert bandwidth.bound(2**21, measured) == 2**21 / 100  # beyond all of them, the largest
    assert bandwidth.working_sets(2**14 + 1) == [2**15, 2**16]


@pytest.mark.parametrize(
    ("description", "dtype", "numbers"),
    [
        (lambda r: [models.lstm(r, 3, 5), models.dense(r, 5, 2)], "float32", 8 * 20 + 20 + 12),
        (lambda r: [models.lstm(r, 3, 5, peepholes=True, projection=2)], "float64", 5 * 20 + 20 + 15 + 10),
        (lambda r: [models.gru(r, 3, 5, reset_after=True)], "float32", 8 * 15 + 30),
        (lambda r: [models.one_hot(9), models.lstm(r, 9, 5)], "float32", 20 + 5 * 20 + 20),
        (lambda r: [models.embedding(r, 9, 4), models.gru(r, 4, 5), models.dense(r, 5, 9)], "float64", 15 * 7 + 54),
        (lambda r: [models.bidirectional([models.gru(r, 3, 5)], [models.gru(r, 3, 5)])], "float32", 2 * 9 * 15),
    ],
)
def test_bytes_of_a_step(description, dtype, numbers):
    layers = models.layers_of(description(np.random.default_rng(0)), dtype)
    model = fastlstm.Model(layers, device="numpy", dtype=dtype)
    assert traffic.weight_bytes(model) == numbers * np.dtype(dtype).itemsize


def test_latency_counts_calls():
    made = []
    found = latency(made.append, 3, 25, float("inf"))
    assert len(found) == 25 and made == [3] * 25 and found.clock >= 0
    assert len(latency(made.append, 3, 1000, 0.0)) == 10  # at least


def test_percentiles():
    found = Latency(np.arange(1, 1001) * 1000, 0.0)
    assert found.percentiles() == pytest.approx({"p50": 500.5, "p99": 990.01, "p99.9": 999.001, "max": 1000})
    assert found.over(999) == 1 and found.over(1000) == 0


def test_turns():
    made = []
    calls = {name: (made.append, name) for name in "ab"}
    timings = interleave(calls, rounds=3, slice_seconds=0)
    assert list(timings) == ["a", "b"] and all(len(t.rounds) == 3 for t in timings.values())
    assert made[-6:] == list("abbaab")


def test_timing():
    a, b = Timing((1.0, 2.0, 6.0)), Timing((1.0, 1.0, 2.0))
    assert (a.median, a.best, a.ratio(b)) == (2.0, 1.0, 2.0)
    assert a.divided(2).rounds == (0.5, 1.0, 3.0)
