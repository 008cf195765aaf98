"""Running against the oracle, and the properties that any drop-in for dynamic_rnn has."""

from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm
from fastlstm.layers import Activation
from tests import models, oracle
from tests.tolerances import TOLERANCES

DEVICES = ["cpu", "numpy"]


def close(ours, theirs, dtype, factor=1.0):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=factor * TOLERANCES[dtype])


def stack(rng):
    """Three layers that between them have every option, and a head."""
    return [
        models.lstm(rng, 5, 9, peepholes=True, cell_clip=0.6, forget_bias=0.7),
        models.lstm(rng, 9, 13, projection=9, proj_clip=0.4, activation="elu", residual=True),
        models.lstm(rng, 9, 6, gates="ifco", recurrent_activation="hard_sigmoid", activation="softsign"),
        models.dense(rng, 6, 4, "tanh"),
    ]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_option_agrees_with_the_oracle(device, dtype):
    rng = np.random.default_rng(1)
    description = models.rounded(stack(rng), dtype)
    model = fastlstm.Model(models.layers_of(description, dtype), device=device, dtype=dtype)
    xs = rng.normal(size=(3, 100, 5)).astype(dtype)
    ys, state = model.run(xs)
    for b in range(3):
        expected, states = oracle.run(description, xs[b], oracle.zero_states(description))
        close(ys[b], expected, dtype)
        for k, (c, h) in enumerate(states):
            close(state[k].c[b], c, dtype)
            close(state[k].h[b], h, dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [a.label for a in Activation])
def test_every_activation_agrees_with_the_oracle(name, dtype, device):
    rng = np.random.default_rng(2)
    description = [
        models.lstm(rng, 3, 5, scale=0.3),
        models.lstm(rng, 5, 5, activation=name, recurrent_activation="sigmoid", scale=0.1),
        models.lstm(rng, 5, 5, activation="tanh", recurrent_activation=name, scale=0.1),
        models.gru(rng, 5, 5, activation=name, recurrent_activation="sigmoid", scale=0.1),
        models.gru(rng, 5, 5, activation="tanh", recurrent_activation=name, reset_after=True, scale=0.1),
        models.dense(rng, 5, 7, name, scale=1.5),
    ]
    description = models.rounded(description, dtype)
    model = fastlstm.Model(models.layers_of(description, dtype), device=device)
    xs = rng.normal(size=(4, 3)).astype(dtype)
    expected, _ = oracle.run(description, xs, oracle.zero_states(description))
    np.testing.assert_allclose(model.run(xs)[0], expected, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])


def extremes(dtype):
    """Every power of two of the type, 3000 numbers between, and their negatives."""
    powers = np.ldexp(np.ones(1, dtype), np.arange(-126 if dtype == "float32" else -1022, 128))
    between = np.concatenate([np.linspace(0, 20, 2001), np.geomspace(20, 800, 999)]).astype(dtype)
    return np.concatenate([powers, -powers, between, -between])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in oracle.FUNCTIONS if name])
def test_activations_over_the_whole_range(name, dtype, device):
    """Against the oracle's float64, which is right to 1e-13 of what it takes; never NaN."""
    x = extremes(dtype)
    if name == "exponential":
        x = x[x < (88 if dtype == "float32" else 709)]
    zero = np.zeros((1, 4), dtype)
    layers = [fastlstm.LSTM(zero, zero), fastlstm.Dense(np.zeros((1, x.size), dtype), x, name)]
    y = fastlstm.Model(layers, device=device).step(zero[0, :1])[0]
    assert np.isfinite(y).all()
    expected = oracle.apply(name, x)
    limit = TOLERANCES[dtype] * np.maximum(1, np.abs(expected))
    assert (np.abs(y - expected) <= limit).all(), x[np.argmax(np.abs(y - expected) / limit)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_activations_across_a_layer(name, dtype, device):
    """Large and equal elements too; one element alone."""
    rng = np.random.default_rng(9)
    cases = [rng.normal(0, scale, size) for scale in (0.01, 1, 30) for size in (1, 2, 9, 200)]
    cases += [np.full(7, 0.3), np.repeat([0.1, 0.2, 0.3], 5), np.array([1e30, -1e30, 1e30]), np.linspace(0, 2, 30)]
    zero = np.zeros((1, 4), dtype)
    for x in cases:
        x = x.astype(dtype)
        layers = [fastlstm.LSTM(zero, zero), fastlstm.Dense(np.zeros((1, x.size), dtype), x, name)]
        y = fastlstm.Model(layers, device=device).step(zero[0, :1])[0]
        np.testing.assert_allclose(y, oracle.apply(name, x), rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "first", ["embedding", "one_hot", "large_embedding", "embedding_dense", "one_hot_dense", "residual"]
)
def test_ids_agree_with_the_oracle(first, device):
    rng = np.random.default_rng(3)
    size = 40_000 if first == "large_embedding" else 11
    entry = models.one_hot(11) if first.startswith("one_hot") else models.embedding(rng, size, 11)
    dense = [models.dense(rng, 11, 11, "relu")] if first.endswith("dense") else []
    units = 64 if first == "large_embedding" else 11  # the table of gates would be 82 MB: not multiplied out
    layer = models.lstm(rng, 11, units, residual=first == "residual", scale=0.2)
    description = [entry, *dense, layer, models.dense(rng, units, 11)]
    model = fastlstm.Model(models.layers_of(description), device=device)
    ids = rng.integers(0, size, 12)
    expected, _ = oracle.run(description, ids, oracle.zero_states(description))
    close(model.run(ids)[0], expected, "float64")


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_step_chunk_batch_and_whole_are_one(device, data):
    """step x T = run; row b of a batch = that row alone; chunks = whole; a stream too. To the last bit on the CPU."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    batch, steps = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))
    cut = data.draw(st.integers(0, steps))
    model = fastlstm.Model(models.layers_of(stack(rng)), device=device)
    xs = rng.normal(size=(batch, steps, 5))
    start = random_state(model, batch, rng)
    ys, end = model.run(xs, start)
    same = np.testing.assert_array_equal if device == "cpu" else almost_equal

    state, stepped = start, []
    for t in range(steps):
        y, state = model.step(xs[:, t], state)
        stepped.append(y)
    same(np.stack(stepped, 1), ys)
    same_states(same, state, end)

    head, middle = model.run(xs[:, :cut], start)
    tail, state = model.run(xs[:, cut:], middle)
    same(np.concatenate([head, tail], 1), ys)
    same_states(same, state, end)

    for b in range(batch):
        alone, state = model.run(xs[b], start.rows(b))
        same(alone, ys[b])
        same_states(same, state, end.rows(b))
        stream = model.stream()
        stream.state = start.rows(b)
        same(np.array([stream.step(x).copy() for x in xs[b]]), ys[b])
        same_states(same, stream.state, end.rows(b))
        stream.state = start.rows(b)
        same(stream.process(xs[b]), ys[b])
        same_states(same, stream.state, end.rows(b))


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_lengths_are_dynamic_rnns(device, data):
    """Zeros past a row's length, and the state frozen there; a length of 0 gives the initial state."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    lengths = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=4))
    model = fastlstm.Model(models.layers_of(stack(rng)), device=device)
    xs = rng.normal(size=(len(lengths), 6, 5))
    start = random_state(model, len(lengths), rng)
    ys, end = model.run(xs, start, lengths)
    for b, length in enumerate(lengths):
        alone, state = model.run(xs[b, :length], start.rows(b))
        almost_equal(ys[b, :length], alone)
        assert not ys[b, length:].any()
        same_states(almost_equal, end.rows(b), state)


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=20)
@given(st.data())
def test_generate_is_priming_and_feeding_back(device, data):
    """Ragged primes included: each row's outputs are those of that row alone, stepped by hand."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    n = data.draw(st.integers(1, 8))
    description = [models.lstm(rng, 3, 6), models.lstm(rng, 6, 4, residual=False), models.dense(rng, 4, 3, "tanh")]
    model = fastlstm.Model(models.layers_of(description), device=device)
    prime = rng.normal(size=(len(lengths), 5, 3))
    ys, end = model.generate(n, prime, lengths=lengths)
    by_python, end_by_python = model.generate(n, prime, lengths=lengths, feedback=lambda y: y)
    almost_equal(ys, by_python)
    same_states(almost_equal, end, end_by_python)
    for b, length in enumerate(lengths):
        out, state = model.run(prime[b, :length])
        y, expected = out[-1], []
        for k in range(n):
            expected.append(y)
            if k < n - 1:
                y, state = model.step(y, state)
        almost_equal(ys[b], np.array(expected))
        same_states(almost_equal, end.rows(b), state)
    more, _ = model.generate(3, ys[..., -1:, :], end)
    almost_equal(np.concatenate([ys, more], 1), model.generate(n + 3, prime, lengths=lengths)[0])


@pytest.mark.parametrize("device", DEVICES)
def test_free_running_agrees_with_the_oracle(device):
    rng = np.random.default_rng(4)
    description = [models.lstm(rng, 2, 7, forget_bias=1.0), models.dense(rng, 7, 2, "tanh")]
    model = fastlstm.Model(models.layers_of(description), device=device)
    prime = rng.normal(size=(5, 2))
    expected, states = oracle.generate(description, prime, 300)
    ys, state = model.generate(300, prime)
    close(ys, expected, "float64", factor=10)
    close(state[0].c[0], states[0][0], "float64", factor=10)


@pytest.mark.parametrize("device", DEVICES)
def test_without_a_prime_the_first_input_is_zero(device):
    model = fastlstm.Model(models.layers_of([models.lstm(np.random.default_rng(5), 3, 3)]), device=device)
    almost_equal(model.generate(5)[0], model.generate(5, np.zeros((1, 3)))[0])
    state = random_state(model, 2, np.random.default_rng(6))
    almost_equal(model.generate(5, state=state)[0], model.generate(5, np.zeros((2, 1, 3)), state)[0])


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_given_is_modified(device):
    rng = np.random.default_rng(6)
    model = fastlstm.Model(models.layers_of([models.lstm(rng, 3, 3), models.gru(rng, 3, 3)]), device=device)
    xs, state = rng.normal(size=(2, 4, 3)), random_state(model, 2, rng)
    before, kept = xs.copy(), state.copy()
    calls = (
        model.run,
        lambda a, s: model.run(a[:, :0], s),
        lambda a, s: model.run(a, s, lengths=[0, 0]),
        lambda a, s: model.step(a[:, 0], s),
        lambda a, s: model.generate(5, a, s),
    )
    for call in calls:
        _, after = call(xs, state)
        np.testing.assert_array_equal(xs, before)
        same_states(np.testing.assert_array_equal, state, kept)
        given = [xs, *(part for pair in state for part in pair)]
        assert not any(np.shares_memory(part, other) for pair in after for part in pair for other in given)


@pytest.mark.parametrize("device", DEVICES)
def test_iterate_begins_with_the_state_of_its_call(device):
    model = fastlstm.Model(models.layers_of([models.lstm(np.random.default_rng(5), 3, 3)]), device=device)
    state = random_state(model, 1, np.random.default_rng(6))
    expected, _ = model.generate(5, state=state.rows(0))
    outputs = model.iterate(5, state=state)
    state.reset()
    np.testing.assert_array_equal(list(outputs), expected[0])


@pytest.mark.parametrize("device", DEVICES)
def test_no_steps_give_no_outputs(device):
    model = fastlstm.Model(models.layers_of(stack(np.random.default_rng(0))), device=device)
    state = random_state(model, 2, np.random.default_rng(1))
    ys, after = model.run(np.zeros((2, 0, 5)), state)
    assert ys.shape == (2, 0, 4)
    same_states(np.testing.assert_array_equal, after, state)
    assert model.stream().process(np.zeros((0, 5))).shape == (0, 4)


def test_a_state_is_taken_by_its_names():
    """An LSTMStateTuple is (c, h); a pair that names its parts is read by the names, in whatever order they stand."""
    model = fastlstm.Model(models.layers_of([models.lstm(np.random.default_rng(0), 3, 4)]))
    state = random_state(model, 2, np.random.default_rng(1))
    swapped = namedtuple("Swapped", "h c")(state[0].h, state[0].c)
    expected, _ = model.step(np.ones((2, 3)), state)
    again, _ = model.generate(1, np.ones((2, 1, 3)), (pair for pair in state), feedback=lambda y: y)
    np.testing.assert_array_equal(again[:, 0], expected)
    for given_state in (
        state[0],
        [state[0]],
        swapped,
        [swapped],
        [list(state[0])],
        state.to_array(),
        state.to_tuples(),
    ):
        np.testing.assert_array_equal(model.step(np.ones((2, 3)), given_state)[0], expected)


def test_a_missing_batch_axis_is_given_back_missing():
    rng = np.random.default_rng(7)
    vectors = fastlstm.Model(models.layers_of([models.lstm(rng, 3, 3)]))
    ids = fastlstm.Model(models.layers_of([models.one_hot(4), models.lstm(rng, 4, 3), models.dense(rng, 3, 4)]))
    assert vectors.step(np.zeros(3))[0].shape == (3,)
    assert vectors.run(np.zeros((5, 3)))[0].shape == (5, 3)
    assert vectors.generate(6, np.zeros((5, 3)))[0].shape == (6, 3)
    assert ids.step(2)[0].shape == (4,)
    assert ids.run([0, 1, 2])[0].shape == (3, 4)
    assert ids.generate(6, [0, 1])[0].shape == (6,)
    assert ids.run([[0, 1, 2]])[0].shape == (1, 3, 4)


def test_a_large_input_saturates_and_nan_stays_nan():
    """No overflow where the gates saturate, and no NaN hidden by a clip."""
    rng = np.random.default_rng(8)
    for dtype in ("float32", "float64"):
        for device in DEVICES:
            model = fastlstm.Model(
                models.layers_of([models.lstm(rng, 2, 3), models.dense(rng, 3, 2, "relu6")], dtype), device=device
            )
            for x in (1e30, -1e30, 1e4, -1e4):
                y, state = model.step(np.array([x, -x], dtype))
                assert np.isfinite(y).all()
                assert np.isfinite(state[0].c).all()
            assert np.isnan(model.step(np.array([np.nan, 0], dtype))[1][0].c).all()


def random_state(model, batch, rng):
    return fastlstm.State([(rng.normal(size=(batch, c)), rng.normal(size=(batch, h))) for c, h in model.state_sizes])


def almost_equal(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def same_states(same, a, b):
    for one, other in zip(a, b, strict=True):
        same(one.c, other.c)
        same(one.h, other.h)
