"""How long reading a checkpoint takes: `python -m benchmarks.reading [-o benchmarks/results/NAME]`.

A V2 bundle of 200 MB and a V1 file of 100 MB, as TensorFlow writes them. The floor is NumPy reading the same bytes into
one array and google-crc32c going over it once; both take turns with `fastlstm.read` and with `load` of every tensor,
and both find the file in the system's cache. Peak memory is that of a fresh process, above what it has before it reads.
Prints Markdown, and writes NAME.md and NAME.json with -o.
"""

import argparse
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import google_crc32c
import numpy as np

import fastlstm
from benchmarks import report
from benchmarks.peers.tensorflow import tf
from fastlstm.bench import machine
from fastlstm.bench.interleave import interleave

SIZES = {"V2 bundle": ([(4096, 8192), (8192,), (16384, 1024)], 2), "V1 file": ([(2048, 4096)] * 3 + [(4096,)] * 3, 1)}
WHOLE = {"V2 bundle": "model.data-00000-of-00001", "V1 file": "model"}  # where the bytes are

_CHILD = """
import sys, resource
import numpy, google_crc32c, fastlstm, fastlstm.formats, google.protobuf.descriptor_pool
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
before = peak()
arrays = fastlstm.read(sys.argv[1])
print(peak() - before)
"""


def write(folder: Path, shapes, version: int) -> Path:
    """Random float32 variables by tf.train.Saver; gives back the prefix."""
    v1, rng = tf().compat.v1, np.random.default_rng(0)
    with tf().Graph().as_default(), v1.Session() as session:
        variables = [
            v1.get_variable(f"net/layer_{k}/kernel", shape, use_resource=False) for k, shape in enumerate(shapes)
        ]
        for variable in variables:
            variable.load(rng.normal(size=variable.shape.as_list()).astype("f4"), session)
        saver = v1.train.Saver(variables, write_version=version)
        return Path(saver.save(session, str(folder / "model"), write_meta_graph=False))


def floor(path: Path) -> int:
    return google_crc32c.extend(0, np.fromfile(path, np.uint8))


def measure(name: str, folder: Path, rounds: int) -> dict[str, object]:
    shapes, version = SIZES[name]
    prefix = write(folder, shapes, version)
    file = folder / WHOLE[name]
    arrays = fastlstm.read(prefix)
    assert [a.shape for a in arrays.values()] == [tuple(shape) for shape in shapes]
    del arrays
    timings = interleave({"floor": (floor, file), "read": (fastlstm.read, prefix)}, rounds=rounds, slice_seconds=0)
    command = [sys.executable, "-c", _CHILD, str(prefix)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    size = file.stat().st_size
    return {
        "what": name,
        "bytes": size,
        "floor_s": timings["floor"].median,
        "read_s": timings["read"].median,
        "times_the_floor": timings["read"].ratio(timings["floor"]),
        "peak_bytes": peak,
        "peak_of_the_file": peak / size,
    }


def markdown(result: dict[str, object]) -> str:
    before, after = result["load_average"]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    rows = [
        f"| {r['what']} | {r['bytes'] / 1e6:.0f} | {1e3 * r['floor_s']:.0f} | {1e3 * r['read_s']:.0f} | "
        f"{r['times_the_floor']:.2f} | {r['peak_bytes'] / 1e6:.0f} ({r['peak_of_the_file']:.2f} x the file) |"
        for r in result["reading"]
    ]
    return "\n".join(
        [
            f"# Reading, {result['processor']}, {result['date']}",
            "",
            f"{result['cores']} cores, load average {before} before and {after} after; {versions}.",
            "",
            "The floor: `np.fromfile` of the same bytes, then google-crc32c over them. Medians, taken in turns within "
            "one run, the file in the system's cache; the ratio is the median of the ratios within a round.",
            "",
            "| | MB | floor, ms | `fastlstm.read`, ms | times the floor | peak memory, MB |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="write this name with .md and .json at its end")
    parser.add_argument("--rounds", type=int, default=15, help="turns that each takes")
    args = parser.parse_args()
    before, reading = machine.load_average(), []
    for name in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            reading.append(measure(name, Path(folder), args.rounds))
    result = {
        "date": date.today().isoformat(),
        "processor": machine.processor(),
        "cores": machine.cores(),
        "versions": machine.versions(),
        "reading": reading,
        "load_average": [before, machine.load_average()],
    }
    text = markdown(result)
    report.publish(text, result, args.output)


if __name__ == "__main__":
    main()
