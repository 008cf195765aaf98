"""PyTorch's `.pt` and `.pth` files: a zip of a pickle and of one file a storage.  Source: torch/serialization.py."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.dtypes import DTYPES, byte_count, decode, item_size
from fastlstm.formats.source import Source, read_start
from fastlstm.formats.tensors import Tensors, TensorSpec
from fastlstm.formats.torch_pickle import Opaque, TensorView, interpret

MAGIC = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle of a file from before PyTorch 1.6
PICKLE = "data.pkl"
MAX_PICKLE = 64 << 20
MAX_ENTRIES = 1_000_000  # of all dictionaries together
MAX_DEPTH = 32
_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, NotImplementedError)


def detect(path: Path) -> bool:
    """A zip whose list has a `data.pkl` in its one folder, or a file from before PyTorch 1.6."""
    start = read_start(path, len(LEGACY))
    if start[:4] != MAGIC:
        return start == LEGACY
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/")[1:] == [PICKLE] for name in archive.namelist())
    except _ERRORS:
        return False


def read(path: Path) -> Artefact:
    """The tensors of all dictionaries, by their keys joined with "/".  Raises FormatError."""
    if read_start(path, len(LEGACY)) == LEGACY:
        raise FormatError(
            f"{path.name}: a PyTorch file from before PyTorch 1.6, which is not read; in PyTorch: "
            f"torch.save(torch.load({path.name!r}, weights_only=True), 'new.pt')"
        )
    members = _members(path)
    folder = next(name for name in members if name.split("/")[1:] == [PICKLE]).split("/")[0]
    if any(name.startswith(f"{folder}/code/") for name in members):
        raise FormatError(
            f"{path.name}: TorchScript, a program; fastlstm runs none. In PyTorch: "
            f"torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pt')"
        )
    whole = interpret(_content(path, f"{folder}/{PICKLE}", members, MAX_PICKLE), f"{path.name}: {PICKLE}")
    if isinstance(whole, Opaque):
        raise FormatError(
            f"{path.name}: an object of class {whole.name}, which only its own Python code can make; in PyTorch: "
            f"torch.save(model.state_dict(), 'weights.pt')"
        )
    order = f"{folder}/byteorder"
    big_endian = order in members and _content(path, order, members, 16).strip() == b"big"
    views, left_out = _named(whole, path.name)
    specs = {name: _spec(view, name, folder, members, path.name) for name, view in views.items()}

    def fetch(name: str) -> NDArray[Any]:
        view, where = views[name], f"{path.name}: tensor {name!r}"
        raw = _content(path, f"{folder}/data/{view.storage.key}", members, None)
        dtype = next(dtype for dtype in DTYPES.values() if dtype.name == view.storage.dtype)
        size = view.storage.count * item_size(dtype, where)
        flat = decode(raw[:size], dtype, (view.storage.count,), where, big_endian)
        steps = tuple(stride * flat.itemsize for stride in view.strides)
        return np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, steps).copy()

    notes = (f"left out, being no tensors: {', '.join(left_out[:8])}",) if left_out else ()
    return Artefact(path, "pytorch", Tensors(specs, fetch), notes=notes)


def _members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """What is in the zip; together no more than the file itself.  Raises FormatError."""
    with Source(path) as source:
        size = source.size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except _ERRORS as error:
        raise FormatError(f"{path.name}: zip cannot be read: {error}; the file is damaged or truncated") from error
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise FormatError(f"{path.name}: {entry.filename!r} is compressed; torch.save does not compress")
    if sum(entry.file_size for entry in entries) > size or len({e.filename for e in entries}) != len(entries):
        raise FormatError(f"{path.name}: the zip's entries overlap or are there twice; the file is damaged")
    return {entry.filename: entry for entry in entries}


def _content(path: Path, name: str, members: dict[str, zipfile.ZipInfo], limit: int | None) -> bytes:
    """A member, whose checksum zipfile compares.  Raises FormatError."""
    if name not in members:
        raise FormatError(f"{path.name}: {name!r} is missing; the file is damaged or truncated")
    if limit is not None and members[name].file_size > limit:
        raise FormatError(f"{path.name}: {name!r} has {members[name].file_size} bytes, expected at most {limit}")
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(members[name])
    except _ERRORS as error:
        raise FormatError(f"{path.name}: {name!r} cannot be read: {error}; the file is damaged") from error


def _named(whole: Any, where: str) -> tuple[dict[str, TensorView], list[str]]:
    """All tensors by their place in the dictionaries, and the names of what is none."""
    views: dict[str, TensorView] = {}
    left_out: list[str] = []
    waiting, seen = [("", whole, 0)], 0
    while waiting:
        prefix, value, depth = waiting.pop()
        seen += 1
        if seen > MAX_ENTRIES or depth > MAX_DEPTH:
            raise FormatError(f"{where}: dictionaries too many or too deep; expected a state_dict: save that alone")
        if isinstance(value, TensorView):
            views[prefix or "tensor"] = value
        elif isinstance(value, dict):
            entries = [(f"{prefix}/{key}" if prefix else str(key), each, depth + 1) for key, each in value.items()]
            waiting.extend(reversed(entries))
        elif not isinstance(value, (str, int, float, bytes, type(None))):
            left_out.append(
                f"{prefix or 'the file'} ({value.name if isinstance(value, Opaque) else type(value).__name__})"
            )
    return views, left_out


def _spec(view: TensorView, name: str, folder: str, members: dict[str, zipfile.ZipInfo], source: str) -> TensorSpec:
    """What a view's array will be, once it is seen to lie in its storage.  Raises FormatError."""
    where = f"{source}: tensor {name!r}"
    item = item_size(next(dtype for dtype in DTYPES.values() if dtype.name == view.storage.dtype), where)
    total = byte_count(view.shape, item, where)
    member = members.get(f"{folder}/data/{view.storage.key}")
    bad = len(view.strides) != len(view.shape) or view.offset < 0 or any(stride < 0 for stride in view.strides)
    last = view.offset + sum((n - 1) * stride for n, stride in zip(view.shape, view.strides, strict=False) if n)
    if bad or member is None or not 0 <= view.storage.count * item <= member.file_size:
        raise FormatError(f"{where}: its storage {view.storage.key!r} is missing or too short; the file is damaged")
    if total and (last >= view.storage.count or total > view.storage.count * item):
        raise FormatError(
            f"{where}: shape {view.shape} with strides {view.strides} from {view.offset} leaves its storage of "
            f"{view.storage.count} elements; the file is damaged"
        )
    if view.offset > view.storage.count:
        raise FormatError(f"{where}: starts at {view.offset} of {view.storage.count}; the file is damaged")
    return TensorSpec(view.shape, view.storage.dtype)
