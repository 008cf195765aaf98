"""tanh, sigmoid and the cell in their whole range, against NumPy's float64; the errors that `sigmoids.py` states."""

import math

import numpy as np
import pytest
from numba import njit

from fastlstm.backends import sigmoids
from fastlstm.backends.jit import JIT
from tests.tolerances import ERRORS, SMALLEST

INF, NAN = math.inf, math.nan


@njit(**JIT)
def tanh(x, y):
    for j in range(x.size):
        y[j] = sigmoids.tanh(x[j])


@njit(**JIT)
def sigmoid(x, y):
    for j in range(x.size):
        y[j] = sigmoids.sigmoid(x[j])


@njit(**JIT)
def cell(z, c, h):
    for j in range(c.size):
        c[j], h[j] = sigmoids.cell(z[0, j], z[1, j], z[2, j], z[3, j], c[j])


COMPILED = {"tanh": tanh, "sigmoid": sigmoid}


def exactly(name, x):
    """In float64, for sigmoid without what cancels; in longdouble where x is float64."""
    x = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
    with np.errstate(over="ignore"):
        return np.tanh(x) if name == "tanh" else 1 / (1 + np.exp(-x))


def all_over(dtype):
    """Finite numbers, ascending: every 257th bit pattern of float32; of float64 random ones, and those up to 750."""
    if dtype == "float32":
        positive = np.arange(0, 0x7F800000, 257, dtype=np.uint32).view(np.float32)
    else:
        patterns = np.random.default_rng(0).integers(0, 0x7FF0000000000000, 100_000, dtype=np.uint64).view(np.float64)
        positive = np.sort(np.concatenate([patterns, np.linspace(0, 750, 400_001)]))
    return np.concatenate([-positive[::-1], positive])


@pytest.mark.parametrize(("name", "dtype"), ERRORS)
def test_worst_errors(name, dtype):
    if dtype == "float64" and np.finfo(np.longdouble).nmant < 60:
        pytest.skip("nothing here is more exact than float64")
    x = all_over(dtype)
    y = np.full_like(x, np.nan)
    COMPILED[name](x, y)
    absolute, relative = ERRORS[name, dtype]
    lowest = -1 if name == "tanh" else 0
    assert y.min() >= lowest and y.max() <= 1
    # Values that far apart are in order; neighbours may change places by the error.
    assert np.diff(y).min() >= -2 * absolute
    for part in np.array_split(np.arange(x.size), 8):
        exact = exactly(name, x[part])
        error, size = np.abs(y[part] - exact), np.abs(exact)
        assert error.max() <= absolute
        kept = size >= (SMALLEST[dtype] if name == "sigmoid" else np.finfo(dtype).tiny)
        assert (error[kept] <= relative * size[kept]).all()
    ends = np.array([-INF, INF, NAN], dtype)
    COMPILED[name](ends, ends)
    assert lowest <= ends[0] <= lowest + SMALLEST[dtype] and ends[1] == 1 and np.isnan(ends[2])


def exact_cell(z, c):
    z, c = z.astype(np.longdouble), c.astype(np.longdouble)
    i, f, o = (exactly("sigmoid", z[k].astype(np.float64)) for k in (0, 1, 3))
    c = f * c + i * np.tanh(z[2])
    return c, o * np.tanh(c)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cell(dtype):
    """Gates of any size, cell states up to where float32 ends: the error is that of rounding them."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(4, 100_000)) * rng.choice([0.01, 1, 5, 30, 1e4, 1e30], (4, 100_000))
    c = rng.normal(size=100_000) * rng.choice([0, 1e-20, 0.01, 1, 30, 1e10, 1e37], 100_000)
    z, c = z.astype(dtype), c.astype(dtype)
    c_new, h = c.copy(), np.empty_like(c)
    cell(z, c_new, h)
    exact_c, _ = exact_cell(z, c)
    unit = np.finfo(dtype).eps
    assert (np.abs(c_new - exact_c) <= 3 * unit * np.maximum(1, np.abs(c))).all()
    exact_h = exactly("sigmoid", z[3]) * exactly("tanh", c_new)
    assert np.abs(h - exact_h).max() <= 3 * unit and np.abs(h).max() <= 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cell_at_the_ends(dtype):
    """Gates that are saturated keep and add exactly; infinity stays, a NaN among the five reaches both."""
    z = np.array([[-INF, INF, 0], [INF, INF, INF], [3, INF, 0], [INF, -INF, 1e9]]).astype(dtype)
    c = np.array([1 / 3, 2.5, INF], dtype)
    h = np.empty_like(c)
    tiny = SMALLEST[dtype]
    cell(z, c, h)
    np.testing.assert_array_equal(c, np.array([1 / 3, 3.5, INF], dtype))
    assert abs(h[0] - math.tanh(1 / 3)) < 1e-7 and 0 <= h[1] <= tiny and h[2] == 1
    for k in range(5):
        z, c = np.zeros((4, 1), dtype), np.ones(1, dtype)
        (z if k < 4 else c[None])[k % 4 if k < 4 else 0, 0] = NAN
        h = np.empty_like(c)
        cell(z, c, h)
        assert np.isnan(h[0])
        assert np.isnan(c[0]) == (k != 3)


def test_what_is_remembered_stays():
    """A thousand steps with the forget gate open and the input gate shut."""
    z = np.repeat(np.array([[-INF], [20], [1], [0]], np.float32), 8, axis=1)
    c = np.linspace(-40, 40, 8, dtype=np.float32)
    kept, h = c.copy(), np.empty_like(c)
    for _ in range(1000):
        cell(z, c, h)
    np.testing.assert_array_equal(c, kept)
