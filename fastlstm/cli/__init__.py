"""The command line: arguments -> library calls -> text.

Each command is a module with `add_arguments(parser)` and `run(args) -> exit status`; its docstring is its help. They
import what is slow to import inside `run`.

Exit status: 0 if all is well, 1 with the reason on stderr for a FastLSTMError, 2 where argparse does not understand the
arguments, 130 after Ctrl-C, 141 where the reader of a pipe went away.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from fastlstm import __version__
from fastlstm.cli import demo, extract, generate, inspect
from fastlstm.errors import FastLSTMError

COMMANDS = (inspect, extract, generate, demo)

_DESCRIPTION = "Run trained TensorFlow LSTMs without TensorFlow."
_EXAMPLES = """examples:
  fastlstm inspect model.ckpt-4199
  fastlstm extract model.keras -o weights.npz
  fastlstm generate model.ckpt-4199 --vocab vocab.json --prime "Once" -n 500 --temperature 0.8
  fastlstm demo

fastlstm COMMAND -h explains a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (the process's own when None) and give back the exit status."""
    return run(_parser().parse_args(argv))


def run(args: argparse.Namespace) -> int:
    """Run `args.command`; what goes wrong becomes a sentence on stderr and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a character shows its code
            stream.reconfigure(errors="backslashreplace")
    try:
        status = args.command(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Python flushes stdout once more when it ends; what is left goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except FastLSTMError as error:
        print(f"fastlstm: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


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
