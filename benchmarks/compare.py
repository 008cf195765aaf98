"""fastlstm against its peers, in one run: `python -m benchmarks.compare [-o benchmarks/results/NAME]`.

Every peer's answer is checked in float64 before it is timed; the peers take turns; the bound is what it takes to read
the weights once at the bandwidth measured in the same run. Prints Markdown, and writes NAME.md and NAME.json with -o.
"""

import argparse
import sys
import tempfile
from datetime import date
from pathlib import Path

from benchmarks import report
from benchmarks.checkpoint import load_times, write_checkpoint
from benchmarks.peers import AT_ONE_SIZE, LOOPS, STEPS, checked_loop, checked_step
from benchmarks.problem import SIZES, Problem, WrongAnswer
from fastlstm.bench import bandwidth, machine
from fastlstm.bench.interleave import interleave

LOOP_STEPS = 1000


def steps(sizes, names, levels, rounds):
    """Per size: bound, and the timing of each peer, us a step driven from Python."""
    for size in sizes:
        problem = Problem(*size)
        wanted = [name for name in names if AT_ONE_SIZE.get(name, size) == size]
        yield _timed(size, problem, wanted, lambda name, p=problem: checked_step(name, p), levels, rounds, head=False)


def loops(sizes, names, levels, rounds):
    """The same for a step of the autoregressive loop."""
    for size in sizes:
        problem = Problem(*size)
        yield _timed(
            size, problem, names, lambda name, p=problem: checked_loop(name, p, LOOP_STEPS), levels, rounds, head=True
        )


def _timed(size, problem, names, prepare, levels, rounds, *, head):
    calls, refused = {}, {}
    for name in names:
        try:
            calls[name] = prepare(name)
        except WrongAnswer as error:
            refused[name] = str(error)
            print(f"not timed: {error}", file=sys.stderr)
    timings, each = interleave(calls, rounds=rounds), LOOP_STEPS if head else 1
    print(f"{'loop' if head else 'step'} {size} done", file=sys.stderr)
    first = timings[names[0]]
    return {
        "size": list(size),
        "bound_us": 1e6 * bandwidth.bound(problem.weight_bytes(head=head), levels),
        "median_us": {name: 1e6 * timing.median / each for name, timing in timings.items()},
        "best_us": {name: 1e6 * timing.best / each for name, timing in timings.items()},
        "times_the_first": {name: timing.ratio(first) for name, timing in timings.items()},
        "refused": refused,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="write this name with .md and .json at its end")
    parser.add_argument("--sizes", nargs="*", default=[f"{d},{h}" for d, h in SIZES], help="input,hidden ...")
    parser.add_argument("--rounds", type=int, default=15, help="turns that each peer takes")
    parser.add_argument("--only", default="", help="only peers with this in their names, and fastlstm's first one")
    parser.add_argument("--no-load", action="store_true", help="leave out the load time, which starts eight processes")
    args = parser.parse_args()
    sizes = [tuple(map(int, size.split(","))) for size in args.sizes]
    step_peers, loop_peers = ([n for k, n in enumerate(peers) if k == 0 or args.only in n] for peers in (STEPS, LOOPS))

    load_before, levels = machine.load_average(), bandwidth.levels()
    result = {
        "date": date.today().isoformat(),
        "processor": machine.processor(),
        "cores": machine.cores(),
        "versions": machine.versions(),
        "read_bandwidth_gb_s": {size: rate / 1e9 for size, rate in levels.items()},
        "steps": list(steps(sizes, step_peers, levels, args.rounds)),
        "loops": list(loops(sizes, loop_peers, levels, args.rounds)),
    }
    if not args.no_load:
        with tempfile.TemporaryDirectory() as folder:
            result["load_s"] = load_times(write_checkpoint(Path(folder)))
    result["load_average"] = [load_before, machine.load_average()]
    text = report.markdown(result)
    report.publish(text, result, args.output)


if __name__ == "__main__":
    main()
