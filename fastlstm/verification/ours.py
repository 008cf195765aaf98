"""Our side of the comparison: the loaded model, with everything that it computes written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.layers import Bidirectional, Layer, Reverse, recurrent_layers
from fastlstm.model import Model
from fastlstm.state import State

KNOWN = 100  # steps of the known sequence
_MOST = 30_000_000  # numbers that are compared along the loop, for each of the two comparisons


class Record:
    """Outputs and states, a step after the other; `arrays` has them as y (T, B, V), c_0 (T, B, H), h_0 ..."""

    def __init__(self) -> None:
        self._lists: dict[str, list[NDArray[Any]]] = {}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Record:
        record = cls()
        record._lists = {name: list(array) for name, array in arrays.items()}
        return record

    def add(self, state: Iterable[tuple[NDArray[Any], NDArray[Any]]], **more: NDArray[Any]) -> None:
        states = {f"{n}_{k}": a for k, pair in enumerate(state) for n, a in zip("ch", pair, strict=True)}
        for name, value in (more | states).items():
            self.put(name, value)

    def put(self, name: str, value: NDArray[Any]) -> None:
        self._lists.setdefault(name, []).append(np.array(value))

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        return {name: np.stack(values) for name, values in self._lists.items()}


def known_input(model: Model, batch: int, seed: int, steps: int) -> NDArray[Any]:
    """Random inputs (T, B, D), or ids (T, B)."""
    random = np.random.default_rng(seed)
    if model.takes_ids:
        low = 1 if model.vocabulary_size > 1 else 0  # 0 may stand for padding
        return random.integers(low, model.vocabulary_size, (steps, batch))
    return (0.5 * random.standard_normal((steps, batch, model.input_size))).astype(model.dtype)


def feedback_of(model: Model, cut: bool) -> str | None:
    """How the model's output becomes its next input: "ids", "output", or None where it cannot."""
    if cut:
        return None
    if model.takes_ids:
        return "ids" if model.output_size == model.vocabulary_size else None
    return "output" if model.output_size == model.input_size else None


def stride_of(model: Model, steps: int, batch: int) -> int:
    """Every how many steps of the loop are compared: all, unless that were too many numbers."""
    size = model.output_size + sum(c + h for c, h in model.state_sizes)
    return max(1, -(-steps * batch * size // _MOST))


def run_whole(model: Model, xs: NDArray[Any], begin: Any = None) -> tuple[NDArray[Any], State]:
    """xs (T, B, ...) in one call, from the state `begin` or zeros -> ys (T, B, V), the last state."""
    ys, state = model.run(np.swapaxes(xs, 0, 1), begin)
    return np.swapaxes(ys, 0, 1), state


def run_parts(model: Model, xs: NDArray[Any]) -> Record:
    """Of a model that has `run` only: its outputs, and every layer's states step by step, in the order it runs in."""
    values = {"y": run_whole(model, xs)[0]}
    before: list[Layer] = []  # without any state, since `xs` was last computed
    done: list[Layer] = []
    given, k = xs, 0
    for layer in model.layers:
        ways = [layer.forward, layer.backward] if isinstance(layer, Bidirectional) else [(layer,)]
        for back, stack in enumerate(ways if recurrent_layers([layer]) else []):
            part = Model([*before, *stack], device=model.device, dtype=model.dtype)
            for name, value in run_known(part, given[::-1] if back else given)[0].arrays.items():
                if name != "y":
                    values[f"{name[0]}_{k + int(name[2:])}"] = value
            k += len(recurrent_layers(stack))
        done.append(layer)
        before.append(layer)
        if recurrent_layers(done):
            given, before = run_whole(Model(done, device=model.device, dtype=model.dtype), xs)[0], []
        elif isinstance(layer, Reverse):
            given = given[::-1]
            before.pop()
    return Record.of(values)


def long_length(model: Model, steps: int) -> int:
    """Steps of the long sequence, whose outputs are all compared: `steps`, unless that were too many numbers."""
    return max(1, min(steps, _MOST // max(model.output_size, 1)))


def run_known(model: Model, xs: NDArray[Any]) -> tuple[Record, NDArray[Any], State]:
    """xs (T, B, ...) -> what came out, the last output, the last state."""
    record, state = Record(), model.zero_state(xs.shape[1])
    y = np.empty(0)
    for x in xs:
        y, state = model.step(x, state)
        record.add(state, y=y)
    return record, y, state


def run_loop(
    model: Model,
    y: NDArray[Any],
    state: State,
    steps: int,
    feedback: str | None,
    given: NDArray[Any] | None,
    stride: int,
) -> tuple[Record, Record, NDArray[Any], NDArray[Any]]:
    """Go on by itself: the model's own output, or the token of its largest output, is its next input.

    given  (N, B, D) inputs where there is no feedback
    ->     what came out; the states before; the inputs (N, B, ...); all inputs, also those that are not compared
    """
    record, before, inputs, followed = Record(), Record(), list[NDArray[Any]](), list[NDArray[Any]]()
    for n in range(steps):
        if feedback == "ids":
            x = y.argmax(axis=-1)
            record.put("ids", x)
        else:
            x = y if given is None else given[n]
        followed.append(np.array(x))
        if n % stride == 0:
            inputs.append(np.array(x))
            before.add(state)
        y, state = model.step(x, state)
        if n % stride == 0:
            record.add(state, y=y)
    return record, before, np.stack(inputs), np.stack(followed)
