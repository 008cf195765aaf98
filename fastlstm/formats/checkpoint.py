"""TensorFlow checkpoints as people have them: a prefix, one of its files, or the folder.

`read` turns whichever it was into the prefix and reads the bundle, with the graph of the `.meta` file beside it.
Source: tensorflow/python/training/{saver,checkpoint_management,checkpoint_state.proto}.
"""

from __future__ import annotations

import glob
import re
from pathlib import Path, PureWindowsPath

from fastlstm.errors import FormatError, MissingFileError
from fastlstm.formats import proto
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.bundle import read_bundle
from fastlstm.formats.graph import Graph
from fastlstm.formats.graphdef import read_meta_graph
from fastlstm.formats.source import check_access, is_file, is_folder, read_end, read_whole
from fastlstm.formats.sstable import MAGIC

STATE = "checkpoint"  # the text file in which TensorFlow notes the latest prefix
LARGEST_STATE, LARGEST_META = 1 << 26, (1 << 31) - 1  # bytes; of a `.meta`, it is protobuf's limit
SHOWN = 10
SUFFIX = re.compile(r"\.index|\.meta|\.data-\d{5,}-of-\d{5,}")


def detect(path: Path) -> bool:
    """A prefix, a folder, or a file that belongs to a checkpoint, even if others of its files are missing."""
    if is_folder(path) and not _is_prefix(path):
        return is_file(path / STATE) or any(path.glob("*.index"))
    return _is_prefix(path) or (bool(_suffix(path)) and is_file(path))


def read(path: Path) -> Artefact:
    """The variables of a checkpoint and the graph of its `.meta` file.

    Raises MissingFileError if one of its files is not there, FormatError if one is damaged.
    """
    prefix = find_prefix(path)
    index, meta = (prefix.with_name(prefix.name + suffix) for suffix in (".index", ".meta"))
    if not is_file(index):
        check_access(index)
        raise _no_index(path, prefix)
    graph, notes = None, ()
    if is_file(meta):
        graph = _read_meta(meta)
    else:
        notes = (f"no {meta.name} beside it: how the variables are used is not known from a graph",)
    return Artefact(prefix, "checkpoint", read_bundle(prefix), graph=graph, notes=notes)


def find_prefix(path: Path) -> Path:
    """Whatever `detect` accepts -> the checkpoint's prefix.  Raises FormatError if a folder does not tell which one."""
    if _is_prefix(path):
        return path
    if is_folder(path):
        return _latest(path)
    return path.with_name(path.name.removesuffix(_suffix(path)))


def _no_index(path: Path, prefix: Path) -> FormatError:
    """Why there is no `<prefix>.index`."""
    if _is_v1(prefix):
        return FormatError(
            f"{prefix}: recognised as a V1 checkpoint, which this version does not read yet; restore it with "
            "TensorFlow and save it with tf.compat.v1.train.Saver(write_version=2)"
        )
    if _suffix(path) == ".meta":
        return FormatError(
            f"{path}: holds the graph but no weights, which would be in {prefix.name}.index and "
            f"{prefix.name}.data-00000-of-00001; put these files beside it"
        )
    return MissingFileError(f"{prefix}.index: no such file, and without it the tensors of {path} cannot be found")


def _is_prefix(path: Path) -> bool:
    return bool(path.name) and (is_file(path.with_name(f"{path.name}.index")) or _is_v1(path))


def _is_v1(prefix: Path) -> bool:
    """A table by itself, or in shards."""
    shards = prefix.parent.glob(f"{glob.escape(prefix.name)}-?????-of-?????") if is_folder(prefix.parent) else ()
    whole = prefix if is_file(prefix) and not _suffix(prefix) else next(iter(shards), None)
    return whole is not None and read_end(whole, len(MAGIC)) == MAGIC


def _suffix(path: Path) -> str:
    """ ".index", ".meta" or ".data-00000-of-00001"; "" if it is none of them."""
    match = re.search(rf"(?:{SUFFIX.pattern})$", path.name)
    return match[0] if match else ""


def _latest(folder: Path) -> Path:
    """The prefix that the state file names, or the only one of a folder without a state file."""
    state = folder / STATE
    if is_file(state):
        return _from_state(state)
    indexes = sorted(folder.glob("*.index"))
    if len(indexes) > 1:
        names = ", ".join(index.name.removesuffix(".index") for index in indexes)
        raise FormatError(
            f"{folder}: {len(indexes)} checkpoints and no file {STATE!r} that names the latest, expected one; "
            f"pass one of {names}, with the folder"
        )
    return indexes[0].with_name(indexes[0].name.removesuffix(".index"))


def _from_state(state: Path) -> Path:
    """The prefix that a CheckpointState in text form names; the same name in this folder if that one is not there."""
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
        if _is_prefix(prefix):
            return prefix
    raise MissingFileError(
        f"{state}: names {name!r}, but there is no {PureWindowsPath(name).name}.index in the folder, "
        f"{_others(state.parent)}"
    )


def _others(folder: Path) -> str:
    """The checkpoints of a folder, and what to do."""
    names = sorted(index.name.removesuffix(".index") for index in folder.glob("*.index"))
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
