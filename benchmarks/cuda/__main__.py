"""The CUDA backend on a GPU: checked against the oracle, then timed beside PyTorch and cuDNN and what the GPU allows.

python -m benchmarks.cuda [part ...] [--quick] [-o benchmarks/results/NAME]

Prints Markdown; with -o writes NAME.md, NAME.json and pictures. The exit status is 1 where a check fails, after which
nothing is timed, and 2 where there is no GPU. `--simulator` checks tiny models in Numba's simulator, without a GPU, and
`--redraw NAME` makes the Markdown and the pictures of NAME.json anew.
"""

import argparse
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.cuda import report
from benchmarks.report import publish
from fastlstm import DeviceError
from fastlstm.bench import machine

_SIMULATOR = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
_TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="of what is timed; all when none is given")
    parser.add_argument("-o", "--output", type=Path, help="write this name with .md, .json and the pictures' endings")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds: within five minutes")
    parser.add_argument("--check-only", action="store_true", help="nothing is timed")
    parser.add_argument("--tiny", action="store_true", help="the checks that the simulator makes; nothing is timed")
    parser.add_argument("--simulator", action="store_true", help="--tiny, in Numba's simulator")
    parser.add_argument(
        "--sanitizer", nargs="*", metavar="tool",
        help=f"the tiny checks under compute-sanitizer too: {', '.join(_TOOLS)}; by default all, where it is there",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, help="of what is drawn for the checks; a new one when not given")
    parser.add_argument("--only", default="", help="of the peers fastlstm, and those with this in their names")
    parser.add_argument("--redraw", type=Path, help="no measuring: the Markdown and the pictures of this name's .json")
    args = parser.parse_args()
    if args.redraw:
        return _publish(json.loads(Path(f"{args.redraw}.json").read_text()), args.redraw)
    if args.simulator and not _simulated():  # Numba looks when it is imported
        again = [sys.executable, "-m", "benchmarks.cuda", *sys.argv[1:]]
        raise SystemExit(subprocess.run(again, env={**os.environ, **_SIMULATOR}).returncode)
    try:
        from fastlstm.backends.cuda import device

        found = device.find()
    except DeviceError as error:
        print(f"no GPU, so nothing was checked or timed: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    with _all_blocks():
        result = _result(args, found)
    _publish(result, args.output)
    if not all(check["right"] for check in result["checks"]):
        print("a check failed", file=sys.stderr)
        raise SystemExit(1)


def _simulated() -> bool:
    return all(os.environ.get(name) == value for name, value in _SIMULATOR.items())


def _all_blocks() -> contextlib.AbstractContextManager[None]:
    """The simulator's threads each with a `cuda` of their own; nothing on a device."""
    if not _simulated():
        return contextlib.nullcontext()
    from tests.cuda.simulator import all_blocks

    return all_blocks()


def _publish(result: dict[str, Any], output: Path | None) -> None:
    pictures = plots.draw(result, output, report.figures) if output else []
    publish(report.markdown(result, pictures), result, output)


def _result(args: argparse.Namespace, found: Any) -> dict[str, Any]:
    from benchmarks.cuda import checks

    seed = secrets.randbelow(2**32) if args.seed is None else args.seed
    scale = checks.TINY if args.tiny or args.simulator else checks.QUICK if args.quick else checks.FULL
    if _simulated():
        scale = replace(scale, exact="numpy")
    say(f"{found.name}, seed {seed}")
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "processor": found.name,
        "device": asdict(found),
        "versions": machine.versions(),
        "seed": seed,
        "checks": checks.run(scale, seed, _poison, say),
    }
    say(f"checks: {sum(check['seconds'] for check in result['checks']):.0f} s")
    result["checks"] += [_sanitized(tool, seed) for tool in _tools(args)]
    right = all(check["right"] for check in result["checks"])
    if right and not (args.check_only or args.tiny or args.simulator):
        result |= _timed(args, found)
    return result


def _tools(args: argparse.Namespace) -> Sequence[str]:
    """Of compute-sanitizer, those to check with."""
    if args.sanitizer is None and (args.quick or args.tiny or args.simulator):
        return ()
    if shutil.which("compute-sanitizer") is None:
        say("compute-sanitizer is not there: memory and races are left unchecked")
        return ()
    return args.sanitizer or _TOOLS


def _timed(args: argparse.Namespace, found: Any) -> dict[str, Any]:
    from benchmarks.cuda import events, parts
    from benchmarks.cuda.limits import Limits

    limits = Limits(found)
    options = parts.quick(limits) if args.quick else parts.Options(limits)
    options = replace(options, only=args.only)
    result: dict[str, Any] = {"limits": limits.measured(events.interleave(limits.calls, rounds=options.rounds))}
    result["layouts"] = parts.layouts(options, found)
    for name in args.parts or parts.PARTS:
        start = time.perf_counter()
        result[name] = list(parts.PARTS[name](options))
        say(f"{name}: {time.perf_counter() - start:.0f} s")
    result["kernels"] = _kernels()
    return result


def _kernels() -> dict[str, dict[str, int]]:
    """What each kernel that was launched takes of a multiprocessor; all of `loop`'s shared memory is a launch's own."""
    from fastlstm.backends.cuda import kernels

    found = {}
    for name, (kernel, argument_types, _) in kernels.SIGNATURES.items():
        if compiled := kernel.overloads.get(tuple(argument_types)):
            found[name] = {
                "registers": compiled.regs_per_thread, "local bytes": compiled.local_mem_per_thread,
                "static shared bytes": compiled.shared_mem_per_block,
            }  # fmt: skip
    return found


def _poison() -> None:
    """Fill free device memory, of which the next buffers are made, with NaN."""
    from numba import cuda

    if _simulated():
        return
    from numba.cuda.cudadrv.driver import device_memset

    held = [cuda.device_array(1 << k, "u1") for k in range(9, 27) for _ in range(4)]
    for block in held:
        device_memset(block, 0xFF, block.size)
    cuda.synchronize()
    del held, block
    cuda.current_context().deallocations.clear()


def _sanitized(tool: str, seed: int) -> dict[str, Any]:
    """The tiny checks under NVIDIA's memory and race checker, as one check more."""
    check = {"check": f"compute-sanitizer {tool}", "error": 0.0, "tolerance": 0, "right": True, "said": ""}
    start = time.perf_counter()
    command = [
        "compute-sanitizer",
        "--tool",
        tool,
        "--error-exitcode",
        "9",
        sys.executable,
        "-m",
        "benchmarks.cuda",
        "--tiny",
    ]
    done = subprocess.run([*command, "--seed", str(seed)], capture_output=True, text=True)
    said = "" if done.returncode == 0 else (done.stdout + done.stderr)[-500:]
    return {**check, "right": not said, "said": said, "seconds": round(time.perf_counter() - start, 1)}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
