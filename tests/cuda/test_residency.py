"""Where weights lie, and how many rows share them, makes no difference: in Numba's simulator, to the last bit.

NUMBA_DISABLE_JIT=1 NUMBA_ENABLE_CUDASIM=1 pytest tests/cuda
"""

import os
from unittest import mock

import numpy as np
import pytest

import fastlstm
from tests import models, oracle
from tests.tolerances import TOLERANCES

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1" or os.environ.get("NUMBA_DISABLE_JIT") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 and NUMBA_DISABLE_JIT=1", allow_module_level=True)

from fastlstm.backends.cuda import products, simulated
from tests.cuda.layouts import laid_out
from tests.cuda.simulator import all_blocks


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCES["float32"])


def in_parts(unit_groups=2, batch=2, weights="float32"):
    """A stack's outputs with as much of the weights in shared memory: none, parts, all."""
    rng = np.random.default_rng(20)
    first = [models.lstm(rng, 19, 9), models.gru(rng, 9, 21), models.dense(rng, 21, 4)]
    description = models.rounded(first, "float32")
    model = fastlstm.Model(models.layers_of(description, "float32"), device="cuda", weights=weights)
    xs, found = rng.normal(size=(batch, 3, 19)).astype("f"), []
    for share in (0.0, 0.25, 0.6, 0.95, 1.0):
        with all_blocks(), laid_out(warps=1, unit_groups=unit_groups, resident=share):
            found.append(model.run(xs)[0])
    return found, [oracle.run(description, x, oracle.zero_states(description))[0] for x in xs]


@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_where_weights_lie_makes_no_difference(weights):
    """To the last bit: a column may begin in shared memory and go on elsewhere, in the inputs' part or in h's."""
    found, expected = in_parts(weights=weights)
    for ys in found[1:]:
        np.testing.assert_array_equal(ys, found[0])
    if weights == "float32":
        close(found[0], expected)


def test_a_column_that_is_read_from_its_begin_again_is_noticed():
    """That the test above would see it."""

    def whole(sums, weights, columns, further, arena, rows, x, lane, begin, end):
        return right(sums, weights, columns, further, arena, rows, x, lane, 0, end)

    right = simulated.multiplied
    with mock.patch.object(products, "multiplied", whole):
        found, expected = in_parts()
    close(found[0], expected)
    assert not np.allclose(found[2], expected, atol=1e-3)


@pytest.mark.parametrize("batch", [7, 9, 19])
def test_many_rows_share_the_weights(batch):
    """By four, and from nine on by sixteen, to the bits of a row alone."""
    rng = np.random.default_rng(21)
    description = models.rounded([models.lstm(rng, 3, 5), models.dense(rng, 5, 2)], "float32")
    model = fastlstm.Model(models.layers_of(description, "float32"), device="cuda")
    xs = rng.normal(size=(batch, 2, 3)).astype("f")
    with all_blocks(), laid_out(warps=1, unit_groups=2):
        ys, _ = model.run(xs)
        alone, _ = model.run(xs[batch - 1])
    np.testing.assert_array_equal(alone, ys[-1])
    for b in range(batch):
        close(ys[b], oracle.run(description, xs[b], oracle.zero_states(description))[0])
