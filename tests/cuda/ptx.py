"""What the CUDA kernels compile to, without a GPU: PTX by NVVM, then machine code by ptxas, which tells what it takes.

python -m tests.cuda.ptx "name: 7.0,9.0" ...     JSON: kernel -> registers; shared, stack and spilled bytes; seconds

The PTX itself goes into the folder that KEEP_PTX names.
"""

import gc
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

_OPTIONS = ("debug", "lineinfo", "fastmath", "opt", "launch_bounds")  # of `cuda.jit`


def ptxas() -> Path | None:
    """NVIDIA's assembler, from the wheels of numba-cuda's extra cu12 or cu13; None where it is not there."""
    if find_spec("nvidia") is None:
        return None
    import nvidia

    found = [path for folder in nvidia.__path__ for path in sorted(Path(folder).glob("*/bin/ptxas"))]
    return found[0] if found else None


def ptx(kernel, argument_types, capability: tuple[int, int]) -> str:
    """kernel: what `cuda.jit` gives."""
    from numba import cuda
    from numba.cuda import dispatcher

    # Device functions are compiled for the device at hand.
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    options = {name: kernel.targetoptions[name] for name in _OPTIONS if kernel.targetoptions.get(name) is not None}
    text, _ = cuda.compile_ptx(kernel.py_func, tuple(argument_types), cc=capability, **options)
    return text


def assembled(text: str, capability: tuple[int, int], most_registers: int | None = None) -> dict[str, int]:
    """What ptxas says of PTX with one kernel.  Raises RuntimeError with its words where it does not take it."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(text)
        limit = [f"-maxrregcount={most_registers}"] if most_registers else []
        # CUDA's own barrier of a grid is in a library that numba-cuda links.
        limit += ["-c"] if "cudaCGGetIntrinsicHandle" in text else []
        command = [ptxas(), "-v", f"-arch=sm_{capability[0]}{capability[1]}", *limit, source, "-o", f"{source}.cubin"]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    said = done.stdout + done.stderr

    def number(pattern: str) -> int:
        return max(map(int, re.findall(pattern, said)), default=0)

    return {
        "registers": number(r"Used (\d+) registers"),
        "shared": number(r"(\d+) bytes smem"),
        "stack": number(r"(\d+) bytes stack frame"),
        "spilled": number(r"(\d+) bytes spill stores"),
    }


def report(
    signatures, wanted: Iterable[tuple[str, tuple[int, int]]], folder: Path | None = None
) -> dict[str, dict[str, int]]:
    """ "name, sm_90" -> what it takes.

    signatures  name -> (kernel, argument types, threads)
    folder      where the PTX is kept, as "name, sm_90.ptx"
    Numba's own part of the work, which is most of it, is done once for all kernels and capabilities: they share most
    functions. ptxas works beside it.
    """

    def taken(text, capability, kernel, threads):
        start = time.perf_counter()
        said = assembled(text, capability, kernel.targetoptions.get("max_registers"))
        seconds = round(time.perf_counter() - start, 1)
        return {**said, "threads": threads, "lines": text.count("\n"), "assembling_seconds": seconds}

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = {}
        for name, (major, minor) in wanted:
            kernel, argument_types, threads = signatures[name]
            text = ptx(kernel, argument_types, (major, minor))
            if folder is not None:
                Path(folder, f"{name}, sm_{major}{minor}.ptx").write_text(text)
            found[f"{name}, sm_{major}{minor}"] = pool.submit(taken, text, (major, minor), kernel, threads)
        return {name: result.result() for name, result in found.items()}


if __name__ == "__main__":
    gc.disable()  # a fifth of Numba's time, which makes many objects and drops few
    from benchmarks.cuda import limits
    from fastlstm.backends.cuda import kernels

    known = kernels.SIGNATURES | limits.SIGNATURES
    wanted = []
    for one in sys.argv[1:]:
        name, _, capabilities = one.partition(": ")
        wanted += [(name, tuple(map(int, each.split(".")))) for each in (capabilities or "9.0").split(",")]
    kept = os.environ.get("KEEP_PTX")
    print(json.dumps(report(known, wanted, Path(kept) if kept else None), indent=1))
