"""Arrays on the GPU in and out, in Numba's simulator, where they are the host's: as CuPy and PyTorch pass them."""

import copy
import os
import pickle

import numpy as np
import pytest

import fastlstm
from fastlstm.backends.cuda.interface import DeviceArray, device_array
from tests import models

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1" or os.environ.get("NUMBA_DISABLE_JIT") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 and NUMBA_DISABLE_JIT=1", allow_module_level=True)

from fastlstm.backends.cuda import backend, memory
from fastlstm.backends.cuda.session import stream_address
from tests.cuda.layouts import laid_out
from tests.cuda.simulator import all_blocks
from tests.cuda.test_cuda_running import stack, tokens

same = np.testing.assert_array_equal


class Foreign:
    """Another library's device array."""

    def __init__(self, array, **more):
        self.array = array
        found = {"shape": array.shape, "typestr": array.dtype.str, "data": (array.ctypes.data, False), "version": 3}
        strides = None if array.flags.c_contiguous else array.strides
        self.__cuda_array_interface__ = found | {"strides": strides} | more


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(8)
    return fastlstm.Model(models.layers_of(stack(rng), "float32"), device="cuda")


@pytest.fixture(scope="module")
def of_ids():
    return fastlstm.Model(models.layers_of(tokens(np.random.default_rng(8))), device="cuda")


@pytest.fixture(autouse=True)
def small():
    with all_blocks(), laid_out(warps=1):
        yield


def start(model, batch):
    rng = np.random.default_rng(3)
    return [
        (rng.normal(size=(batch, c)).astype("f"), rng.normal(size=(batch, h)).astype("f")) for c, h in model.state_sizes
    ]


def on_device(state):
    return fastlstm.State([(Foreign(c), Foreign(h)) for c, h in state])


def equal(state, expected):
    assert state.on_device and all(isinstance(a, DeviceArray) for pair in state for a in pair)
    for (c, h), (c_expected, h_expected) in zip(state, expected, strict=True):
        same(np.asarray(c), c_expected)
        same(h.copy_to_host(), h_expected)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("given", ["none", "host", "device", "tuples on the device", "one of them"])
def test_a_step(model, batch, given):
    """The same as of NumPy arrays, to the last bit; what is given stays as it is; the next step takes what came."""
    xs = np.random.default_rng(4).normal(size=(2, batch, 5)).astype("f")
    host = None if given == "none" else start(model, batch)
    state = {
        "none": lambda: None, "host": lambda: fastlstm.State(host), "device": lambda: on_device(host),
        "tuples on the device": lambda: [(Foreign(c), Foreign(h)) for c, h in host],
        "one of them": lambda: [(c, Foreign(h)) for c, h in host],
    }[given]()  # fmt: skip
    before = copy.deepcopy(host)
    expected, after = model.step(xs[0], host)
    then, at_last = model.step(xs[1], after)
    y, found = model.step(Foreign(xs[0]), state)
    assert isinstance(y, DeviceArray) and y.shape == (batch, 3) and y.dtype == np.float32
    more, end = model.step(Foreign(xs[1]), found)
    same(y.copy_to_host(), expected)
    same(more.copy_to_host(), then)
    equal(found, after)
    equal(end, at_last)
    for pair, own in zip(host or (), before or (), strict=True):
        same(pair[0], own[0])
        same(pair[1], own[1])


def test_without_the_batch_axis(model):
    x, one = np.ones(5, np.float32), [(Foreign(c[0]), Foreign(h[0])) for c, h in start(model, 1)]
    y, state = model.step(Foreign(x), one)
    expected, after = model.step(x, start(model, 1))
    assert y.shape == (3,)
    same(y.copy_to_host(), expected)
    equal(state, after)
    ys, _ = model.run(Foreign(np.ones((2, 5), np.float32)))
    assert ys.shape == (2, 3)


@pytest.mark.parametrize("ahead", [False, True], ids=["in the loop", "products beforehand"])
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_a_run(model, ahead, lengths, monkeypatch):
    """Past a row's length outputs are zero, whatever the memory had."""
    monkeypatch.setattr(backend, "_LONG", 4 if ahead else 100)
    xs = np.random.default_rng(4).normal(size=(3, 4, 5)).astype("f")
    expected, after = model.run(xs, start(model, 3), lengths)
    really = memory.allocated

    def poisoned(*arguments, **more):
        array = really(*arguments, **more)
        memory.in_simulator(array)[...] = 77
        return array

    monkeypatch.setattr(memory, "allocated", poisoned)
    ys, state = model.run(Foreign(xs), on_device(start(model, 3)), lengths)
    same(ys.copy_to_host(), expected)
    equal(state, after)
    same(model.run(xs, start(model, 3), lengths)[0], expected)


def test_no_steps(model):
    ys, state = model.run(Foreign(np.ones((2, 0, 5), np.float32)), start(model, 2))
    assert ys.shape == (2, 0, 3)
    equal(state, start(model, 2))


def test_more_rows_than_a_launch(model):
    xs = np.random.default_rng(4).normal(size=(5, 2, 5)).astype("f")
    with laid_out(rows=2, warps=1):
        expected, after = model.run(xs)
        ys, state = model.run(Foreign(xs))
    same(ys.copy_to_host(), expected)
    equal(state, after)


def test_a_whole_sequence_at_once():
    """A model that begins at the end is put together on the host."""
    rng = np.random.default_rng(2)
    backwards = fastlstm.Bidirectional(*(models.layers_of([models.lstm(rng, 3, 4)], "float32") for _ in range(2)))
    model = fastlstm.Model([backwards], device="cuda")
    xs = rng.normal(size=(2, 4, 3)).astype("f")
    expected, after = model.run(xs, lengths=[4, 3])
    ys, state = model.run(Foreign(xs), lengths=[4, 3])
    same(ys.copy_to_host(), expected)
    equal(state, after)


def test_ids(of_ids):
    """Looked at on the host: beyond the table the kernel would read anything."""
    ids = np.array([[3, 6], [1, 2]])
    expected, after = of_ids.run(ids)
    ys, state = of_ids.run(Foreign(ids.astype(np.int32)))
    same(ys.copy_to_host(), expected)
    equal(state, after)
    y, _ = of_ids.step(Foreign(ids[:, 0]))
    same(y.copy_to_host(), expected[:, 0])
    for wrong in (7, -1):
        with pytest.raises(fastlstm.ArgumentError, match=f"id {wrong}"):
            of_ids.run(Foreign(np.array([[3, wrong]])))


def test_generate_takes_them_and_gives_numpy(model, of_ids):
    expected, _ = of_ids.generate(4, [[3], [2]])
    ids, state = of_ids.generate(4, Foreign(np.array([[3], [2]])))
    same(ids, expected)
    assert isinstance(ids, np.ndarray) and not state.on_device
    _, state = of_ids.run(Foreign(np.array([[3, 1], [2, 2]])))
    same(of_ids.generate(2, [[1], [1]], state)[0], of_ids.generate(2, [[1], [1]], state.to_host())[0])


def test_a_stream(model):
    """It gives the same array each time; the shape may have axes of one more."""
    xs = np.random.default_rng(4).normal(size=(4, 5)).astype("f")
    ys, end = model.run(xs)
    stream = model.stream()
    first = stream.step(Foreign(xs[0]))
    same(first.copy_to_host(), ys[0])
    again = stream.step(Foreign(xs[1][None], strides=(64, 4)))  # the stride of an axis of one says nothing
    assert again is first
    same(first.copy_to_host(), ys[1])
    same(stream.step(xs[2]), ys[2])  # and from the host
    block = stream.process(Foreign(xs[3:]))
    assert isinstance(block, DeviceArray) and block.shape == (1, 3)
    same(block.copy_to_host(), ys[3:])
    for (c, h), (c_expected, h_expected) in zip(stream.state, end, strict=True):
        same(c, c_expected)
        same(h, h_expected)
    stream.state = on_device(start(model, 1))
    same(stream.state[1].c, start(model, 1)[1][0])


def test_a_stream_reads_where_the_array_lies(model):
    """No copy: what stands there when the step runs counts, as it must where a graph is replayed."""
    x, ys = np.zeros(5, np.float32), model.run(np.arange(10, dtype="f").reshape(2, 5))[0]
    stream, given = model.stream(), Foreign(x)
    for k in range(2):
        x[:] = np.arange(5 * k, 5 * k + 5)
        same(stream.step(given).copy_to_host(), ys[k])


def test_a_stream_of_ids(of_ids):
    ys, _ = of_ids.run([3, 6, 2])
    stream = of_ids.stream()
    same(stream.step(Foreign(np.array([3]))).copy_to_host(), ys[0])
    for wrong in (7, -1, 2**40):
        with pytest.raises(fastlstm.ArgumentError, match=str(wrong)):
            stream.step(Foreign(np.array(wrong)))
    with pytest.raises(fastlstm.ShapeError, match="a device array of shape"):
        stream.step(Foreign(np.array([1, 2])))
    same(stream.step(Foreign(np.array(6, np.int32))).copy_to_host(), ys[1])
    same(stream.process(Foreign(np.array([2]))).copy_to_host(), ys[2:])


class Grown:
    """As PyTorch's tensors that require grad."""

    @property
    def __cuda_array_interface__(self):
        raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad. use var.detach()")


def wrong_inputs(shape):
    x = np.zeros(shape, np.float32)
    wide = np.zeros((*shape[:-1], 2 * shape[-1]), np.float32)
    return [
        (Foreign(x.astype("d")), "float64; expected one of shape .* float32, in C order; convert it to float32"),
        (Foreign(x[..., :4].copy()), "a device array of shape .*4.*; expected one of shape .*5"),
        (Foreign(wide[..., ::2]), r"strides .*; expected .* in C order; pass it in C order"),
        (Foreign(x, mask=object()), "mask"),
        (Foreign(x, stream=0), "stream 0"),
        (Foreign(x, data=(x.ctypes.data + 2, False)), "expected"),
        (Foreign(x, typestr="|V3"), "expected"),
        (Foreign(x, shape="?"), "cannot be read"),
        (Foreign(x, strides=(4,) * (x.ndim + 1)), "strides"),
        (Grown(), "detach"),
    ]


@pytest.mark.parametrize("call", ["step", "run", "stream", "process"])
@pytest.mark.parametrize("k", range(10))
def test_what_does_not_fit(model, call, k):
    """An error that says so, before anything is changed."""
    wrong, message = wrong_inputs({"step": (2, 5), "run": (2, 3, 5), "stream": (5,), "process": (3, 5)}[call])[k]
    stream = model.stream()
    stream.state = start(model, 1)
    calls = {"step": model.step, "run": model.run, "stream": stream.step, "process": stream.process}
    with pytest.raises(fastlstm.ArgumentError, match=message) as caught:
        calls[call](wrong)
    assert str(caught.value).startswith("x")
    same(stream.state[0].h, start(model, 1)[0][1])


def test_states_that_do_not_fit(model):
    x, pairs = Foreign(np.zeros((2, 5), np.float32)), start(model, 2)
    with pytest.raises(fastlstm.ShapeError, match=r"c has shape \(2, 5\)"):
        model.step(x, [(Foreign(pairs[0][0][:, :5].copy()), pairs[0][1]), *pairs[1:]])
    with pytest.raises(fastlstm.ShapeError, match="state of layer 1: h is a device array, float64"):
        model.step(x, [pairs[0], (pairs[1][0], Foreign(pairs[1][1].astype("d"))), *pairs[2:]])
    with pytest.raises(fastlstm.ShapeError, match="each row without gaps"):
        model.step(x, [(Foreign(np.asfortranarray(pairs[0][0])), pairs[0][1]), *pairs[1:]])
    with pytest.raises(fastlstm.ShapeError, match="layers; expected 4"):
        model.step(x, pairs[:1])
    with pytest.raises(fastlstm.ShapeError, match="expected at least one row"):
        model.step(Foreign(np.zeros((0, 5), np.float32)))


def test_a_state_on_the_device():
    """What copies gives NumPy arrays; it is not changed in place."""
    c, h = np.arange(6, dtype="f").reshape(2, 3), np.ones((2, 3), "f")
    state = fastlstm.State([(Foreign(c), Foreign(h))])
    assert state.on_device and state.batch_size == 2
    for copied in (
        state.to_host(),
        state.copy(),
        fastlstm.State(state.to_tuples()),
        pickle.loads(pickle.dumps(state)).to_host(),
    ):
        assert not copied.on_device
        same(copied[0].c, c)
    same(state.to_array(), [[c, h]])
    same(state.rows(1)[0].c, c[1:])
    with pytest.raises(fastlstm.ArgumentError, match="on the GPU"):
        state.reset()
    whole = fastlstm.State.from_array(Foreign(np.stack([[c, h], [h, c]])))
    assert whole.on_device
    same(np.asarray(whole[1].c), h)
    same(np.asarray(whole[1].h), c)


def test_saved_from_the_device(tmp_path):
    state = fastlstm.State([(Foreign(np.ones((1, 3), "f")), Foreign(np.ones((1, 2), "f")))])
    state.save(tmp_path / "state.npz")
    assert fastlstm.State.load(tmp_path / "state.npz")[0].h.shape == (1, 2)


def test_an_array_of_ours():
    """Others take it without a copy, as they are told where it lies and what to wait for."""
    host = np.arange(24, dtype="f").reshape(2, 3, 4)
    array = memory.put(host)
    found = array.__cuda_array_interface__
    assert found["stream"] == 1 and found["strides"] is None and found["version"] == 3
    again = device_array(Foreign(host), "x")
    assert again.address == host.ctypes.data
    part = array.part(1, 3, axis=1)
    assert part.__cuda_array_interface__["strides"] == (48, 16, 4) and not part.contiguous
    same(part.copy_to_host(), host[:, 1:3])
    same(np.asarray(array.at(1, 2), "d"), host[1, 2])
    same(pickle.loads(pickle.dumps(part)), host[:, 1:3])
    assert repr(part) == "DeviceArray(shape=(2, 2, 4), dtype=float32)" and len(part) == 2 and array.nbytes == 96
    with pytest.raises(fastlstm.ShapeError):
        part.reshape(16)
    with pytest.raises(fastlstm.ShapeError):
        array.reshape(23)
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(array, copy=False)


def test_streams_of_all_libraries():
    class Named:
        def __init__(self, **names):
            self.__dict__.update(names)

    class Handle:
        value = 48

    for given in (
        48,
        Named(cuda_stream=48),
        Named(ptr=48),
        Named(handle=Handle()),
        Named(__cuda_stream__=lambda: (0, 48)),
    ):
        assert stream_address(given) == 48
    for default in (0, Named(cuda_stream=0), Named(ptr=0)):
        assert stream_address(default) == 1
    for wrong in ("s", None, object(), -1, True):
        with pytest.raises(fastlstm.ArgumentError, match="a stream of PyTorch, CuPy or Numba"):
            stream_address(wrong)


def test_a_stream_in_a_stream(model):
    xs = np.random.default_rng(4).normal(size=(3, 5)).astype("f")
    ys, _ = model.run(xs)
    stream = model.stream(cuda_stream=48)
    y = stream.step(Foreign(xs[0], stream=48))
    assert y.__cuda_array_interface__["stream"] == 48
    same(y.copy_to_host(), ys[0])
    same(stream.step(xs[1]), ys[1])
    same(stream.process(xs[2:]), ys[2:])
    assert type(copy.copy(stream)) is fastlstm.Stream
