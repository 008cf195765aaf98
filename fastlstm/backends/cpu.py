"""The CPU backend: a plan, its buffers, and the calls of the compiled loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends.base import Arrays, Drawing, PackedState, Pair
from fastlstm.backends.lowering import lower
from fastlstm.backends.narrow import FULL
from fastlstm.backends.objects import Code, Setting, check_compiling, code
from fastlstm.backends.plan import BACK, DENSE, IN, NONE, OP, OUT, PLAIN, TEAM, WIDTH, Plan
from fastlstm.backends.processor import lanes
from fastlstm.backends.team import LEAST, Team, team_of
from fastlstm.layers import Layer

_NO_IDS = np.zeros((1, 1), np.int64)
_NO_DRAWING = Drawing()
_NO_VECTORS = {4: np.zeros((1, 1, 1), np.float32), 8: np.zeros((1, 1, 1))}  # by the dtype's size

# Time steps of one sequence that are computed together: a multiple of the six rows that products take at once.
_BLOCK = 24

# Bytes of weights, for each row, from which a step is long, some 20 us; and bytes from which it is long to copy them.
# Shorter calls keep the GIL: to give it up and take it again costs 0.1 us, and a wait where another thread has got it.
_LONG_STEP = 1 << 20

# Buffers that calls have done with are kept for others: of so many batch sizes, as many of each as there were calls at
# once, none of more bytes.
_KEPT_SIZES, _KEPT_BYTES = 4, 16 << 20


class _Buffers:
    """An arena with the small arrays that go with it: what one call or one stream owns.

    states  how many of the arena's `rows`, from the first on, have a state and inputs of their own
    With a team the room behind the arena is its helpers', an arena for each.
    """

    team: Team | None = None

    def __init__(self, plan: Plan, rows: int, team: Team | None, states: int) -> None:
        self.plan = plan
        self.room = plan.arena(rows * (1 if team is None else team.size))
        self.arena = self.room[:rows]
        self.tokens = np.zeros(rows, np.int64)
        self.all = np.arange(rows)
        self.rows = self.all.copy()  # where calls put down who takes part
        program = plan.program.copy()
        program[:, BACK] = 0
        program[:, TEAM] = 0 if team is None else np.where(_alone(program, rows, plan), 0, team.address)
        self.arguments = (program.ravel(), plan.weights, self.arena.ravel(), plan.row_size, self.tokens, self.rows)
        self._states = states
        self._nothing = np.empty((states, 0), plan.weights.dtype)
        self.team = team

    def __del__(self) -> None:
        if self.team is not None:
            self.team.bury(self.room, self.arguments, self.all)

    @cached_property
    def exchange(self) -> Callable[..., None]:
        """See `cpu_exchange.exchange`, from `place` on."""
        code, short = _code("exchange", self.plan), self.arena.nbytes < _LONG_STEP  # copies take no longer than a step
        return partial(code.brief if short else code.call, self.plan.slots, self.arguments[2], self.plan.row_size)

    def call(self, compiled: Code, *arguments: Any) -> None:
        """Call a loop, as the team's leader if it has none."""
        if self.team is None:
            compiled.call(*self.arguments, *arguments)
            return
        with self.team.led_from(self.arena):
            compiled.call(*self.arguments, *arguments)

    def state(self, ys: NDArray[np.floating] | None = None) -> PackedState:
        """A copy; with `ys` (states, V), the output of a step goes there."""
        array = np.empty(self._states * self.plan.state_size, self._nothing.dtype)
        self.exchange(self.plan.output.start, self._nothing if ys is None else ys, array, 1)
        return PackedState(array, self.plan.state_sizes, self._states)

    def set_state(self, state: Sequence[Pair], xs: NDArray[np.floating] | None = None) -> None:
        """With `xs` (states, D), the inputs of a step as well."""
        # A piece of a model (`sequence.py`) may have no state.
        array = PackedState.of(state).array if self.plan.states else self._nothing.ravel()
        if xs is None:
            self.exchange(0, self._nothing, array, 0)
        else:
            self.exchange(self.plan.input.start, xs, array, 0)


class _Stepper(_Buffers):
    """A batch, with what a single step needs at hand: its inputs are put in with the state, or ids into `tokens`."""

    def __init__(self, plan: Plan, team: Team | None, rows: int = 1) -> None:
        super().__init__(plan, rows, team, rows)

    @cached_property
    def code(self) -> Code:
        """Compiled where a step is asked for; other calls on the same buffers need another function."""
        return _code("step", self.plan)

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """See `cpu_loops.step_32`."""
        program, weights, arena, row_size, tokens, _ = self.arguments
        addresses = [a.ctypes.data for a in (program, weights, arena, tokens, self.all)]
        shared = program.reshape(self.plan.program.shape)[:, TEAM].max()
        return np.array([*addresses, len(self.plan.program), shared, arena.size, row_size, len(self.all)], np.int64)

    @cached_property
    def advance(self) -> Callable[[], None]:
        long = self.plan.weights.nbytes * len(self.rows) >= _LONG_STEP
        return partial(self.code.call if long else self.code.brief, self.table.ctypes.data)


class _Idle:
    """Buffers that no call is using.

    Without a lock: a list's pop and append, and each thing done to the dict, are one step to other threads. Who finds
    a list that has just been dropped gives his buffers to nobody.
    """

    def __init__(self, plan: Plan, team: Team | None) -> None:
        self._plan, self._team = plan, team
        self._lists: dict[int, list[Any]] = {}

    def take(self, rows: int) -> Any:
        """A `_Stepper` of so many rows; of none a `_BLOCK` of steps of one sequence."""
        try:
            return self._lists[rows].pop()
        except (KeyError, IndexError):
            if rows == 0:
                return _Buffers(self._plan, _BLOCK, self._team, 1)
            return _Stepper(self._plan, self._team, rows)

    def give(self, rows: int, buffers: _Buffers) -> None:
        if buffers.room.nbytes > _KEPT_BYTES:
            return
        if rows not in self._lists and len(self._lists) >= _KEPT_SIZES:  # more, where threads come here at once
            self._lists.clear()
        self._lists.setdefault(rows, []).append(buffers)


class CpuSession(_Stepper):
    """One live sequence: see `base.Session`."""

    def __init__(self, plan: Plan, team: Team | None) -> None:
        super().__init__(plan, team)
        self.output = self.arena[0, plan.output]
        self._block: _Buffers | None = None  # for `process`
        self._run_block = _code("run_block", plan)  # compiled now, as is what the state is asked for with
        _ = self.exchange

    def stepper(self, size: int, convert: Callable[[Any], Any], output: NDArray[np.floating]) -> Callable[[Any], Any]:
        """See `base.Session`."""
        takes_ids = self.plan.input is None
        place = self.tokens if takes_ids else self.arena[0, self.plan.input]
        settings = {
            Setting.TYPE: id(int if takes_ids else np.ndarray),
            Setting.DTYPE: id(place.dtype),
            Setting.SIZE: size,
            Setting.TARGET: place.ctypes.data,
            Setting.BYTES: place.nbytes,
            Setting.ARGUMENT: self.table.ctypes.data,
            Setting.LONG: self.plan.weights.nbytes >= _LONG_STEP,
        }
        return self.code.step(settings, takes_ids, output, convert, self)

    def process(self, xs: NDArray[np.floating] | NDArray[np.int64], ys: NDArray[np.floating]) -> None:
        if self._block is None:
            self._block = _Buffers(self.plan, _BLOCK, self.team, 1)
        self._block.arena[0] = self.arena[0]
        _run_one(self._run_block, self._block, xs, ys)
        self.arena[0] = self._block.arena[0]


class CpuBackend:
    """See `base.Backend`."""

    def __init__(self, layers: Sequence[Layer], dtype: np.dtype, storage: int = FULL, threads: int = 1) -> None:
        check_compiling()
        self.plan = lower(layers, dtype, lanes(dtype), storage)
        self.team = team_of(threads, dtype) if threads > 1 else None
        self._idle = _Idle(self.plan, self.team)

    def session(self) -> CpuSession:
        return CpuSession(self.plan, self.team)

    def step(self, xs: Arrays, state: Sequence[Pair]) -> tuple[NDArray[np.floating], PackedState]:
        batch = len(xs)
        if self.team is not None:
            self.team.start()
        stepper = self._idle.take(batch)
        if self.plan.input is None:
            stepper.tokens[...] = xs
            stepper.set_state(state)
        else:
            stepper.set_state(state, xs)
        stepper.advance()
        ys = np.empty((batch, _width(self.plan)), self.plan.weights.dtype)
        after = stepper.state(ys)
        self._idle.give(batch, stepper)
        return ys, after

    def run(
        self, xs: Arrays, state: Sequence[Pair], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.floating], PackedState]:
        batch, steps = xs.shape[:2]
        if steps == 1 and lengths.all():
            y, after = self.step(xs[:, 0], state)
            return y[:, None], after
        ys = np.empty((batch, steps, _width(self.plan)), self.plan.weights.dtype)
        rows = 0 if batch == 1 else batch
        buffers = self._idle.take(rows)
        buffers.set_state(state)
        if batch == 1:
            length = lengths[0]
            _run_one(_code("run_block", self.plan), buffers, xs[0, :length], ys[0, :length])
            ys[0, length:] = 0
        else:
            _run(_code("run", self.plan), buffers, xs, lengths, ys)
        after = buffers.state()
        self._idle.give(rows, buffers)
        return ys, after

    def generate(
        self, n: int, prime: Arrays, lengths: NDArray[np.int64], state: Sequence[Pair], drawing: Drawing | None
    ) -> tuple[Arrays, PackedState]:
        plan, batch, width = self.plan, len(prime), _width(self.plan)
        buffers = self._idle.take(batch)
        buffers.set_state(state)
        xs, ids, source = _input(plan, prime)
        drawn = np.empty((batch, n if drawing else 1), np.int64)
        ys = np.empty((batch, 1 if drawing else n, width), plan.weights.dtype)
        drawing = drawing or _NO_DRAWING
        buffers.call(
            _code("generate", plan), xs, ids, lengths, source, plan.output.start, ys, drawn,
            drawing.temperature == 0, drawing.temperature, min(drawing.top_k or width, width),
            drawing.top_p or 1.0, drawing.probabilities, drawing.seed, drawing.position,
            drawing.stop, np.empty(width, np.int64), np.empty(width),
        )  # fmt: skip
        after = buffers.state()
        self._idle.give(batch, buffers)
        return (drawn if source == NONE else ys), after


def _alone(program: NDArray[np.int64], rows: int, plan: Plan) -> NDArray[np.bool_]:
    """(operations,): which are too small for a team, of those that `cpu_plain.py` computes."""
    depth = program[:, IN] + np.where(program[:, OP] == DENSE, 0, program[:, OUT])
    work = program[:, WIDTH] // lanes(plan.weights.dtype) * depth
    return (rows == 1) & (program[:, PLAIN] == 1) & (work < 2 * LEAST)


def _code(name: str, plan: Plan) -> Code:
    return code(f"{name}_float{8 * plan.weights.itemsize}")


def _width(plan: Plan) -> int:
    return plan.output.stop - plan.output.start


def _input(plan: Plan, xs: Arrays) -> tuple[NDArray[np.floating], NDArray[np.int64], int]:
    """xs as the compiled loops take it: vectors, ids (one of them a stand-in), and where vectors go in an arena row."""
    if plan.input is None:
        return _NO_VECTORS[plan.weights.itemsize], xs, NONE
    return xs, _NO_IDS, plan.input.start


def _run(run: Code, buffers: _Buffers, xs: Arrays, lengths: NDArray[np.int64], ys: NDArray[np.floating]) -> None:
    vectors, ids, source = _input(buffers.plan, xs)
    buffers.call(run, vectors, ids, lengths, source, buffers.plan.output.start, ys)


def _run_one(run_block: Code, buffers: _Buffers, xs: Arrays, ys: NDArray[np.floating]) -> None:
    """`_run` of one sequence, xs (T, D) or ids (T,) -> ys (T, V), in blocks of time steps."""
    vectors, ids, source = _input(buffers.plan, xs[None])
    buffers.call(run_block, vectors[0], ids[0], source, buffers.plan.output.start, ys)
