"""What Numba has no word for, as LLVM and PTX: 16-byte loads, products, sums over a warp.

`simulated.py` has the same in Python; `primitives.py` chooses.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.cuda import cgutils
from numba.cuda.extending import intrinsic

from fastlstm.backends.cuda.settings import FEW, MANY

LANES = 32
_EVERY_LANE = 0xFFFFFFFF


def _loaded4(context, builder, array_type, memory, at):
    """Four numbers of an array from the byte `at` on, in one load.

    They begin on a 16-byte boundary. An array of uint32 holds bfloat16 weights, two a word, and 8 bytes are four: the
    word itself is the first as a float32, and shifted up it is the second (`narrow.py`).
    """
    narrow = array_type.dtype == types.uint32
    lanes = 2 if narrow else 4
    data = builder.bitcast(context.make_array(array_type)(context, builder, memory).data, ir.IntType(8).as_pointer())
    vector = ir.VectorType(context.get_value_type(array_type.dtype), lanes)
    loaded = builder.load(builder.bitcast(builder.gep(data, [at]), vector.as_pointer()))
    loaded.align = 8 if narrow else 16
    numbers = [builder.extract_element(loaded, constant(k, 32)) for k in range(lanes)]
    if not narrow:
        return numbers
    halves = [half for word in numbers for half in (word, builder.shl(word, constant(16, 32)))]
    return [builder.bitcast(half, ir.FloatType()) for half in halves]


def _bytes(array_type):
    """Of a number in the array."""
    return 2 if array_type.dtype == types.uint32 else array_type.dtype.bitwidth // 8


@intrinsic
def load4(typing_context, array, index):
    """`_loaded4` from a number on, as a tuple."""
    element = types.float32 if array.dtype == types.uint32 else array.dtype

    def generate_code(context, builder, signature, arguments):
        memory, index = arguments
        at = builder.mul(index, constant(_bytes(array)))
        return cgutils.pack_array(builder, _loaded4(context, builder, array, memory, at))

    return types.UniTuple(element, 4)(array, types.int64), generate_code


@intrinsic
def no_sums(typing_context, array, rows):
    """A tuple of 4 * R zeros of the array's dtype, of a tuple of R rows."""
    result = types.UniTuple(array.dtype, 4 * rows.count)

    def generate_code(context, builder, signature, arguments):
        zero = ir.Constant(context.get_value_type(array.dtype), 0)
        return cgutils.pack_array(builder, [zero] * result.count)

    return result(array, rows), generate_code


@intrinsic
def multiplied(typing_context, sums, weights, columns, further, arena, rows, x, lane, begin, end):
    """A lane's part of sums[4 * r + k] += the sum over j of weights[columns[k] + further + j] * row r's arena[x + j].

    sums     a tuple of 4 * R numbers, of R rows; that many registers
    columns  a tuple of 4;  rows  a tuple of R, the bytes at which they begin;  j  from begin to end, in groups of four,
             of which a lane takes every 32nd: always the same ones, wherever it begins
    In Numba's own words: of four rows 64 lines, and of a loop over 16 rows sums that lie in memory.
    """

    def generate_code(context, builder, signature, arguments):
        numbers, weight, starts, offset, vector, places, at, number, low, high = arguments
        numbers = cgutils.unpack_tuple(builder, numbers)
        # Numbers of elements fit into 31 bits, and a register each.
        offset, at, number, low, high = (_short(builder, value) for value in (offset, at, number, low, high))
        own = builder.shl(number, constant(2, 32))
        # The lane's first group that does not lie before `begin`.
        later = builder.add(builder.sub(low, own), constant(4 * LANES - 1, 32))
        low = builder.add(own, builder.and_(later, constant(-4 * LANES, 32)))
        before, ready = builder.block, builder.append_basic_block()
        loop, after = builder.append_basic_block(), builder.append_basic_block()
        builder.cbranch(builder.icmp_signed("<", low, high), ready, after)
        builder.position_at_end(ready)
        starts = [builder.add(_short(builder, start), offset) for start in cgutils.unpack_tuple(builder, starts)]
        starts = [_scaled(builder, start, weights) for start in starts]
        of_rows = [builder.sext(place, ir.IntType(64)) for place in cgutils.unpack_tuple(builder, places)]
        real = context.get_value_type(sums.dtype)
        fma = builder.module.declare_intrinsic("llvm.fma", [real], ir.FunctionType(real, [real] * 3))
        builder.branch(loop)
        builder.position_at_end(loop)
        k, *running = phis = [builder.phi(value.type) for value in (low, *numbers)]
        results = list(running)
        of_weights, of_vector = _scaled(builder, k, weights), _scaled(builder, builder.add(k, at), arena)
        factors = [_loaded4(context, builder, weights, weight, builder.add(start, of_weights)) for start in starts]
        for r, place in enumerate(of_rows):
            row = _loaded4(context, builder, arena, vector, builder.add(place, of_vector))
            for c, column in enumerate(factors):
                for a, b in zip(column, row, strict=True):
                    results[4 * r + c] = builder.call(fma, [a, b, results[4 * r + c]])
        following = builder.add(k, constant(4 * LANES, 32))
        for phi, first, again in zip(phis, (low, *numbers), (following, *results), strict=True):
            phi.add_incoming(first, ready)
            phi.add_incoming(again, loop)
        builder.cbranch(builder.icmp_signed("<", following, high), loop, after)
        builder.position_at_end(after)
        pairs = zip(numbers, results, strict=True)
        return cgutils.pack_array(builder, [_either(builder, a, before, b, loop) for a, b in pairs])

    long = types.int64
    return sums(sums, weights, columns, long, arena, rows, long, long, long, long), generate_code


def _scaled(builder, index, array_type):
    """Bytes before the number of that index (32 bits), in 64 bits."""
    return builder.mul(builder.sext(index, ir.IntType(64)), constant(_bytes(array_type)))


def _short(builder, value):
    return builder.trunc(value, ir.IntType(32)) if value.type.width > 32 else value


def _either(builder, a, of_a, b, of_b):
    """a where control came from the block of_a, b where from of_b."""
    phi = builder.phi(a.type)
    phi.add_incoming(a, of_a)
    phi.add_incoming(b, of_b)
    return phi


def _rows_of(starts, count):
    """generate_code: starts[row] and of the rows after it, `count` in all; the last again where there are fewer."""

    def generate_code(context, builder, signature, arguments):
        memory, row, end = arguments[:3]
        last, places = builder.sub(end, constant(1)), []
        for k in range(count):
            at = builder.add(row, constant(k))
            at = builder.select(builder.icmp_signed("<", at, last), at, last)
            place = builder.load(address(context, builder, starts, memory, at))
            places.append(builder.sext(place, ir.IntType(64)))
        return cgutils.pack_array(builder, places)

    return generate_code


@intrinsic
def few_of(typing_context, starts, row, count):
    """A tuple of starts[row : row + 4], below `count`."""
    return types.UniTuple(types.int64, 1 << FEW)(starts, types.int64, types.int64), _rows_of(starts, 1 << FEW)


@intrinsic
def many_of(typing_context, starts, row, count, sums):
    """A tuple of starts[row : row + 16], or 8 where sums are of float64."""
    many = 1 << MANY - (sums.dtype == types.float64)
    return types.UniTuple(types.int64, many)(starts, types.int64, types.int64, sums), _rows_of(starts, many)


@intrinsic
def copy4(typing_context, target, to, source, at, j, distance, last):
    """Four vectors of 16 bytes: target[to + i :] = source[at + i :] for i = j, j + distance ... or `last` beyond it."""

    def generate_code(context, builder, signature, arguments):
        memory, to, other, at, j, distance, last = arguments
        vector = ir.VectorType(ir.IntType(32), 4)
        loaded = []
        for _ in range(4):
            i = builder.select(builder.icmp_signed("<", j, last), j, last)
            place = builder.bitcast(address(context, builder, source, other, builder.add(at, i)), vector.as_pointer())
            value = builder.load(place)
            value.align = 16
            loaded.append((i, value))
            j = builder.add(j, distance)
        for i, value in loaded:
            place = address(context, builder, target, memory, builder.add(to, i))
            builder.store(value, builder.bitcast(place, vector.as_pointer())).align = 16
        return context.get_dummy_value()

    long = types.int64
    return types.void(target, long, source, long, long, long, long), generate_code


@intrinsic
def quotient(typing_context, a, b):
    """a // b of numbers from 0 to 2^31: a fifth of the instructions that 64 bits take."""

    def generate_code(context, builder, signature, arguments):
        a, b = (builder.trunc(number, ir.IntType(32)) for number in arguments)
        return builder.zext(builder.udiv(a, b), ir.IntType(64))

    return types.int64(types.int64, types.int64), generate_code


def address(context, builder, array_type, memory, index):
    """Of a number in an array."""
    return builder.gep(context.make_array(array_type)(context, builder, memory).data, [index])


def constant(value, bits=64):
    return ir.Constant(ir.IntType(bits), value)


@intrinsic
def of(typing_context, program, o, column):
    """program[o + column]; as Numba writes it, six instructions look for a negative index first, here there is one."""

    def generate_code(context, builder, signature, arguments):
        memory, at, more = arguments
        return builder.load(builder.gep(address(context, builder, program, memory, at), [more]))

    return program.dtype(program, types.int64, types.int64), generate_code


@intrinsic
def get(typing_context, array, index):
    """array[index], index not negative."""

    def generate_code(context, builder, signature, arguments):
        return builder.load(address(context, builder, array, *arguments))

    return array.dtype(array, types.int64), generate_code


@intrinsic
def put(typing_context, array, index, value):
    """array[index] = value, index not negative."""

    def generate_code(context, builder, signature, arguments):
        memory, at, number = arguments
        builder.store(number, address(context, builder, array, memory, at))
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), generate_code


def _shuffled(builder, value, distance):
    """`value` (32 bits) of the lane whose number differs by the bit `distance`."""
    module = builder.module
    i32 = ir.IntType(32)
    kind = ir.FunctionType(i32, [i32, i32, i32, i32])
    name = "llvm.nvvm.shfl.sync.bfly.i32"
    function = module.globals.get(name) or ir.Function(module, kind, name)
    every, last = ir.Constant(i32, _EVERY_LANE), ir.Constant(i32, LANES - 1)
    return builder.call(function, [every, value, ir.Constant(i32, distance), last])


def _of_other_lane(builder, value, distance):
    if isinstance(value.type, ir.FloatType):
        bits = _shuffled(builder, builder.bitcast(value, ir.IntType(32)), distance)
        return builder.bitcast(bits, value.type)
    halves = builder.bitcast(value, ir.VectorType(ir.IntType(32), 2))
    result = ir.Constant(halves.type, ir.Undefined)
    for k in range(2):
        place = ir.Constant(ir.IntType(32), k)
        half = _shuffled(builder, builder.extract_element(halves, place), distance)
        result = builder.insert_element(result, half, place)
    return builder.bitcast(result, value.type)


def _warp_barrier(builder):
    module = builder.module
    name = "llvm.nvvm.bar.warp.sync"
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
    builder.call(module.globals.get(name) or ir.Function(module, kind, name), [constant(_EVERY_LANE, 32)])


@intrinsic
def warp_sums(typing_context, numbers, lane, place, index):
    """place[index + k] = the sum over the warp's lanes of numbers[k], for all lanes to read; `place` is shared memory.

    numbers  a tuple of a power of two. At each stage a lane hands half of its numbers over and adds those it is given:
             of 16 that makes 16 shuffles, not 80. The order of a sum is the same whatever their count
    """

    def generate_code(context, builder, signature, arguments):
        sums, number, memory, at = cgutils.unpack_tuple(builder, arguments[0]), *arguments[1:]
        distance, mine = LANES // 2, constant(0)
        while distance:
            if len(sums) == 1:
                sums = [builder.fadd(sums[0], _of_other_lane(builder, sums[0], distance))]
            else:
                half = len(sums) // 2
                upper = builder.icmp_signed("!=", builder.and_(number, constant(distance)), constant(0))
                kept = [builder.select(upper, sums[k + half], sums[k]) for k in range(half)]
                given = [builder.select(upper, sums[k], sums[k + half]) for k in range(half)]
                taken = [_of_other_lane(builder, value, distance) for value in given]
                sums = [builder.fadd(a, b) for a, b in zip(kept, taken, strict=True)]
                mine = builder.add(mine, builder.select(upper, constant(half), constant(0)))
            distance //= 2
        _warp_barrier(builder)  # others may still be reading what stood there
        for k, value in enumerate(sums):
            index = builder.add(builder.add(at, mine), constant(k))
            builder.store(value, address(context, builder, place, memory, index))
        _warp_barrier(builder)
        return context.get_dummy_value()

    return types.void(numbers, types.int64, place, types.int64), generate_code


def _over_warp(combined):
    """generate_code: combined(builder, a, b) of the numbers of all the warp's lanes, the same bits in every lane."""

    def generate_code(context, builder, signature, arguments):
        (value,) = arguments
        distance = LANES // 2
        while distance:
            value = combined(builder, value, _of_other_lane(builder, value, distance))
            distance //= 2
        return value

    return generate_code


@intrinsic
def warp_sum(typing_context, number):
    """The sum over the warp's lanes."""
    return number(number), _over_warp(lambda builder, a, b: builder.fadd(a, b))


@intrinsic
def warp_largest(typing_context, number):
    """The largest of the warp's lanes; a NaN is passed over."""

    def larger(builder, a, b):
        other = builder.or_(builder.fcmp_ordered(">", b, a), builder.fcmp_unordered("uno", a, a))
        return builder.select(other, b, a)

    return number(number), _over_warp(larger)


@intrinsic
def apart(typing_context):
    """Keep the device function that says so one of its own, which is called: else the compiler copies every one in.

    A tenth of the code, and the registers of what is rare are not taken from the products' loops.
    """

    def generate_code(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        builder.function.attributes.add("convergent")  # there may be barriers in it: all threads come to one call
        return context.get_dummy_value()

    return types.void(), generate_code
