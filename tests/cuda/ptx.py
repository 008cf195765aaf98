"""What the CUDA kernels compile to, without a GPU: PTX by NVVM, then machine code by ptxas, which tells what it takes.

python -m tests.cuda.ptx 9.0 [name]      JSON: kernel -> registers; shared, stack and spilled bytes; threads; seconds
"""

import json
import re
import subprocess
import sys
import tempfile
import time
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


def report(signatures, capability: tuple[int, int]) -> dict[str, dict[str, int]]:
    """signatures  name -> (kernel, argument types, threads)"""
    found = {}
    for name, (kernel, argument_types, threads) in signatures.items():
        start = time.perf_counter()
        text = ptx(kernel, argument_types, capability)
        taken = assembled(text, capability, kernel.targetoptions.get("max_registers"))
        found[name] = {**taken, "threads": threads, "seconds": round(time.perf_counter() - start, 1)}
    return found


if __name__ == "__main__":
    from fastlstm.backends.cuda.kernels import SIGNATURES

    major, minor = map(int, sys.argv[1].split("."))
    wanted = {name: signature for name, signature in SIGNATURES.items() if sys.argv[2:] in ([], [name])}
    print(json.dumps(report(wanted, (major, minor)), indent=1))
