"""Weights of two bytes and of one: the rounding, the compiled products against NumPy's, and what they cost."""

import platform
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm.backends import narrow
from tests import models
from tests.test_cells import CELLS, IDS, inputs
from tests.test_simd import AVX2, CPUS, run

NARROW = ["bfloat16", "int8"]
DEMO = Path(fastlstm.__file__).parent / "demo" / "data" / "characters"


def pair(layers, weights):
    """The same model compiled, and in plain NumPy."""
    return [fastlstm.Model(layers, device=device, dtype="float32", weights=weights) for device in ("cpu", "numpy")]


def random_state(model, batch, rng):
    return fastlstm.State(
        [[rng.normal(0, 0.5, (batch, n)).astype(np.float32) for n in sizes] for sizes in model.state_sizes]
    )


# Rounding.


def wide_range(rng, shape):
    return (rng.normal(size=shape) * 2.0 ** rng.integers(-30, 30, shape)).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_bfloat16_is_the_nearest(rows):
    """Within half a unit in the last place of 8 bits; a pair's first row within 3/4, right below a power of two."""
    w = wide_range(np.random.default_rng(0), (rows, 999))
    rounded = narrow.rounded_bfloat16(w)
    assert rounded.shape == w.shape
    half = np.exp2(np.floor(np.log2(np.abs(w))) - 8)
    far = np.abs(rounded - w) / half
    assert (far <= np.where(np.log2(np.abs(w)) % 1 > 0.99, 1.5, 1.001)).all()
    assert (far > 0.9).any()
    exact = np.array([[1.0, -0.5, 0.0], [3.5, 2.0**-20, -1.0]], np.float32)
    np.testing.assert_allclose(narrow.rounded_bfloat16(exact), exact, rtol=2**-8, atol=1e-40)
    np.testing.assert_array_equal(narrow.rounded_bfloat16(exact)[1], exact[1])


def test_bfloat16_never_overflows():
    largest = np.finfo(np.float32).max
    w = np.array([[largest, -largest], [-largest, largest]], np.float32)
    rounded = narrow.rounded_bfloat16(w)
    assert np.isfinite(rounded).all()
    np.testing.assert_allclose(rounded, w, rtol=2**-7)


def test_int8_is_within_half_a_step():
    rng = np.random.default_rng(1)
    w = rng.normal(size=(50, 8)) * np.array([1, 1e3, 1e-3, 0, 1, 1, 1, 1e-40])
    n = narrow.rounded_int8(w)
    assert np.abs(n.q.astype(int)).max() == 127
    assert n.columns[3] == n.columns[7] == 1
    assert (np.abs(n.rows[:, None] * n.q * n.columns - w)[:, :7] <= n.columns[:7] * n.rows[:, None] * 0.5001).all()


def test_int8_rows_of_small_weights_keep_their_bits():
    """An input in large units has small weights; one scale a column would round them to nothing."""
    rng = np.random.default_rng(2)
    w = rng.normal(size=(20, 16))
    w[3] *= 1e-4
    n = narrow.rounded_int8(w)
    assert n.rows[3] < 1e-3
    assert (np.delete(n.rows, 3) == 1).all()
    np.testing.assert_allclose(n.rows[3] * n.q[3] * n.columns, w[3], rtol=0, atol=0.02 * np.abs(w[3]).max())


def test_activations_are_rounded_to_the_nearest_level():
    rng = np.random.default_rng(3)
    x, rows = rng.normal(size=(5, 33)).astype(np.float32), np.ones(33, np.float32)
    x[1] *= 1e20
    x[2] = 0
    x[3, 7] = np.nan
    x[4, 7] = np.inf
    levels, scale = narrow.rounded_activations(x, rows)
    assert np.abs(levels[:2]).max(axis=1).tolist() == [64, 64]
    assert (np.abs(levels[:2] * scale[:2] - x[:2]) <= 0.5001 * scale[:2]).all()
    assert (levels[2] == 0).all()
    assert scale[2] == 0
    assert np.isnan(scale[3:]).all()


# The compiled products against NumPy's.


@pytest.mark.parametrize("weights", NARROW)
@pytest.mark.parametrize("size", [1, 3, 7, 9, 17, 33])
def test_cpu_agrees_with_numpy(size, weights):
    """One step from random states, so that what is rounded is the same on both."""
    rng = np.random.default_rng(size)
    described = [
        models.lstm(rng, size, size + 1, forget_bias=1.0), models.gru(rng, size + 1, size, reset_after=True),
        models.gru(rng, size, 5), models.lstm(rng, 5, 8, projection=size, peepholes=True),
        models.dense(rng, size, 2 * size + 1, "tanh"),
    ]  # fmt: skip
    cpu, plain = pair(models.layers_of(described, "float32"), weights)
    state = random_state(cpu, 4, rng)
    xs = rng.normal(size=(4, size)).astype(np.float32)
    ys, after = cpu.step(xs, state)
    expected, states = plain.step(xs, state)
    np.testing.assert_allclose(ys, expected, rtol=0, atol=2e-6)
    for ours, theirs in zip(after, states, strict=True):
        np.testing.assert_allclose(ours.c, theirs.c, rtol=0, atol=2e-6)
        np.testing.assert_allclose(ours.h, theirs.h, rtol=0, atol=2e-6)


@pytest.mark.parametrize("weights", NARROW)
@pytest.mark.parametrize("name", CELLS)
def test_every_cell_agrees_with_numpy(name, weights):
    """And all calls with each other, to the last bit."""
    rng = np.random.default_rng(4)
    cpu, plain = pair(models.layers_of(CELLS[name](rng), "float32"), weights)
    state = random_state(cpu, 2, rng)
    xs = inputs(name, rng, 2, 26)
    xs = xs if name in IDS else xs.astype(np.float32)
    ys, after = cpu.step(xs[:, 0], state)
    expected, _ = plain.step(xs[:, 0], state)
    np.testing.assert_allclose(ys, expected, rtol=0, atol=2e-5 if "norm" in name else 2e-6)
    ys, after = cpu.run(xs, state)
    alone, end = cpu.run(xs[0], state.rows(0))
    np.testing.assert_array_equal(alone, ys[0])
    np.testing.assert_array_equal(end[0].h[0], after[0].h[0])
    stream = cpu.stream()
    stream.state = state.rows(1)
    np.testing.assert_array_equal([stream.step(x).copy() for x in xs[1]], ys[1])


@pytest.mark.parametrize("weights", NARROW)
@pytest.mark.parametrize(("inputs", "hidden"), [(17, 37), (6, 64), (9, 90)])
def test_a_row_does_not_depend_on_its_batch(inputs, hidden, weights):
    """Whole tiles and columns after them, x that ends within a word or with it; rows of a batch six, four, two, one."""
    rng = np.random.default_rng(hidden)
    described = [models.lstm(rng, inputs, hidden), models.gru(rng, hidden, hidden), models.dense(rng, hidden, 70)]
    cpu, plain = pair(models.layers_of(described, "float32"), weights)
    xs = rng.normal(size=(13, 30, inputs)).astype(np.float32)
    state = random_state(cpu, 13, rng)
    np.testing.assert_allclose(cpu.step(xs[:, 0], state)[0], plain.step(xs[:, 0], state)[0], rtol=0, atol=4e-6)
    ys, after = cpu.run(xs, state)
    for r in range(13):
        alone, end = cpu.run(xs[r], state.rows(r))
        np.testing.assert_array_equal(alone, ys[r])
        np.testing.assert_array_equal(end[0].c[0], after[0].c[r])
    stream = cpu.stream()
    stream.state = state.rows(12)
    np.testing.assert_array_equal([stream.step(x).copy() for x in xs[12]], ys[12])


@pytest.mark.parametrize("weights", NARROW)
def test_both_directions(weights):
    rng = np.random.default_rng(5)
    both = models.bidirectional([models.lstm(rng, 5, 6)], [models.lstm(rng, 5, 6)])
    cpu, plain = pair(models.layers_of([both, models.dense(rng, 12, 3)], "float32"), weights)
    xs = rng.normal(size=(2, 1, 5)).astype(np.float32)
    np.testing.assert_allclose(cpu.run(xs)[0], plain.run(xs)[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("weights", NARROW)
def test_nan_stays_nan_and_leaves_nothing_behind(weights):
    rng = np.random.default_rng(6)
    model = fastlstm.Model(models.layers_of([models.lstm(rng, 3, 5)], "float32"), weights=weights)
    stream = model.stream()
    x = np.ones(3, np.float32)
    first = stream.step(x).copy()
    assert np.isnan(stream.step([1, np.nan, 1])).all()
    stream.reset()
    np.testing.assert_array_equal(stream.step(x), first)


def test_all_zero_weights_work():
    zero = np.zeros((4, 12), np.float32)
    model = fastlstm.Model([fastlstm.LSTM(zero[:2], zero[:3], np.ones(12))], dtype="float32", weights="int8")
    expected = fastlstm.Model(model.layers, dtype="float32").step([1.0, 2.0])[0]
    np.testing.assert_array_equal(model.step([1.0, 2.0])[0], expected)


# The machine code.

ASSEMBLY = """
import json
from numba import njit, types
from fastlstm.backends import narrow_simd
floats = types.CPointer(types.float32)

@njit(types.void(floats, floats, types.intp, floats, types.intp))
def bfloat16(y, x, count, panel, depth):
    narrow_simd.bfloat16_tile_8(y, y, x, count, panel, narrow_simd.PANEL, depth)

@njit(types.void(floats, floats, types.intp, floats, types.intp))
def int8(y, levels, count, panel, depth):
    narrow_simd.int8_tile_8(y, y, levels, count, panel, narrow_simd.PANEL, depth)

print(json.dumps([function.inspect_asm(function.signatures[0]) for function in (bfloat16, int8)]))
"""
AVX512 = CPUS["skylake-avx512"][0]
#: CPU -> its features, and how often an instruction stands in the innermost loop of 16-bit and of 8-bit weights
BY_FUSED, BY_BYTES = {"vfmadd231ps": 16, "vpslld": 8}, {"vpmaddubsw": 8, "vpmaddwd": 8, "vpaddd": 8}
HALF_SHIFTED = {"vfmadd231ps": 16, "vpslld": 4}  # the other half is read anew, by what LLVM likes best
LOOPS = {
    "generic": ("", {"mulps": 16, "addps": 16, "pslld": 8}, {"pmaddwd": 16, "paddd": 16}),
    "nehalem": ("+sse3,+ssse3", {"mulps": 16, "addps": 16, "pslld": 8}, {"pmaddubsw": 8, "pmaddwd": 8, "paddd": 8}),
    "haswell": (AVX2, HALF_SHIFTED, BY_BYTES),
    "skylake-avx512": (AVX512, BY_FUSED, BY_BYTES),
    "znver4": (f"{AVX512},+avx512vnni", BY_FUSED, {"vpdpbusd": 8}),
    "alderlake": (f"{AVX2},+avxvnni", HALF_SHIFTED, {"vpdpbusd": 8}),
}


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="the CPUs in the table are x86")
@pytest.mark.parametrize("cpu", LOOPS)
def test_each_cpus_own_instructions(cpu):
    """The fewest that do it; with AVX all sums stay in registers."""
    features, *expected = LOOPS[cpu]
    for assembly, counts in zip(run(ASSEMBLY, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=features), expected, strict=True):
        blocks = [block.replace("\t", " ") for block in assembly.split("\n.L")]
        inner = max(blocks, key=lambda block: block.count(next(iter(counts))))
        assert {name: inner.count(f" {name} ") for name in counts} == counts
        assert "avx" not in features or "%rsp" not in inner


# What it costs.


def test_accuracy_on_a_small_model():
    """One step against float64, as a part of the largest output: 8 bits of a weight, and 7 of an activation."""
    rng = np.random.default_rng(7)
    described = models.rounded([models.lstm(rng, 16, 48, scale=0.2), models.dense(rng, 48, 8, scale=0.3)], "float32")
    exact = fastlstm.Model(models.layers_of(described), dtype="float64", device="numpy")
    state, xs = exact.run(rng.normal(size=(32, 20, 16)))[1], rng.normal(size=(32, 16))
    expected = exact.step(xs, state)[0]
    for weights, least, most in [("bfloat16", 1e-4, 3e-3), ("int8", 1e-3, 3e-2)]:
        model = fastlstm.Model(models.layers_of(described, "float32"), dtype="float32", weights=weights)
        error = np.abs(model.step(xs, state)[0] - expected).max() / np.abs(expected).max()
        assert least < error < most


def test_perplexity_of_the_demos_characters():
    """Of text that the float32 model wrote: within 0.1 % and 1 %."""
    load = fastlstm.load(DEMO, device="numpy")
    prime = np.arange(24)[:, None] % load.vocabulary_size
    text = load.generate(120, prime=prime, sample=fastlstm.Sampler(1.0), seed=3)[0]
    found = {}
    for weights in ("float32", "bfloat16", "int8"):
        logits = fastlstm.Model(load.layers, weights=weights).run(text[:, :-1])[0].astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        chances = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        found[weights] = np.exp(-np.take_along_axis(chances, text[:, 1:, None], -1).mean())
    assert 0 < abs(found["bfloat16"] / found["float32"] - 1) < 1e-3
    assert 0 < abs(found["int8"] / found["float32"] - 1) < 1e-2


# Around it.


def test_saved_weights_are_as_they_were_given(tmp_path):
    rng = np.random.default_rng(8)
    model = fastlstm.Model(models.layers_of([models.lstm(rng, 3, 5)], "float32"), weights="int8")
    fastlstm.save(model, tmp_path / "m.safetensors")
    again = fastlstm.load(tmp_path / "m.safetensors", weights="int8")
    x = np.ones(3, np.float32)
    np.testing.assert_array_equal(again.layers[0].kernel, model.layers[0].kernel)
    np.testing.assert_array_equal(again.step(x)[0], model.step(x)[0])
    assert fastlstm.load(tmp_path / "m.safetensors").weights == "float32"


def test_it_is_told():
    layers = models.layers_of([models.lstm(np.random.default_rng(9), 3, 5)], "float32")
    model = fastlstm.Model(layers, device="numpy", weights="int8")
    assert str(model).startswith("fastlstm.Model, float32, weights int8, on numpy")
    assert "weights='int8'" in repr(model)
    assert model.weights == "int8"
    assert "weights" not in str(fastlstm.Model(layers, device="numpy")).splitlines()[0]


def test_bad_arguments():
    described = [models.lstm(np.random.default_rng(0), 2, 3)]
    single, double = (models.layers_of(described, dtype) for dtype in ("float32", "float64"))
    with pytest.raises(fastlstm.ArgumentError, match="'int4'; expected one of 'float32', 'bfloat16', 'int8'"):
        fastlstm.Model(single, weights="int4")
    with pytest.raises(fastlstm.ArgumentError, match="dtype float64; pass dtype='float32'"):
        fastlstm.Model(double, weights="int8")
    with pytest.raises(fastlstm.ArgumentError, match="float64"):
        fastlstm.Model(single, weights="float64")
    with pytest.raises(fastlstm.ArgumentError, match="kernel has 131073 rows"):
        fastlstm.Model([fastlstm.LSTM(np.ones((131073, 4), "f"), np.ones((1, 4), "f"))], weights="int8")
    with pytest.raises(fastlstm.WeightError, match="NaN or infinite"):
        fastlstm.Model([fastlstm.LSTM(np.full((2, 4), np.inf, "f"), np.ones((1, 4), "f"))], weights="int8")
