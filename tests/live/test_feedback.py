"""Question 1: how do I feed the output of my trained RNN back as its input?

A network that answers the next value of a sine wave, primed with true values and then left to run on its own output.
"""

import numpy as np
import pytest

import fastlstm
from tests.live.cells import Cell, Head
from tests.live.networks import Network, difference
from tests.tolerances import TOLERANCES

STEPS, TOLERANCE = 1000, TOLERANCES["sine loop"]
WEIGHTS, BIAS = "fully_connected/weights", "fully_connected/biases"


def wave(start, steps):
    """(B, steps, 1) of a sine wave from each of B starts."""
    return 0.8 * np.sin(2 * np.pi / 40 * (np.asarray(start)[:, None, None] + np.arange(steps)[:, None]))


@pytest.fixture(scope="module")
def sine(tf):
    """BasicLSTMCell in float64 with a dense tanh head; the head is fitted by least squares to a noisy wave."""
    head = Head(1, (WEIGHTS, BIAS), "tanh")
    network = Network(tf, [Cell(32, basic=True)], 1, "float64", head=head, scale=0.4)
    noise = np.random.default_rng(2).normal(0, 0.02, (8, 400, 1))
    true = wave(np.arange(0, 40, 5), 401)
    hidden, _ = network.run(true[:, :-1] + noise, hidden=True)
    features = hidden[:, 50:].reshape(-1, 32)
    features = np.column_stack([features, np.ones(len(features))])
    targets = np.arctanh(true[:, 51:]).reshape(-1, 1)
    fitted = np.linalg.solve(features.T @ features + 1e-3 * np.eye(33), features.T @ targets)
    network.assign({WEIGHTS: fitted[:-1], BIAS: fitted[-1]})
    return network


@pytest.fixture(scope="module")
def model(sine, tmp_path_factory):
    return fastlstm.load(sine.save(tmp_path_factory.mktemp("sine")))


def follow(network, prime, steps):
    """TensorFlow's own loop: one session.run a step, output and state fed back."""
    outputs, fed, state = [], prime, None
    for _ in range(steps):
        ys, state = network.run(fed, state)
        fed = ys[:, -1:]
        outputs.append(fed[:, 0])
    return np.stack(outputs, axis=1), state


def test_the_network_is_alive(sine):
    """It goes on swinging by itself, so that an error would show."""
    ys, _ = follow(sine, wave([0], 60), STEPS)
    assert np.ptp(ys[0, -80:]) > 0.5


def test_a_thousand_steps(sine, model):
    prime = wave([7], 60)
    expected, final = follow(sine, prime, STEPS)
    assert model.dtype == np.float64
    ys, state = model.generate(STEPS, prime=prime[0])
    assert difference(expected[0], ys) <= TOLERANCE
    assert difference(list(final), state.to_tuples()) <= TOLERANCE


def test_a_stream_and_plain_numpy(sine, model, tmp_path):
    """The same loop driven from Python, and without a compiler."""
    prime = wave([3], 40)
    expected, _ = follow(sine, prime, 200)
    stream = model.stream()
    y, outputs = stream.process(prime[0])[-1], []
    for _ in range(200):
        outputs.append(y.copy())
        y = stream.step(outputs[-1])
    assert difference(expected[0], np.array(outputs)) <= TOLERANCE
    plain = fastlstm.load(sine.save(tmp_path), device="numpy")
    assert difference(expected, plain.generate(200, prime=prime)[0]) <= TOLERANCE


def test_a_batch(sine, model):
    prime = wave([0, 11, 22, 33], 60)
    expected, final = follow(sine, prime, STEPS)
    ys, state = model.generate(STEPS, prime=prime)
    assert difference(expected, ys) <= TOLERANCE
    assert difference(list(final), state.to_tuples()) <= TOLERANCE


def test_rows_with_prefixes_of_different_lengths(sine, model):
    """Each row is what TensorFlow gives for that row alone, whatever stands behind its prefix."""
    prime, lengths = wave([5, 14, 31], 60), [60, 20, 41]
    for row, length in zip(prime, lengths, strict=True):
        row[length:] = 99.0
    ys, state = model.generate(300, prime=prime, lengths=lengths)
    for b, length in enumerate(lengths):
        expected, final = follow(sine, prime[b : b + 1, :length], 300)
        assert difference(expected[0], ys[b]) <= TOLERANCE
        assert difference(list(final), state.rows(b).to_tuples()) <= TOLERANCE


def test_going_on_from_a_state(sine, model):
    prime = wave([7], 60)
    expected, _ = follow(sine, prime, 400)
    first, state = model.generate(150, prime=prime)
    second, _ = model.generate(250, prime=first[:, -1:], state=state)
    assert difference(expected, np.concatenate([first, second], axis=1)) <= TOLERANCE
