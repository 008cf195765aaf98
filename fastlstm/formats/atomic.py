"""Output files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fastlstm.errors import WriteError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write, which becomes `path` at the end of the block; if anything fails, `path` stays what it was.

    Raises WriteError.
    """
    if "\0" in os.fsdecode(path):
        raise WriteError(f"{os.fspath(path)!r}: cannot be written: no name may hold the character NUL; choose another")
    target = Path(os.path.realpath(path))  # through a symbolic link, so that the link stays
    temporary = target.with_name(f".fastlstm-{secrets.token_hex(8)}.tmp")
    try:
        if target.exists() and not target.is_file():
            raise WriteError(
                f"{os.fspath(path)}: cannot be written: it is a folder or a device; pass the path of a file"
            )
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        if isinstance(error, WriteError):
            raise
        raise WriteError(
            f"{os.fspath(path)}: cannot be written: {error.strerror or error}; nothing was changed there; "
            f"choose another folder, or free space"
        ) from error
