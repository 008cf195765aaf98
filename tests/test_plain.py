"""The commonest models of one row, which have a way of their own through the loops: the bits are the same."""

import numpy as np
import pytest

import fastlstm
from tests import models, oracle
from tests.test_running import close


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("inputs", "hidden"), [(1, 1), (1, 8), (9, 13), (2, 16), (3, 24), (1, 32), (16, 64), (7, 77), (40, 40), (20, 130)]
)
def test_each_size_by_each_way(inputs, hidden, dtype):
    rng, scale = np.random.default_rng(hidden), min(0.4, 2 * hidden**-0.5)
    description = [models.lstm(rng, inputs, hidden, scale=scale), models.dense(rng, hidden, inputs, "tanh", scale)]
    model = fastlstm.Model(models.layers_of(description, dtype))
    xs = rng.normal(size=(3, 31, inputs)).astype(dtype)
    ys, state = model.run(xs)
    close(ys[1], oracle.run(description, xs[1], oracle.zero_states(description))[0], dtype)
    for b in range(3):
        stream = model.stream()
        np.testing.assert_array_equal([stream.step(x).copy() for x in xs[b]], ys[b])
        np.testing.assert_array_equal(stream.state[0].c[0], state[0].c[b])
        alone, after = model.run(xs[b])
        np.testing.assert_array_equal(alone, ys[b])
        np.testing.assert_array_equal(after[0].h[0], state[0].h[b])
    ragged = [31, 30, 17]
    many, after = model.generate(20, xs, state, ragged)
    for b, length in enumerate(ragged):
        alone, own = model.generate(20, xs[b, :length], state.rows(b))
        np.testing.assert_array_equal(many[b], alone)
        np.testing.assert_array_equal(after[0].c[b], own[0].c[0])


@pytest.mark.parametrize(("first", "hidden"), [("one-hot", 8), ("one-hot", 70), ("embedding", 33), ("embedding", 64)])
def test_ids_by_each_way(first, hidden):
    rng = np.random.default_rng(hidden)
    size = 11
    entry = models.embedding(rng, size, 3) if first == "embedding" else models.one_hot(size)
    description = [
        entry, models.lstm(rng, 3 if first == "embedding" else size, hidden), models.lstm(rng, hidden, 24),
        models.dense(rng, 24, size),
    ]  # fmt: skip
    model = fastlstm.Model(models.layers_of(description, "float32"))
    ids = rng.integers(0, size, (3, 9))
    ys, state = model.run(ids)
    for sample in ("greedy", fastlstm.Sampler(1.5)):
        one, _ = model.generate(40, ids[0], sample=sample, seed=1, stop=[0])
        many, _ = model.generate(40, ids, sample=sample, seed=1, stop=[0])
        np.testing.assert_array_equal(many[0], one)
        ends = np.flatnonzero(one == 0)
        assert not ends.size or (one[ends[0] :] == 0).all()
    for b in range(3):
        stream = model.stream()
        np.testing.assert_array_equal([stream.step(int(k)).copy() for k in ids[b]], ys[b])
        np.testing.assert_array_equal(stream.state[1].h[0], state[1].h[b])


def test_rows_that_stop_leave_the_others_alone():
    """Each row draws its own ids whoever has stopped before it, and repeats its stop to the end."""
    rng = np.random.default_rng(3)
    description = [models.one_hot(6), models.lstm(rng, 6, 9), models.dense(rng, 9, 6)]
    model = fastlstm.Model(models.layers_of(description, "float32"))
    prime = rng.integers(0, 6, (40, 2))
    sampler = fastlstm.Sampler(3.0)
    free, _ = model.generate(30, prime, sample=sampler, seed=5)
    stopped, _ = model.generate(30, prime, sample=sampler, seed=5, stop=[2, 4])
    for own, all_of_it in zip(stopped, free, strict=True):
        ends = np.flatnonzero(np.isin(all_of_it, [2, 4]))
        end = ends[0] if ends.size else len(own) - 1
        np.testing.assert_array_equal(own[: end + 1], all_of_it[: end + 1])
        assert (own[end:] == own[end]).all()
    assert len({int(np.argmax(np.isin(row, [2, 4]))) for row in free}) > 5


@pytest.mark.parametrize("kind", [models.lstm, models.gru])
def test_batches_of_each_size(kind):
    """Rows are multiplied in blocks of one to six; whatever their number, each has the bits that it has alone."""
    rng = np.random.default_rng(4)
    model = fastlstm.Model(models.layers_of([kind(rng, 5, 32), models.dense(rng, 32, 64)], "float32"))
    xs = rng.normal(size=(14, 4, 5)).astype(np.float32)
    alone = np.array([model.run(x)[0] for x in xs])
    for rows in range(2, 15):
        np.testing.assert_array_equal(model.run(xs[:rows])[0], alone[:rows])
