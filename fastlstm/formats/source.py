"""A file read piece by piece, never past its end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError, MissingFileError


def is_file(path: Path) -> bool:
    """Whether `path` is a regular file; False for any name that the system refuses."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder; False for any name that the system refuses."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def check_access(path: Path) -> None:
    """Raises FormatError where something is at `path` that the system does not let us read."""
    try:
        if path.is_dir():
            with os.scandir(path):
                pass
        elif path.is_file():
            with path.open("rb"):
                pass
    except PermissionError as error:
        raise FormatError(
            f"{path}: cannot be read: {error.strerror}; change its permissions, or its folder's, or copy it"
        ) from error
    except (OSError, ValueError):  # nothing is there, or no such name can be
        return


class Source:
    """An open file of known size.

    name  what the messages call it
    size  bytes
    Raises MissingFileError if it is not there, FormatError if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise FormatError(f"{path}: expected a file, got a folder or a device")
            self._file = path.open("rb")
        except FileNotFoundError as error:
            raise MissingFileError(f"{path}: no such file") from error
        except (OSError, ValueError) as error:
            raise FormatError(f"{path}: cannot be read: {error}") from error
        self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def check(self, offset: int, size: int, what: str) -> None:
        """Raises FormatError unless bytes offset .. offset+size are inside the file."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise FormatError(
                f"{self.name}: {what} is said to be {size} bytes at byte {offset}, but the file has {self.size}; "
                "the file is damaged or truncated"
            )

    def read(self, offset: int, size: int, what: str) -> bytes:
        """`size` bytes from `offset`; `what` is what they hold, for the message.  Raises FormatError."""
        self.check(offset, size, what)
        try:
            self._file.seek(offset)
            data = self._file.read(size)
        except OSError as error:
            raise FormatError(f"{self.name}: {what} cannot be read: {error}") from error
        if len(data) != size:
            raise FormatError(
                f"{self.name}: {what} ended after {len(data)} of {size} bytes; the file changed while it was read"
            )
        return data

    def read_array(self, offset: int, size: int, what: str) -> NDArray[np.uint8]:
        """The same as a new array (size,), which can be decoded in place.  Raises FormatError."""
        self.check(offset, size, what)
        data = np.empty(size, np.uint8)
        try:
            self._file.seek(offset)
            got = self._file.readinto(data)
        except OSError as error:
            raise FormatError(f"{self.name}: {what} cannot be read: {error}") from error
        if got != size:
            raise FormatError(
                f"{self.name}: {what} ended after {got} of {size} bytes; the file changed while it was read"
            )
        return data


def read_whole(path: Path, limit: int) -> bytes:
    """All bytes of a file, which may have `limit`.  Raises FormatError or MissingFileError."""
    with Source(path) as source:
        if source.size > limit:
            raise FormatError(
                f"{source.name}: {source.size} bytes, expected at most {limit}; the file is damaged, or of another "
                "format under this name"
            )
        return source.read(0, source.size, "the file")


def read_start(path: Path, size: int) -> bytes:
    """Up to `size` bytes from the start of a file; none if it cannot be read."""
    try:
        with Source(path) as source:
            return source.read(0, min(size, source.size), "the start")
    except FormatError:
        return b""


def read_end(path: Path, size: int) -> bytes:
    """Up to `size` bytes from the end of a file; none if it cannot be read."""
    try:
        with Source(path) as source:
            size = min(size, source.size)
            return source.read(source.size - size, size, "the end")
    except FormatError:
        return b""
