"""A model's outputs, written as they are made, and how fast they were."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TextIO

from fastlstm import terminal
from fastlstm.errors import WriteError
from fastlstm.formats.atomic import replacing

if TYPE_CHECKING:
    from fastlstm.model import Model

#: Steps a compiled call makes: few where a person watches, more where the end is what counts.
_LIVE, _WHOLE = 16, 256


def produce(
    model: Model, n: int, texts: Callable[[Iterator[Any]], Iterator[str]], path: str | None, unit: str, **how: Any
) -> None:
    """Write what `model.iterate(n, **how)` gives.

    texts  makes pieces of text of the outputs; it may end before they do
    path   where to; stdout when None. A file that is there is replaced at the end, and kept if anything fails
    unit   what an output is called
    Raises WriteError, before anything runs if it can, and whatever `iterate` raises.
    """
    live = path is None and sys.stdout.isatty()
    chunk = _LIVE if live else _WHOLE
    outputs = model.iterate(n, **how, chunk=chunk)  # checks the arguments; nothing runs yet
    with _opened(path) as output:
        with terminal.compiling():
            next(iter(model.iterate(1, **how)))
        made, text = terminal.Meter(outputs), ""
        with _progress(output, n, unit) as bar:
            for text in texts(made):
                output.write(text)
                if path is None:
                    output.flush()
                if bar is not None:
                    bar.update(made.count - bar.n)
        if live and not text.endswith("\n"):
            output.write("\n")
    primed = 1 if how["prime"] is None else len(how["prime"])
    steps = primed + min(n, -(-made.count // chunk) * chunk) - 1  # the last output is not fed back
    print(
        f"{made.count} {unit} on {model.device}: {terminal.speed(made.seconds, steps)} "
        f"(of {steps} steps, the prime's among them; without loading, compiling and writing)",
        file=sys.stderr,
    )


@contextmanager
def _opened(path: str | None) -> Iterator[TextIO]:
    """The file at `path`, or stdout; what cannot be written is a WriteError."""
    try:
        if path is None:
            yield sys.stdout
        elif os.path.exists(path) and not os.path.isfile(path):  # /dev/stderr, a named pipe
            with open(path, "w", encoding="utf-8", newline="") as file:
                yield file
        else:
            with replacing(path) as whole:
                file = io.TextIOWrapper(whole, encoding="utf-8", newline="")
                yield file
                file.flush()
                file.detach()  # `whole` is not ours to close
    except (BrokenPipeError, WriteError):
        raise
    except OSError as error:
        where = "standard output" if path is None else path
        raise WriteError(f"{where}: cannot be written: {error.strerror}; choose another file with -o") from error


def _progress(output: TextIO, total: int, unit: str) -> AbstractContextManager[Any]:
    """A bar where `output` is a file and stderr a terminal; else None."""
    if not (sys.stderr.isatty() and _is_file(output)):
        return nullcontext()
    from tqdm import tqdm

    return tqdm(total=total, unit=f" {unit}", file=sys.stderr, leave=False)


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # not a real file, as when tests capture it
        return False
