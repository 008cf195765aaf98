"""Keras 3's `.keras` file: a zip of the configuration as JSON and of the weights as HDF5; or the same, not zipped.

Source: keras/src/saving/saving_lib.py.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from fastlstm.errors import FormatError
from fastlstm.formats.artefact import Artefact, KerasConfig
from fastlstm.formats.hdf5 import Hdf5
from fastlstm.formats.json_text import parse_object
from fastlstm.formats.keras_tree import read_tree
from fastlstm.formats.source import Source, is_file, read_start, read_whole

MAGIC = b"PK\x03\x04"
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
EXPANSION = 2  # the members together may be that many times the file,
SLACK = 12 << 20  # and this many bytes: Keras does not compress


def detect(path: Path) -> bool:
    """A zip file."""
    return read_start(path, len(MAGIC)) == MAGIC


def read(path: Path) -> Artefact:
    """The weights by their path in the model, and the configuration.  Raises FormatError."""
    members = _read_members(path, (CONFIG, METADATA, WEIGHTS))
    described = _described(path, members)
    tensors = read_tree(Hdf5.of_bytes(members[WEIGHTS], f"{path.name}: {WEIGHTS}"))
    return Artefact(path, "keras", tensors, keras=described)


def detect_folder(path: Path) -> bool:
    """A folder with what a `.keras` file has in it, as `save_model(zipped=False)` writes it."""
    return all(is_file(path / name) for name in (CONFIG, METADATA, WEIGHTS))


def read_folder(path: Path) -> Artefact:
    """As `read`.  Raises FormatError."""
    members = {name: read_whole(path / name, SLACK) for name in (CONFIG, METADATA)}
    described = _described(path, members)
    return Artefact(path, "keras-folder", read_tree(Hdf5.of_path(path / WEIGHTS)), keras=described)


def _described(path: Path, members: dict[str, bytes]) -> KerasConfig:
    config = parse_object(members[CONFIG], f"{path.name}: {CONFIG}")
    version = parse_object(members[METADATA], f"{path.name}: {METADATA}").get("keras_version")
    if not isinstance(version, str):
        raise FormatError(f"{path.name}: {METADATA}: keras_version {version!r}, expected text; the file is damaged")
    return KerasConfig(config, version)


def _read_members(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The contents of a zip's members, whose checksums zipfile compares.  Raises FormatError."""
    with Source(path) as source:
        limit = EXPANSION * source.size + SLACK
    try:
        with zipfile.ZipFile(path) as archive:
            present = archive.namelist()
            missing = [name for name in names if name not in present]
            if missing:
                raise FormatError(
                    f"{path.name}: a zip without {', '.join(missing)}, got {', '.join(present[:10]) or 'nothing'}; "
                    "expected what Keras 3's model.save writes, with the weights in one HDF5 file"
                )
            double = [name for name in names if present.count(name) > 1]
            if double:
                raise FormatError(f"{path.name}: a zip with {', '.join(double)} twice; the file is damaged")
            members = [archive.getinfo(name) for name in names]
            size = sum(member.file_size for member in members)
            methods = {member.compress_type for member in members}
            if not methods <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} or size > limit:
                raise FormatError(
                    f"{path.name}: members of {size} bytes, compression method {max(methods)}; expected at most "
                    f"{limit} bytes, stored or deflated; the file is damaged, or compressed well: zip it again, stored"
                )
            return {name: archive.read(name) for name in names}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, NotImplementedError) as error:
        raise FormatError(f"{path.name}: zip cannot be read: {error}; the file is damaged or truncated") from error
