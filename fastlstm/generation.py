"""Generating: arguments -> one call of the backend, or, with a Python `feedback`, a loop of steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm import arguments
from fastlstm.backends.base import Drawing, Pair
from fastlstm.errors import ArgumentError, ShapeError
from fastlstm.layers import Activation, Dense
from fastlstm.sampling import Sampler, sampler_of
from fastlstm.state import State, StateLike, state_of

if TYPE_CHECKING:
    from fastlstm.model import Model

Feedback = Callable[[NDArray[np.floating]], ArrayLike]


def generate(
    model: Model,
    n: int,
    prime: ArrayLike | None,
    state: StateLike | None,
    lengths: ArrayLike | None,
    sample: Sampler | str | None,
    feedback: Feedback | None,
    stop: int | Iterable[int] | None,
    seed: int | None,
    position: int,
) -> tuple[NDArray[Any], State]:
    """See `Model.generate`."""
    model.check_steps("generate")
    n = arguments.count(n, name="n")
    begin = None if state is None else state_of(state)
    primed, single = _prime(model, prime, None if begin is None else begin.batch_size)
    drawing = _drawing(model, sample, stop, seed, arguments.count(position, name="position", least=0))
    pairs = _finite(model, model.state_pairs(begin, len(primed)))
    limits = arguments.row_lengths(lengths, *primed.shape[:2], least=1)
    if feedback is not None:
        if not callable(feedback):
            raise ArgumentError(f"feedback is {feedback!r}; expected a function that makes the next input of an output")
        outputs, after = _by_python(model, n, primed, pairs, limits, feedback)
    else:
        _check_feeds_back(model)
        _check_room(model, n, len(primed))
        outputs, pairs = model.backend.generate(n, primed, limits, pairs, drawing)
        after = State.checked(pairs)
    return (outputs[0] if single else outputs), after


def iterate(
    model: Model,
    n: int,
    prime: ArrayLike | None,
    state: StateLike | None,
    sample: Sampler | str | None,
    stop: int | Iterable[int] | None,
    seed: int | None,
    chunk: int,
) -> Iterator[Any]:
    """See `Model.iterate`. The arguments are checked at the call, not at the first output."""
    model.check_steps("iterate")
    n, chunk = arguments.count(n, name="n"), arguments.count(chunk, name="chunk")
    fed, single = _prime(model, prime, None)
    if not single:
        raise ShapeError(f"prime: shape {np.shape(prime)}; iterate follows one sequence, expected no batch axis")
    _check_feeds_back(model)
    drawing = _drawing(model, sample, stop, seed, 0)
    pairs = [(c.copy(), h.copy()) for c, h in model.state_pairs(state, 1)]  # of now, whenever the first is asked for
    return _pieces(model, n, fed, _finite(model, pairs), drawing, chunk)


def _pieces(model: Model, n: int, fed: Any, pairs: Any, drawing: Drawing | None, chunk: int) -> Iterator[Any]:
    while n > 0:
        size = min(n, chunk)
        outputs, pairs = model.backend.generate(size, fed, np.array([fed.shape[1]]), pairs, drawing)
        n, fed = n - size, outputs[:, -1:].copy()  # what is given out is the caller's to change
        for y in outputs[0]:
            yield y if drawing is None else int(y)
            if drawing is not None and y in drawing.stop:
                return
        if drawing is not None:
            drawing = replace(drawing, position=drawing.position + size)


def _finite(model: Model, pairs: Sequence[Pair]) -> Sequence[Pair]:
    """`pairs`. Raise ArgumentError where a token model would begin with NaN: any id would be as good as another."""
    for k, pair in enumerate(pairs if model.takes_ids else ()):
        for name, a in zip("ch", pair, strict=True):
            if not np.isfinite(a).all():
                raise ArgumentError(
                    f"state of layer {k}: {name} has NaN or infinite elements, with which no id is more probable than "
                    f"another; begin again with model.zero_state()"
                )
    return pairs


def _prime(model: Model, prime: ArrayLike | None, rows: int | None) -> tuple[NDArray[Any], bool]:
    """The prime with a batch axis, and whether it came without; a zero vector where None, for each of `rows`."""
    if prime is None:
        if model.takes_ids:
            raise ArgumentError(
                "prime is None; this model takes ids and needs at least one to begin with, e.g. prime=[0]"
            )
        batch = () if rows is None else (rows,)
        prime = np.zeros((*batch, 1, model.input_size), model.dtype)
    primed, single = model.inputs(prime, "BT", name="prime")
    if primed.shape[1] == 0:
        raise ArgumentError(
            "prime has length 0; the first output is the prediction after its last element: pass at least one"
        )
    return primed, single


def _drawing(
    model: Model, sample: Sampler | str | None, stop: int | Iterable[int] | None, seed: int | None, position: int
) -> Drawing | None:
    """How ids are drawn; None for a continuous model."""
    if not model.takes_ids:
        if sample is not None or stop is not None:
            raise ArgumentError(
                "sample and stop are for models that take ids, and this one takes vectors; "
                "if they are one-hot rows, load it with one_hot=True"
            )
        return None
    sampler = sampler_of(sample)
    last = model.layers[-1]
    ends = [] if stop is None else list(stop) if isinstance(stop, set | frozenset) else np.atleast_1d(stop).tolist()
    return Drawing(
        sampler.temperature,
        sampler.top_k,
        sampler.top_p,
        isinstance(last, Dense) and last.activation is Activation.SOFTMAX,
        int.from_bytes(os.urandom(8), "little")
        if seed is None
        else arguments.count(seed, name="seed", least=0) % 2**64,
        position,
        arguments.token_ids(ends, "B", model.vocabulary_size, name="stop")[0] if ends else np.empty(0, np.int64),
    )


def _check_feeds_back(model: Model) -> None:
    """Raise ShapeError unless an output can be the next input."""
    if model.takes_ids and model.output_size > model.vocabulary_size:
        raise ShapeError(
            f"the model gives {model.output_size} outputs and takes ids below {model.vocabulary_size}; "
            f"it cannot be fed the ids that it draws"
        )
    if not model.takes_ids and model.output_size != model.input_size:
        raise ShapeError(
            f"the model gives {model.output_size} elements and takes {model.input_size}; "
            f"pass feedback=, a function that makes the next input (B, {model.input_size}) "
            f"of an output (B, {model.output_size})"
        )


def _check_room(model: Model, n: int, batch: int) -> None:
    """Raise ArgumentError where the outputs of one call would not fit into memory."""
    size, dtype = (batch * n, np.dtype(np.int64)) if model.takes_ids else (batch * n * model.output_size, model.dtype)
    if size < 1 << 16:
        return
    try:
        np.empty(size, dtype)
    except (MemoryError, ValueError, OverflowError):
        raise ArgumentError(
            f"n is {n}: the outputs would take {size * dtype.itemsize:.2e} bytes, more than can be had; "
            f"use iterate, which keeps none of them"
        ) from None


def _by_python(
    model: Model, n: int, primed: NDArray[Any], pairs: Any, lengths: NDArray[np.int64], feedback: Feedback
) -> tuple[NDArray[np.floating], State]:
    if model.takes_ids:
        raise ArgumentError(
            "feedback is for models that take vectors; this one takes ids and is fed the id that it draws"
        )
    ys, state = model.run(primed, State(pairs), lengths)
    y = ys[np.arange(len(ys)), lengths - 1]
    outputs = [y]
    for _ in range(n - 1):
        x = np.asarray(feedback(y.copy()))
        if x.shape != (len(primed), model.input_size):
            raise ShapeError(f"feedback gave shape {x.shape}; expected ({len(primed)}, {model.input_size})")
        y, state = model.step(x, state)
        outputs.append(y)
    return np.stack(outputs, axis=1), state
