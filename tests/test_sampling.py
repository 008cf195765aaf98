"""Choosing ids: greedy, temperature, top k, top p, seeds, stops; both devices draw the same."""

import math

import numpy as np
import pytest

import fastlstm
from fastlstm.backends import numpy_draw
from tests import models, oracle

DEVICES = ["cpu", "numpy"]


def token_model(device="cpu", activation=None, size=13, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    description = [
        models.embedding(rng, size, 5),
        models.lstm(rng, 5, 8),
        models.dense(rng, 8, size, activation, scale=1.0),
    ]
    return fastlstm.Model(models.layers_of(description, dtype), device=device), description


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_greedy_is_argmax(device, activation):
    model, description = token_model(device, activation)
    expected, _ = oracle.generate(description, [3, 1], 500, choose=lambda y: int(np.argmax(y)))
    for sample in (None, "greedy", fastlstm.Sampler(temperature=0)):
        np.testing.assert_array_equal(model.generate(500, [3, 1], sample=sample)[0], expected)


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize(
    "sampler",
    [
        fastlstm.Sampler(),
        fastlstm.Sampler(0.5),
        fastlstm.Sampler(2.0, top_k=3),
        fastlstm.Sampler(1.0, top_p=0.6),
        fastlstm.Sampler(0.9, top_k=7, top_p=0.9),
        fastlstm.Sampler(1.0, top_k=1),
        fastlstm.Sampler(1.0, top_p=1e-9),
        fastlstm.Sampler(1.0, top_k=13),
        fastlstm.Sampler(1.0, top_k=99),
        fastlstm.Sampler(1.0, top_p=1.0),
    ],
)
def test_both_devices_draw_the_same_ids(sampler, activation):
    primes, lengths = np.array([[1, 2, 3], [4, 5, 0]]), [3, 2]
    drawn = [
        token_model(device, activation)[0].generate(200, primes, lengths=lengths, sample=sampler, seed=5)[0]
        for device in DEVICES
    ]
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize(("top_k", "top_p"), [(None, None), (4, None), (None, 0.7), (5, 0.8)])
@pytest.mark.parametrize("temperature", [0.7, 1.0, 3.0])
def test_frequencies_are_the_distributions(temperature, top_k, top_p):
    """20,000 first draws of one model: a chi-squared test of what was drawn against softmax(logits / temperature)."""
    model, _ = token_model()
    logits, _ = model.step(np.array([3]))
    mass = np.exp((logits[0] - logits[0].max()) / temperature)
    kept = np.argsort(-mass)[:top_k]
    if top_p is not None:
        kept = kept[: 1 + int(np.sum(np.cumsum(mass[kept]) < top_p * mass.sum()))]
    expected = np.zeros_like(mass)
    expected[kept] = mass[kept] / mass[kept].sum()
    drawn, _ = model.generate(1, np.full((20_000, 1), 3), sample=fastlstm.Sampler(temperature, top_k, top_p), seed=1)
    counts = np.bincount(drawn[:, 0], minlength=13)
    assert counts[expected == 0].sum() == 0
    possible = expected * 20_000 > 5
    chi_squared = np.sum((counts - expected * 20_000)[possible] ** 2 / (expected[possible] * 20_000))
    degrees = possible.sum() - 1
    assert chi_squared < degrees + 5 * math.sqrt(2 * degrees) + 5


def test_uniform_numbers_are_uniform_and_alike_in_both_backends():
    from numba import njit

    from fastlstm.backends import scalar

    @njit
    def fill(out):
        for row in range(out.shape[0]):
            for position in range(out.shape[1]):
                out[row, position] = scalar.uniform(np.uint64(9), np.uint64(row), np.uint64(position))

    compiled = np.full((50, 200), np.nan)
    fill(compiled)
    drawn = np.array([numpy_draw.uniform(9, row, position) for row in range(50) for position in range(200)])
    np.testing.assert_array_equal(drawn, compiled.ravel())
    assert drawn.min() >= 0 and drawn.max() < 1
    assert len(np.unique(drawn)) == drawn.size
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    assert np.sum((counts - 500) ** 2 / 500) < 60
    rows = drawn.reshape(50, 200)
    assert abs(np.corrcoef(rows)[np.triu_indices(50, 1)]).max() < 0.4


@pytest.mark.parametrize("device", DEVICES)
def test_a_seed_decides_and_no_seed_does_not(device):
    model, _ = token_model(device)
    draw = lambda seed: model.generate(60, [1], sample=fastlstm.Sampler(), seed=seed)[0].tolist()  # noqa: E731
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert draw(None) != draw(None)


@pytest.mark.parametrize("device", DEVICES)
def test_iterate_gives_what_generate_gives(device):
    model, _ = token_model(device)
    for sample in ("greedy", fastlstm.Sampler(1.3, top_k=9)):
        ids, _ = model.generate(50, [1, 2], sample=sample, seed=3)
        assert list(model.iterate(50, [1, 2], sample=sample, seed=3, chunk=7)) == ids.tolist()
    end = ids[20]
    stopped = list(model.iterate(50, [1, 2], sample=sample, seed=3, stop=int(end), chunk=7))
    assert stopped == ids[: ids.tolist().index(end) + 1].tolist()


@pytest.mark.parametrize("device", DEVICES)
def test_going_on_draws_what_one_call_draws(device):
    model, _ = token_model(device)
    sampler = fastlstm.Sampler(1.5)
    whole, _ = model.generate(40, [1, 2], sample=sampler, seed=3)
    first, state = model.generate(25, [1, 2], sample=sampler, seed=3)
    rest, _ = model.generate(15, first[..., -1:], state, sample=sampler, seed=3, position=25)
    np.testing.assert_array_equal(np.concatenate([first, rest]), whole)


@pytest.mark.parametrize("device", DEVICES)
def test_what_iterate_gives_is_the_callers_to_change(device):
    model = fastlstm.Model(models.layers_of([models.lstm(np.random.default_rng(0), 3, 3)]), device=device)
    expected, _ = model.generate(20, np.ones((2, 3)))
    for y, kept in zip(model.iterate(20, np.ones((2, 3)), chunk=4), expected, strict=True):
        np.testing.assert_array_equal(y, kept)
        y[:] = 7
    assert len(list(model.iterate(3, state=model.zero_state()))) == 3


@pytest.mark.parametrize("device", DEVICES)
def test_iterate_on_vectors(device):
    model = fastlstm.Model(models.layers_of([models.lstm(np.random.default_rng(0), 3, 3)]), device=device)
    ys, _ = model.generate(20, np.ones((2, 3)))
    np.testing.assert_array_equal(list(model.iterate(20, np.ones((2, 3)), chunk=6)), ys)


@pytest.mark.parametrize("device", DEVICES)
def test_a_stop_id_ends_its_row_alone(device):
    model, _ = token_model(device)
    primes = np.arange(6)[:, None]
    sampler = fastlstm.Sampler(2.0)
    free, _ = model.generate(40, primes, sample=sampler, seed=2)
    stopped, state = model.generate(40, primes, sample=sampler, seed=2, stop=[4, 5])
    for b in range(6):
        ends = np.flatnonzero(np.isin(free[b], [4, 5]))
        end = ends[0] if ends.size else 39
        np.testing.assert_array_equal(stopped[b, : end + 1], free[b, : end + 1])
        assert (stopped[b, end:] == free[b, end]).all()
        _, alone = model.run(np.concatenate([primes[b], free[b, :end]]))
        np.testing.assert_allclose(state[0].c[b], alone[0].c[0], rtol=0, atol=1e-13)


def test_a_temperature_too_small_for_arithmetic_takes_the_most_probable():
    assert fastlstm.Sampler(1e-310).temperature == 0
    assert fastlstm.Sampler(1e-300).temperature == 1e-300
