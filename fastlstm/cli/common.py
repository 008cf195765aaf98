"""The arguments that several commands have."""

from __future__ import annotations

import argparse
import ast
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastlstm.model import Model

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


def add_running(parser: argparse.ArgumentParser) -> None:
    """How the model runs."""
    add = parser.add_argument
    add(
        "--device", default="cpu",
        help="cpu, compiled; cuda, a GPU; or numpy, plain NumPy (default: %(default)s)",
    )  # fmt: skip
    add("--dtype", choices=("float32", "float64"), help="what fastlstm runs in; the file's by default")
    add("--weights", metavar="KIND", help="how the weights are stored: bfloat16 or int8; as --dtype by default")
    add("--threads", type=int, default=1, metavar="N", help="that share a step (default: %(default)s)")


def load(args: argparse.Namespace) -> Model:
    """The model of a command with a path, `add_running` and `add_overrides`."""
    import fastlstm

    return fastlstm.load(
        args.path, scope=args.scope, device=args.device, dtype=args.dtype, weights=args.weights, threads=args.threads,
        **overrides(args),
    )  # fmt: skip


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
