"""Model.step and other calls whose buffers are used again by later ones: it must not be seen that they are."""

import copy
import gc
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastlstm
from tests import models


class Named(fastlstm.State):
    name: str


def vectors():
    rng = np.random.default_rng(0)
    return [models.lstm(rng, 3, 5, projection=4), models.gru(rng, 4, 6), models.dense(rng, 6, 2)]


def ids():
    rng = np.random.default_rng(0)
    return [models.embedding(rng, 9, 3, mask_zero=True), models.lstm(rng, 3, 5), models.dense(rng, 5, 9)]


@pytest.fixture(scope="module", params=[vectors, ids], ids=["vectors", "ids"])
def model(request):
    return fastlstm.Model(models.layers_of(request.param(), "float32"))


def _inputs(model, steps, seed=0):
    rng = np.random.default_rng(seed)
    if model.takes_ids:
        return rng.integers(0, 9, steps)
    return rng.normal(size=(steps, 3)).astype(np.float32)


def _follow(model, xs):
    state, ys = None, []
    for x in xs:
        y, state = model.step(x, state)
        ys.append(y)
    return np.array(ys), state


def _arrays(state):
    return [a for pair in state for a in pair]


def test_it_is_a_stream(model):
    xs, stream = _inputs(model, 20), model.stream()
    ys, state = _follow(model, xs)
    np.testing.assert_array_equal(ys, [stream.step(x).copy() for x in xs])
    for ours, theirs in zip(_arrays(state), _arrays(stream.state), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_it_gives_is_the_callers_own(model):
    first, second = _inputs(model, 2, seed=1)
    y, state = model.step(first)
    kept = [a.copy() for a in (y, *_arrays(state))]
    _, again = model.step(second, state)
    for a, before in zip((y, *_arrays(state)), kept, strict=True):
        np.testing.assert_array_equal(a, before)
        assert a.flags.writeable and not any(np.shares_memory(a, other) for other in _arrays(again))
    y[:] = np.nan
    state.reset()
    np.testing.assert_array_equal(model.step(first)[0], kept[0])


def test_no_state_is_zeros_whatever_ran_before(model):
    x, *others = _inputs(model, 10, seed=2)
    fresh = model.step(x)[0]
    _follow(model, others)
    np.testing.assert_array_equal(model.step(x)[0], fresh)
    np.testing.assert_array_equal(model.step(x, model.zero_state())[0], fresh)


def test_threads_do_not_meet(model):
    sequences = [_inputs(model, 300, seed) for seed in range(6)]
    alone = [_follow(model, xs)[0] for xs in sequences]
    with ThreadPoolExecutor(6) as team:
        together = list(team.map(lambda xs: _follow(model, xs)[0], sequences))
    np.testing.assert_array_equal(together, alone)


def test_a_step_past_the_end_changes_nothing(model):
    x = _inputs(model, 1)
    _, state = model.step(_inputs(model, 1, seed=3)[0])
    ys, after = model.run(x[None], state, lengths=[0])
    assert not ys.any()
    for ours, theirs in zip(_arrays(after), _arrays(state), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_is_written_into_a_state_counts(model):
    x = _inputs(model, 1)
    _, state = model.step(x)
    state[0].c[...] = 0.5
    state[-1].h[0, 0] = -1
    written = fastlstm.State(state.to_tuples())
    y, after = model.step(x, state)
    expected, expected_after = model.step(x, written)
    np.testing.assert_array_equal(y, expected)
    for ours, theirs in zip(_arrays(after), _arrays(expected_after), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_a_state_copied_with_its_model(model, copied):
    x = _inputs(model, 3)
    _, state = model.step(x)
    model_again, state_again = copied([model, state])
    for other in (model, model_again):
        np.testing.assert_array_equal(other.step(x, state_again)[0], model.step(x, state)[0])
    state_again.reset()
    state_again = copied(state_again)
    np.testing.assert_array_equal(model_again.step(x, state_again)[0], model.step(x)[0])


@pytest.mark.parametrize("rows", [1, 4])
def test_inputs_lie_anyhow_in_memory(rows):
    model = fastlstm.Model(models.layers_of(vectors(), "float32"))
    x = _inputs(model, rows)
    y, state = model.step(x)
    read_only, wide, odd = x.copy(), np.zeros((rows, 6), np.float32), np.zeros(x.nbytes + 1, np.uint8)
    read_only.flags.writeable = False
    wide[:, ::2] = x
    unaligned = odd[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    for same in (read_only, wide[:, ::2], unaligned, np.asfortranarray(x), x.astype(">f4"), x.astype(np.float64)):
        np.testing.assert_array_equal(model.step(same)[0], y)
        parts = [[np.asfortranarray(a), a.astype(">f4")] for pair in state for a in pair]
        for k in range(2):
            given = [(parts[2 * n][k], parts[2 * n + 1][k]) for n in range(len(state))]
            np.testing.assert_array_equal(model.step(same, given)[0], model.step(x, state)[0])


def test_an_input_whose_shape_changes_meanwhile():
    model = fastlstm.Model(models.layers_of(vectors(), "float32"))
    x = _inputs(model, 1000)
    y, state = model.step(x)
    pairs = state.to_tuples()

    class Late:
        def __iter__(self):
            x.shape = (1, 3000)
            return iter(pairs)

    np.testing.assert_array_equal(model.step(x, Late())[0], model.step(x.reshape(1000, 3), state)[0])
    with pytest.raises(fastlstm.ShapeError):
        model.step(x)
    np.testing.assert_array_equal(model.step(x.reshape(1000, 3))[0], y)


def test_states_of_other_models_and_kinds():
    model = fastlstm.Model(models.layers_of(vectors(), "float32"))
    x = _inputs(model, 2)
    _, state = model.step(x)
    expected = model.step(x, state.to_tuples())[0]
    double = copy.copy(model)
    double.__setstate__({**model.__getstate__(), "dtype": np.dtype("float64")})
    np.testing.assert_allclose(double.step(x, state)[0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model.step(x, double.step(x)[1])[0].dtype, np.float32)

    named = Named(state.to_tuples())
    named.name = "a"
    for again in (copy.copy(named), copy.deepcopy(named), pickle.loads(pickle.dumps(state))):
        np.testing.assert_array_equal(model.step(x, again)[0], expected)
    assert copy.deepcopy(named).name == "a"
    older = object.__new__(fastlstm.State)  # as pickles were before a state was one array
    older.__setstate__({"_layers": tuple(state), "made_for": model._state_sizes})
    np.testing.assert_array_equal(model.step(x, older)[0], expected)


def test_short_steps_keep_the_gil(model):
    """Else each would wait for the other threads, once it has to get it back."""
    model.step(_inputs(model, 1))
    stepper = model.backend._idle.take(1)
    assert stepper.advance.func is stepper.code.brief
    model.backend._idle.give(1, stepper)
    large = model.backend._idle.take(100_000)
    assert large.advance.func is large.code.call


@pytest.mark.parametrize("shape", [(4,), (1, 4), (0, 3), (), (1, 1, 3)])
def test_an_array_of_the_right_type_may_have_the_wrong_shape(shape):
    model = fastlstm.Model(models.layers_of(vectors(), "float32"), device="numpy")
    with pytest.raises(fastlstm.ShapeError, match="x: shape"):
        model.step(np.zeros(shape, np.float32))


def test_an_id_may_be_out_of_range():
    model = fastlstm.Model(models.layers_of(ids(), "float32"), device="numpy")
    for wrong in (-1, 9):
        with pytest.raises(fastlstm.ArgumentError, match=f"x: id {wrong}; expected 0 to 8"):
            model.step(wrong)
    np.testing.assert_array_equal(model.step(3)[0], model.step([3])[0][0])


def _calls(model):
    """name -> call of a model: batches of several sizes, masked and stopped rows, short and long sequences."""
    shape = () if model.takes_ids else (3,)

    def xs(*sizes):
        rng = np.random.default_rng(sum(sizes))
        return rng.integers(0, 9, sizes) if model.takes_ids else rng.normal(size=(*sizes, *shape)).astype(np.float32)

    def begun(rows):
        return model.run(xs(rows, 3))[1]

    calls = {f"step {rows}": lambda rows=rows: model.step(xs(rows), begun(rows)) for rows in (1, 2, 3, 7)}
    calls |= {f"run {b} {t}": lambda b=b, t=t: model.run(xs(b, t), begun(b)) for b in (1, 3) for t in (0, 1, 2, 60)}
    calls["run ragged"] = lambda: model.run(xs(3, 5), lengths=[5, 0, 2])
    if model.takes_ids:
        sampler = fastlstm.Sampler(2.0)
        for b in (1, 3):
            calls[f"generate {b}"] = lambda b=b: model.generate(
                20, xs(b, 4), begun(b), [4, 2, 1][:b], sampler, stop={1, 2, 3}, seed=5
            )
    return calls


def test_calls_in_any_order_are_those_of_a_new_model(model):
    new = {name: call() for name, call in _calls(pickle.loads(pickle.dumps(model))).items()}
    calls, rng = _calls(model), np.random.default_rng(0)
    for name in rng.choice(list(calls), 150):
        (ys, state), (expected, after) = calls[name](), new[name]
        np.testing.assert_array_equal(ys, expected, err_msg=name)
        for ours, theirs in zip(_arrays(state), _arrays(after), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_batches_in_threads_do_not_meet(model):
    calls = _calls(model)
    names = [name for name in calls if "1" not in name] * 20
    alone = {name: calls[name]()[0] for name in names}
    with ThreadPoolExecutor(6) as team:
        for name, ys in zip(names, team.map(lambda name: calls[name]()[0], names), strict=True):
            np.testing.assert_array_equal(ys, alone[name])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_own(model):
    calls = [call for name, call in _calls(model).items() if name in ("step 3", "run 3 60", "step 1")]
    expected = [call()[0] for call in calls]
    child = os.fork()
    right = all(np.array_equal(call()[0], ys) for _ in range(20) for call, ys in zip(calls, expected, strict=True))
    if child == 0:
        os._exit(0 if right else 1)
    assert right and os.waitpid(child, 0)[1] == 0


def _kept():
    from fastlstm.backends.cpu import _Buffers

    gc.collect()
    # isinstance would ask weak proxies of other tests' objects, which are dead, for their class.
    return [thing for thing in gc.get_objects() if issubclass(type(thing), _Buffers)]


def test_few_buffers_are_kept_and_none_that_are_large(model):
    model = pickle.loads(pickle.dumps(model))
    before = len(_kept())
    for rows in range(1, 30):
        model.step(_inputs(model, rows))
    assert len(_kept()) - before <= 4
    bytes_before = sum(buffers.room.nbytes for buffers in _kept())
    large = _inputs(model, 100_000)
    np.testing.assert_array_equal(model.step(large)[0][:3], model.step(large[:3])[0])
    assert sum(buffers.room.nbytes for buffers in _kept()) - bytes_before <= 1 << 20


def test_sizes_that_several_threads_add_at_once_are_dropped_again(model):
    """Each finds room for one more; there may be too many then, and they must not stay."""
    model = pickle.loads(pickle.dumps(model))
    model.backend._idle._lists = {rows: [] for rows in range(100, 110)}
    model.step(_inputs(model, 3))
    assert list(model.backend._idle._lists) == [3]


def test_a_pickled_model_takes_none_along(model):
    size = len(pickle.dumps(model))
    model.step(_inputs(model, 64))
    assert len(pickle.dumps(model)) == size
