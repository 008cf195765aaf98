"""Every kernel compiles for each architecture that is supported, within the registers of its launch, without a GPU."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cuda import ptx

if find_spec("numba_cuda") is None or os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("needs numba-cuda, and not the simulator", allow_module_level=True)
if ptx.ptxas() is None:
    pytest.skip("needs ptxas, which comes with numba-cuda's extra cu12", allow_module_level=True)

#: Registers of a thread, at most: the products of 16 rows and four columns take what there is. What is spilled is
#: wanted between products, not in their loops; the rarely called functions are handed some things on the stack.
REGISTERS = {"loop float32": 255, "loop bfloat16": 255, "loop float64": 255, "loop_spilled float32": 255,
             "multiply float32": 255}  # fmt: skip
SPILLED = {"loop float32": 64, "loop bfloat16": 64, "loop float64": 96, "loop_spilled float32": 128}
STACK = 96
#: The benchmark's own.
LIMITS = ["read", "read_shared", "exchange", "barrier", "grid_barrier", "multiply", "nothing"]
#: The plain kernel for every architecture.
WORK = {name: "9.0" for name in (*REGISTERS, *LIMITS)} | {"loop float32": "7.0,8.0,9.0"}
CASES = [
    f"{name}, sm_{each.replace('.', '')}" for name, capabilities in WORK.items() for each in capabilities.split(",")
]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Name and architecture -> what ptxas says."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path_factory.mktemp("numba"))}
    here = {"cwd": Path(__file__).parents[2], "env": environment, "text": True, "stdout": subprocess.PIPE}
    command = [sys.executable, "-m", "tests.cuda.ptx", *(f"{name}: {each}" for name, each in WORK.items())]
    done = subprocess.run(command, **here)
    assert done.returncode == 0
    print(done.stdout)
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_registers_and_spills(compiled, case):
    taken = compiled[case]
    name = case.split(",")[0]
    most, spilled = REGISTERS.get(name, 64), SPILLED.get(name, 0)
    assert 0 < taken["registers"] <= most <= 65536 // taken["threads"], taken
    assert taken["spilled"] <= spilled and taken["stack"] <= STACK + spilled, taken
    assert taken["shared"] == 0  # all of it is dynamic: `fit.py` counts it


def test_every_kernel_is_compiled():
    from benchmarks.cuda import limits
    from fastlstm.backends.cuda import kernels

    assert set(kernels.SIGNATURES) == set(REGISTERS) and set(limits.SIGNATURES) == set(LIMITS)
    assert set(WORK) == {*REGISTERS, *LIMITS}
