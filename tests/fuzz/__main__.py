"""python -m tests.fuzz [FORMAT ...] [--flips N] [--seed S]: damaged files outside of pytest.

--case takes a name from a failure and one FORMAT, reads that file in this process and shows what comes of it; --keep
FOLDER leaves the damaged files there.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

from tests.fuzz import runner
from tests.fuzz.samples import SAMPLES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("formats", nargs="*", help=f"of {', '.join(SAMPLES)}; all")
    parser.add_argument("--flips", type=int, default=runner.FLIPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--case")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    formats = given.formats or list(SAMPLES)
    if given.case:
        return replay(formats[0], given)
    with ThreadPoolExecutor(given.jobs) as pool:
        results = dict(
            zip(formats, pool.map(lambda name: runner.run(name, given.flips, given.seed), formats), strict=True)
        )
    print(*runner.table(results), sep="\n")
    for name, outcome in results.items():
        print(*(f"{name}: {failure}" for failure in outcome.failures), sep="\n")
    return any(outcome.failures for outcome in results.values())


def replay(name: str, given: argparse.Namespace) -> int:
    from tests.fuzz.worker import cases, read

    folder = given.keep or Path(mkdtemp())
    case = next(case for case in cases(name, given.flips, given.seed) if case.name == given.case)
    for file, data in {**case.sample.files(), **case.make()}.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    print(f"{folder / case.sample.opened}:", flush=True)
    try:
        print(read(folder / case.sample.opened, case.sample.options, case.sample.is_model))
    except Exception:
        traceback.print_exc(file=sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
