"""The arguments that several commands have."""

from __future__ import annotations

import argparse
import ast
from typing import Any

#: What `load` and `extract` take by these names is not a hyper-parameter.
_NOT_OVERRIDES = {
    *("path", "source", "out", "scope", "device", "dtype", "weights", "threads"),
    *("python", "steps", "seed", "batch", "tolerance", "timeout", "known_answer"),
}


def add_path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", help="a checkpoint (prefix, one of its files, or its folder), .keras, .h5 ..."
    )
    parser.add_argument("--scope", metavar="S", help="which LSTM, where the file holds several")


def add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", action="append", default=[], type=_override, metavar="NAME=VALUE", dest="overrides",
        help="a hyper-parameter that you know better than the file, e.g. forget_bias=0.0 or head=None; may be repeated",
    )  # fmt: skip


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """The hyper-parameters of --set; of one that is given twice, the last."""
    return dict(args.overrides)


def _override(text: str) -> tuple[str, Any]:
    """ "forget_bias=0.0" -> ("forget_bias", 0.0); a value that is not a Python literal is a string."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r}; expected NAME=VALUE, e.g. forget_bias=0.0")
    if name in _NOT_OVERRIDES:
        raise argparse.ArgumentTypeError(f"{name!r} is not a hyper-parameter; see -h for the option that sets it")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
