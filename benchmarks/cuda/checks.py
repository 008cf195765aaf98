"""What the CUDA backend has to get right before it is timed, with numbers drawn anew in each run.

Small models of every kind against the oracle in tests/, larger ones against the float64 loops of `problem.py`, ids
against the CPU. Device memory is filled with NaN before each check, so that what is not written is seen.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import fastlstm
from benchmarks.accuracy import DEMO
from benchmarks.peers import ours
from benchmarks.problem import Problem
from tests import models, oracle
from tests.test_cells import CELLS, IDS, inputs

#: Largest absolute errors. A loop carries them on; layer norms magnify them (see tests/tolerances.py).
TOLERANCES = {"float32": 5e-6, "float64": 1e-12, "layer norm": 2e-5, "loop": 1e-5, "bfloat16": 1e-2}
_MORE = {
    "lstm": lambda rng: [models.lstm(rng, 5, 9), models.dense(rng, 9, 5)],
    "lstm, every option": lambda rng: [
        models.lstm(rng, 5, 8, peepholes=True, projection=5, cell_clip=0.8, proj_clip=0.7, residual=True),
        models.lstm(rng, 5, 6, activation="softsign", recurrent_activation="hard_sigmoid"),
    ],
    "softmax": lambda rng: [models.embedding(rng, 7, 5), models.lstm(rng, 5, 6), models.dense(rng, 6, 7, "softmax")],
    "bidirectional": lambda rng: [models.bidirectional([models.lstm(rng, 5, 6)], [models.gru(rng, 5, 6)])],
}
KINDS = {**_MORE, **CELLS}
_OF_IDS = IDS | {"softmax"}


@dataclass(frozen=True)
class Scale:
    """How much is checked.

    kinds    of `KINDS`; () is all
    batches  rows
    steps    of a sequence of a small model
    sizes    (input, hidden) of `Problem`s
    known    steps of these
    loop     steps that a model is fed its own output
    ids      of the demonstration's character model that have to be the CPU's
    repeats  calls whose bits have to be the same
    device   what is checked
    exact    what it is compared with where the oracle would take too long
    """

    kinds: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1, 3, 18)
    steps: int = 12
    sizes: tuple[tuple[int, int], ...] = ((16, 64), (64, 129), (256, 512), (512, 1024), (64, 2048), (1, 4096))
    known: int = 40
    loop: int = 10_000
    ids: int = 1000
    repeats: int = 5
    device: str = "cuda"
    exact: str = "cpu"


FULL = Scale()
QUICK = Scale((), (1, 5), 6, ((64, 129), (256, 512), (512, 1024), (64, 2048)), 10, repeats=3, exact="numpy")
#: Of Numba's simulator, in which a thread is a thread of Python, and the CPU's kernels are not compiled either.
TINY = Scale(("lstm", "embedding gru"), (2,), 3, ((3, 8),), 3, 12, 2, 2, exact="numpy")


class Check(NamedTuple):
    """find: the largest error; a NaN is one too."""

    name: str
    find: Callable[[], float]
    tolerance: float


def checks(scale: Scale, seed: int) -> Iterator[Check]:
    draw, on = np.random.default_rng, scale.device
    for k, name in enumerate(scale.kinds or KINDS):
        for dtype in ("float32", "float64"):
            allowed = "layer norm" if "norm" in name and dtype == "float32" else dtype
            for batch in scale.batches:
                find = partial(_kind, name, dtype, batch, scale.steps, draw([seed, k, batch]), on)
                yield Check(f"{name}, {dtype}, batch {batch}", find, TOLERANCES[allowed])
    fed_back = partial(_fed_back, scale.steps, draw([seed, 100]), on)
    yield Check("fed back, against the oracle", fed_back, TOLERANCES["float32"])
    yield Check("ids that stop", partial(_stopped, scale.steps, draw([seed, 101]), on), 0)
    yield Check("ids drawn, against NumPy", partial(_drawn, scale.steps, draw([seed, 102]), on), 0)
    for size in scale.sizes:
        for batch in scale.batches[:2]:
            yield Check(f"{size}, batch {batch}", partial(_known, size, batch, scale.known, on), TOLERANCES["loop"])
        yield Check(f"{size}, fed back", partial(_loop, size, scale.known, on), TOLERANCES["loop"])
        narrow = partial(_known, size, 1, scale.known, on, weights="bfloat16")
        yield Check(f"{size}, bfloat16", narrow, TOLERANCES["bfloat16"])
        yield Check(f"{size}, the same bits {scale.repeats} times", partial(_repeated, size, scale), 0)
    yield Check(f"{scale.loop} steps fed back", partial(_loop, scale.sizes[0], scale.loop, on), TOLERANCES["loop"])
    yield Check(f"{scale.ids} ids of the demonstration, against the CPU", partial(_demonstration, scale), 0)


def run(scale: Scale, seed: int, before: Callable[[], None], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """What each check found, with what went wrong.

    before  is called before each, to poison memory
    """
    found = []
    for check in checks(scale, seed):
        start, error, said = time.perf_counter(), float("nan"), ""
        try:
            before()
            error = float(check.find())
        except Exception as problem:  # one that fails is no reason to leave out the others
            said = f"{type(problem).__name__}: {problem}"[:500]
        right = not said and error <= check.tolerance
        found.append({
            "check": check.name, "error": error, "tolerance": check.tolerance, "right": right, "said": said,
            "seconds": round(time.perf_counter() - start, 2),
        })  # fmt: skip
        if not right:
            say(f"WRONG: {check.name}: {said or f'{error:.2g} from the answer; expected at most {check.tolerance:g}'}")
    return found


def _model(description: Any, dtype: str, device: str) -> fastlstm.Model:
    return fastlstm.Model(models.layers_of(description, dtype), device=device, dtype=dtype)


def _kind(name: str, dtype: str, batch: int, steps: int, rng: np.random.Generator, device: str) -> float:
    """A sequence of ragged rows from a state that is not zero, then one step more."""
    description = models.rounded(KINDS[name](rng), dtype)
    model, of_ids = _model(description, dtype, device), name in _OF_IDS
    xs = rng.integers(0, 7, (batch, steps)) if of_ids else inputs(name, rng, batch, steps).astype(dtype)
    lengths = np.append(rng.integers(1, steps, batch - 1, endpoint=True), steps)
    start = fastlstm.State(
        (rng.normal(0, 0.5, (batch, c)).astype(dtype), rng.normal(0, 0.5, (batch, h)).astype(dtype))
        for c, h in model.state_sizes
    )
    ys, state = model.run(xs, start, lengths)
    errors = []
    for b, length in enumerate(lengths):
        expected, states = oracle.run(description, xs[b], _row(start, b), length)
        errors += [ys[b] - expected, *_differences(state, b, states)]
    if not model.run_only:
        y, after = model.step(xs[:, 0], state)
        for b in range(batch):
            expected, states, _ = oracle.step(description, xs[b, 0], _row(state, b))
            errors += [y[b] - expected, *_differences(after, b, states)]
    return _largest(errors)


def _row(state: Any, b: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(c[b], h[b]) for c, h in state]


def _differences(state: Any, b: int, expected: Any) -> list[np.ndarray]:
    pairs = zip(state, expected, strict=True)
    return [ours[b] - theirs for pair in pairs for ours, theirs in zip(*pair, strict=True)]


def _largest(differences: list[np.ndarray]) -> float:
    return float(np.max([np.abs(d).max(initial=0) for d in differences]))  # NumPy's max hands NaN on


def _fed_back(steps: int, rng: np.random.Generator, device: str) -> float:
    description = models.rounded(_MORE["lstm"](rng), "float32")
    prime = rng.normal(size=(3, 4, 5)).astype(np.float32)
    ys, state = _model(description, "float32", device).generate(steps, prime=prime, lengths=[4, 1, 3])
    errors = []
    for b, length in enumerate([4, 1, 3]):
        expected, states = oracle.generate(description, prime[b, :length], steps)
        errors += [ys[b] - expected, *_differences(state, b, states)]
    return _largest(errors)


def _tokens(rng: np.random.Generator, dtype: str) -> Any:
    """An embedding and a head that makes clear choices."""
    parts = [models.embedding(rng, 11, 5), models.lstm(rng, 5, 8), models.dense(rng, 8, 11, scale=3.0)]
    return models.rounded(parts, dtype)


def _stopped(steps: int, rng: np.random.Generator, device: str) -> int:
    """The most probable ids, of rows that end at some of them: how many are others."""
    description, n = _tokens(rng, "float64"), 3 * steps
    prime, stop = rng.integers(0, 11, (4, 2)), rng.choice(11, 3, replace=False)
    ids, _ = _model(description, "float64", device).generate(n, prime=prime, stop=stop)
    wrong = 0
    for b in range(4):
        expected, _ = oracle.generate(description, prime[b], n, choose=lambda y: int(np.argmax(y)))
        ends = np.flatnonzero(np.isin(expected, stop))
        if len(ends):
            expected[ends[0] :] = expected[ends[0]]
        wrong += int((ids[b] != expected).sum())
    return wrong


def _drawn(steps: int, rng: np.random.Generator, device: str) -> int:
    """Ids that a Sampler draws: how many are not those of NumPy with the same seed."""
    description, prime, seed = _tokens(rng, "float64"), rng.integers(0, 11, (3, 2)), int(rng.integers(2**63))
    wrong = 0
    for sampler in (fastlstm.Sampler(0.8), fastlstm.Sampler(1.2, top_k=4), fastlstm.Sampler(1.0, top_p=0.7)):
        ids, expected = (
            _model(description, "float64", each).generate(steps, prime=prime, sample=sampler, seed=seed)[0]
            for each in (device, "numpy")
        )
        wrong += int((ids != expected).sum())
    return wrong


def _known(size: tuple[int, int], batch: int, steps: int, device: str, **options: Any) -> float:
    problem = Problem(*size, batch=batch, steps=steps)
    call, xs = ours.sequence(problem, device=device, **options)
    return _largest([call(xs) - problem.step_answers()])


def _loop(size: tuple[int, int], steps: int, device: str) -> float:
    problem = Problem(*size)
    return _largest([ours.generate(problem, steps, device=device)(problem.xs[0]) - problem.loop_answers(steps)])


def _repeated(size: tuple[int, int], scale: Scale) -> int:
    """How many calls give other bits than the first."""
    problem = Problem(*size, batch=scale.batches[-1], steps=1)
    call = ours.generate(problem, scale.known, device=scale.device)
    first = call(problem.xs[0]).copy()
    return sum(call(problem.xs[0]).tobytes() != first.tobytes() for _ in range(scale.repeats))


def _demonstration(scale: Scale) -> int:
    """How many of the greedy ids are not the CPU's."""
    ids = []
    for device in (scale.device, scale.exact):
        model = fastlstm.load(DEMO / "characters", device=device)
        ids.append(model.generate(scale.ids, prime=[1, 2, 3], sample="greedy")[0])
    return int((ids[0] != ids[1]).sum())
