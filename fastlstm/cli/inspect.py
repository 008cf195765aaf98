"""Say what a file holds, and which LSTM fastlstm makes of it.

How each hyper-parameter is known is one of: read (it is in the file), inferred (it follows from what is in the file),
assumed (TensorFlow's default; check it).  The exit status is 1 if no LSTM was recognised.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from fastlstm.cli import common
from fastlstm.errors import RecognitionError

if TYPE_CHECKING:
    from fastlstm.inspection import Inspection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_path(parser)
    parser.add_argument("--json", action="store_true", help="the same as JSON, for programs")
    common.add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    import fastlstm

    found = fastlstm.inspect(args.path, scope=args.scope, **common.overrides(args))
    print(json.dumps(_plain(found), indent=2) if args.json else found, flush=True)
    if found.problem is not None:
        raise RecognitionError(found.problem)
    return 0


def _plain(found: Inspection) -> dict[str, Any]:
    layers = [
        {
            "type": type(layer).__name__,
            "config": layer.config(),
            "arrays": {name: list(a.shape) for name, a in layer.arrays().items()},
        }
        for layer in found.layers
    ]
    return {
        "path": str(found.path),
        "format": found.format,
        "written_by": found.written_by,
        "files": [str(file) for file in found.files],
        "tensors": {
            name: {"shape": list(spec.shape), "dtype": str(spec.dtype)} for name, spec in found.tensors.items()
        },
        "layers": layers,
        "report": found.report.to_json(),
        "problem": found.problem,
        "notes": list(found.notes),
    }
