"""Random cells and stacks, every option of TensorFlow 1's cells, 100 steps: the same numbers as TensorFlow's.

The weights are small enough for states of order one. Where a cell's state grows (peepholes that hold the forget gate
open, states near 20), float32 itself has steps of 2e-6, and TensorFlow is as far from its own float64 as that.
"""

import itertools

import numpy as np
import pytest

import fastlstm
from tests.live.cells import Cell
from tests.live.networks import Network, difference
from tests.tolerances import TOLERANCES

PROJECTIONS = [{}, {"num_proj": 7}, {"num_proj": 7, "proj_clip": 0.125}]
SINGLE = [
    [Cell(use_peepholes=peepholes, cell_clip=clip, activation=activation, forget_bias=forget_bias, **projection)]
    for peepholes, clip, activation, forget_bias, projection in itertools.product(
        [False, True], [None, 0.25], ["tanh", "relu"], [1.0, 0.3], PROJECTIONS
    )
]
BASIC = [[Cell(basic=True, activation=a, forget_bias=f)] for a in ("tanh", "relu", "softsign") for f in (1.0, 0.0)]
STACKS = [
    [Cell(16, basic=True), Cell(9, basic=True)],
    [Cell(16, num_proj=6), Cell(11, use_peepholes=True), Cell(5, basic=True, forget_bias=0.0)],
    [Cell(8, basic=True, residual=True), Cell(8, residual=True)],
    [Cell(16, num_proj=8, proj_clip=0.25, residual=True, dropout=True), Cell(10, dropout=True)],
    [Cell(8, basic=True, dropout=True)],
    [Cell(128)],
]
INPUTS, STEPS, LENGTHS = 8, 100, (100, 0, 37)


@pytest.fixture(scope="module", params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(scope="module", params=[*BASIC, *SINGLE, *STACKS], ids=lambda cells: "+".join(map(str, cells)))
def case(request, tf, dtype):
    """(network, xs, TensorFlow's outputs and final state, its tolerance)"""
    cells = request.param
    network = Network(tf, cells, INPUTS, dtype, scale=min(0.2, 1 / cells[0].units ** 0.5))
    xs = np.random.default_rng(1).normal(size=(len(LENGTHS), STEPS, INPUTS)).astype(dtype)
    yield network, xs, network.run(xs, lengths=LENGTHS), TOLERANCES[dtype]
    network.session.close()


@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_outputs_and_final_state(case, device):
    network, xs, (ys, final), tolerance = case
    model = fastlstm.Model(network.layers(), device=device)
    got, state = model.run(xs, lengths=LENGTHS)
    assert got.dtype == ys.dtype
    assert difference(ys, got) <= tolerance
    assert difference(final, state.to_tuples()) <= tolerance


def test_a_checkpoint_gives_the_same_model(case, tmp_path):
    """Every option is read from the graph that TensorFlow saves: the loaded model is the one built by hand."""
    network, xs, _, _ = case
    built, loaded = fastlstm.Model(network.layers()), fastlstm.load(network.save(tmp_path))
    assert loaded.dtype == built.dtype
    for mine, theirs in zip(loaded.layers, built.layers, strict=True):
        assert {**mine.config(), "name": ""} == {**theirs.config(), "name": ""}
        assert mine.arrays().keys() == theirs.arrays().keys()
        for name, array in theirs.arrays().items():
            np.testing.assert_array_equal(mine.arrays()[name], array, err_msg=name)
    np.testing.assert_array_equal(loaded.run(xs, lengths=LENGTHS)[0], built.run(xs, lengths=LENGTHS)[0])


def test_loops_in_functions(tf, tmp_path):
    """A graph whose dynamic_rnn is one While operation, its body a function: TensorFlow 2's way of writing graphs."""
    network = Network(tf, [Cell(use_peepholes=True, num_proj=5)], INPUTS, "float64", functional=True)
    xs = np.random.default_rng(1).normal(size=(3, STEPS, INPUTS))
    ys, final = network.run(xs)
    got, state = fastlstm.load(network.save(tmp_path)).run(xs)
    assert difference([ys, list(final)], [got, state.to_tuples()]) <= TOLERANCES["float64"]
