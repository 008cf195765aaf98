"""What the kernels' intrinsics compile to, run by `emulator.py`, against plain loops: no GPU is needed."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from fastlstm.backends.narrow import bfloat16_words, rounded_bfloat16
from tests.cuda import emulator

if find_spec("numba_cuda") is None or os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("needs numba-cuda, and not the simulator", allow_module_level=True)

DEPTH, FURTHER, X = 300, 20, 8


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Name -> PTX; in a process of its own, which takes another place for the device at hand."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path_factory.mktemp("numba"))}
    command = [sys.executable, "-m", "tests.cuda.intrinsic_kernels"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env=environment, text=True, stdout=subprocess.PIPE)
    assert done.returncode == 0
    return json.loads(done.stdout)


def near(ours, theirs, dtype):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize(("begin", "end"), [(0, DEPTH), (0, 4), (128, DEPTH), (132, 260), (8, 8), (60, 64), (296, 300)])
@pytest.mark.parametrize("weights", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("rows", ["one", "few", "many"])
def test_products(compiled, rows, weights, begin, end):
    """Of four columns and as many rows; the rows after the last are the last again."""
    dtype = "float64" if weights == "float64" else "float32"
    rng, stride = np.random.default_rng(1), 328
    matrix = rng.normal(size=(5, stride)).astype(dtype)
    arena = rng.normal(size=(20, 340)).astype(dtype)
    order = rng.permutation(20).astype(np.int32)
    starts, count = (order * 340 * arena.itemsize).astype(np.int32), 15
    out = np.full(4 * {"one": 1, "few": 4, "many": 8 if dtype == "float64" else 16}[rows], np.nan, dtype)
    stored = matrix
    if weights == "bfloat16":
        stored, matrix = (f(matrix.T).T for f in (bfloat16_words, rounded_bfloat16))
    given = np.ascontiguousarray(stored).ravel(), arena.ravel(), starts, out, stride, FURTHER, X, begin, end, count
    emulator.run(compiled[f"product {rows} {weights}"], given, shared_bytes=4096)
    chosen = order[[min(3 + r, count - 1) for r in range(out.size // 4)]]
    part = matrix[1:, FURTHER + begin : FURTHER + end].astype(float)
    near(out.reshape(-1, 4), arena[chosen, X + begin : X + end].astype(float) @ part.T, dtype)


def test_the_emulator_sees_a_wrong_boundary(compiled):
    """A load of four numbers that does not begin on 16 bytes, and one behind the array."""
    arena, out = np.zeros(400, np.float32), np.zeros(4, np.float32)
    weights, starts = np.zeros(5 * 328, np.float32), np.zeros(20, np.int32)
    text = compiled["product one float32"]
    for further, end, message in ((2, DEPTH, "boundary of 16"), (FURTHER, 404, "outside of all")):
        with pytest.raises(AssertionError, match=message):
            emulator.run(text, (weights, arena, starts, out, 328, further, X, 0, end, 15), shared_bytes=4096)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_words_between_blocks(compiled, dtype):
    """A value with its step's number comes back, to the bit; with another number it has not come."""
    values = (1e3 * np.random.default_rng(2).normal(size=32)).astype(dtype)
    values[3:6] = (2**24 + 1, -1, 2**31 - 1) if dtype == "int32" else (-0.0, np.inf, 1e-40)
    for stamp, asked in ((7, 7), (2**31 - 1, 2**31 - 1), (7, 8)):
        words, seen = np.zeros(80, np.uint64), np.full((2, 32), 99, dtype)
        emulator.run(compiled[f"words {dtype}"], (words, values, seen, 5, stamp, asked))
        np.testing.assert_array_equal(seen[0], np.full(32, stamp == asked))
        if stamp == asked:
            assert seen[1].tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_over_a_warp(compiled, dtype):
    values, out = np.random.default_rng(3).normal(size=32).astype(dtype), np.full((2, 32), np.nan, dtype)
    values[5] = np.nan
    emulator.run(compiled[f"over a warp {dtype}"], (values, out))
    assert np.isnan(out[0]).all() and (out[1] == np.nanmax(values)).all()
    values[5] = 9
    emulator.run(compiled[f"over a warp {dtype}"], (values, out))
    near(out[0], np.full(32, values.sum()), dtype)
    assert (out[0] == out[0, 0]).all() and (out[1] == 9).all()


@pytest.mark.parametrize("count", [4, 128, 300, 1024])
def test_copies_and_quotients(compiled, count):
    source, target = np.arange(1, 1101, dtype=np.float32), np.zeros(1200, np.float32)
    out = np.zeros(32, np.int64)
    emulator.run(compiled["copy"], (target, source, out, count, 7))
    np.testing.assert_array_equal(target[8 : 8 + count], source[4 : 4 + count])
    assert (target[8 + count :] == 0).all() and (target[:8] == 0).all()
    np.testing.assert_array_equal(out, np.arange(32) * count // 7)
