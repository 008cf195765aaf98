"""Numbers below the smallest normal one are flushed inside compiled code, and the caller's mode is restored."""

import platform
import threading

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir
from numba import njit

from fastlstm.backends import denormals
from fastlstm.backends.denormals import flush_denormals, restore_denormals

has_a_mode = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64"), reason="this CPU has no such mode known"
)


@njit(error_model="numpy", nogil=True)
def halved(x):
    """x (N,) /= 2 with denormals flushed; -> the mode before."""
    mode = flush_denormals()
    for k in range(x.size):
        x[k] *= x.dtype.type(0.5)
    restore_denormals(mode)
    return mode


@njit
def mode_now():
    mode = flush_denormals()
    restore_denormals(mode)
    return mode


@njit
def flush_and_stay():
    return flush_denormals()


@njit
def restore(mode):
    restore_denormals(mode)


@has_a_mode
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_and_operands_are_flushed(dtype):
    tiny = np.finfo(dtype).tiny
    x = np.array([tiny, tiny / 2, -tiny, 4 * tiny, 1, np.inf], dtype)
    halved(x)
    np.testing.assert_array_equal(x, np.array([0, 0, 0, 2 * tiny, 0.5, np.inf], dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_caller_keeps_its_own_mode(dtype):
    tiny, two = np.finfo(dtype).tiny, dtype(2)
    before = mode_now()
    assert halved(np.ones(1, dtype)) == before
    assert mode_now() == before
    assert tiny / two > 0, "NumPy, after the call, still has denormals"


@has_a_mode
def test_a_caller_who_flushes_already_still_does():
    before = flush_and_stay()
    try:
        flushing = mode_now()
        halved(np.ones(1))
        assert mode_now() == flushing
    finally:
        restore(before)
    assert mode_now() == before


@has_a_mode
def test_the_mode_is_the_threads_own():
    before, seen = mode_now(), []

    def work():
        flush_and_stay()
        seen.append(mode_now())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen[0] != before
    assert mode_now() == before


@pytest.mark.parametrize(
    ("triple", "instructions"),
    [
        ("x86_64-unknown-linux-gnu", ["stmxcsr", "ldmxcsr"]),
        ("x86_64-pc-windows-msvc", ["stmxcsr", "ldmxcsr"]),
        ("aarch64-unknown-linux-gnu", ["mrs", "msr"]),
        ("arm64-apple-darwin20", ["mrs", "msr"]),
        ("powerpc64le-unknown-linux-gnu", []),
    ],
)
def test_other_machines_have_their_own_instructions(triple, instructions):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = ir.Module("mode")
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(ir.IntType(64), [ir.IntType(64)]), "mode")
    builder = ir.IRBuilder(function.append_basic_block())
    before = denormals.read(builder)
    denormals.write(builder, function.args[0])
    builder.ret(before)
    machine = llvm.Target.from_triple(triple).create_target_machine()
    lines = machine.emit_assembly(llvm.parse_assembly(str(module))).lower().splitlines()
    assert [line.split()[0] for line in lines if "fpcr" in line or "mxcsr" in line] == instructions
