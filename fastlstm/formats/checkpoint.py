"""TensorFlow checkpoints as people have them: a prefix, one of its files, or the folder.

`read` finds the files and reads the variables in them, with the graph of the `.meta` file beside them.
Source: tensorflow/python/training/{saver,checkpoint_management,checkpoint_state.proto}.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from fastlstm.errors import FormatError, MissingFileError
from fastlstm.formats import proto
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.bundle import read_bundle
from fastlstm.formats.checkpoint_files import Checkpoint, checkpoints_in, find, suffix_of
from fastlstm.formats.graph import Graph
from fastlstm.formats.graphdef import read_meta_graph
from fastlstm.formats.objects import object_graph_of
from fastlstm.formats.source import check_access, is_file, is_folder, read_whole
from fastlstm.formats.v1 import read_v1

STATE = "checkpoint"  # the text file in which TensorFlow notes the latest prefix
LARGEST_STATE, LARGEST_META = 1 << 26, (1 << 31) - 1  # bytes; of a `.meta`, it is protobuf's limit
SHOWN = 10


def detect(path: Path) -> bool:
    """A prefix, a folder, or a file that belongs to a checkpoint, even if others of its files are missing."""
    if is_folder(path) and find(path) is None:
        return is_file(path / STATE) or bool(checkpoints_in(path))
    return bool(suffix_of(path) and is_file(path)) or find(path) is not None


def read(path: Path) -> Artefact:
    """The variables of a checkpoint and the graph of its `.meta` file.

    Raises MissingFileError if one of its files is not there, FormatError if one is damaged.
    """
    found = find(path)
    if found is None and is_folder(path):
        found = _latest(path)
    if found is None:
        raise _nothing_found(path)
    kind, prefix, files = found
    notes: tuple[str, ...] = ()
    if kind == "V2":
        check_access(prefix.with_name(f"{prefix.name}.index"))
        tensors = read_bundle(prefix)
    elif kind == "V1":
        _check_all_there(files, files, "is a shard of the checkpoint; put all of its files in one folder")
        tensors = read_v1(files)
    else:
        _check_all_there(
            [part.with_name(part.name + ending) for part in files for ending in (".index", ".data-00000-of-00001")],
            files,
            f"the save of {prefix.name} was interrupted before its parts were complete; load an earlier checkpoint",
        )
        tensors = read_bundle(*files)
        notes = (f"the save of {prefix.name} was not finished; it is read from the parts in {files[0].parent.name}",)
    objects = object_graph_of(tensors, prefix.name)
    meta, graph = prefix.with_name(f"{prefix.name}.meta"), None
    if is_file(meta):
        graph = _read_meta(meta)
    elif objects is None:
        notes = (*notes, f"no {meta.name} beside it: how the variables are used is not known from a graph")
    return Artefact(prefix, f"checkpoint{'-v1' * (kind == 'V1')}", tensors, graph=graph, objects=objects, notes=notes)


def _check_all_there(files: Sequence[Path], group: Sequence[Path], what: str) -> None:
    missing = [file for file in files if not is_file(file)]
    if missing:
        more = f" and {len(missing) - 1} more of {len(group)}" if len(missing) > 1 else ""
        raise MissingFileError(f"{missing[0]}{more}: no such file, and it {what}")


def _nothing_found(path: Path) -> FormatError:
    """Why there is no checkpoint for a file that is named like one of its files."""
    suffix = suffix_of(path)
    prefix = path.with_name(path.name.removesuffix(suffix))
    check_access(prefix.with_name(f"{prefix.name}.index"))
    if suffix == ".meta":
        return FormatError(
            f"{path}: holds the graph but no weights, which would be in {prefix.name}.index and "
            f"{prefix.name}.data-00000-of-00001, or in {prefix.name}; put these files beside it"
        )
    return MissingFileError(f"{prefix}.index: no such file, and without it the tensors of {path} cannot be found")


def _latest(folder: Path) -> Checkpoint | None:
    """The checkpoint that the state file names, or the only one of a folder without a state file."""
    state = folder / STATE
    if is_file(state):
        return _from_state(state)
    prefixes = checkpoints_in(folder)
    if len(prefixes) > 1:
        names = ", ".join(prefix.name for prefix in prefixes)
        raise FormatError(
            f"{folder}: {len(prefixes)} checkpoints and no file {STATE!r} that names the latest, expected one; "
            f"pass one of {names}, with the folder"
        )
    return find(prefixes[0]) if prefixes else None


def _from_state(state: Path) -> Checkpoint:
    """The checkpoint that a CheckpointState in text form names; the same name in this folder if it is not there."""
    message = proto.new("CheckpointState")
    from google.protobuf import text_format

    try:
        text_format.Parse(read_whole(state, LARGEST_STATE), message, allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise FormatError(
            f"{state}: not a checkpoint state: {error}; pass the checkpoint's own path instead"
        ) from error
    name = proto.text(message.model_checkpoint_path, str(state))
    if not name:
        raise FormatError(f"{state}: names no model_checkpoint_path; pass the checkpoint's own path instead")
    for prefix in (state.parent / name, state.parent / PureWindowsPath(name).name):
        found = find(prefix)
        if found is not None:
            return found
    raise MissingFileError(
        f"{state}: names {name!r}, but there is no {PureWindowsPath(name).name}.index in the folder, "
        f"{_others(state.parent)}"
    )


def _others(folder: Path) -> str:
    """The checkpoints of a folder, and what to do."""
    names = [prefix.name for prefix in checkpoints_in(folder)]
    if not names:
        return "nor of another checkpoint; put the checkpoint's files beside it"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (
        f"which has {', '.join(names[:SHOWN])}{more}; pass one of these, with the folder, or put the files of the one "
        "that is named beside them"
    )


def _read_meta(path: Path) -> Graph:
    try:
        return read_meta_graph(read_whole(path, LARGEST_META), path.name)
    except FormatError as error:
        raise FormatError(
            f"{error}.  To load the weights without the graph, move {path.name} away; its hyper-parameters are then "
            "assumed, or yours to give"
        ) from error
