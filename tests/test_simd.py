"""The matrix-vector core: how matrices are packed, which machine code comes of it, and other CPUs' vector widths."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastlstm.backends.packing import pack, padded, side_by_side
from fastlstm.backends.plan import aligned

REPOSITORY = Path(__file__).parents[1]


def run(code, **environment):
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | environment, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_panels_of_two_vectors_and_one_for_what_is_left_over():
    matrix = np.array([[11, 12, 13, 14, 15, 16], [21, 22, 23, 24, 25, 26]])
    out = np.empty(12, matrix.dtype)
    pack(out, matrix, 2)
    assert out.tolist() == [11, 12, 13, 14, 21, 22, 23, 24, 15, 16, 25, 26]


def test_gates_are_padded_each_by_itself():
    assert padded(8, 8) == 8
    assert padded(9, 8) == 16
    assert side_by_side(np.arange(1, 7), 2, 4).tolist() == [1, 2, 3, 0, 4, 5, 6, 0]
    assert side_by_side(np.array([[1, 2], [3, 4]]), 2, 2).tolist() == [[1, 0, 2, 0], [3, 0, 4, 0]]


ASSEMBLY = """
import json
from numba import njit, types
from fastlstm.backends import simd
floats = types.CPointer(types.float32)

@njit(types.void(floats, floats, types.intp, floats, types.intp))
def product(y, x, count, panel, depth):
    simd.add_tile_8(y, y, x, count, panel, depth)

assembly = product.inspect_asm(product.signatures[0])
print(json.dumps([simd.VECTOR_BYTES, assembly]))
"""

AVX2 = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2"
CPUS = {
    "generic": ("", 16, "xmm", ("mulps", "addps")),
    "haswell": (AVX2, 32, "ymm", ("vfmadd",)),
    "skylake-avx512": (f"{AVX2},+avx512f,+avx512bw,+avx512dq,+avx512vl", 64, "zmm", ("vfmadd",)),
}


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="the CPUs in the table are x86")
@pytest.mark.parametrize("cpu", CPUS)
def test_the_sums_stay_in_registers(cpu):
    """In the innermost loop: 8 multiply-adds of whole vectors, and nothing that is stored."""
    features, width, register, operations = CPUS[cpu]
    found, assembly = run(ASSEMBLY, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=features)
    assert found == width
    loops = [block for block in assembly.split("\n.L") if all(f"\t{name}" in block for name in operations)]
    inner = max(loops, key=lambda block: block.count(operations[-1]))
    lines = [line.strip() for line in inner.splitlines() if line.startswith("\t")]
    for name in operations:
        assert sum(line.startswith(name) and register in line for line in lines) == 8
    stored = [line for line in lines if "mov" in line and register in line and line.endswith(")")]
    assert not stored


MODELS = """
import json, os
import numpy as np
from fastlstm.backends import processor
processor.VECTOR_BYTES = int(os.environ.get("VECTOR_BYTES", processor.VECTOR_BYTES))
from fastlstm.backends import simd
import fastlstm
from tests import models, oracle
rng = np.random.default_rng(5)
worst, same = 0.0, True
for inputs, units, outputs in [(1, 1, 1), (3, 7, 2), (5, 8, 5), (9, 17, 70), (16, 33, 16), (20, 64, 3)]:
    first, second = models.lstm(rng, inputs, units, forget_bias=1.0), models.gru(rng, units, 9, reset_after=True)
    third, head = models.lstm(rng, 9, 12, projection=5, peepholes=True), models.dense(rng, 5, outputs, "tanh")
    described = models.rounded([first, second, third, head], "float32")
    model = fastlstm.Model(models.layers_of(described, "float32"), dtype="float32")
    xs = rng.normal(size=(7, 30, inputs)).astype(np.float32)
    ys, state = model.run(xs)
    expected = oracle.run(described, xs[0].astype(float), oracle.zero_states(described))[0]
    worst = max(worst, float(np.abs(ys[0] - expected).max()))
    stream = model.stream()
    same &= all(np.array_equal(stream.step(x), y) for x, y in zip(xs[3], ys[3]))
    same &= np.array_equal(model.run(xs[3])[0], ys[3])
    for weights in ("bfloat16", "int8"):
        narrow, plain = (fastlstm.Model(model.layers, device=device, weights=weights) for device in ("cpu", "numpy"))
        worst = max(worst, float(np.abs(narrow.step(xs[:, 5], state)[0] - plain.step(xs[:, 5], state)[0]).max()))
print(json.dumps([simd.VECTOR_BYTES, worst, bool(same)]))
"""


@pytest.mark.parametrize(("width", "environment"), [(16, {"NUMBA_CPU_NAME": "generic"}), (64, {"VECTOR_BYTES": "64"})])
def test_other_vector_widths(width, environment, tmp_path):
    """A CPU without AVX, and AVX-512's width (two registers for one where there is no such CPU): the right numbers."""
    found, worst, same = run(MODELS, NUMBA_CACHE_DIR=str(tmp_path), **environment)
    assert found == width
    assert worst <= 2e-6
    assert same, "a step, a sequence and a batch have the same bits"


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell how memory is mapped")
def test_large_buffers_are_a_process_own():
    """A forked child has a copy: with a shared mapping both would write to the same state."""
    memory = aligned(1 << 20, np.dtype(np.float32))
    memory[:] = 1
    address = memory.ctypes.data
    for line in Path("/proc/self/smaps").read_text().splitlines():
        span, _, rest = line.partition(" ")
        if "-" in span and int(span.split("-")[0], 16) <= address < int(span.split("-")[1], 16):
            assert rest.startswith("rw-p")
            return
    raise AssertionError("the buffer is mapped nowhere")
