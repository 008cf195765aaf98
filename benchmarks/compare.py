"""fastlstm against its peers, in one run: `python -m benchmarks.compare [part ...] [-o benchmarks/results/NAME]`.

Every peer's answers are checked in float64 before it is timed; the peers and the bound take turns. Prints Markdown, and
with -o writes NAME.md, NAME.json and pictures. `--redraw NAME` makes the Markdown and the pictures of NAME.json anew.
"""

import argparse
import json
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import bounds, plots, report
from benchmarks.checkpoint import load_times, write_checkpoint
from benchmarks.parts import PARTS, Options
from benchmarks.peers import STEPS
from benchmarks.problem import SIZES
from fastlstm.bench import bandwidth, machine


def compare(parts: list[str], options: Options) -> dict[str, Any]:
    """Everything that a result file says."""
    before, levels = machine.load_average(), bandwidth.levels()
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "processor": machine.processor(),
        "cores": machine.cores(),
        "versions": machine.versions(),
        "read_bandwidth_gb_s": {size: rate / 1e9 for size, rate in levels.items()},
        "multiply_add_gflop_s": bounds.peak() / 1e9,
    }
    for name in parts:
        start = time.perf_counter()
        if name == "load":
            result["load_s"] = _load()
        else:
            result[name] = list(PARTS[name](options))
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    result["load_average"] = [before, machine.load_average()]
    return result


def _load() -> dict[str, float]:
    if STEPS["tf.function"].missing:
        return {}  # TensorFlow writes the checkpoint that is loaded
    with tempfile.TemporaryDirectory() as folder:
        return load_times(write_checkpoint(Path(folder)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*PARTS, "load"]
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{' '.join(names)}; all of them when none is given")
    parser.add_argument("-o", "--output", type=Path, help="write this name with .md, .json and the pictures' endings")
    parser.add_argument("--redraw", type=Path, help="no measuring: the Markdown and the pictures of this name's .json")
    parser.add_argument("--sizes", nargs="*", default=[f"{d},{h}" for d, h in SIZES], help="of steps and loops")
    parser.add_argument("--rounds", type=int, default=15, help="turns that each peer takes")
    parser.add_argument("--only", default="", help="of the peers those with this in their names")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(names):
        parser.error(f"no part {', '.join(sorted(unknown))}; expected {', '.join(names)}")
    if args.redraw:
        result, output = json.loads(Path(f"{args.redraw}.json").read_text()), args.redraw
    else:
        wanted = tuple(tuple(map(int, size.split(","))) for size in args.sizes)
        result, output = compare(args.parts or names, Options(wanted, args.rounds, args.only)), args.output
    pictures = plots.draw(result, output) if output else []
    report.publish(report.markdown(result, pictures), result, output)


if __name__ == "__main__":
    main()
