"""The CUDA backend against the oracle, in Numba's simulator: no GPU is needed.

NUMBA_DISABLE_JIT=1 NUMBA_ENABLE_CUDASIM=1 pytest tests/cuda
"""

import os

import numpy as np
import pytest

import fastlstm
from tests import models, oracle
from tests.tolerances import TOLERANCES

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1" or os.environ.get("NUMBA_DISABLE_JIT") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 and NUMBA_DISABLE_JIT=1", allow_module_level=True)

from tests.cuda.layouts import laid_out
from tests.cuda.simulator import all_blocks

GRIDS = {
    "one block": {},
    "two blocks": {"unit_groups": 2},
    "three blocks": {"unit_groups": 3, "warps": 1},
    "two row groups": {"row_groups": 2},
    "two row groups of two blocks": {"row_groups": 2, "unit_groups": 2, "warps": 1},
    "launched again": {"rows": 2},
    "weights elsewhere": {"resident": False},
    "some weights elsewhere": {"resident": lambda k: k % 2 == 0, "unit_groups": 2},
    "vectors elsewhere": {"arena_resident": False, "unit_groups": 2},
}


def close(ours, theirs, dtype, factor=1.0):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=factor * TOLERANCES[dtype])


def close_states(state, expected, row, dtype):
    for own, (c, h) in zip(state, expected, strict=True):
        close(own.c[row], c, dtype)
        close(own.h[row], h, dtype)


def stack(rng):
    """Three layers that between them have the usual options, and a head."""
    return [
        models.lstm(rng, 5, 6, peepholes=True, cell_clip=0.6, forget_bias=0.7),
        models.lstm(rng, 6, 9, projection=6, proj_clip=0.4, activation="elu", residual=True),
        models.gru(rng, 6, 7, reset_after=True),
        models.gru(rng, 7, 5),
        models.dense(rng, 5, 3, "tanh"),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("grid", GRIDS, ids=lambda name: name.replace(" ", "_"))
def test_a_stack_of_all_cells(grid, dtype):
    if dtype == "float64" and grid not in ("one block", "three blocks"):
        pytest.skip("the grids are tried in float32")
    rng = np.random.default_rng(1)
    description = models.rounded(stack(rng), dtype)
    model = fastlstm.Model(models.layers_of(description, dtype), device="cuda", dtype=dtype)
    batch, lengths = (1, [4]) if grid == "one block" else (5, [4, 2, 0, 3, 4])
    xs = rng.normal(size=(batch, 4, 5)).astype(dtype)
    start = fastlstm.State([(rng.normal(size=(batch, c)), rng.normal(size=(batch, h))) for c, h in model.state_sizes])
    with all_blocks(), laid_out(**GRIDS[grid]):
        ys, state = model.run(xs, start, lengths)
    for b in range(batch):
        before = [(c.astype(float), h.astype(float)) for c, h in start.rows(b).to_tuples()]
        expected, states = oracle.run(description, xs[b], [(c[0], h[0]) for c, h in before], lengths[b])
        close(ys[b], expected, dtype)
        close_states(state, states, b, dtype)
