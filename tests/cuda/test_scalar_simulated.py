"""The shared mathematics inside CUDA kernels, run by Numba's simulator: no GPU is needed.

NUMBA_DISABLE_JIT=1 NUMBA_ENABLE_CUDASIM=1 pytest tests/cuda
"""

import os

import numpy as np
import pytest

from tests import oracle

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1" or os.environ.get("NUMBA_DISABLE_JIT") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 and NUMBA_DISABLE_JIT=1", allow_module_level=True)

from numba import cuda

from fastlstm.backends import numpy_draw, scalar

NAMES = [name for name in oracle.FUNCTIONS if name not in (None, "linear")]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_activations(name, dtype):
    function = getattr(scalar, name)

    @cuda.jit
    def fill(x, y):
        j = cuda.grid(1)
        if j < x.size:
            y[j] = function(x[j])

    x = np.linspace(-9, 9, 60).astype(dtype)
    y = np.full_like(x, np.nan)
    fill[2, 32](x, y)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, oracle.apply(name, x), rtol=2e-6 if dtype == np.float32 else 1e-14, atol=1e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 5e-7), (np.float64, 1e-15)])
def test_cell(dtype, tolerance):
    @cuda.jit
    def fill(z, c, h):
        j = cuda.grid(1)
        if j < c.size:
            c[j], h[j] = scalar.cell(z[0, j], z[1, j], z[2, j], z[3, j], c[j])

    rng = np.random.default_rng(0)
    z, c, h = rng.normal(size=(4, 40)).astype(dtype), rng.normal(size=40).astype(dtype), np.full(40, np.nan, dtype)
    nothing = {"kernel": np.zeros((0, 160)), "recurrent_kernel": np.zeros((0, 160)), "gates": "ifgo"}
    expected_c, expected_h = oracle.lstm([], c.astype(float), [], bias=z.ravel(), **nothing)
    fill[2, 32](z, c, h)
    np.testing.assert_allclose(c, expected_c, rtol=0, atol=tolerance)
    np.testing.assert_allclose(h, expected_h, rtol=0, atol=tolerance)


def test_blend():
    @cuda.jit
    def fill(gate, one, other):
        j = cuda.grid(1)
        if j < one.size:
            one[j] = scalar.blend(gate[j], one[j], other[j])

    gate, one, other = np.random.default_rng(0).uniform(size=(3, 40)).astype(np.float32)
    expected = gate.astype(float) * one + (1 - gate.astype(float)) * other
    fill[2, 32](gate, one, other)
    assert one.dtype == np.float32
    np.testing.assert_allclose(one, expected, rtol=0, atol=2e-7)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # uint64 arithmetic wraps, as it should
def test_random_numbers():
    @cuda.jit
    def fill(out):
        row, position = cuda.grid(2)
        if row < out.shape[0] and position < out.shape[1]:
            out[row, position] = scalar.uniform(np.uint64(7), np.uint64(row), np.uint64(position))

    out = np.full((4, 6), np.nan)
    fill[(1, 1), (4, 8)](out)
    np.testing.assert_array_equal(out, [[numpy_draw.uniform(7, row, k) for k in range(6)] for row in range(4)])
