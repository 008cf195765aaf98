"""Every cell, every option around it and masks: against the oracle, in every call, on every device."""

import numpy as np
import pytest

import fastlstm
from tests import models, oracle
from tests.test_running import DEVICES, almost_equal, close, random_state, same_states
from tests.tolerances import TOLERANCES

INPUTS = 5


def norm_with_everything(rng):
    return models.lstm(rng, 5, 9, norm=models.norm(rng, 9, 1e-3), peepholes=True, projection=5, cell_clip=0.9,
                       proj_clip=0.8, forget_bias=1.0, activation="relu", residual=True)  # fmt: skip


#: name -> the layers, for vectors of 5; those of `IDS` take ids below 7
CELLS = {
    "layer norm": lambda rng: [models.lstm(rng, 5, 9, norm=models.norm(rng, 9), forget_bias=1.0)],
    "layer norm, every option": lambda rng: [norm_with_everything(rng)],
    "coupled gates": lambda rng: [models.lstm(rng, 5, 8, gates="jfo", forget_bias=1.0)],
    "coupled gates, every option": lambda rng: [
        models.lstm(rng, 5, 8, gates="jfo", peepholes=True, projection=4, norm=models.norm(rng, 8, gates=3))
    ],
    "highway": lambda rng: [models.lstm(rng, 5, 5, highway=models.highway(rng, 5))],
    "highway, two gates": lambda rng: [models.lstm(rng, 5, 8, projection=5, highway=models.highway(rng, 5, True))],
    "gru": lambda rng: [models.gru(rng, 5, 7, gates="ruc")],
    "gru reset_after": lambda rng: [models.gru(rng, 5, 7, reset_after=True)],
    "gru, other activations": lambda rng: [
        models.gru(rng, 5, 5, activation="relu", recurrent_activation="hard_sigmoid", residual=True),
        models.gru(rng, 5, 5, reset_after=True, activation="linear", highway=models.highway(rng, 5), scale=0.2),
        models.gru(rng, 5, 5, reset_after=True, recurrent_activation="softsign", highway=models.highway(rng, 5, True)),
    ],
    "lstm and gru": lambda rng: [
        models.gru(rng, 5, 6), models.lstm(rng, 6, 4, peepholes=True), models.dense(rng, 4, 3, "tanh"),
        models.gru(rng, 3, 5, reset_after=True),
    ],
    "masking": lambda rng: [models.masking(5), models.lstm(rng, 5, 7)],
    "masking, zeros": lambda rng: [
        models.masking(5, -1.5), models.lstm(rng, 5, 7, zero_output_for_mask=True), models.gru(rng, 7, 4),
    ],
    "masking, around": lambda rng: [
        models.masking(5), models.dense(rng, 5, 6, "tanh"), models.gru(rng, 6, 6, residual=True, reset_after=True),
        models.lstm(rng, 6, 6, highway=models.highway(rng, 6), zero_output_for_mask=True, norm=models.norm(rng, 6)),
        models.gru(rng, 6, 6, residual=True, zero_output_for_mask=True), models.dense(rng, 6, 3),
    ],
    "masking twice": lambda rng: [
        models.masking(5), models.lstm(rng, 5, 4, activation="relu"), models.masking(4), models.gru(rng, 4, 4),
    ],
    "one hot gru": lambda rng: [models.one_hot(7), models.gru(rng, 7, 6, reset_after=True), models.dense(rng, 6, 7)],
    "embedding gru": lambda rng: [models.embedding(rng, 7, 5), models.gru(rng, 5, 6), models.dense(rng, 6, 7)],
    "embedding norm": lambda rng: [
        models.embedding(rng, 7, 5), models.lstm(rng, 5, 6, norm=models.norm(rng, 6)), models.dense(rng, 6, 7),
    ],
    "mask_zero": lambda rng: [
        models.embedding(rng, 7, 5, mask_zero=True), models.lstm(rng, 5, 6), models.dense(rng, 6, 7),
    ],
    "mask_zero gru": lambda rng: [
        models.embedding(rng, 7, 5, mask_zero=True),
        models.gru(rng, 5, 6, reset_after=True, zero_output_for_mask=True), models.dense(rng, 6, 7),
    ],
    "mask_zero, around": lambda rng: [
        models.embedding(rng, 7, 6, mask_zero=True), models.lstm(rng, 6, 6, residual=True),
        models.gru(rng, 6, 6, highway=models.highway(rng, 6)), models.dense(rng, 6, 7),
    ],
}  # fmt: skip
IDS = {name for name in CELLS if name.startswith(("one hot", "embedding", "mask_zero"))}


def tolerance(name, dtype):
    return TOLERANCES["layer norm"] if "norm" in name and dtype == "float32" else TOLERANCES[dtype]


def inputs(name, rng, batch, steps):
    """xs, a third of them masked where the model masks: also the first and the last step of some rows."""
    if name in IDS:
        return rng.integers(0, 7, (batch, steps)) * (rng.random((batch, steps)) < 0.7)
    xs = rng.normal(size=(batch, steps, INPUTS))
    value = -1.5 if name == "masking, zeros" else 0.0
    return np.where(rng.random((batch, steps, 1)) < 0.33, value, xs) if name.startswith("masking") else xs


def row_of(state, b):
    return [(c[b], h[b]) for c, h in state]


def assert_state(state, b, expected, atol):
    for k, (c, h) in enumerate(expected):
        np.testing.assert_allclose(state[k].c[b], c, rtol=0, atol=atol)
        np.testing.assert_allclose(state[k].h[b], h, rtol=0, atol=atol)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CELLS)
def test_run_agrees_with_the_oracle(name, dtype, device):
    """From a state that is not zero, one row being shorter than the others."""
    rng = np.random.default_rng(1)
    description = models.rounded(CELLS[name](rng), dtype)
    model = fastlstm.Model(models.layers_of(description, dtype), device=device, dtype=dtype)
    xs = inputs(name, rng, 3, 40)
    if name not in IDS:
        xs = xs.astype(dtype)
    start = random_state(model, 3, rng)
    start = fastlstm.State([(c.astype(dtype), h.astype(dtype)) for c, h in start])
    ys, state = model.run(xs, start, [40, 31, 40])
    for b, length in enumerate([40, 31, 40]):
        expected, states = oracle.run(description, xs[b], row_of(start, b), length)
        np.testing.assert_allclose(ys[b], expected, rtol=0, atol=tolerance(name, dtype))
        assert_state(state, b, states, tolerance(name, dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CELLS)
def test_every_call_is_one(name, device):
    """step x T = run = chunks = a stream's steps = its process. To the last bit on the CPU."""
    rng = np.random.default_rng(2)
    model = fastlstm.Model(models.layers_of(CELLS[name](rng)), device=device)
    xs, start = inputs(name, rng, 2, 12), random_state(model, 2, rng)
    ys, end = model.run(xs, start)
    same = np.testing.assert_array_equal if device == "cpu" else almost_equal
    state, stepped = start, []
    for t in range(12):
        y, state = model.step(xs[:, t], state)
        stepped.append(y)
    same(np.stack(stepped, 1), ys)
    same_states(same, state, end)
    first, middle = model.run(xs[:, :5], start)
    second, state = model.run(xs[:, 5:], middle)
    same(np.concatenate([first, second], 1), ys)
    same_states(same, state, end)
    stream = model.stream()
    for b in range(2):
        stream.state = start.rows(b)
        same(np.array([stream.step(x).copy() for x in xs[b]]), ys[b])
        same_states(same, stream.state, end.rows(b))
        stream.state = start.rows(b)
        same(stream.process(xs[b]), ys[b])
        alone, state = model.run(xs[b, :7], start.rows(b))
        almost_equal(model.run(xs, start, [7, 7])[0][b, :7], alone)
        stream.reset()
        same(stream.step(xs[b, 0]), model.step(xs[b, 0])[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CELLS)
def test_generating_agrees_with_the_oracle(name, device):
    """Ragged primes, each row by itself; a continuous model goes on from a head that gives as much as it takes."""
    rng = np.random.default_rng(3)
    description = CELLS[name](rng)
    if name not in IDS:
        description = [*description, models.dense(rng, oracle.width(description), INPUTS, "tanh")]
    model = fastlstm.Model(models.layers_of(description), device=device)
    prime, lengths = inputs(name, rng, 3, 6), [6, 2, 4]
    start = random_state(model, 3, rng)
    given = {"sample": "greedy"} if name in IDS else {}
    ys, end = model.generate(15, prime, start, lengths, **given)
    choose = (lambda y: int(np.argmax(y))) if name in IDS else None
    for b, length in enumerate(lengths):
        expected, states = oracle.generate(description, prime[b, :length], 15, row_of(start, b), choose)
        close(ys[b], expected, "float64", factor=10)
        assert_state(end, b, states, 1e-12)
    if name in IDS:
        assert list(model.iterate(15, prime[0], start.rows(0), chunk=4)) == ys[0].tolist()
    else:
        pieces = np.array(list(model.iterate(15, prime[0], start.rows(0), chunk=4)))
        almost_equal(pieces, ys[0])
        almost_equal(model.generate(15, prime, start, lengths, feedback=lambda y: y)[0], ys)


@pytest.mark.parametrize("device", DEVICES)
def test_a_masked_step_repeats_h(device):
    """Also the state's, where the first steps are masked: Keras gives zeros there, which a step could not know."""
    rng = np.random.default_rng(4)
    model = fastlstm.Model(models.layers_of([models.masking(5), models.gru(rng, 5, 6)]), device=device)
    xs, start = rng.normal(size=(1, 4, 5)), random_state(model, 1, rng)
    xs[:, [0, 2]] = 0
    ys, end = model.run(xs, start)
    np.testing.assert_array_equal(ys[:, 0], start[0].h)
    np.testing.assert_array_equal(ys[:, 2], ys[:, 1])
    np.testing.assert_array_equal(model.run(xs[:, :1])[0], np.zeros((1, 1, 6)))
    np.testing.assert_array_equal(end[0].h, ys[:, 3])
    assert end[0].c.shape == (1, 0)


@pytest.mark.parametrize("device", DEVICES)
def test_nan_is_no_mask_and_stays(device):
    model = fastlstm.Model(
        models.layers_of([models.masking(2), models.gru(np.random.default_rng(5), 2, 3)]), device=device
    )
    assert np.isnan(model.step([np.nan, 0.0])[0]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("device", DEVICES)
def test_gates_that_saturate(device, dtype):
    """No overflow; a layer norm of equal elements divides by epsilon's root alone."""
    rng = np.random.default_rng(6)
    cells = [
        models.gru(rng, 2, 3),
        models.gru(rng, 3, 3, reset_after=True),
        models.lstm(rng, 3, 3, norm=models.norm(rng, 3)),
    ]
    model = fastlstm.Model(models.layers_of(cells, dtype), device=device)
    for x in (1e30, -1e30, 1e4):
        assert np.isfinite(model.step(np.array([x, -x], dtype))[0]).all()
    ones = {
        "kernel": np.zeros((2, 12)),
        "recurrent_kernel": np.ones((3, 12)),
        "bias": np.full(12, 0.3),
        "gates": "ifgo",
    }
    level = [("lstm", ones | {"norm": (np.ones(12), np.ones(3), np.full(3, 0.2), 1e-12)})]
    y, state = fastlstm.Model(models.layers_of(level, dtype), device=device).run(np.ones((4, 2), dtype))
    assert_state(state, 0, oracle.run(level, np.ones((4, 2)), oracle.zero_states(level))[1], 1e-6)
    assert np.isfinite(y).all()


# Models that need the whole sequence.


def both(rng, inputs, mode, last=False, **options):
    """LSTM and GRU stacks of different depth, 4 elements out of each."""
    forward = [
        models.lstm(rng, inputs, 6, **options),
        models.dense(rng, 6, 3, "tanh"),
        models.gru(rng, 3, 4, **options),
    ]
    backward = [models.lstm(rng, inputs, 4, peepholes=True, **options)]
    return models.bidirectional(forward, backward, mode, last)


SEQUENCES = {
    **{f"{mode}": lambda rng, mode=mode, width=width: [both(rng, 5, mode), models.dense(rng, width, 3)]
       for mode, width in {"concat": 8, "sum": 4, "mul": 4, "ave": 4, None: 8}.items()},
    "reverse": lambda rng: [models.reverse(5), models.lstm(rng, 5, 6), models.gru(rng, 6, 4)],
    "reverse twice": lambda rng: [
        models.gru(rng, 5, 6), models.reverse(6), models.lstm(rng, 6, 4), models.reverse(4), models.dense(rng, 4, 3),
    ],
    "stacked": lambda rng: [both(rng, 5, "concat"), both(rng, 8, "sum"), models.lstm(rng, 4, 5)],
    "last": lambda rng: [both(rng, 5, "concat", last=True), models.dense(rng, 8, 3)],
    "masking, last": lambda rng: [models.masking(5), both(rng, 5, "ave"), both(rng, 4, "sum", last=True)],
    "masking": lambda rng: [models.masking(5), both(rng, 5, "concat"), models.lstm(rng, 8, 4)],
    "masking, zeros": lambda rng: [
        models.masking(5, -1.5), models.lstm(rng, 5, 5), both(rng, 5, "mul", zero_output_for_mask=True),
        models.gru(rng, 4, 4),
    ],
    "masking reversed": lambda rng: [
        models.masking(5), models.reverse(5), models.lstm(rng, 5, 6), models.gru(rng, 6, 4),
    ],
    "masking later": lambda rng: [
        models.lstm(rng, 5, 5, activation="relu"), models.reverse(5), models.masking(5), both(rng, 5, "ave"),
    ],
    "mask_zero": lambda rng: [
        models.embedding(rng, 7, 5, mask_zero=True), both(rng, 5, "concat"), models.gru(rng, 8, 3),
    ],
    "mask_zero later": lambda rng: [
        models.embedding(rng, 7, 5, mask_zero=True), models.lstm(rng, 5, 6), both(rng, 6, "sum"),
    ],
    "embedding": lambda rng: [models.embedding(rng, 7, 5), both(rng, 5, "concat")],
}  # fmt: skip


def ids_of(name):
    return name in ("mask_zero", "mask_zero later", "embedding")


def sequence(name, rng, batch, steps):
    return inputs("mask_zero" if ids_of(name) else name, rng, batch, steps)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SEQUENCES)
def test_whole_sequences_agree_with_the_oracle(name, dtype, device):
    rng = np.random.default_rng(7)
    description = models.rounded(SEQUENCES[name](rng), dtype)
    model = fastlstm.Model(models.layers_of(description, dtype), device=device, dtype=dtype)
    assert model.run_only
    xs = sequence(name, rng, 3, 20)
    if not ids_of(name):
        xs = xs.astype(dtype)
    start = fastlstm.State([(c.astype(dtype), h.astype(dtype)) for c, h in random_state(model, 3, rng)])
    for lengths in (None, [20, 13, 0]):
        ys, state = model.run(xs, start, lengths)
        assert ys.dtype == np.dtype(dtype)
        for b in range(3):
            expected, states = oracle.run(description, xs[b], row_of(start, b), lengths and lengths[b])
            np.testing.assert_allclose(ys[b], expected, rtol=0, atol=TOLERANCES[dtype])
            assert_state(state, b, states, TOLERANCES[dtype])
    alone, state = model.run(xs[1], start.rows(1))
    np.testing.assert_allclose(alone, model.run(xs, start)[0][1], rtol=0, atol=TOLERANCES[dtype])
    assert model.run(xs[:, :0], start)[0].shape == (3, 0, model.output_size)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["concat", "reverse", "mask_zero"])
def test_what_cannot_go_step_by_step_says_so(name, device):
    model = fastlstm.Model(models.layers_of(SEQUENCES[name](np.random.default_rng(8))), device=device)
    layer = {"reverse": r"'reverse' \(Reverse\)"}.get(name, r"'bidirectional' \(Bidirectional\)")
    one = 1 if ids_of(name) else np.zeros(5)
    calls = {
        "step": lambda: model.step(one),
        "generate": lambda: model.generate(3, [one]),
        "iterate": lambda: model.iterate(3, [one]),
        "stream": model.stream,
    }
    for call, make in calls.items():
        with pytest.raises(fastlstm.ArgumentError, match=f"{call}: layer {layer} begins .* run\\(xs\\)"):
            make()


def test_a_sequence_given_is_not_modified():
    rng = np.random.default_rng(9)
    model = fastlstm.Model(models.layers_of(SEQUENCES["masking"](rng)))
    xs, state = sequence("masking", rng, 2, 6), random_state(model, 2, rng)
    before, kept = xs.copy(), state.copy()
    first, _ = model.run(xs, state, [6, 3])
    np.testing.assert_array_equal(xs, before)
    same_states(np.testing.assert_array_equal, state, kept)
    np.testing.assert_array_equal(model.run(xs, state, [6, 3])[0], first)
