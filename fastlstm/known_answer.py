"""A model's answer to a known input, stored with it: what `fastlstm.save(known_answer=True)` writes and `load` replays.

The answer is computed in NumPy in float64. It is replayed in NumPy in the dtype that the model was saved in, whatever
device and dtype it is loaded for: nothing is compiled or converted, which would take longer than loading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import ArgumentError, FastLSTMError, FormatError

if TYPE_CHECKING:
    from fastlstm.layers import Layer

PREFIX = "known_answer/"  # of the arrays: x, y, and c_0, h_0 ... for each recurrent layer
TOLERANCES = {"float32": 1e-4, "float64": 1e-9}  # of values of size 1 and less; far above what rounding changes
_STEPS = 3  # the first sees no state, the second the first's, the third one that has forgotten something
_ROWS = 6  # of random vectors
_IDS = 512  # token ids that are exercised at most
_LARGEST, _LONGEST = 1 << 16, 1 << 23  # numbers in an answer, products in a step: what takes milliseconds
_REMEDY = "the weights or the settings are not those that were saved; get the file again, or save the model again"


def known_answer(layers: Sequence[Layer]) -> dict[str, NDArray[Any]]:
    """An input and what the layers make of it, under the names that a file has.

    x         (B, T, D) random numbers, or (B, T) ids
    y         (B, 2, V) the outputs at the first and the last step
    c_0, h_0  (B, H), (B, P): the last state of each recurrent layer
    Raises ArgumentError where the answer is not finite.
    """
    x = _input(layers)
    answer = _answer(layers, "float64", x)
    if not all(np.isfinite(array).all() for array in answer.values()):
        raise ArgumentError("known_answer: the model's answer to random input is not finite; save it without")
    return {PREFIX + "x": x} | {PREFIX + name: array for name, array in answer.items()}


def check_known_answer(layers: Sequence[Layer], dtype: str, tensors: Mapping[str, NDArray[Any]], where: str) -> float:
    """The largest difference from the answer among `tensors`, in proportion to the values' size.

    dtype  what to compute in, "float32" or "float64"
    where  the file, for the errors
    Raises FormatError where the answer is not complete, or the layers give another one.
    """
    stored = {name[len(PREFIX) :]: tensors[name] for name in tensors if name.startswith(PREFIX)}
    if "x" not in stored:
        raise FormatError(f"{where}: the known answer has no input, expected {PREFIX + 'x'!r}; {_REMEDY}")
    try:
        answer = _answer(layers, dtype, stored.pop("x"))
    except FastLSTMError as error:
        raise FormatError(f"{where}: the known answer's input does not fit the model: {error}; {_REMEDY}") from error
    if {name: a.shape for name, a in stored.items()} != {name: a.shape for name, a in answer.items()}:
        raise FormatError(
            f"{where}: the known answer is {_shapes(stored)}, expected {_shapes(answer)} of this model; {_REMEDY}"
        )
    largest = 0.0
    for name, got in answer.items():
        expected = stored[name].astype(np.float64)
        size = max(1.0, float(np.abs(expected).max(initial=0.0)))
        with np.errstate(invalid="ignore"):
            away = np.nan_to_num(np.abs(got - expected), nan=np.inf) / size
        largest = max(largest, float(away.max(initial=0.0)))
        if largest > TOLERANCES[dtype]:
            at = tuple(int(i) for i in np.unravel_index(away.argmax(), away.shape))
            raise FormatError(
                f"{where}: the model's answer to the stored input differs from the stored answer: {name}{list(at)} is "
                f"{got[at]:.9g}, expected {expected[at]:.9g} (allowed {TOLERANCES[dtype] * size:.1g}); {_REMEDY}"
            )
    return largest


def _answer(layers: Sequence[Layer], dtype: str, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
    from fastlstm.model import Model

    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused, or differs
        ys, state = Model(layers, device="numpy", dtype=dtype).run(x)
    answer = {"y": ys[:, [0, -1]]}
    for k, (c, h) in enumerate(state):
        answer |= {f"c_{k}": np.ascontiguousarray(c), f"h_{k}": np.ascontiguousarray(h)}
    return answer


def _input(layers: Sequence[Layer]) -> NDArray[Any]:
    from fastlstm.model import Model

    model = Model(layers, device="numpy", dtype="float64")
    random = np.random.default_rng(0)
    size = 2 * model.output_size + sum(c + h for c, h in model.state_sizes)
    weights = sum(a.size for layer in layers for a in layer.arrays().values())
    rows = max(1, min(_LARGEST // size, _LONGEST // max(1, weights)))
    if not model.takes_ids:
        return random.standard_normal((min(_ROWS, rows), _STEPS, model.input_size))
    ids = random.permutation(model.vocabulary_size)[:_IDS]
    covered = np.resize(ids, (min(rows, -(-len(ids) // (_STEPS - 1))), _STEPS - 1))
    return np.concatenate([covered[::-1, -1:], covered], axis=1).astype(np.int64)  # those that count meet a state


def _shapes(arrays: Mapping[str, NDArray[Any]]) -> str:
    return ", ".join(f"{name} {a.shape}" for name, a in sorted(arrays.items())) or "nothing"
