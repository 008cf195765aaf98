"""Says what a checkpoint holds where it holds no LSTM."""

from __future__ import annotations

from collections.abc import Mapping

from fastlstm.errors import RecognitionError
from fastlstm.recognise.tensorflow1.names import Candidates, within
from fastlstm.recognise.tensorflow1.strangers import strangers_among

_SHOWN = 4


def no_lstm(
    path: str, shapes: Mapping[str, tuple[int, ...]], every: Candidates, rejected: Mapping[str, str], scope: str | None
) -> RecognitionError:
    """The error for a file, or a scope of it, without an LSTM."""
    if scope and not any(within(name, scope) for name in shapes):
        known = ", ".join(map(repr, every.cells)) or "none"
        return RecognitionError(f"{path}: no variable lies below scope {scope!r}; LSTM cells in the file: {known}")
    where = f" below scope {scope!r}" if scope else ""
    said = _what_is_there(shapes)
    lines = [*_near_misses({name: why for name, why in rejected.items() if why not in said}), *said]
    return RecognitionError(
        f"{path}: no LSTM{where}, and fastlstm runs LSTMs and GRUs (TensorFlow's BasicLSTMCell, LSTMCell, "
        f"LSTMBlockCell, LayerNormBasicLSTMCell, CoupledInputForgetGateLSTMCell, CudnnLSTM, GRUCell)."
        + "".join(f"\n  {line}" for line in lines)
    )


def _near_misses(rejected: Mapping[str, str]) -> list[str]:
    lines = [f"not an LSTM: {why}" for why in list(rejected.values())[:_SHOWN]]
    return lines + ([f"... and {len(rejected) - _SHOWN} more"] if len(rejected) > _SHOWN else [])


def _what_is_there(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """A line for each kind of layer that the names and shapes give away."""
    lines = strangers_among(shapes)
    gated = {name.split("/gates/")[0] for name in shapes if "/gates/" in name}
    gated |= {name.split("/Gates/")[0] for name in shapes if "/Gates/" in name}
    if gated:
        lines.append(f"GRU cells: {_some(gated)}")
    convolutions = [f"{name} {shape}" for name, shape in shapes.items() if len(shape) in (3, 4, 5)]
    if convolutions:
        lines.append(f"convolution kernels: {_some(convolutions)}")
    lonely = [
        f"{name} {shape}"
        for name, shape in shapes.items()
        if len(shape) == 2 and shape[1] % 4 == 0 and shape[0] > shape[1] // 4 and (shape[1],) not in shapes.values()
    ]
    if lonely:
        lines.append(f"matrices with 4 u columns but without a bias of 4 u elements: {_some(lonely)}")
    lines.append(
        f"variables: {_some(f'{name} {shape}' for name, shape in shapes.items())}" if shapes else "no variables at all"
    )
    return lines


def _some(items: object) -> str:
    listed = sorted(items)  # type: ignore[call-overload]
    return ", ".join(listed[:_SHOWN]) + (f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else "")
