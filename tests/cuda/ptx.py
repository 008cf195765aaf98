"""What the CUDA kernels compile to, without a GPU: PTX by NVVM, then machine code by ptxas, which tells what it takes.

python -m tests.cuda.ptx 7.0,9.0 [name ...]     JSON: kernel -> registers; shared, stack and spilled bytes; seconds
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

_OPTIONS = (
    "debug",
    "lineinfo",
    "fastmath",
    "opt",
    "launch_bounds",
)  # of `cuda.jit`


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


def report(signatures, capabilities: list[tuple[int, int]]) -> dict[str, dict[str, int]]:
    """ "name, sm_90" -> what it takes.

    signatures  name -> (kernel, argument types, threads)
    Numba's own part of the work, which is most of it, is done once for all capabilities.
    """
    found = {}
    for name, (kernel, argument_types, threads) in signatures.items():
        for major, minor in capabilities:
            start = time.perf_counter()
            text = ptx(kernel, argument_types, (major, minor))
            taken = assembled(text, (major, minor), kernel.targetoptions.get("max_registers"))
            seconds = round(time.perf_counter() - start, 1)
            found[f"{name}, sm_{major}{minor}"] = {
                **taken,
                "threads": threads,
                "lines": text.count("\n"),
                "seconds": seconds,
            }
    return found


if __name__ == "__main__":
    from benchmarks.cuda import limits
    from fastlstm.backends.cuda import kernels

    known = kernels.SIGNATURES | limits.SIGNATURES
    wanted = {name: signature for name, signature in known.items() if name in sys.argv[2:] or not sys.argv[2:]}
    print(json.dumps(report(wanted, [tuple(map(int, one.split("."))) for one in sys.argv[1].split(",")]), indent=1))
