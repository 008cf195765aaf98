"""Denormal numbers taken as zero while compiled code runs.

A state that decays reaches them, and each operation on one can cost 100 cycles. The mode belongs to the thread:

    mode = flush_denormals()     # at the beginning of a compiled entry point, in each thread
    ...                          # no return in between
    restore_denormals(mode)      # the caller's mode again

On x86 results are flushed and operands taken as zero (MXCSR), on AArch64 both by one bit (FPCR); elsewhere the two do
nothing. Sources: Intel SDM, volume 1, 10.2.3; Arm Architecture Reference Manual, FPCR.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_FLUSH_X86 = 1 << 15 | 1 << 6  # FTZ, DAZ
_FLUSH_ARM = 1 << 24  # FZ

_i32, _i64, _bytes = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()


@intrinsic
def flush_denormals(typing_context):
    """Set the thread's mode to flush -> int64, the mode before, for `restore_denormals`."""

    def generate_code(context, builder, signature, arguments):
        return flush(builder)

    return types.int64(), generate_code


@intrinsic
def restore_denormals(typing_context, mode):
    """Set the thread's mode to what `flush_denormals` gave."""

    def generate_code(context, builder, signature, arguments):
        write(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate_code


def flush(builder: ir.IRBuilder) -> ir.Value:
    """Emit what sets the mode to flush, as an i64 the mode before."""
    before = read(builder)
    bits = _FLUSH_ARM if _machine(builder) == "arm" else _FLUSH_X86
    write(builder, builder.or_(before, ir.Constant(_i64, bits)))
    return before


def read(builder: ir.IRBuilder) -> ir.Value:
    """Emit what reads the mode, as an i64; 0 on a machine that is not known."""
    if _machine(builder) == "arm":
        return builder.call(_intrinsic(builder, "aarch64.get.fpcr", _i64, []), [])
    if _machine(builder) == "x86":
        slot = _slot(builder)
        builder.call(_intrinsic(builder, "x86.sse.stmxcsr", ir.VoidType(), [_bytes]), [builder.bitcast(slot, _bytes)])
        return builder.zext(builder.load(slot), _i64)
    return ir.Constant(_i64, 0)


def write(builder: ir.IRBuilder, mode: ir.Value) -> None:
    """Emit what sets the mode; nothing on a machine that is not known."""
    if _machine(builder) == "arm":
        builder.call(_intrinsic(builder, "aarch64.set.fpcr", ir.VoidType(), [_i64]), [mode])
    elif _machine(builder) == "x86":
        slot = _slot(builder)
        builder.store(builder.trunc(mode, _i32), slot)
        builder.call(_intrinsic(builder, "x86.sse.ldmxcsr", ir.VoidType(), [_bytes]), [builder.bitcast(slot, _bytes)])


def _machine(builder: ir.IRBuilder) -> str:
    name = builder.module.triple.partition("-")[0]
    return {"x86_64": "x86", "i686": "x86", "aarch64": "arm", "arm64": "arm"}.get(name, name)


def _slot(builder: ir.IRBuilder) -> ir.Value:
    """Four bytes of the function's frame: MXCSR goes through memory."""
    with builder.goto_entry_block():
        return builder.alloca(_i32)


def _intrinsic(builder: ir.IRBuilder, name: str, result: ir.Type, takes: list[ir.Type]) -> ir.Function:
    name = f"llvm.{name}"
    return builder.module.globals.get(name) or ir.Function(builder.module, ir.FunctionType(result, takes), name)
