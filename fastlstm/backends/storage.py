"""Object files on disk: where they are, what they are called, and how they are written whole or not at all.

A file's name has a digest of all that the code in it depends on, so that it is never stale; its content a checksum.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from llvmlite import __version__ as llvmlite_version
from llvmlite import binding

from fastlstm.backends import processor

_MAGIC = b"fastlstm object 1\n"
_COMPILER_SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO", "DISABLE_INTEL_SVML")


def folders() -> list[Path]:
    """Where object files are looked for, and written: the first that can be."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return [Path(given) / "fastlstm"]
    return [Path(__file__).parent / "__pycache__", *_user_folder()]


def _user_folder() -> list[Path]:
    """The user's folder for caches; none where there is no home."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        place = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        place = os.path.join(home, "Library", "Caches")
    else:
        place = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return [Path(place) / "fastlstm"] if place and os.path.isabs(place) else []


def file_name(name: str) -> str:
    return f"{name}-{_key()}.o"


@cache
def _key() -> str:
    """A digest of everything that compiled code depends on."""
    here = Path(__file__).parent
    numba = find_spec("numba")
    sources = sorted([*here.glob("*.py*"), here.parent / "layers" / "activations.py"])
    if numba is not None and numba.origin:
        sources.append(Path(numba.origin).with_name("_version.py"))
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes() if source.is_file() else b"")
    settings = [os.environ.get(f"NUMBA_{name}") for name in _COMPILER_SETTINGS]
    layout = (sys.implementation.cache_tag, object.__basicsize__, np.__version__.partition(".")[0])
    machine = (binding.get_process_triple(), processor.name(), sorted(processor.features()))
    version = sys.modules["fastlstm"].__version__  # where the sources are in an archive, or are not there
    digest.update(repr((version, llvmlite_version, settings, layout, machine)).encode())
    return digest.hexdigest()[:20]


def read(name: str) -> bytes | None:
    """The object file's content; None where there is none that is whole."""
    return next((content for _, content in _wholes(name)), None)


def path_of(name: str) -> Path | None:
    """Where the object file is; None where there is none that is whole."""
    return next((path for path, _ in _wholes(name)), None)


def _wholes(name: str) -> Iterator[tuple[Path, bytes]]:
    for folder in folders():
        path = folder / file_name(name)
        try:
            data = path.read_bytes()
        except OSError:
            continue
        head, content = data[: len(_MAGIC) + 4], data[len(_MAGIC) + 4 :]
        if head == _head(content):
            yield path, content


def _head(content: bytes) -> bytes:
    return _MAGIC + zlib.crc32(content).to_bytes(4, "little")


def keep(name: str, content: bytes) -> tuple[Path | None, str]:
    """Write an object file into the first folder that takes it: its path and "", or why none does."""
    problems = []
    for folder in folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / file_name(name), _head(content) + content)
        except OSError as error:
            problems.append(f"{folder}: {error.strerror or error}")
        else:
            return folder / file_name(name), ""
    return None, "; ".join(problems)


def _write(path: Path, content: bytes) -> None:
    """All or nothing: another process may read it, or write the same."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)  # mkstemp's is for its owner alone, who may be an installer
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
