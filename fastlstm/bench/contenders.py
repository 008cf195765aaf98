"""What is timed: the model's own calls, and peers made of its layers. Each gives the right answers before it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.bench import peers, traffic
from fastlstm.bench.peers.common import CannotExpress, Step
from fastlstm.bench.result import PeerOutcome
from fastlstm.errors import VerificationError
from fastlstm.known_answer import TOLERANCES
from fastlstm.model import Model
from fastlstm.terminal import compiling
from fastlstm.verification.ours import feedback_of, known_input

_CHECKED = 64  # steps of random input whose outputs are compared
_BLOCK = 64  # steps of a call of `process`
_LONGEST, _SHORTEST = 1000, 4  # steps of a call that makes many
_MOST = 10_000_000  # numbers that a call gives


@dataclass(frozen=True)
class Contender:
    """key, title  as in `result.Timed`
    call, x     what is timed is call(x)
    steps       that it makes
    bounded     it reads all weights at each of them
    """

    key: str
    title: str
    call: Callable[[Any], Any]
    x: Any
    steps: int = 1
    bounded: bool = True


class Referee:
    """Random input for the model, and the right answers: the NumPy device's in float64."""

    def __init__(self, model: Model) -> None:
        self.xs: NDArray[Any] = known_input(model, 1, 0, _CHECKED)[:, 0]
        self.expected = Model(model.layers, device="numpy", dtype="float64").run(self.xs)[0]
        self._size = max(1.0, float(np.abs(self.expected).max()))
        self.allowed = TOLERANCES[model.dtype.name]

    def difference(self, ys: Any) -> float:
        """The largest from the right answers, in proportion to their size; inf where there are none."""
        a = np.asarray(ys, np.float64).reshape(-1, self.expected.shape[-1])
        with np.errstate(invalid="ignore"):
            return float(np.nan_to_num(np.abs(a - self.expected[-len(a) :]), nan=np.inf).max() / self._size)


def ours(model: Model, referee: Referee, seconds: float) -> tuple[list[Contender], float]:
    """The model's calls, the one that decides first, and the largest difference of their outputs.

    seconds  that one call may take, or so
    Raises VerificationError. Weights that are stored narrower than the model's dtype may differ: how much is told.
    """
    with compiling():
        found = _sequences(model, referee.xs) if model.run_only else _steps(model, referee.xs, seconds)
        difference = max(map(referee.difference, _outputs(model, referee.xs)))
    if traffic.storage(model) == model.dtype.name and not difference <= referee.allowed:
        raise VerificationError(
            f"nothing was timed: on {model.device} the model's outputs are {difference:.2g} of their size away from "
            f"those of device='numpy' in float64, expected at most {referee.allowed:.0e}; please report it"
        )
    return found, difference


def _outputs(model: Model, xs: NDArray[Any]) -> list[NDArray[Any]]:
    """ys (T, V), or the last of them, by each of the calls that are timed."""
    outputs = [model.run(xs)[0]]
    if not model.run_only:
        stream = model.stream()
        outputs += [np.array([stream.step(x).copy() for x in xs]), model.stream().process(xs)]
        if feedback_of(model, False) == "output":
            outputs.append(model.generate(1, prime=xs)[0])
    return outputs


def _steps(model: Model, xs: NDArray[Any], seconds: float) -> list[Contender]:
    """One step at a time, blocks, and the loop in one call."""
    stream, blocks = model.stream(), model.stream()
    x = xs[0] if xs[0].ndim else int(xs[0])
    stream.step(x)
    begin = perf_counter()
    for _ in range(3):
        stream.step(x)
    n = _length(model, seconds * 3 / (perf_counter() - begin))
    loop = Contender("run", f"run, {n:,} known steps in one call", model.run, _repeated(xs, n), n, False)
    if feedback_of(model, False):
        title = f"generate, {n:,} steps in one call"
        loop = Contender("generate", title, lambda x: model.generate(n, prime=x), xs[:1], n)
    loop.call(loop.x)  # compiles
    block = _repeated(xs, _BLOCK)
    return [
        Contender("step", "Stream.step from Python", stream.step, x),
        Contender("process", f"Stream.process, blocks of {_BLOCK}", blocks.process, block, _BLOCK, False),
        loop,
    ]


def _sequences(model: Model, xs: NDArray[Any]) -> list[Contender]:
    return [Contender("run", f"run, sequences of {len(xs)} steps", model.run, xs, len(xs), False)]


def _length(model: Model, steps: float) -> int:
    """Steps of a call that makes many: not too few, not too many, and no outputs that fill the memory."""
    return int(max(1, min(_LONGEST, max(_SHORTEST, steps), _MOST // model.output_size)))


def _repeated(xs: NDArray[Any], n: int) -> NDArray[Any]:
    return np.resize(xs, (n, *xs.shape[1:]))


def peer(name: str, model: Model, referee: Referee, threads: int) -> tuple[PeerOutcome, Contender | None]:
    """The peer, where it is installed and gives the right answers."""
    if peers.missing(name):
        return PeerOutcome(name, "not installed", f"pip install {peers.PEERS[name].install}"), None
    try:
        step = peers.build(name, model, threads)
        difference = referee.difference(_answers(step, model, referee.xs))
    except CannotExpress as error:
        return PeerOutcome(name, "cannot express", str(error)), None
    except Exception as error:  # whatever a library that is not ours makes of the model
        return PeerOutcome(name, "failed", f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"), None
    if not difference <= referee.allowed:
        why = f"its outputs are {difference:.2g} of their size away from float64, allowed {referee.allowed:.0e}"
        return PeerOutcome(name, "wrong", why, difference), None
    x, steps = (referee.xs, len(referee.xs)) if model.run_only else (referee.xs[0], 1)
    title = peers.PEERS[name].title
    contender = Contender(name, title, step.call, step.given(x), steps, not model.run_only)
    return PeerOutcome(name, "timed", difference=difference), contender


def _answers(step: Step, model: Model, xs: NDArray[Any]) -> Any:
    if model.run_only:
        return step.call(step.given(xs))
    return [np.array(step.call(step.given(x))) for x in xs]
