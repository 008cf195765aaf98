"""The CUDA backend against the oracle, in Numba's simulator: no GPU is needed.

NUMBA_DISABLE_JIT=1 NUMBA_ENABLE_CUDASIM=1 pytest tests/cuda
"""

import inspect
import os

import numpy as np
import pytest

import fastlstm
from fastlstm.backends.narrow import rounded_bfloat16
from fastlstm.layers import Activation
from tests import models, oracle
from tests.test_cells import CELLS, IDS, SEQUENCES, assert_state, inputs, row_of, tolerance
from tests.test_running import random_state
from tests.tolerances import TOLERANCES

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1" or os.environ.get("NUMBA_DISABLE_JIT") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 and NUMBA_DISABLE_JIT=1", allow_module_level=True)

from numba import types
from numba.np.numpy_support import as_dtype

from fastlstm.backends.cuda import ahead, backend, calls, memory, rooms, session, settings
from tests.cuda.layouts import laid_out
from tests.cuda.simulator import all_blocks

pytestmark = [  # of random numbers, whose arithmetic wraps; of rows that have ended, in the reference
    pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered in subtract:RuntimeWarning"),
]

GRIDS = {
    "one block": {},
    "two blocks": {"unit_groups": 2},
    "three blocks": {"unit_groups": 3, "warps": 1},
    "two row groups": {"row_groups": 2},
    "two row groups of two blocks": {"row_groups": 2, "unit_groups": 2, "warps": 1},
    "launched again": {"rows": 2},
    "launched again, parts being laid out otherwise": {"rows": lambda batch: 4 if batch == 5 else 1},
    "weights elsewhere": {"resident": False},
    "some weights elsewhere": {"resident": lambda k: k % 2 == 0, "unit_groups": 2},
    "parts of weights elsewhere": {"resident": lambda k: (0.3, 0.5, 0.9)[k % 3], "unit_groups": 2},
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


@pytest.mark.parametrize("name", CELLS)
def test_every_cell(name):
    """From a state that is not zero, one row being shorter, a third of the steps masked where the model masks."""
    rng = np.random.default_rng(1)
    description = models.rounded(CELLS[name](rng), "float32")
    model = fastlstm.Model(models.layers_of(description, "float32"), device="cuda")
    xs = inputs(name, rng, 2, 5)
    xs = xs if name in IDS else xs.astype(np.float32)
    start = fastlstm.State([(c.astype("f"), h.astype("f")) for c, h in random_state(model, 2, rng)])
    with all_blocks(), laid_out(unit_groups=2, warps=1):
        ys, state = model.run(xs, start, [5, 3])
    for b, length in enumerate([5, 3]):
        expected, states = oracle.run(description, xs[b], row_of(start, b), length)
        np.testing.assert_allclose(ys[b], expected, rtol=0, atol=tolerance(name, "float32"))
        assert_state(state, b, states, tolerance(name, "float32"))


@pytest.mark.parametrize("name", SEQUENCES)
def test_whole_sequences(name):
    rng = np.random.default_rng(3)
    description = models.rounded(SEQUENCES[name](rng), "float32")
    model = fastlstm.Model(models.layers_of(description, "float32"), device="cuda")
    xs = rng.integers(0, 7, (2, 4)) if model.takes_ids else rng.normal(size=(2, 4, model.input_size)).astype("f")
    with all_blocks(), laid_out(warps=1):
        ys, state = model.run(xs, lengths=[4, 3])
    for b, length in enumerate([4, 3]):
        expected, states = oracle.run(description, xs[b], oracle.zero_states(description), length)
        np.testing.assert_allclose(ys[b], expected, rtol=0, atol=tolerance(name, "float32"))
        assert_state(state, b, states, tolerance(name, "float32"))


@pytest.mark.parametrize("name", [a.label for a in Activation])
def test_every_activation(name):
    rng = np.random.default_rng(2)
    description = [
        models.lstm(rng, 3, 4, activation=name, recurrent_activation="sigmoid", scale=0.1),
        models.lstm(rng, 4, 4, activation="tanh", recurrent_activation=name, scale=0.1),
        models.dense(rng, 4, 5, name, scale=1.5),
    ]
    description = models.rounded(description, "float64")
    model = fastlstm.Model(models.layers_of(description), device="cuda")
    xs = rng.normal(size=(2, 3))
    with all_blocks(), laid_out(warps=2):
        ys, _ = model.run(xs)
    close(ys, oracle.run(description, xs, oracle.zero_states(description))[0], "float64")


@pytest.mark.parametrize("grid", ["one block", "three blocks", "launched again"])
def test_vectors_are_fed_back(grid):
    """Ragged primes: the shorter rows begin later, each row's outputs are those of the row alone."""
    rng = np.random.default_rng(4)
    description = models.rounded([models.lstm(rng, 3, 6), models.dense(rng, 6, 3, "tanh")], "float32")
    model = fastlstm.Model(models.layers_of(description, "float32"), device="cuda")
    prime, lengths = rng.normal(size=(3, 3, 3)).astype("f"), [3, 1, 2]
    with all_blocks(), laid_out(**GRIDS[grid]):
        ys, state = model.generate(6, prime, lengths=lengths)
        more, _ = model.generate(2, ys[:, -1:], state)
    for b, length in enumerate(lengths):
        expected, _ = oracle.generate(description, prime[b, :length], 8)
        close(np.concatenate([ys[b], more[b]]), expected, "float32", factor=2)


def tokens(rng, activation=None):
    """A model of 7 ids."""
    return [models.embedding(rng, 7, 5), models.lstm(rng, 5, 6, scale=0.9), models.dense(rng, 6, 7, activation)]


@pytest.mark.parametrize(("grid", "batch"), [
    ("one block", 1), ("three blocks", 1), ("three blocks", 3), ("launched again", 3),
])  # fmt: skip
@pytest.mark.parametrize(
    ("sampler", "activation"),
    [
        ("greedy", None),
        (fastlstm.Sampler(0.8), None),
        (fastlstm.Sampler(1.3, top_k=3), "softmax"),
        (fastlstm.Sampler(0.9, top_p=0.7), None),
        (fastlstm.Sampler(1.1, top_k=5, top_p=0.9), "softmax"),
    ],
    ids=str,
)
def test_ids_are_those_of_the_reference(sampler, activation, batch, grid):
    rng = np.random.default_rng(5)
    layers = models.layers_of(tokens(rng, activation))
    prime, stop = rng.integers(0, 7, (batch, 2)), {4}
    expected, end = fastlstm.Model(layers, device="numpy").generate(
        12, prime, sample=sampler, stop=stop, seed=2**63 + 5
    )
    with all_blocks(), laid_out(**GRIDS[grid]):
        ids, state = fastlstm.Model(layers, device="cuda").generate(
            12, prime, sample=sampler, stop=stop, seed=2**63 + 5
        )
    np.testing.assert_array_equal(ids, expected)
    assert len(np.unique(ids)) > 1
    np.testing.assert_allclose(state[0].h, end[0].h, rtol=0, atol=1e-12)


def test_drawing_from_many():
    """More than threads; some as probable as others, of which the first counts."""
    rng = np.random.default_rng(15)
    layers = models.layers_of([models.one_hot(45), models.lstm(rng, 45, 4), models.dense(rng, 4, 45, scale=2.0)])
    layers[-1] = fastlstm.Dense(np.round(layers[-1].kernel), np.zeros(45))
    for sampler in (
        "greedy",
        fastlstm.Sampler(2.0, top_k=11),
        fastlstm.Sampler(1.5, top_p=0.95),
        fastlstm.Sampler(1.2),
    ):
        expected, _ = fastlstm.Model(layers, device="numpy").generate(5, [3], sample=sampler, seed=1)
        with all_blocks(), laid_out(warps=1):
            ids, _ = fastlstm.Model(layers, device="cuda").generate(5, [3], sample=sampler, seed=1)
        np.testing.assert_array_equal(ids, expected)


def test_drawing_goes_on_where_it_stopped():
    rng = np.random.default_rng(6)
    model = fastlstm.Model(models.layers_of(tokens(rng)), device="cuda")
    sampler = fastlstm.Sampler(1.0)
    with all_blocks(), laid_out(warps=1):
        ids, _ = model.generate(9, [1], sample=sampler, seed=3)
        first, state = model.generate(4, [1], sample=sampler, seed=3)
        then, _ = model.generate(5, first[-1:], state, sample=sampler, seed=3, position=4)
    np.testing.assert_array_equal(np.concatenate([first, then]), ids)


@pytest.mark.parametrize("grid", ["one block", "two blocks"])
def test_step_stream_and_process_are_run(grid):
    """To the last bit, whatever the batch."""
    rng = np.random.default_rng(7)
    model = fastlstm.Model(models.layers_of(stack(rng), "float32"), device="cuda")
    xs, start = rng.normal(size=(2, 4, 5)).astype("f"), random_state(model, 2, rng)
    start = fastlstm.State([(c.astype("f"), h.astype("f")) for c, h in start])
    same = np.testing.assert_array_equal
    with all_blocks(), laid_out(**GRIDS[grid]):
        ys, end = model.run(xs, start)
        y, state = model.step(xs[:, 0], start)
        same(y, ys[:, 0])
        rest, state = model.run(xs[:, 1:], state)
        same(rest, ys[:, 1:])
        stream = model.stream()
        stream.state = start.rows(1)
        same(np.array([stream.step(x).copy() for x in xs[1, :2]]), ys[1, :2])
        same(stream.process(xs[1, 2:]), ys[1, 2:])
        for k, (c, h) in enumerate(stream.state):
            same(c, end[k].c[1:])
            same(h, state[k].h[1:])


class Full(Exception):
    __module__ = "cuda.bindings.a_test"


@pytest.mark.parametrize("call", ["stream", "run", "products", "generate", "state"])
def test_every_call_tells_of_the_driver(call, monkeypatch):
    def fail(*arguments, **more):
        raise Full("CUDA_ERROR_OUT_OF_MEMORY")

    rng = np.random.default_rng(8)
    model = fastlstm.Model(models.layers_of([models.lstm(rng, 3, 4), models.dense(rng, 4, 3)]), device="cuda")
    stream, steps = model.stream(), 64 if call == "products" else 1
    for place, name in ((backend, "Room"), (session, "Room"), (ahead, "lower"), (memory, "fetch")):
        monkeypatch.setattr(place, name, fail)
    calls = {"stream": model.stream, "generate": lambda: model.generate(2), "state": lambda: stream.state}
    with pytest.raises(fastlstm.DeviceError, match="the GPU is out of memory"):
        calls.get(call, lambda: model.run(np.zeros((steps, 3))))()


@pytest.mark.parametrize(
    "layer",
    [
        lambda rng: models.lstm(rng, 5, 6, peepholes=True),
        lambda rng: models.lstm(rng, 5, 6, norm=models.norm(rng, 6)),
        lambda rng: models.gru(rng, 5, 6),
        lambda rng: models.gru(rng, 5, 6, reset_after=True),
    ],
)
@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_products_beforehand(layer, weights, monkeypatch):
    """The first layer's product with all inputs as one, and in pieces of two steps."""
    monkeypatch.setattr(backend, "_LONG", 4)
    monkeypatch.setattr(ahead, "_BYTES", 2 * 3 * 24 * 4)
    rng = np.random.default_rng(9)
    description = models.rounded([layer(rng), models.dense(rng, 6, 2)], "float32")
    model = fastlstm.Model(models.layers_of(description, "float32"), device="cuda", weights=weights)
    xs = rng.normal(size=(3, 5, 5)).astype("f")
    with all_blocks(), laid_out(warps=1, unit_groups=2):
        ys, state = model.run(xs, lengths=[5, 2, 4])
    if weights == "bfloat16":
        description = narrowed(description)
    for b, length in enumerate([5, 2, 4]):
        expected, states = oracle.run(description, xs[b], oracle.zero_states(description), length)
        close(ys[b], expected, "layer norm")
        assert_state(state, b, states, TOLERANCES["layer norm"])


def narrowed(description):
    """With the matrices as the kernels see them: each by itself, its rows two a word."""
    matrices = {"kernel", "recurrent_kernel", "projection"}
    return [
        (kind, {name: rounded_bfloat16(value) if name in matrices else value for name, value in arguments.items()})
        for kind, arguments in description
    ]


@pytest.mark.parametrize("resident", [True, False])
def test_weights_of_two_bytes(resident):
    """Also where a batch shares what is loaded; an embedding's table, which replaces a kernel, is not rounded."""
    rng = np.random.default_rng(12)
    first = [models.lstm(rng, 5, 6, projection=3), models.gru(rng, 3, 7), models.dense(rng, 7, 4)]
    description = models.rounded(first, "float32")
    model = fastlstm.Model(models.layers_of(description, "float32"), device="cuda", weights="bfloat16")
    xs = rng.normal(size=(5, 4, 5)).astype("f")
    with all_blocks(), laid_out(warps=1, unit_groups=2, resident=resident):
        ys, _ = model.run(xs)
        alone, _ = model.run(xs[3])
    np.testing.assert_array_equal(alone, ys[3])
    description = narrowed(description)
    for b in range(5):
        close(ys[b], oracle.run(description, xs[b], oracle.zero_states(description))[0], "layer norm")


def test_blocks_that_meet_at_a_barrier(monkeypatch):
    monkeypatch.setattr(rooms, "MEETING", settings.BARRIER)
    rng = np.random.default_rng(10)
    model = fastlstm.Model(models.layers_of(tokens(rng)), device="cuda")
    expected, _ = fastlstm.Model(model.layers, device="numpy").generate(6, [[1], [2]])
    with all_blocks(), laid_out(unit_groups=3, warps=1):
        for _ in range(2):  # the counters go on from the first call
            np.testing.assert_array_equal(model.generate(6, [[1], [2]])[0], expected)


def test_what_there_is_no_kernel_for_says_so():
    rng = np.random.default_rng(11)
    softmax = models.layers_of([models.gru(rng, 3, 4, activation="softmax")])
    with pytest.raises(fastlstm.DeviceError, match="use device='cpu'"):
        fastlstm.Model(softmax, device="cuda").step(np.zeros(3))
    layers = models.layers_of([models.lstm(rng, 3, 4)], "float32")
    with pytest.raises(fastlstm.DeviceError, match="bfloat16"):
        fastlstm.Model(layers, device="cuda", weights="int8").step(np.zeros(3))


def test_the_report_tells_how_the_model_lies_on_the_device():
    rng = np.random.default_rng(13)
    model = fastlstm.Model(models.layers_of([models.lstm(rng, 3, 4, projection=2)]), device="cuda")
    (note,) = model.report.notes
    assert "CUDA simulator" in note
    assert "lstm projection: 2 of 2 units a block" in note


def test_kernels_are_handed_what_they_are_compiled_for(monkeypatch):
    """The simulator takes anything; a device would read what it is given as the types say."""
    seen = []

    class Checked(calls.Launcher):
        def __init__(self, kernel, argument_types, *arguments, **more):
            super().__init__(kernel, argument_types, *arguments, **more)
            names, launch = list(inspect.signature(kernel.fn).parameters), self.launch

            def checked():
                for name, kind, value in zip(names, argument_types, self._fakes, strict=True):
                    if isinstance(kind, types.Array):
                        given = value.ndim, value.dtype, value.flags.c_contiguous
                        assert given == (kind.ndim, as_dtype(kind.dtype), True), name
                    elif isinstance(kind, types.UniTuple):
                        assert len(value) == kind.count and all(type(number) is int for number in value), name
                    else:
                        assert kind == types.float64 and type(value) is float, name
                seen.append(kernel)
                launch()

            self.launch = checked

    monkeypatch.setattr(calls, "Launcher", Checked)
    monkeypatch.setattr(backend, "_LONG", 4)
    rng = np.random.default_rng(14)
    ids = models.layers_of(tokens(rng), "float32")
    vectors = models.layers_of([models.lstm(rng, 3, 3)], "float32")
    for weights in ("float32", "bfloat16"):
        with all_blocks(), laid_out(warps=1, arena_resident=weights == "float32"):
            model = fastlstm.Model(ids, device="cuda", weights=weights)
            model.generate(2, [[1], [2]], sample=fastlstm.Sampler(1.0), stop=[3, 4])
            model.stream().step(2)
            model = fastlstm.Model(vectors, device="cuda", weights=weights)
            model.generate(2, np.zeros((2, 3)))
            model.run(np.zeros((2, 2, 3)), lengths=[2, 1])
            model.stream().step(np.zeros(3))
    assert {kernel.fn.__name__ for kernel in seen} == {"loop", "loop_spilled", "multiply"}


def test_too_many_weights(monkeypatch):
    """An error that says so, at once: before they are packed where they are counted, else when an offset overflows."""
    layers = models.layers_of([models.lstm(np.random.default_rng(1), 3, 4)], "float32")
    message = r"matrices have 112 elements, and device 'cuda' takes {:,}, .*; pass device='cpu'"
    with monkeypatch.context() as patch, pytest.raises(fastlstm.DeviceError, match=message.format(111)):
        patch.setattr(backend, "_MOST", 111)
        fastlstm.Model(layers, device="cuda")

    def overflows(*arguments, **more):
        np.full(1, 0, np.int32)[0] = 2**31

    monkeypatch.setattr(backend, "lower", overflows)
    with pytest.raises(fastlstm.DeviceError, match=message.format(2**31 - 1)):
        fastlstm.Model(layers, device="cuda")


def test_arguments_are_looked_at_before_the_gpu(monkeypatch):
    """Where there is none, an argument that is wrong anyway is what is told."""

    def none():
        raise fastlstm.DeviceError("no GPU")

    monkeypatch.setattr("fastlstm.backends.cuda.device.find", none)
    layers = models.layers_of([models.lstm(np.random.default_rng(1), 3, 4)], "float32")
    for more, message in (
        ({"dtype": "int32"}, "dtype is 'int32'"),
        ({"weights": "float8"}, "weights is 'float8'"),
        ({"dtype": "float64", "weights": "bfloat16"}, "pass dtype='float32'"),
        ({"threads": 2}, "the GPU's, as many as"),
        ({"threads": 0}, "threads is 0"),
    ):
        with pytest.raises(fastlstm.ArgumentError, match=message):
            fastlstm.Model(layers, device="cuda", **more)
    with pytest.raises(fastlstm.ArgumentError, match="at least one LSTM"):
        fastlstm.Model(models.layers_of([models.dense(np.random.default_rng(1), 3, 4)]), device="cuda")
    for given in (layers, [fastlstm.Bidirectional(layers, layers)]):
        with pytest.raises(fastlstm.DeviceError, match="no GPU"):
            fastlstm.Model(given, device="cuda")
