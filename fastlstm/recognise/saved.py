"""Files by `fastlstm.save`: the description of the layers that they carry, written and read.

The description is JSON: {"format": 1, "layers": [{"type": "LSTM", "config": {...}}, ...], "dtype": "float32",
"report": {...}}; the arrays of layer 0 are called "0/kernel", "0/bias" ..., in canonical layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from fastlstm.errors import ArgumentError, FastLSTMError, FormatError
from fastlstm.layers import GRU, LAYER_TYPES, LSTM, Bidirectional, Dense, Layer
from fastlstm.recognise.findings import Recognised
from fastlstm.recognise.overrides import KNOWN_OVERRIDES, Book
from fastlstm.recognise.report import Report

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

FORMAT = 1
DTYPES = ("float32", "float64")

#: What can still be changed: the settings that are not in the weights.
_SETTINGS = {
    LSTM.__name__: ("activation", "recurrent_activation", "cell_clip", "proj_clip", "residual"),
    GRU.__name__: ("activation", "recurrent_activation", "residual"),
}
_REMEDY = "the file is damaged or was not written by fastlstm.save; save the model again"


def describe(layers: Sequence[Layer], dtype: str, report: Report) -> dict[str, Any]:
    """The description of a model, as JSON can hold it."""
    return {
        "format": FORMAT,
        "layers": [{"type": type(layer).__name__, "config": layer.config()} for layer in layers],
        "dtype": dtype,
        "report": report.to_json(),
    }


def recognise_saved(artefact: Artefact, *, scope: str | None, book: Book) -> Recognised:
    """The layers that `fastlstm.save` wrote, to the last bit, and the report that they had.

    Raises FormatError if the description and the arrays are not those of a model, ArgumentError for a scope and for an
    override of something that is folded into the weights.
    """
    if scope is not None:
        raise ArgumentError(
            f"{artefact.path}: scope is {scope!r}, but a file by fastlstm.save holds one; leave scope out"
        )
    described = _checked(artefact)
    report = Report.from_json(described.get("report", {"findings": [], "notes": []}), where=str(artefact.path))
    entries = deepcopy(described["layers"])
    changed = _override(entries, book, str(artefact.path))
    layers = [_layer(k, entry, artefact) for k, entry in enumerate(entries)]
    kept = [finding for finding in report if (finding.layer, finding.what) not in changed]
    return Recognised(layers, [*kept, *book.findings], report.notes, report.initial_state)


def saved_dtype(artefact: Artefact) -> str:
    """The dtype that the saved model ran in.  Raises FormatError."""
    return _checked(artefact)["dtype"]


def _checked(artefact: Artefact) -> dict[str, Any]:
    """The description, once it has the parts that a description has.  Raises FormatError."""
    described, path = artefact.architecture, artefact.path
    if not isinstance(described, dict) or not isinstance(described.get("format"), int):
        raise FormatError(f"{path}: the description of the layers has no format number; {_REMEDY}")
    if described["format"] != FORMAT:
        raise FormatError(
            f"{path}: saved in format {described['format']}; this version of fastlstm reads format {FORMAT}. Update "
            f"fastlstm (pip install -U fastlstm), or save the model again with this version"
        )
    layers = described.get("layers")
    if not isinstance(layers, list) or not layers:
        raise FormatError(f"{path}: the description lists no layers; {_REMEDY}")
    for k, entry in enumerate(layers):
        if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
            raise FormatError(f"{path}: layer {k} has no configuration; {_REMEDY}")
        if entry.get("type") not in list(LAYER_TYPES):
            known = ", ".join(LAYER_TYPES)
            raise FormatError(f"{path}: layer {k} is a {entry.get('type')!r}; expected one of {known}: {_REMEDY}")
    if described.get("dtype") not in DTYPES:
        raise FormatError(
            f"{path}: dtype is {described.get('dtype')!r}; expected one of {', '.join(DTYPES)}: {_REMEDY}"
        )
    return described


def _layer(k: int, entry: dict[str, Any], artefact: Artefact) -> Layer:
    prefix = f"{k}/"
    arrays = {name[len(prefix) :]: artefact.tensors[name] for name in artefact.tensors if name.startswith(prefix)}
    try:
        return LAYER_TYPES[entry["type"]].from_arrays(arrays, entry["config"])
    except KeyError as error:
        raise FormatError(f"{artefact.path}: layer {k} ({entry['type']}) has no array {error}; {_REMEDY}") from error
    except (FastLSTMError, TypeError) as error:
        if isinstance(error, ArgumentError) and entry.get("changed"):
            raise
        raise FormatError(f"{artefact.path}: layer {k} ({entry['type']}): {error}; {_REMEDY}") from error


def _override(entries: list[dict[str, Any]], book: Book, path: str) -> set[tuple[str, str]]:
    """Change the entries to what the caller says; gives back (layer, what) of what was changed."""
    recurrent = [pair for entry in entries for pair in _recurrent(entry, entry)]
    settings = {
        what: [pair for pair in recurrent if what in _SETTINGS[pair[1]["type"]]] for what in _SETTINGS[LSTM.__name__]
    }
    settings["head_activation"] = [(entry, entry) for entry in entries if entry["type"] == Dense.__name__][-1:]
    for what in KNOWN_OVERRIDES:
        if book.given(what) and what not in settings:
            raise ArgumentError(
                f"load({what}={book.value(what)!r}): {path} was written by fastlstm.save, where that is settled: it is "
                f"folded into the weights and the list of layers. Pass {what} when loading the original file, and save "
                f"that model"
            )
    changed = set()
    for what, targets in settings.items():
        for layer, entry in targets if book.given(what) else ():
            key = "activation" if what == "head_activation" else what
            name = str(entry["config"].get("name", ""))
            entry["config"][key] = book.note(name, what, entry["config"].get(key), "read", "written by fastlstm.save")
            layer["changed"] = True
            changed.add((name, what))
    return changed


def _recurrent(layer: dict[str, Any], entry: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(layer, entry) of the LSTM and GRU layers in an entry: itself, or what a Bidirectional holds."""
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        return  # what is damaged inside is told when the layer is made
    if entry.get("type") in list(_SETTINGS):
        yield layer, entry
    elif layer is entry and entry["type"] == Bidirectional.__name__:
        for direction in ("forward", "backward"):
            inside = entry["config"].get(direction)
            for inner in inside if isinstance(inside, list) else ():
                yield from _recurrent(layer, inner)
