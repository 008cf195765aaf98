"""Question 2: how do I remember the LSTM state for the next batch?

A MultiRNNCell called once a time step by a program that holds the state itself: an initial state computed elsewhere,
and then each step's state given to the next one, in each of the three forms in which people hold it.
"""

import numpy as np
import pytest

import fastlstm
from fastlstm import State
from tests.live.cells import Cell
from tests.live.networks import Network, difference
from tests.tolerances import TOLERANCES

INPUTS, BATCH = 9, 4


def lists(state):
    return [[c, h] for c, h in state.to_tuples()]


#: name -> (what a program makes of its first (c, h) pairs, what it makes of the State that a step gives back)
FORMS = {
    "tuples": (lambda pairs: pairs, State.to_tuples),
    "lists": (lambda pairs: [list(pair) for pair in pairs], lists),
    "array": (np.array, State.to_array),
    "State": (State.from_tuples, State.copy),
}


@pytest.fixture(scope="module", params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(scope="module", params=[(24, None), (24, 10), (512, None)], ids=["24", "24 to 10", "512"])
def case(request, tf, dtype, tmp_path_factory):
    """(network, inputs (T, B, D), initial pairs, TensorFlow's y and pairs after each step, the loaded model)"""
    units, projected = request.param
    cells = [Cell(units, num_proj=projected) for _ in range(2)]
    network = Network(tf, cells, INPUTS, dtype, one_step=True, scale=min(0.2, 1 / units**0.5))
    rng = np.random.default_rng(3)
    xs = rng.normal(size=(20 if units == 512 else 100, BATCH, INPUTS)).astype(dtype)
    initial = [tuple(rng.normal(0, 0.5, a.shape).astype(dtype) for a in pair) for pair in network.zero_state(BATCH)]
    steps, state = [], initial
    for x in xs:
        y, state = network.run(x, state)
        steps.append((y, list(state)))
    yield network, xs, initial, steps, fastlstm.load(network.save(tmp_path_factory.mktemp("steps")))
    network.session.close()


@pytest.mark.parametrize("form", FORMS)
def test_step_by_step(case, dtype, form):
    network, xs, initial, steps, model = case
    if form == "array" and network.cells[0].num_proj:
        with pytest.raises(fastlstm.ShapeError):  # c and h differ in size then, and do not fit one array
            model.zero_state().to_array()
        return
    held, back = FORMS[form]
    state = held(initial)
    for x, (expected, pairs) in zip(xs, steps, strict=True):
        y, after = model.step(x, state)
        assert difference(expected, y) <= TOLERANCES[dtype]
        for mine, theirs in zip(after, pairs, strict=True):
            assert difference(theirs.c, mine.c) <= TOLERANCES[dtype]
            assert difference(theirs.h, mine.h) <= TOLERANCES[dtype]
        state = back(after)


def test_the_state_given_is_not_touched(case):
    _, xs, initial, _, model = case
    before = [(c.copy(), h.copy()) for c, h in initial]
    model.step(xs[0], initial)
    assert difference(before, initial) == 0


def test_tensorflow_s_own_tuples_are_taken_as_they_are(case, dtype):
    """A program may step with TensorFlow, hand its LSTMStateTuples over, and go on here."""
    _, xs, _, steps, model = case
    y, _ = model.step(xs[1], steps[0][1])
    assert difference(steps[1][0], y) <= TOLERANCES[dtype]


def test_plain_numpy(case, dtype):
    network, xs, initial, steps, _ = case
    model, state = fastlstm.Model(network.layers(), device="numpy"), initial
    for x, (expected, pairs) in zip(xs, steps, strict=True):
        y, state = model.step(x, state)
        assert difference([expected, pairs], [y, state.to_tuples()]) <= TOLERANCES[dtype]


def test_a_stream_of_one_row(case, dtype):
    _, xs, initial, steps, model = case
    stream = model.stream()
    stream.state = [(c[1:2], h[1:2]) for c, h in initial]
    for x, (expected, _) in zip(xs, steps, strict=True):
        assert difference(expected[1], stream.step(x[1])) <= TOLERANCES[dtype]
    assert difference([(c[1:2], h[1:2]) for c, h in steps[-1][1]], stream.state.to_tuples()) <= TOLERANCES[dtype]
