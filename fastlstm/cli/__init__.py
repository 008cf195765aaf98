"""The command line: arguments -> library calls -> text.

Each command is a module with `add_arguments(parser)` and `run(args) -> exit status`; its docstring is its help. They
import what is slow to import inside `run`.

Exit status: 0 if all is well, 1 with the reason on stderr for a FastLSTMError and where stdout cannot be written, 2
where argparse does not understand the arguments, 130 after Ctrl-C, 141 where the reader of a pipe went away.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from fastlstm import __version__
from fastlstm.cli import bench, demo, extract, generate, inspect, verify, warmup
from fastlstm.errors import FastLSTMError

COMMANDS = (inspect, extract, generate, verify, bench, demo, warmup)

_DESCRIPTION = "Run trained TensorFlow LSTMs without TensorFlow."
_EXAMPLES = """examples:
  fastlstm inspect model.ckpt-4199
  fastlstm extract model.keras -o weights.npz
  fastlstm generate model.ckpt-4199 --vocab vocab.json --prime "Once" -n 500 --temperature 0.8
  fastlstm verify model.ckpt-4199 --python /path/to/python-with-tensorflow
  fastlstm bench model.ckpt-4199 --rate 48000
  fastlstm demo

fastlstm COMMAND -h explains a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (the process's own when None) and give back the exit status."""
    return run(_parser().parse_args(argv))


def run(args: argparse.Namespace) -> int:
    """Run `args.command`; what goes wrong becomes a sentence on stderr and an exit status."""
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a character shows its code
            stream.reconfigure(errors="backslashreplace")
    try:
        status = args.command(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _drop_stdout()
        return 141
    except FastLSTMError as error:
        return _failed(str(error))
    except OSError as error:
        if error.filename is not None:  # not of a stream that is open already
            raise
        return _failed(f"standard output: cannot be written: {error.strerror or error}; send it elsewhere")
    except KeyboardInterrupt:
        return 130


def _failed(reason: str) -> int:
    """Say why on stderr; what stdout does not take any more is dropped."""
    try:
        sys.stdout.flush()
    except OSError:
        _drop_stdout()
    print(f"fastlstm: error: {reason}", file=sys.stderr)
    return 1


def _drop_stdout() -> None:
    """Python flushes stdout once more when it ends; what is left goes nowhere."""
    with contextlib.suppress(OSError):  # it has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Closed(io.TextIOBase):
    """In place of a stdout that was closed before we began: Python has None there, and drops what is printed."""

    def write(self, text: str) -> NoReturn:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _open_streams() -> None:
    """Make stdout and stderr what can be written to, or says that it cannot."""
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("fastlstm", description=_DESCRIPTION, epilog=_EXAMPLES, formatter_class=shape)
    parser.add_argument("--version", action="version", version=f"fastlstm {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        text = module.__doc__ or ""  # None under python -OO
        name, title = module.__name__.rpartition(".")[2], text.partition("\n")[0].rstrip(".")
        sub = commands.add_parser(name, help=title[:1].lower() + title[1:], description=text, formatter_class=shape)
        module.add_arguments(sub)
        sub.set_defaults(command=module.run)
    return parser
