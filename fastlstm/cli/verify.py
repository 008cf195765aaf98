"""Compare a file with TensorFlow's own run of it.

Needs a TensorFlow or Keras that runs the file: in this environment, or in the one of --python, down to TensorFlow 0.12.
The known input and every single step of the loop decide; a loop that is left to itself may amplify the last bit.
Exit status: 0 equal within the tolerance, 1 different, 2 the original could not be run.
"""

from __future__ import annotations

import argparse
import json
import sys

from fastlstm.cli import common
from fastlstm.errors import FastLSTMError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_path(parser)
    parser.add_argument("--python", metavar="PYTHON", help="a Python that has TensorFlow; this one by default")
    parser.add_argument("--steps", type=int, default=10_000, metavar="N", help="steps of the loop; 10,000 by default")
    parser.add_argument("--batch", type=int, default=1, metavar="B", help="sequences side by side; 1 by default")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random input; 0 by default")
    parser.add_argument("--device", default="cpu", help="what fastlstm runs on: cpu (default) or numpy")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="what fastlstm runs in; the file's by default")
    parser.add_argument("--tolerance", type=float, metavar="X", help="2e-6 for float32, 1e-13 for float64 by default")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="S", help="seconds that the original may take")
    parser.add_argument("--json", action="store_true", help="the same as JSON, for programs")
    common.add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    import fastlstm

    try:
        found = fastlstm.verify(
            args.path, scope=args.scope, device=args.device, dtype=args.dtype, python=args.python, steps=args.steps,
            seed=args.seed, batch=args.batch, tolerance=args.tolerance, timeout=args.timeout, **common.overrides(args),
        )  # fmt: skip
    except FastLSTMError as error:
        if args.json:
            print(json.dumps({"path": args.path, "equal": None, "problem": str(error)}, indent=2))
        print(f"fastlstm: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found.to_json(), indent=2) if args.json else found)
    return 0 if found else 1
