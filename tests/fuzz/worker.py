"""One format's damaged files, read in a process of their own, which they may bring down.

    python -m tests.fuzz.worker FORMAT FLIPS SEED PROGRESS [AFTER]

PROGRESS is a file that says which case is being read, for whoever finds the process dead; AFTER is the case to go on
behind. Prints a JSON object: counts, worst times, and each failure.
"""

from __future__ import annotations

import faulthandler
import gc
import hashlib
import json
import mmap
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FastLSTMError, RecognitionError
from fastlstm.formats import Tensors, open_artefact
from fastlstm.recognise import Report, recognise
from tests.fuzz.mutate import Change, change, flip
from tests.fuzz.samples import SAMPLES, Sample

SECONDS = 2.0  # of processor time in the program and its libraries, not in the system, for one file
PATIENCE = 60.0  # seconds by the clock for one file, on a machine that may be busy with other things
MEMORY = 64 << 20  # bytes above the idle interpreter, and 4 times the file
ADDRESSES = 64 << 20  # bytes that may be reserved beyond that without being used, by the C library's arenas;
HDF5_ADDRESSES = (
    8 << 30
)  # libhdf5 reserves what a damaged size says, and finds out that it is damaged before it uses it
SMALL = 4608  # a longer file is not cut at each length: what lies between its first and last bytes is refused for its
ENDS, STRIDE = 512, 17  # end, by HDF5's superblock, protobuf's outermost length and zip's directory at that end
REBUILT = 6  # flips to one change behind the checksums
SHARED_MEMORY = Path("/dev/shm")
MEMORY_WORDS = (
    "memory allocation failed",
    "unable to allocate",
    "can't allocate",
    "out of memory",
)  # said by libraries


class Case(NamedTuple):
    """kind  "truncated", "flipped" or "rebuilt"
    make  -> the files that are different, {name: bytes}
    checked  whether checksums must notice the difference
    """

    name: str
    kind: str
    sample: Sample
    make: Callable[[], dict[str, bytes]]
    checked: bool


def cases(name: str, flips: int, seed: int) -> Iterator[Case]:
    """All cases of a format, always in the same order."""
    samples = SAMPLES[name]
    total = sum(sample.share for sample in samples)
    for number, sample in enumerate(samples):
        files = sample.files()
        for file in sample.damaged:
            data = files[file]
            for length in lengths(len(data)):
                yield Case(
                    f"truncated/{number}/{file}/{length}",
                    "truncated",
                    sample,
                    lambda file=file, data=data, length=length: {file: data[:length]},
                    file in sample.checked,
                )
        count = round(flips * sample.share / total)
        for turn in range(count):
            file = sample.damaged[turn % len(sample.damaged)]
            case = f"flipped/{number}/{file}/{turn}"
            dice = random.Random(f"{seed} {name} {case}")
            damage = flip if turn // len(sample.damaged) % 4 < 3 else change
            yield Case(
                case,
                "flipped",
                sample,
                lambda file=file, data=files[file], dice=dice, damage=damage: {file: damaged(data, dice, damage)},
                file in sample.checked,
            )
        for turn in range(count // REBUILT if sample.rebuilds else 0):
            case = f"rebuilt/{number}/{turn}"
            dice = random.Random(f"{seed} {name} {case}")
            change_parts = sample.rebuilds[turn % len(sample.rebuilds)]
            yield Case(case, "rebuilt", sample, lambda f=files, d=dice, c=change_parts: c(f, d), False)


def damaged(data: bytes, dice: random.Random, damage: Change) -> bytes:
    """Different bytes; a change may chance to leave them what they were."""
    return next(copy for copy in (damage(data, dice) for _ in range(1000)) if copy != data)


def lengths(size: int) -> Iterator[int]:
    if size <= SMALL:
        yield from range(size)
    else:
        yield from range(ENDS)
        yield from range(ENDS, size - ENDS, STRIDE)
        yield from range(size - ENDS, size)


def read(path: Path, options: dict[str, Any], must_run: bool = True) -> str:
    """Everything that loading a model does with a file -> a digest of what came out.

    must_run  whether it has to be recognised as a model
    Raises FastLSTMError.
    """
    digest = hashlib.blake2b()
    artefact = open_artefact(path)
    tensors = {}  # read once: the recogniser gets what is compared

    def fetch(name: str) -> NDArray[Any]:
        if name not in tensors:
            tensors[name] = stored[name]
        return tensors[name]

    stored = artefact.tensors
    artefact = replace(artefact, tensors=Tensors(stored.specs, fetch))
    if artefact.graph is not None:
        for node in artefact.graph.nodes.values():
            assert isinstance(dict(node.attrs), dict)
    refusal: FastLSTMError | None = None
    for name in artefact.tensors:
        try:
            array = artefact.tensors[name]
        except FastLSTMError as error:
            assert str(error)
            refusal = error
            continue
        spec = artefact.tensors.specs[name]
        assert array.shape == spec.shape, (name, array.shape, spec)
        digest.update(f"{name} {array.dtype} {array.shape}".encode("utf-8", "surrogatepass"))
        if array.dtype == object:
            digest.update(repr(array.tolist()).encode())
        elif 0 in array.strides:
            digest.update(repr(array.ravel()[:1]).encode())
        else:
            digest.update(array.tobytes())
    try:
        found = recognise(artefact, **options)
        layers = found.layers
        assert str(Report(found.findings, found.notes))
    except RecognitionError:
        if must_run:
            raise
        layers = ()
    for layer in layers:
        digest.update(repr(layer.config()).encode("utf-8", "surrogatepass"))
        for array in layer.arrays().values():
            digest.update(np.ascontiguousarray(array).tobytes())
    if refusal is not None:
        raise refusal
    return digest.hexdigest()


def memory(field: str) -> int:
    """Bytes: VmRSS in use, VmHWM the most since the last `forget_peak`, VmSize reserved."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(field))


def forget_peak() -> None:
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def wants_memory(error: BaseException | None) -> bool:
    """Whether there is a MemoryError behind an error: something was allocated from a size that nobody had checked."""
    while error is not None:
        if isinstance(error, MemoryError) or any(word in str(error) for word in MEMORY_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


class Run:
    """One sample's folder, and what came out of the cases."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.sample: Sample | None = None
        self.good = ""
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.worst_ms = self.peak = self.idle = 0.0
        self.slowest = ""

    def prepare(self, sample: Sample) -> None:
        """The undamaged files, read twice, so that what is imported or cached by the first reading is there."""
        self.sample = sample
        self.files = sample.files()
        shutil.rmtree(self.folder)
        for name, data in self.files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data)
        self.path = self.folder / sample.opened if sample.opened else self.folder
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for _ in range(3):
            self.good = read(self.path, sample.options, sample.is_model)
        gc.collect()
        self.size = sum(map(len, self.files.values()))
        self.idle = memory("VmRSS")
        self.limit = MEMORY + 4 * self.size
        addresses = memory("VmSize") + self.limit + (HDF5_ADDRESSES if sample.hdf5 else ADDRESSES)
        resource.setrlimit(resource.RLIMIT_AS, (addresses, resource.RLIM_INFINITY))

    def case(self, case: Case) -> None:
        if case.sample is not self.sample:
            self.prepare(case.sample)
        different = case.make()
        if all(self.files.get(name) == data for name, data in different.items()):
            return
        self.counts[case.kind] += 1
        for name, data in different.items():
            (self.folder / name).write_bytes(data)
        forget_peak()
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        start = time.process_time()
        try:
            outcome = self.outcome(case)
        except BaseException as error:  # whatever it is, it is what we look for
            outcome = "foreign"
            self.fail(case, f"{type(error).__name__}: {''.join(traceback.format_exception(error))[-3000:]}")
        took = time.process_time() - start
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.counts[outcome] += 1
        if took * 1e3 > self.worst_ms:
            self.worst_ms, self.slowest = took * 1e3, case.name
        used = memory("VmHWM") - self.idle
        self.peak = max(self.peak, used)
        if used > self.limit + 3 * max(0, sum(map(len, different.values())) - self.size):
            self.fail(case, f"took {used / (1 << 20):.0f} MB, expected at most {self.limit / (1 << 20):.0f}")
        for name in different:
            if name in self.files:
                (self.folder / name).write_bytes(self.files[name])
            else:
                (self.folder / name).unlink()

    def outcome(self, case: Case) -> str:
        try:
            got = read(self.path, case.sample.options, case.sample.is_model)
        except FastLSTMError as error:
            assert str(error)
            if wants_memory(error) and not case.sample.hdf5:
                self.fail(case, f"asked for more memory than the file may take: {error}")
            return "refused"
        if got == self.good:
            return "unchanged"
        if case.checked:
            self.fail(case, "read as something else, behind a checksum")
        return "different"

    def fail(self, case: Case, why: str) -> None:
        self.counts["failed"] += 1
        if len(self.failures) < 20:
            self.failures.append(f"{case.name}: {why}")


def main(name: str, flips: str, seed: str, progress: str, after: str = "") -> None:
    warnings.simplefilter("error")
    np.seterr(all="raise")
    random.seed(0)
    faulthandler.enable()
    faulthandler.register(signal.SIGVTALRM, chain=True)
    faulthandler.register(signal.SIGALRM, chain=True)
    memory_folder = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with open(progress, "r+b") as file, tempfile.TemporaryDirectory(dir=memory_folder) as folder:
        note = mmap.mmap(file.fileno(), 4096)
        run = Run(Path(folder) / "sample")
        skipping = bool(after)
        for case in cases(name, int(flips), int(seed)):
            if skipping:
                skipping = case.name != after
                continue
            note[:] = case.name.encode().ljust(4096, b"\0")
            run.case(case)
    assert "tensorflow" not in sys.modules
    print(
        json.dumps(
            {
                "counts": run.counts,
                "failures": run.failures,
                "worst_ms": run.worst_ms,
                "slowest": run.slowest,
                "peak_mb": run.peak / (1 << 20),
            }
        )
    )
    sys.stdout.flush()
    os._exit(0)  # a library that was fed damaged files may fail at its exit


if __name__ == "__main__":
    main(*sys.argv[1:])
