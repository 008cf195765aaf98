"""What threads that share memory need and Numba does not offer: atomic words, a pause, a clock, a call by address.

A word is an int64 at an address. All of it is an instruction or two of the CPU; functions of the system are called by
an address that each process finds out for itself. So nothing stands in the way of Numba's disk cache.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_WORD, _INT32, _NOTHING = ir.IntType(64), ir.IntType(32), ir.VoidType()
_X86, _ARM = ("x86_64", "i686", "amd64"), ("aarch64", "arm64")


def _machine(builder: ir.IRBuilder) -> str:
    return builder.module.triple.partition("-")[0].lower()


def _word(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return builder.inttoptr(address, _WORD.as_pointer())


def _llvm(builder: ir.IRBuilder, name: str, result: ir.Type, *takes: ir.Type) -> ir.Function:
    """A function that LLVM itself has."""
    name = f"llvm.{name}"
    return builder.module.globals.get(name) or ir.Function(builder.module, ir.FunctionType(result, takes), name)


@intrinsic
def load(typing_context, address):
    """The word; whatever was written before it was stored is seen as well."""

    def generate_code(context, builder, signature, arguments):
        return builder.load_atomic(_word(builder, arguments[0]), "acquire", 8)

    return types.int64(types.int64), generate_code


@intrinsic
def store(typing_context, address, value):
    """Store the word, after everything that was written before."""

    def generate_code(context, builder, signature, arguments):
        builder.store_atomic(arguments[1], _word(builder, arguments[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate_code


@intrinsic
def exchange(typing_context, address, value):
    """Store the word and give back the one that stood there, in one order that all threads agree on."""

    def generate_code(context, builder, signature, arguments):
        return builder.atomic_rmw("xchg", _word(builder, arguments[0]), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate_code


@intrinsic
def pause(typing_context):
    """Tell the CPU that this loop waits for another core."""

    def generate_code(context, builder, signature, arguments):
        if _machine(builder) in _X86:
            builder.call(_llvm(builder, "x86.sse2.pause", _NOTHING), [])
        elif _machine(builder) in _ARM:
            builder.call(_llvm(builder, "aarch64.hint", _NOTHING, _INT32), [_INT32(1)])
        return context.get_dummy_value()

    return types.void(), generate_code


@intrinsic
def clock(typing_context):
    """The CPU's own clock, in its own unit, read in 10 ns; always 0 on a machine that is not known."""

    def generate_code(context, builder, signature, arguments):
        if _machine(builder) in _X86:
            return builder.call(_llvm(builder, "readcyclecounter", _WORD), [])
        if _machine(builder) in _ARM:  # its cycle counter is forbidden to programs, its timer is not
            timer = builder.module.add_metadata(["cntvct_el0"])
            return builder.call(_llvm(builder, "read_volatile_register.i64", _WORD, ir.MetaDataType()), [timer])
        return _WORD(0)

    return types.int64(), generate_code


@intrinsic
def call(typing_context, address, a, b, c):
    """Call the C function at an address with three integers, of which it may take fewer."""

    def generate_code(context, builder, signature, arguments):
        function = ir.FunctionType(_WORD, [_WORD] * 3).as_pointer()
        return builder.call(builder.inttoptr(arguments[0], function), arguments[1:])

    return types.int64(*[types.int64] * 4), generate_code
