"""What a foreign recogniser finds, layer by layer, and how it becomes layers, the report and the notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import ArgumentError, RecognitionError
from fastlstm.layers import GRU, LSTM, Bidirectional, Dense, Embedding, Layer, OneHot, Reverse, activation_named
from fastlstm.recognise.findings import How, Recognised
from fastlstm.recognise.overrides import Book

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

EXPECTED = (
    "fastlstm runs a chain with one input and one output: an embedding, LSTM, GRU and dense layers, each with an "
    "activation of its own"
)
RECURRENT = {"LSTM": LSTM, "GRU": GRU}
#: Overrides that a layer takes beside the settings that the file decides, and what they are without them.
_OPTIONAL = {"LSTM": {"cell_clip": None, "proj_clip": None, "residual": False}, "GRU": {"residual": False}}

COUPLED = "coupled_input_forget"
Setting = tuple[Any, How, str]


@dataclass(frozen=True, eq=False)
class Part:
    """One layer to be.

    kind       "LSTM", "GRU", "Dense", "Embedding", "OneHot", "Bidirectional" or "Reverse"
    arguments  of the layer's class, that no override changes: arrays, gate_order ...
    settings   hyper-parameter -> (value, how it is known, where from)
    forward, backward
               the parts of a Bidirectional
    initial    (c (H,), h (P,)), where the file has a state to start from
    tensors    names of its weights in the file, for `head` and `embedding`
    """

    kind: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    forward: tuple[Part, ...] = ()
    backward: tuple[Part, ...] = ()
    initial: tuple[NDArray[Any], NDArray[Any]] | None = None
    tensors: tuple[str, ...] = ()


def lstm(name: str, arguments: dict[str, Any], settings: dict[str, Setting] | None = None, **more: Any) -> Part:
    """An LSTM whose activations are tanh and sigmoid where `settings` does not say otherwise."""
    plain: dict[str, Setting] = {
        "activation": ("tanh", "inferred", "this kind of file has no other"),
        "recurrent_activation": ("sigmoid", "inferred", "this kind of file has no other"),
        "forget_bias": (0.0, "inferred", "it is in the bias already"),
    }
    return Part("LSTM", name, arguments, plain | (settings or {}), **more)


def gru(name: str, arguments: dict[str, Any], settings: dict[str, Setting] | None = None, **more: Any) -> Part:
    """A GRU, likewise."""
    plain: dict[str, Setting] = {
        "activation": ("tanh", "inferred", "this kind of file has no other"),
        "recurrent_activation": ("sigmoid", "inferred", "this kind of file has no other"),
    }
    return Part("GRU", name, arguments, plain | (settings or {}), **more)


def dense(name: str, kernel: Any, bias: Any, activation: Setting, tensors: tuple[str, ...] = ()) -> Part:
    """A dense layer; kernel (D, V)."""
    return Part("Dense", name, {"kernel": kernel, "bias": bias}, {"activation": activation}, tensors=tensors)


def reverse(name: str = "reverse") -> Part:
    return Part("Reverse", name)


def is_recurrent(part: Part) -> bool:
    return part.kind in RECURRENT or part.kind == "Bidirectional"


def recurrent_parts(parts: Sequence[Part]) -> Iterator[Part]:
    """The LSTMs and GRUs in the order of their states."""
    for part in parts:
        if part.kind == "Bidirectional":
            yield from recurrent_parts([*part.forward, *part.backward])
        elif part.kind in RECURRENT:
            yield part


def features(parts: Sequence[Part]) -> int | None:
    """How many features the first of `parts` that has weights takes."""
    for part in parts:
        for first in (part, *part.forward[:1]):
            if "kernel" in first.arguments:
                return np.shape(first.arguments["kernel"])[0]
    return None


def build(parts: Sequence[Part], artefact: Artefact, book: Book, notes: Sequence[str] = ()) -> Recognised:
    """The layers that `parts` are, with the overrides in `book` applied.  Raises RecognitionError, ArgumentError."""
    source = str(artefact.path)
    parts = _chosen(list(parts), source, book)
    recurrent = [k for k, part in enumerate(parts) if is_recurrent(part)]
    last_dense = max((k for k, part in enumerate(parts) if part.kind == "Dense"), default=-1)
    layers: list[Layer] = []
    for k, part in enumerate(parts):
        head = recurrent[-1] < k == last_dense
        width = layers[-1].output_size if layers else features(parts[k + 1 :])
        layers.append(_layer(part, book, source, "head_activation" if head else "dense_activation", width))
    if book.given("one_hot"):
        _one_hot(layers, book, source)
    states = [part.initial for part in recurrent_parts(parts)]
    initial = None
    if any(state is not None for state in states):
        initial = tuple(state or _zeros(part) for state, part in zip(states, recurrent_parts(parts), strict=True))
        book.note("", "initial_state", "not zero", "read", "the file; it is model.report.initial_state")
        notes = [*notes, "the file has a state to start from: pass model.report.initial_state as the first state"]
    return Recognised(layers, book.findings, tuple(notes), initial)


def _zeros(part: Part) -> tuple[NDArray[Any], NDArray[Any]]:
    rows, columns = np.shape(part.arguments["recurrent_kernel"])
    return np.zeros(columns // 4 if part.kind == "LSTM" else 0, np.float32), np.zeros(rows, np.float32)


def _chosen(parts: list[Part], source: str, book: Book) -> list[Part]:
    """`parts` without those that the overrides leave out.  Raises RecognitionError, ArgumentError."""
    recurrent = [k for k, part in enumerate(parts) if is_recurrent(part)]
    if not recurrent:
        listed = ", ".join(f"{part.kind} {part.name!r}" for part in parts)
        raise RecognitionError(f"{source}: no LSTM or GRU among its layers ({listed or 'none'}). {EXPECTED}")
    if book.given("num_layers") and book.value("num_layers") != len(recurrent):
        raise ArgumentError(
            f"load(num_layers={book.value('num_layers')!r}): {source} says that the model has {len(recurrent)} "
            f"recurrent layers; leave num_layers out"
        )
    for what, span in (("head", parts[recurrent[-1] + 1 :]), ("embedding", parts[: recurrent[0]])):
        if not book.given(what):
            continue
        names = {name for part in span for name in (part.name, *part.tensors)}
        given = book.note("", what, ", ".join(part.name for part in span) or None, "read", "the model's layers")
        if given is None:
            left_out = {id(part) for part in span if what == "head" or part.kind in ("Embedding", "OneHot")}
            parts = [part for part in parts if id(part) not in left_out]
        elif not names.issuperset([given] if isinstance(given, str) else given):
            raise ArgumentError(
                f"load({what}={given!r}): {source} says itself what its {what} is "
                f"({', '.join(sorted(names)) or 'there is none'}); leave {what} out, or pass None to do without it"
            )
    return parts


def _layer(part: Part, book: Book, source: str, what: str, width: int | None) -> Layer:
    if part.kind == "Embedding":
        return Embedding(**part.arguments, name=part.name)
    if part.kind == "OneHot":
        return OneHot(**part.arguments, name=part.name)
    if part.kind == "Reverse":
        if width is None:
            raise RecognitionError(f"{source}: {part.name!r} turns round what no layer made. {EXPECTED}")
        return Reverse(width, name=part.name)
    if part.kind == "Bidirectional":
        stacks = [[_layer(p, book, source, what, None) for p in stack] for stack in (part.forward, part.backward)]
        mode = part.settings["merge_mode"]
        return Bidirectional(*stacks, merge_mode=book.note(part.name, "merge_mode", *mode), name=part.name)
    if part.kind == "Dense":
        activation = _activation(part, what, part.settings["activation"], book, source)
        return Dense(**part.arguments, activation=activation, name=part.name)
    settings = dict(part.settings)
    for key, none in _OPTIONAL[part.kind].items():
        if book.given(key):
            settings.setdefault(key, (none, "inferred", "the file has no such thing"))
    if part.kind == "GRU" and book.given("forget_bias"):
        raise ArgumentError(f"load(forget_bias=...): {source}: {part.name!r} is a GRU, which has no forget gate")
    values = {}
    for key, setting in settings.items():
        if key.endswith("activation"):
            values[key] = _activation(part, key, setting, book, source)
        else:
            values[key] = book.note(part.name, key, *setting)
    values.pop(COUPLED, None)  # it is in the weights
    return RECURRENT[part.kind](**part.arguments, **values, name=part.name)


def _activation(part: Part, what: str, setting: Setting, book: Book, source: str) -> str:
    value = book.note(part.name, what, *setting)
    where = f"{source}: {part.name!r}: {what}"
    try:
        return activation_named(value, where=where).label
    except ArgumentError as error:
        if book.given(what):
            raise
        raise RecognitionError(str(error)) from None


def _one_hot(layers: list[Layer], book: Book, source: str) -> None:
    ids = isinstance(layers[0], Embedding | OneHot)
    wanted = book.note("", "one_hot", isinstance(layers[0], OneHot), "read", f"takes {'ids' if ids else 'vectors'}")
    if wanted and isinstance(layers[0], Embedding):
        raise ArgumentError(f"load(one_hot=True): {source} has an embedding; pass embedding=None to replace it")
    if wanted and not ids:
        layers.insert(0, OneHot(layers[0].input_size))
    elif not wanted and isinstance(layers[0], OneHot):
        del layers[0]


def with_activation(part: Part, activation: Setting) -> Part:
    return replace(part, settings=part.settings | {"activation": activation})
