"""`Model.step`, `run` and `Stream.process` of arrays on the GPU, where outputs and states then stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm import arguments
from fastlstm.backends.cuda.interface import DeviceArray, fitting, rows_of
from fastlstm.errors import ShapeError
from fastlstm.state import State, StateLike

if TYPE_CHECKING:
    from fastlstm.model import Model


def run(model: Model, xs: DeviceArray, state: StateLike | None, lengths: ArrayLike | None) -> tuple[DeviceArray, State]:
    """See `Model.run`."""
    checked, single = inputs(model, xs, "BT", name="xs")
    batch, steps = checked.shape[:2]
    pairs = _pairs(model, state, batch)
    ys, after = _run(model, checked, pairs, arguments.row_lengths(lengths, batch, steps))
    return (ys.reshape(*ys.shape[1:]) if single else ys), after


def step(model: Model, x: DeviceArray, state: StateLike | None) -> tuple[DeviceArray, State]:
    """See `Model.step`."""
    checked, single = inputs(model, x, "B", name="x")
    batch = len(checked)
    pairs = _pairs(model, state, batch)
    ys, after = _run(model, checked.reshape(batch, 1, *checked.shape[1:]), pairs, np.ones(batch, np.int64))
    return ys.reshape(*ys.shape[2:] if single else (batch, ys.shape[2])), after


def inputs(model: Model, xs: DeviceArray, axes: str, *, name: str) -> tuple[DeviceArray | NDArray[np.int64], bool]:
    """`xs` with a batch axis, and whether it came without one: vectors on the GPU, ids checked on the host.

    Raises ShapeError, ArgumentError.
    """
    if model.takes_ids:
        return arguments.token_ids(xs.copy_to_host(), axes, model.vocabulary_size, name=name)
    single = xs.ndim == len(axes)
    shape = (None,) * (len(axes) - single) + (model.input_size,)
    said = f"({', '.join([*axes, str(model.input_size)])}) or without B"
    fits = fitting(xs, shape, model.dtype, name=name, said=said)
    if not single and not len(fits):
        raise ShapeError(f"{name}: shape {xs.shape}; expected at least one row")
    return (fits.reshape(1, *fits.shape) if single else fits), single


def _pairs(model: Model, value: StateLike | None, batch: int) -> list[tuple[Any, Any]] | None:
    """The state's (c, h), on the GPU or on the host, as they fit the model."""
    if value is None:
        return None
    pairs: list[tuple[Any, Any]] = []
    for k, pair in enumerate(model.state_pairs(value, batch, as_given=True)):
        for name, a in zip("ch", pair, strict=True):
            if isinstance(a, DeviceArray) and (a.dtype != model.dtype or not rows_of(a)):
                raise ShapeError(
                    f"state of layer {k}: {name} is a device array, {a.dtype}, with strides {a.strides}; expected "
                    f"{model.dtype}, each row without gaps: convert it on the GPU"
                )
        pairs.append(tuple(a if isinstance(a, DeviceArray) else a.astype(model.dtype, order="C") for a in pair))
    return pairs


def _run(model: Model, xs: Any, pairs: Any, lengths: NDArray[np.int64]) -> tuple[DeviceArray, State]:
    if not model.run_only:
        ys, after = model.backend.run_on_device(xs, pairs, lengths)
        return ys, State.on_gpu(after)
    # Pieces of the model go backwards, and are put together on the host.
    from fastlstm.backends.cuda.memory import put

    found = xs.copy_to_host() if isinstance(xs, DeviceArray) else xs
    ys, after = model.backend.run(found, model.state_pairs(State.checked(pairs) if pairs else None, len(xs)), lengths)
    return put(ys), State.on_gpu([(put(c), put(h)) for c, h in after])
