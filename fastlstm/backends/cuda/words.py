"""Words that other blocks read and write, as LLVM and PTX; see `exchange.py`."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.cuda.extending import intrinsic

from fastlstm.backends.cuda.intrinsics import address, constant


@intrinsic
def post(typing_context, words, index, value, stamp):
    """Write `value` for other blocks, together with `stamp` (int32), which tells them that it has come.

    A word is 32 bits of the value below the stamp, and one store, which a reader sees whole or not at all; so no order
    between stores is needed. A float64 takes two words.
    """
    halves = value.bitwidth // 32

    def generate_code(context, builder, signature, arguments):
        memory, at, number, mark = arguments
        upper = builder.shl(builder.zext(mark, ir.IntType(64)), constant(32))
        bits = builder.bitcast(number, ir.IntType(value.bitwidth))
        bits = builder.zext(bits, ir.IntType(64)) if halves == 1 else bits
        for k in range(halves):
            place = builder.add(builder.mul(at, constant(halves)), constant(k))
            place = address(context, builder, words, memory, place)
            half = builder.and_(builder.lshr(bits, constant(32 * k)), constant(0xFFFFFFFF))
            kind = ir.FunctionType(ir.VoidType(), [place.type, ir.IntType(64)])
            store = ir.InlineAsm(kind, "st.relaxed.gpu.global.u64 [$0], $1;", "l,l,~{memory}", side_effect=True)
            builder.call(store, [place, builder.or_(half, upper)])
        return context.get_dummy_value()

    return types.void(words, types.int64, value, types.int32), generate_code


@intrinsic
def peek(typing_context, words, index, stamp, like):
    """(whether a value with `stamp` has come, the value, of the type of `like`): from L2, where all blocks meet."""
    halves = like.bitwidth // 32
    result = types.Tuple([types.boolean, like])

    def generate_code(context, builder, signature, arguments):
        memory, at, mark, _ = arguments
        ready, bits = ir.Constant(ir.IntType(1), 1), constant(0)
        for k in range(halves):
            place = builder.add(builder.mul(at, constant(halves)), constant(k))
            place = address(context, builder, words, memory, place)
            kind = ir.FunctionType(ir.IntType(64), [place.type])
            load = ir.InlineAsm(kind, "ld.relaxed.gpu.global.u64 $0, [$1];", "=l,l,~{memory}", side_effect=True)
            word = builder.call(load, [place])
            came = builder.icmp_signed("==", builder.trunc(builder.lshr(word, constant(32)), ir.IntType(32)), mark)
            ready = builder.and_(ready, came)
            half = builder.and_(word, constant(0xFFFFFFFF))
            bits = builder.or_(bits, builder.shl(half, constant(32 * k)))
        bits = builder.trunc(bits, ir.IntType(32)) if halves == 1 else bits
        number = builder.bitcast(bits, context.get_value_type(like))
        return context.make_tuple(builder, result, [ready, number])

    return result(words, types.int64, types.int32, like), generate_code


@intrinsic
def arrive(typing_context, counters, index):
    """Count this block's arrival at counters[index]: what it wrote before is seen by who sees the count."""

    def generate_code(context, builder, signature, arguments):
        place = address(context, builder, counters, *arguments)
        kind = ir.FunctionType(ir.VoidType(), [place.type])
        add = ir.InlineAsm(kind, "red.release.gpu.global.add.u64 [$0], 1;", "l,~{memory}", side_effect=True)
        builder.call(add, [place])
        return context.get_dummy_value()

    return types.void(counters, types.int64), generate_code


@intrinsic
def arrivals(typing_context, counters, index):
    """counters[index], and with it what the blocks wrote that it counts."""

    def generate_code(context, builder, signature, arguments):
        place = address(context, builder, counters, *arguments)
        kind = ir.FunctionType(ir.IntType(64), [place.type])
        load = ir.InlineAsm(kind, "ld.acquire.gpu.global.u64 $0, [$1];", "=l,l,~{memory}", side_effect=True)
        return builder.call(load, [place])

    return types.int64(counters, types.int64), generate_code


@intrinsic
def pause(typing_context, event):
    """Called while waiting for another block; event: the number of the step or turn."""

    def generate_code(context, builder, signature, arguments):
        return context.get_dummy_value()

    return types.void(event), generate_code
