"""Time a model: microseconds a step, how far from the memory's bound, how late the late steps are.

Its own layers are run by other libraries as well, those of --against that are installed; each gives the right answers
before it is timed, on as many threads, and all take turns, so that their ratios hold on a busy machine.  The bound is
the time to read the weights once, at the bandwidth that is measured in the same run.

examples:
  fastlstm bench model.ckpt-4199
  fastlstm bench model.keras --rate 48000 --against none
  fastlstm bench model.h5 --against tensorflow,onnxruntime --json bench.json --markdown bench.md --plot bench.svg
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fastlstm.cli import common
from fastlstm.errors import ArgumentError, WriteError

if TYPE_CHECKING:
    from fastlstm.bench.result import BenchResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_path(parser)
    add = parser.add_argument
    add("--rate", type=float, metavar="HZ", help="steps a second that are wanted, e.g. 48000: does the model keep up?")
    add(
        "--against", default="all", metavar="NAMES",
        help="numpy, tensorflow, litert, onnxruntime, torch, with commas; all that are installed (default), or none",
    )  # fmt: skip
    add(
        "--steps",
        type=int,
        metavar="N",
        help="how many to take the latency of; 100,000 in half of --seconds by default",
    )
    add("--seconds", type=float, default=10.0, metavar="S", help="how long to measure, about (default: %(default)g)")
    add("--json", metavar="FILE", help="write all figures there as JSON; - is stdout, in place of the table")
    add("--markdown", metavar="FILE", help="write the table there as Markdown")
    add("--plot", metavar="FILE", help="draw it in FILE.svg or FILE.png (needs matplotlib)")
    common.add_running(parser)
    common.add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    from fastlstm.bench import measure, peers

    against = peers.chosen(args.against)
    _check_files(args)
    model = common.load(args)
    found = measure.bench(
        model, against=against, rate=args.rate, calls=args.steps, seconds=args.seconds,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )  # fmt: skip
    _show(args, found)
    return 0


def _check_files(args: argparse.Namespace) -> None:
    """Raise before anything is measured where the results could not be written: ArgumentError, WriteError."""
    for option in ("json", "markdown", "plot"):
        path = getattr(args, option)
        if path is not None and not Path(path).absolute().parent.is_dir():
            raise WriteError(f"--{option}: {path} cannot be written: no such folder; choose another")
    if args.plot is None:
        return
    if Path(args.plot).suffix not in (".svg", ".png"):
        raise ArgumentError(f"--plot: {args.plot!r}; expected a name that ends in .svg or .png")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ArgumentError(f"--plot needs matplotlib ({error}): pip install matplotlib") from None


def _show(args: argparse.Namespace, found: BenchResult) -> None:
    """On stdout, and in the files that were asked for."""
    from fastlstm.bench import text
    from fastlstm.formats.atomic import replacing

    data = json.dumps({"path": args.path, **found.to_json()}, indent=2)
    print(data if args.json == "-" else text.terminal(found, args.path))
    if args.json not in (None, "-"):
        with replacing(args.json) as file:
            file.write(f"{data}\n".encode())
    if args.markdown is not None:
        with replacing(args.markdown) as file:
            file.write(text.markdown(found, args.path).encode())
    if args.plot is not None:
        from fastlstm.bench.plot import draw

        with replacing(args.plot) as file:
            draw(found, file, Path(args.plot).suffix[1:], Path(args.path).name)
