"""A language model that writes: embedding, two LSTM layers, softmax_w and softmax_b, each id fed back."""

import numpy as np
import pytest

import fastlstm
from tests.live.cells import Cell, Head
from tests.live.networks import Network, difference
from tests.tolerances import TOLERANCES

VOCABULARY, IDS = 65, 500
PRIME = [5, 17, 41, 2]


def language_model(tf, scale):
    head = Head(VOCABULARY, ("softmax_w", "softmax_b"))
    cells = [Cell(48, basic=True), Cell(40, basic=True)]
    return Network(tf, cells, 24, "float32", head=head, vocabulary=VOCABULARY, scale=scale)


@pytest.fixture(scope="module")
def network(tf):
    return language_model(tf, 0.35)


@pytest.fixture(scope="module")
def written(network):
    """(ids, final state) of TensorFlow's loop: one session.run an id."""
    ids, fed, state = [], np.array([PRIME]), None
    for _ in range(IDS):
        logits, state = network.run(fed, state)
        fed = logits[:, -1:].argmax(-1)
        ids.append(int(fed[0, 0]))
    assert len(set(ids)) > 20, "a dull text would not show a mistake"
    return ids, list(state)


@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_greedy_ids_are_equal(network, written, device, tmp_path):
    model = fastlstm.load(network.save(tmp_path), device=device)
    ids, _ = model.generate(IDS, prime=PRIME, sample="greedy")
    assert ids.tolist() == written[0]


def test_a_model_from_arrays_and_one_from_the_file_write_the_same(network, written):
    ids, _ = fastlstm.Model(network.layers()).generate(IDS, prime=[PRIME])
    assert ids.tolist() == [written[0]]


def test_logits(tf):
    """With smaller weights: a lively text has states near 10, and TensorFlow itself is 1e-5 off its float64 there."""
    network = language_model(tf, 0.15)
    ids = np.random.default_rng(4).integers(0, VOCABULARY, (3, 100))
    logits, final = network.run(ids)
    got, state = fastlstm.Model(network.layers()).run(ids)
    assert difference([logits, list(final)], [got, state.to_tuples()]) <= TOLERANCES["float32"]
