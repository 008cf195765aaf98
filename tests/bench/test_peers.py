"""Each peer that is installed gives the model's answers, or says what it cannot express."""

import numpy as np
import pytest

import fastlstm
from fastlstm.bench import contenders, peers
from tests import models

R = np.random.default_rng(0)
STACKS = {
    "lstm": [models.lstm(R, 3, 8), models.dense(R, 8, 3)],
    "two": [models.lstm(R, 3, 8), models.lstm(R, 8, 5), models.dense(R, 5, 3, "softmax")],
    "embedding": [models.embedding(R, 11, 5), models.lstm(R, 5, 8), models.dense(R, 8, 11)],
    "one hot": [models.one_hot(11), models.lstm(R, 11, 8), models.dense(R, 8, 11)],
    "gru": [models.gru(R, 3, 8, reset_after=True), models.dense(R, 8, 3)],
    "gru before": [models.gru(R, 3, 8)],
    "hard sigmoid": [models.lstm(R, 3, 8, recurrent_activation="hard_sigmoid")],
    "mixed": [models.dense(R, 4, 3, "relu"), models.gru(R, 3, 6, reset_after=True), models.lstm(R, 6, 7)],
}
NOT_TORCHS = {"gru before", "hard sigmoid"}
ODD = {
    "peepholes": models.lstm(R, 3, 5, peepholes=True),
    "projection": models.lstm(R, 3, 5, projection=2),
    "cell_clip": models.lstm(R, 3, 5, cell_clip=1.0),
    "residual": models.gru(R, 3, 3, residual=True),
    "Masking": models.masking(3),
}


def _entered(name, description, dtype="float32"):
    if peers.missing(name):
        pytest.skip(f"{name} is not installed")
    model = fastlstm.Model(models.layers_of(description, dtype), device="numpy")
    return contenders.peer(name, model, contenders.Referee(model), 1)


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("name", peers.PEERS)
def test_its_answers(name, stack):
    outcome, contender = _entered(name, STACKS[stack])
    if name == "torch" and stack in NOT_TORCHS:
        assert outcome.status == "cannot express" and contender is None
        return
    assert outcome.status == "timed" and outcome.difference < 2e-6
    once = np.array(contender.call(contender.x))
    assert not np.array_equal(once, contender.call(contender.x))  # it carries a state


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("name", [name for name in peers.PEERS if name != "numpy"])
def test_what_it_cannot_express(name, what):
    layers = [ODD[what]] if what != "Masking" else [ODD[what], models.lstm(R, 3, 5)]
    outcome, contender = _entered(name, layers)
    assert contender is None and outcome.status == "cannot express" and what in outcome.reason


@pytest.mark.parametrize("name", ["numpy", "tensorflow", "torch"])
def test_float64(name):
    outcome, _ = _entered(name, STACKS["lstm"], "float64")
    assert outcome.status == "timed" and outcome.difference < 1e-13
