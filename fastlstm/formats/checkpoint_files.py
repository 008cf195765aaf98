"""Which files a checkpoint consists of, from whatever name of it people pass.

    V2     <prefix>.index, <prefix>.data-00000-of-00002 ...
    V1     <prefix>, or as shards <prefix>-00000-of-00002 ..., which TensorFlow calls <prefix>-?????-of-00002
    parts  <prefix>_temp_<id>/part-00000-of-00002.index ...: V2 checkpoints that a save did not come to merge

Source: tensorflow/python/training/saver.py (BaseSaverBuilder._AddShardedSaveOps, _AddShardedSaveOpsForV2).
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fastlstm.errors import FormatError
from fastlstm.formats.source import is_file, is_folder, read_end
from fastlstm.formats.sstable import MAGIC

SUFFIX = re.compile(r"(?:\.index|\.meta|\.data-\d{5,}-of-\d{5,})$")
_SHARD = re.compile(r"(.+)-(?:\d{5}|\?{5})-of-(\d{5})$")
_PART = re.compile(
    r"(part|.+\.part)-(?:\d{5})-of-(\d{5})$"
)  # `.part` beside the prefix where a folder cannot be renamed
_NUMBERS = "-?????-of-?????"


class Checkpoint(NamedTuple):
    """kind    "V2", "V1" or "parts"
    prefix  what the messages call it, and what the `.meta` file is named after
    files   V1: the file or every shard; parts: the prefix of each.  Some may be missing
    """

    kind: str
    prefix: Path
    files: tuple[Path, ...] = ()


def suffix_of(path: Path) -> str:
    """ ".index", ".meta" or ".data-00000-of-00001"; "" if it is none of them."""
    match = SUFFIX.search(path.name)
    return match[0] if match else ""


def find(path: Path) -> Checkpoint | None:
    """The checkpoint that a prefix, or one of its files, belongs to.

    Raises FormatError where there are several.
    """
    suffix = suffix_of(path)
    found = _at(path) if path.name else None
    if found is None and suffix and len(suffix) < len(path.name):
        found = _at(path.with_name(path.name.removesuffix(suffix)))
    return found


def checkpoints_in(folder: Path) -> list[Path]:
    """The prefixes of the checkpoints in a folder, sorted."""
    found = set()
    for file in folder.iterdir():
        name = file.name
        suffix = suffix_of(file)
        if suffix == ".index":
            name = name.removesuffix(suffix)
            part = _PART.match(name)
            found.add(part[1].removesuffix(".part") if part else name)
        elif not suffix and _is_table(file):
            shard = _SHARD.match(name)
            found.add(shard[1] if shard else name)
        elif "_temp" in name and is_folder(file) and any(file.glob(f"part{_NUMBERS}.index")):
            found.add(name.rpartition("_temp")[0])
    return [folder / name for name in sorted(found)]


def _at(prefix: Path) -> Checkpoint | None:
    part = _PART.match(prefix.name)
    if part:
        return _parts(prefix.with_name(part[1]), [prefix.with_name(part[1])])
    if is_file(prefix.with_name(f"{prefix.name}.index")):
        return Checkpoint("V2", prefix)
    return _v1(prefix) or _parts(prefix, [prefix, prefix.with_name(f"{prefix.name}.part"), *_leftovers(prefix)])


def _v1(prefix: Path) -> Checkpoint | None:
    shard = _SHARD.match(prefix.name)
    base = prefix.with_name(shard[1]) if shard else prefix
    if not shard and not suffix_of(prefix) and _is_table(prefix):
        return Checkpoint("V1", prefix, (prefix,))
    groups = _groups(base, filter(_is_table, _beside(base, _NUMBERS)), _SHARD)
    if shard:
        groups = {number: files for number, files in groups.items() if number == int(shard[2])}
    return Checkpoint("V1", base, _only(prefix, groups)) if groups else None


def _parts(prefix: Path, candidates: Iterable[Path]) -> Checkpoint | None:
    for candidate in candidates:
        indexes = (file.with_name(file.name.removesuffix(".index")) for file in _beside(candidate, f"{_NUMBERS}.index"))
        groups = _groups(candidate, indexes, _PART)
        if groups:
            return Checkpoint("parts", prefix, _only(candidate, groups))
    return None


def _leftovers(prefix: Path) -> list[Path]:
    """<prefix>_temp_<id>/part, where there is such a folder.  Raises FormatError where there are several."""
    folders = [folder for folder in _beside(prefix, "_temp*") if is_folder(folder)]
    found = [folder / "part" for folder in folders if any(folder.glob(f"part{_NUMBERS}.index"))]
    if len(found) > 1:
        names = ", ".join(str(part.parent) for part in found)
        raise FormatError(f"{prefix}: what {len(found)} interrupted saves have left behind; pass one of {names}")
    return found


def _beside(prefix: Path, ending: str) -> list[Path]:
    return sorted(prefix.parent.glob(glob.escape(prefix.name) + ending)) if is_folder(prefix.parent) else []


def _groups(base: Path, files: Iterable[Path], pattern: re.Pattern[str]) -> dict[int, tuple[Path, ...]]:
    """The number of files that there should be -> their names, for each such number."""
    matches = (pattern.match(file.name) for file in files)
    totals = sorted({int(match[2]) for match in matches if match and int(match[2])})
    return {n: tuple(base.with_name(f"{base.name}-{k:05d}-of-{n:05d}") for k in range(n)) for n in totals}


def _only(prefix: Path, groups: dict[int, tuple[Path, ...]]) -> tuple[Path, ...]:
    if len(groups) > 1:
        names = ", ".join(files[0].name for files in groups.values())
        raise FormatError(f"{prefix}: {len(groups)} checkpoints of this name; pass one of {names}, with the folder")
    (files,) = groups.values()
    return files


def _is_table(path: Path) -> bool:
    return is_file(path) and read_end(path, len(MAGIC)) == MAGIC
