"""Compile everything now, so that no process has to later: at install time, in a Dockerfile.

What is compiled serves every model, and depends on the CPU, on Numba and on fastlstm's version.  It is written beside
the package, or into the user's cache folder where the package is read-only; NUMBA_CACHE_DIR names another place.
The exit status is 1 where nothing can be written.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fastlstm.errors import DeviceError, WriteError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dtypes = ("float32", "float64")
    parser.add_argument("--dtype", nargs="+", choices=dtypes, default=dtypes, help="of the models (default: both)")
    parser.add_argument("--device", choices=("cpu",), default="cpu", help="where they run (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    begin = time.perf_counter()
    try:
        from fastlstm.backends import entries, objects, storage
    except ImportError as error:
        raise DeviceError(f"warmup: Numba, which compiles, cannot be imported ({error}); install numba") from error
    objects.check_compiling()
    _kept("probe", b"").unlink(missing_ok=True)  # before it takes a minute
    made, paths = 0, []
    for name in entries.names(args.dtype):
        path = storage.path_of(name)
        if path is None:
            start = time.perf_counter()
            path, made = _kept(name, entries.compiled(name)), made + 1
            print(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
        paths.append(path)
    size = sum(path.stat().st_size for path in paths)
    print(
        f"{len(paths)} compiled functions, {made} of them compiled now, in {time.perf_counter() - begin:.1f} s: "
        f"{size / 1e6:.1f} MB in {', '.join(sorted({str(path.parent) for path in paths}))}"
    )
    return 0


def _kept(name: str, content: bytes) -> Path:
    from fastlstm.backends import storage

    path, problem = storage.keep(name, content)
    if path is None:
        raise WriteError(
            f"warmup: compiled code cannot be written ({problem}); "
            "set NUMBA_CACHE_DIR to a folder that can be written, here and where fastlstm runs"
        )
    return path
