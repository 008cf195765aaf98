"""Bad arguments: each a named error that says what it got and expected, raised before anything is changed.

Bad files are in tests/formats, tests/recognise and tests/loading.
"""

import pickle

import numpy as np
import pytest

import fastlstm
from fastlstm import ArgumentError, DeviceError, FormatError, MissingFileError, ShapeError, State, WeightError
from tests import models

RNG = np.random.default_rng(0)
VECTORS = fastlstm.Model(models.layers_of([models.lstm(RNG, 3, 4), models.lstm(RNG, 4, 6, projection=3)]))
UNEVEN = fastlstm.Model(models.layers_of([models.lstm(RNG, 3, 4)]))
IDS = fastlstm.Model(models.layers_of([models.one_hot(5), models.lstm(RNG, 5, 4), models.dense(RNG, 4, 5)]))
GOOD = VECTORS.zero_state(2)


def lstm(**options):
    return fastlstm.LSTM(np.ones((3, 16)), np.ones((4, 16)), np.ones(16), **options)


def with_nan(value):
    a = np.ones((3, 16))
    a[1, 7] = value
    return a


CASES = {
    # input width and kind
    "step width": (lambda: VECTORS.step(np.ones((2, 4))), ShapeError, r"x: shape \(2, 4\); expected \(B, 3\)"),
    "run width": (lambda: VECTORS.run(np.ones((2, 5, 4))), ShapeError, r"xs: shape \(2, 5, 4\); expected \(B, T, 3\)"),
    "run axes": (lambda: VECTORS.run(np.ones(3)), ShapeError, r"xs: shape \(3,\)"),
    "empty batch": (lambda: VECTORS.step(np.ones((0, 3))), ShapeError, r"shape \(0, 3\)"),
    "text": (lambda: VECTORS.step(["a", "b", "c"]), ShapeError, "elements of type <U1"),
    "complex": (lambda: VECTORS.step(np.ones(3, complex)), ShapeError, "complex128"),
    "ragged": (lambda: VECTORS.run([[1.0, 2.0, 3.0], [1.0]]), ShapeError, "xs: .*the same length"),
    # ids
    "id too large": (lambda: IDS.run([[0, 1], [2, 5]]), ArgumentError, r"id 5 at position \(1, 1\); expected 0 to 4"),
    "id negative": (lambda: IDS.step(-1), ArgumentError, "id -1"),
    "ids not integer": (lambda: IDS.run([0.0, 1.0]), ShapeError, "float64; expected integer ids"),
    "ids axes": (lambda: IDS.step(np.zeros((2, 2), int)), ShapeError, r"x: shape \(2, 2\)"),
    # state
    "state layers": (lambda: VECTORS.step(np.ones(3), UNEVEN.zero_state()), ShapeError, "1 layers; expected 2"),
    "state batch": (
        lambda: VECTORS.step(np.ones((3, 3)), GOOD),
        ShapeError,
        r"c has shape \(2, 4\); expected \(3, 4\)",
    ),
    "state size": (
        lambda: UNEVEN.step(np.ones(3), [(np.ones((1, 4)), np.ones((1, 5)))]),
        ShapeError,
        r"state of layer 0 \(lstm\): h has shape \(1, 5\); expected \(1, 4\)",
    ),
    "state array axes": (
        lambda: UNEVEN.step(np.ones(3), np.ones((1, 3, 1, 4))),
        ShapeError,
        r"expected \(L, 2, B, H\)",
    ),
    "state pair": (lambda: State.from_tuples([(1, 2, 3)]), ShapeError, r"expected a pair \(c, h\)"),
    "state nothing": (lambda: State([]), ShapeError, "at least one layer"),
    "state kinds": (lambda: State([(["a"], ["b"])]), ShapeError, "elements of type"),
    "state batches": (lambda: State([(np.ones((2, 3)), np.ones((1, 3)))]), ShapeError, r"\[1, 2\] rows"),
    "state uneven to array": (lambda: GOOD.to_array(), ShapeError, r"use to_tuples\(\)"),
    "state row": (lambda: GOOD.rows(2), ArgumentError, "rows 0 to 1"),
    "reset row": (lambda: GOOD.copy().reset(rows=[5]), ArgumentError, "rows 0 to 1"),
    "batch size": (lambda: VECTORS.zero_state(0), ArgumentError, "batch_size is 0; expected at least 1"),
    # lengths
    "lengths number": (lambda: VECTORS.run(np.ones((2, 5, 3)), lengths=[1]), ShapeError, "expected 2 integers"),
    "lengths too long": (
        lambda: VECTORS.run(np.ones((2, 5, 3)), lengths=[1, 6]),
        ArgumentError,
        "row 1 has 6; .* 0 to 5",
    ),
    "lengths negative": (lambda: VECTORS.run(np.ones((1, 5, 3)), lengths=[-1]), ArgumentError, "row 0 has -1"),
    "lengths float": (lambda: VECTORS.run(np.ones((1, 5, 3)), lengths=[2.0]), ShapeError, "float64"),
    "prime length 0": (lambda: VECTORS.generate(2, np.ones((1, 5, 3)), lengths=[0]), ArgumentError, "expected 1 to 5"),
    # generate
    "n 0": (lambda: VECTORS.generate(0), ArgumentError, "n is 0; expected at least 1"),
    "n negative": (lambda: VECTORS.generate(-3), ArgumentError, "n is -3"),
    "n huge": (lambda: VECTORS.generate(10**15), ArgumentError, "n is 1000000000000000: .* use iterate"),
    "n beyond": (lambda: IDS.generate(10**30, [1]), ArgumentError, "more than can be had"),
    "n float": (lambda: VECTORS.generate(2.5), ArgumentError, "n is 2.5; expected an integer"),
    "no prime": (lambda: IDS.generate(5), ArgumentError, "prime is None; this model takes ids"),
    "empty prime": (lambda: IDS.generate(5, []), ArgumentError, "prime has length 0"),
    "empty vector prime": (lambda: VECTORS.generate(5, np.ones((0, 3))), ArgumentError, "prime has length 0"),
    "cannot feed back": (
        lambda: fastlstm.Model(models.layers_of([models.lstm(RNG, 3, 4)])).generate(5),
        ShapeError,
        "gives 4 elements and takes 3; pass feedback=",
    ),
    "feedback shape": (lambda: UNEVEN.generate(5, feedback=lambda y: y), ShapeError, r"\(1, 4\); expected \(1, 3\)"),
    "feedback with ids": (lambda: IDS.generate(5, [1], feedback=lambda y: y), ArgumentError, "takes ids"),
    "sample with vectors": (lambda: VECTORS.generate(5, sample="greedy"), ArgumentError, "one_hot=True"),
    "sample": (lambda: IDS.generate(5, [1], sample="best"), ArgumentError, "'best'; expected 'greedy'"),
    "stop": (lambda: IDS.generate(5, [1], stop=9), ArgumentError, "stop: id 9"),
    "seed": (lambda: IDS.generate(5, [1], sample=fastlstm.Sampler(), seed=-1), ArgumentError, "seed is -1"),
    "iterate batch": (lambda: IDS.iterate(5, [[1]]), ShapeError, "expected no batch axis"),
    "temperature": (lambda: fastlstm.Sampler(-1.0), ArgumentError, "temperature is -1.0"),
    "temperature nan": (lambda: fastlstm.Sampler(float("nan")), ArgumentError, "temperature is nan"),
    "top_k": (lambda: fastlstm.Sampler(top_k=0), ArgumentError, "top_k is 0"),
    "temperature text": (lambda: fastlstm.Sampler("hot"), ArgumentError, "temperature is 'hot'"),
    "temperature huge": (lambda: fastlstm.Sampler(10**400), ArgumentError, "expected a finite number"),
    "top_k float": (lambda: fastlstm.Sampler(top_k=5.0), ArgumentError, "top_k is 5.0"),
    "top_k bool": (lambda: fastlstm.Sampler(top_k=True), ArgumentError, "top_k is True"),
    "top_p text": (lambda: fastlstm.Sampler(top_p="x"), ArgumentError, "top_p is 'x'"),
    "position": (lambda: IDS.generate(5, [1], position=-1), ArgumentError, "position is -1"),
    "feedback": (lambda: UNEVEN.generate(1, feedback=3), ArgumentError, "feedback is 3; expected a function"),
    "state nan": (
        lambda: IDS.generate(2, [1], [(np.full((1, 4), np.nan), np.ones((1, 4)))]),
        ArgumentError,
        r"c has NaN .*zero_state",
    ),
    "state number": (lambda: UNEVEN.step(np.ones(3), 5), ShapeError, r"one \(c, h\) a layer; got int"),
    "state ragged": (lambda: State([([[1.0], [1.0, 2.0]], [[1.0]])]), ShapeError, "rows of c"),
    "top_p": (lambda: fastlstm.Sampler(top_p=1.5), ArgumentError, "top_p is 1.5"),
    # weights and layers
    "nan weight": (
        lambda: fastlstm.LSTM(with_nan(np.nan), np.ones((4, 16))),
        WeightError,
        r"kernel: 1 of 48 .* \(1, 7\)",
    ),
    "infinite weight": (lambda: fastlstm.Dense(with_nan(np.inf)), WeightError, "NaN or infinite"),
    "kernel shape": (lambda: fastlstm.LSTM(np.ones((3, 12)), np.ones((4, 16))), WeightError, r"expected \(D, 4H\)"),
    "not 4H": (lambda: fastlstm.LSTM(np.ones((3, 18)), np.ones((4, 18))), WeightError, "18 columns"),
    "bias shape": (
        lambda: fastlstm.LSTM(np.ones((3, 16)), np.ones((4, 16)), np.ones(4)),
        WeightError,
        r"bias: shape \(4,\)",
    ),
    "no projection": (lambda: fastlstm.LSTM(np.ones((3, 16)), np.ones((2, 16))), WeightError, "projection of shape"),
    "peepholes": (lambda: lstm(peepholes=np.ones((2, 4))), WeightError, "2 peepholes; expected three"),
    "gate order": (lambda: lstm(gate_order="ifgx"), ArgumentError, "'ifgx'"),
    "activation": (lambda: lstm(activation="snake"), ArgumentError, "activation 'snake' .* tanh"),
    "halving": (lambda: lstm(activation="glu"), ArgumentError, r"'glu' is not .* \(it gives half as many"),
    "two numbers": (lambda: lstm(activation="threshold"), ArgumentError, r"'threshold' is not .* needs two numbers"),
    "cell_clip": (lambda: lstm(cell_clip=-1.0), ArgumentError, "cell_clip is -1.0"),
    "proj_clip": (lambda: lstm(proj_clip=1.0), ArgumentError, "no projection to clip"),
    "cell_clip text": (lambda: lstm(cell_clip="a"), ArgumentError, "cell_clip is 'a'"),
    "forget_bias none": (lambda: lstm(forget_bias=None), ArgumentError, "forget_bias is None"),
    "forget_bias huge": (
        lambda: fastlstm.LSTM(np.ones((3, 16), "f4"), np.ones((4, 16), "f4"), np.ones(16, "f4"), forget_bias=1e300),
        ArgumentError,
        "too large for a bias of float32",
    ),
    "peepholes true": (lambda: lstm(peepholes=True), WeightError, "0 peepholes"),
    "gate order none": (lambda: lstm(gate_order=None), ArgumentError, "gate_order None"),
    "layers": (lambda: fastlstm.Model(lstm()), ArgumentError, "layers is LSTM; expected a sequence"),
    "too large unasked": (
        lambda: fastlstm.Model(
            [fastlstm.LSTM(np.ones((3, 16), "f4"), np.ones((4, 16), "f4")), fastlstm.Dense(np.full((4, 2), 1e300))]
        ),
        WeightError,
        "too large for float32",
    ),
    "vocabulary text": (lambda: fastlstm.OneHot("a"), ArgumentError, "vocabulary_size is 'a'"),
    "dtype syntax": (lambda: fastlstm.Model([lstm()], dtype="f4,,"), ArgumentError, "'f4,,'"),
    "forget_bias": (lambda: lstm(forget_bias=float("inf")), ArgumentError, "forget_bias is inf"),
    "residual": (lambda: lstm(residual=True), WeightError, "3 elements and the output 4"),
    "vocabulary": (lambda: fastlstm.OneHot(0), ArgumentError, "vocabulary_size is 0"),
    "chain": (lambda: fastlstm.Model([lstm(), lstm()]), WeightError, r"takes 3 elements; layers\[0\] .* gives 4"),
    "ids inside": (lambda: fastlstm.Model([lstm(), fastlstm.OneHot(4)]), WeightError, "only be the first"),
    "no lstm": (lambda: fastlstm.Model([fastlstm.Dense(np.ones((3, 2)))]), ArgumentError, "at least one LSTM"),
    "no layers": (lambda: fastlstm.Model([]), ArgumentError, "at least one LSTM"),
    "not a layer": (lambda: fastlstm.Model([np.ones(3)]), ArgumentError, "ndarray; expected LSTM"),
    "too large for float32": (
        lambda: fastlstm.Model([fastlstm.LSTM(np.full((3, 16), 1e300), np.ones((4, 16)))], dtype="float32"),
        WeightError,
        "too large for float32",
    ),
    # model
    "device": (lambda: fastlstm.Model([lstm()], device="tpu"), DeviceError, "'cpu', 'cuda', 'numpy'"),
    "dtype": (lambda: fastlstm.Model([lstm()], dtype="float16"), ArgumentError, "'float16'; expected 'float32'"),
    "dtype nonsense": (lambda: fastlstm.Model([lstm()], dtype="wide"), ArgumentError, "'wide'"),
    "weights": (lambda: fastlstm.Model([lstm()], weights="int4"), ArgumentError, "'int4'; expected one of"),
    "threads": (lambda: fastlstm.Model([lstm()], threads=9999), ArgumentError, "9999; this process may run on"),
    "threads of numpy": (
        lambda: fastlstm.Model([lstm()], device="numpy", threads=2),
        ArgumentError,
        "pass device='cpu'",
    ),
    "threads text": (lambda: fastlstm.Model([lstm()], threads="all"), ArgumentError, "threads is 'all'"),
    "threads 0": (lambda: fastlstm.Model([lstm()], threads=0), ArgumentError, "threads is 0"),
}


@pytest.mark.parametrize("case", CASES)
def test_says_what_is_wrong(case):
    call, error, message = CASES[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, fastlstm.FastLSTMError)


STREAM_CASES = {
    "width": (VECTORS, np.ones(4), ShapeError, r"x: shape \(4,\); expected \(B, 3\)"),
    "batch": (VECTORS, np.ones((1, 3)), ShapeError, r"shape \(1, 3\)"),
    "text": (VECTORS, ["a", "b", "c"], ShapeError, "<U1"),
    "id": (IDS, 5, ArgumentError, "id 5"),
    "negative id": (IDS, -1, ArgumentError, "id -1"),
    "id kind": (IDS, 1.0, ShapeError, "float64"),
    "two ids": (IDS, [1, 2], ShapeError, r"shape \(2,\)"),
}


@pytest.mark.parametrize("case", STREAM_CASES)
def test_a_stream_keeps_its_state(case):
    model, x, error, message = STREAM_CASES[case]
    stream = model.stream()
    stream.step(np.ones(3) if model is VECTORS else 1)
    before = stream.state
    with pytest.raises(error, match=message):
        stream.step(x)
    with pytest.raises(ShapeError):
        stream.process(np.ones((2, 5, 3)))
    with pytest.raises(ShapeError):
        stream.state = UNEVEN.zero_state(3)
    for one, other in zip(stream.state, before, strict=True):
        np.testing.assert_array_equal(one.c, other.c)
        np.testing.assert_array_equal(one.h, other.h)


def test_weights_are_the_models_own():
    kernel = np.ones((3, 16))
    layer = fastlstm.LSTM(kernel, np.ones((4, 16)))
    kernel[:] = np.nan
    assert np.isfinite(layer.kernel).all()
    with pytest.raises(ValueError, match="read-only"):
        layer.kernel[0, 0] = 1


def test_state_files(tmp_path):
    path = tmp_path / "state.npz"
    GOOD.save(path)
    loaded = State.load(path)
    for one, other in zip(GOOD, loaded, strict=True):
        np.testing.assert_array_equal(one.c, other.c)
    with pytest.raises(MissingFileError, match="no such file"):
        State.load(tmp_path / "none.npz")
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError, match="damaged"):
            State.load(path)
    with pytest.raises(fastlstm.WriteError):
        GOOD.save(tmp_path / "no" / "such" / "folder" / "state.npz")


def test_a_dtype_from_elsewhere_is_numpys_own():
    dtype = pickle.loads(pickle.dumps(np.dtype("float32")))
    model = fastlstm.Model([fastlstm.LSTM(np.ones((1, 4)), np.ones((1, 4)))], dtype=dtype)
    stream = model.stream()
    assert np.array_equal(stream.step([0.5]), model.step([0.5])[0])
    assert stream.process([[0.5], [0.25]]).dtype == np.float32


@pytest.mark.parametrize("takes", ["vectors", "ids"])
def test_arrays_from_elsewhere(takes):
    """Their dtype is equal to NumPy's own and another object, as of an array that another process has sent."""

    def of(a):
        return a.view(np.dtype(a.dtype, copy=True))

    rng = np.random.default_rng(0)
    entry = [models.one_hot(3)] if takes == "ids" else []
    model = fastlstm.Model(models.layers_of([*entry, models.lstm(rng, 3, 3)], "float32"))
    xs = rng.integers(0, 3, (2, 4)) if takes == "ids" else rng.normal(size=(2, 4, 3)).astype(np.float32)
    ys, state = model.run(xs, lengths=[4, 2])
    odd, lengths = of(xs), of(np.array([4, 2]))
    assert odd.dtype == xs.dtype and odd.dtype is not xs.dtype
    after = [[of(a) for a in pair] for pair in state]
    np.testing.assert_array_equal(model.run(odd, lengths=lengths)[0], ys)
    np.testing.assert_array_equal(model.step(odd[:, 0], after)[0], model.step(xs[:, 0], state)[0])
    np.testing.assert_array_equal(model.stream().process(odd[0]), ys[0])
    np.testing.assert_array_equal(model.stream().step(odd[0, 0]), ys[0, 0])
    np.testing.assert_array_equal(model.generate(2, odd, lengths=lengths)[0], model.generate(2, xs, lengths=[4, 2])[0])


def test_ids_of_every_integer_type():
    """`np.longlong` is not the object int64 on systems where it is as wide."""
    model = fastlstm.Model(models.layers_of([models.one_hot(3), models.lstm(np.random.default_rng(0), 3, 3)]))
    ids = np.array([[0, 2, 1], [1, 1, 2]])
    expected = model.run(ids, lengths=[3, 1])[0]
    for code in "bBhHiIlLqQ":
        ys, _ = model.run(ids.astype(code), lengths=np.array([3, 1], code))
        np.testing.assert_array_equal(ys, expected, err_msg=code)
