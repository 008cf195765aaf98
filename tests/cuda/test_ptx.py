"""Every kernel compiles for each architecture that is supported, within the registers of its launch, without a GPU."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests import models, oracle
from tests.cuda import ptx
from tests.cuda.layouts import layout

if find_spec("numba_cuda") is None or os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("needs numba-cuda, and not the simulator", allow_module_level=True)
if ptx.ptxas() is None:
    pytest.skip("needs ptxas, which comes with numba-cuda's extra cu12", allow_module_level=True)

#: Registers of a thread, at most: the products of 16 rows and four columns take what there is. What is spilled is
#: wanted between products, not in their loops; the rarely called functions are handed some things on the stack.
REGISTERS = {"loop float32": 255, "loop bfloat16": 255, "loop float64": 255, "loop_spilled float32": 255,
             "multiply float32": 255}  # fmt: skip
SPILLED = {"loop float64": 160, "loop_spilled float32": 128}
STACK = 96
#: The benchmark's own.
LIMITS = ["read", "read_shared", "exchange", "barrier", "grid_barrier", "multiply", "nothing"]
CAPABILITIES = "7.0,8.0,9.0"
KERNELS = (*REGISTERS, *LIMITS)
CASES = [f"{name}, sm_{each.replace('.', '')}" for name in KERNELS for each in CAPABILITIES.split(",")]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Name and architecture -> what ptxas says."""
    folder = tmp_path_factory.mktemp("ptx")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path_factory.mktemp("numba")), "KEEP_PTX": str(folder)}
    here = {"cwd": Path(__file__).parents[2], "env": environment, "text": True, "stdout": subprocess.PIPE}
    command = [sys.executable, "-m", "tests.cuda.ptx", *(f"{name}: {CAPABILITIES}" for name in KERNELS)]
    done = subprocess.run(command, **here)
    assert done.returncode == 0
    print(done.stdout)
    return json.loads(done.stdout) | {"ptx": folder}


@pytest.mark.parametrize("case", CASES)
def test_registers_and_spills(compiled, case):
    taken = compiled[case]
    name = case.split(",")[0]
    most, spilled = REGISTERS.get(name, 64), SPILLED.get(name, 0)
    assert 0 < taken["registers"] <= most <= 65536 // taken["threads"], taken
    assert taken["spilled"] <= spilled and taken["stack"] <= STACK + spilled, taken
    assert taken["shared"] == 0  # all of it is dynamic: `fit.py` counts it


GRIDS = {
    "one row": (1, {}),
    "exchanged": (1, {"unit_groups": 2, "resident": 0.5}),
    "at a barrier": (3, {"unit_groups": 2, "resident": 0.7, "meeting": 1}),
    "many rows": (10, {"resident": 0.6, "warps": 1}),
    "row groups": (2, {"row_groups": 2, "rows": 1}),
}


def emulated(compiled, name, description, batch=1, meeting=0, change=str, **options):
    """What the compiled kernel gives for random inputs, and the oracle: a step of the prime, then one of its own."""
    from fastlstm.backends.cuda.packing import lower
    from fastlstm.backends.narrow import BFLOAT16, FULL
    from tests.cuda.emulated import launch

    dtype = "float64" if "float64" in name else "float32"
    description = models.rounded(description, dtype)
    storage = BFLOAT16 if "bfloat16" in name else FULL
    program = lower(models.layers_of(description, dtype), np.dtype(dtype), storage)
    options = {"rows": batch if batch == 1 else -(-batch // 4) * 4} | options
    xs = np.random.default_rng(1).normal(size=(batch, 1, description[0][1]["kernel"].shape[0])).astype(dtype)
    text = change(Path(compiled["ptx"], f"{name}, sm_90.ptx").read_text())
    ys, state, counts = launch(
        text, program, layout(program.sizes, batch, **options), 1, 2, xs=xs, batch=batch, meeting=meeting
    )
    print(name, "instructions of each warp:", counts)
    expected = [oracle.generate(description, x, 2) for x in xs]
    return ys, np.array([y for y, _ in expected]), state, [states for _, states in expected]


@pytest.mark.parametrize("grid", GRIDS)
def test_what_is_compiled_gives_the_oracles_answers(compiled, grid):
    """The machine's own words, run one by one: loops, sums over warps, exchanges and barriers of several blocks."""
    batch, options = GRIDS[grid]
    rng = np.random.default_rng(5)
    description = [models.lstm(rng, 5, 9), models.dense(rng, 9, 5)]
    ys, expected, state, states = emulated(compiled, "loop float32", description, batch, **options)
    np.testing.assert_allclose(ys, expected, rtol=0, atol=1e-6)
    for b in range(batch):
        np.testing.assert_allclose(state[b], np.concatenate(states[b][0]), rtol=0, atol=1e-6)


def test_a_wrong_word_of_the_machine_is_noticed(compiled):
    """A sum over a warp that takes the wrong lane once."""

    def change(text):
        assert ", 16, 31, -1" in text
        return text.replace(", 16, 31, -1", ", 8, 31, -1", 3)

    rng = np.random.default_rng(5)
    description = [models.lstm(rng, 5, 9), models.dense(rng, 9, 5)]
    ys, expected, *_ = emulated(compiled, "loop float32", description, change=change)
    assert np.abs(ys - expected).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "tolerance"), [("loop float64", 1e-14), ("loop bfloat16", 1e-2), ("loop_spilled float32", 1e-6)]
)
def test_the_other_kernels_do_too(compiled, name, tolerance):
    rng = np.random.default_rng(6)
    description = [models.gru(rng, 5, 6), models.lstm(rng, 6, 7, peepholes=True, projection=5), models.dense(rng, 5, 5)]
    more = {"arena_resident": False} if "spilled" in name else {}
    ys, expected, *_ = emulated(compiled, name, description, unit_groups=2, resident=0.5, **more)
    np.testing.assert_allclose(ys, expected, rtol=0, atol=tolerance)


def test_every_kernel_is_compiled():
    from benchmarks.cuda import limits
    from fastlstm.backends.cuda import kernels

    assert set(kernels.SIGNATURES) == set(REGISTERS) and set(limits.SIGNATURES) == set(LIMITS)
