"""The tiles of `simd.py` for weights of two bytes and of one: see `narrow.py` for what a word holds.

Pointers are to float32, whatever the bits; for a model of float64 the intrinsics are empty, as its plan has no word.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastlstm.backends.processor import VECTOR_BYTES, features
from fastlstm.backends.simd import Emitter

_INT8, _INT16, _INT32 = (ir.IntType(bits) for bits in (8, 16, 32))
_LANES = VECTOR_BYTES // 4
_WORDS = ir.VectorType(_INT32, _LANES)
_HALVES = ir.VectorType(_INT16, 2 * _LANES)
_BYTES = ir.VectorType(_INT8, 4 * _LANES)


class _Words(Emitter):
    """What both kinds have in common."""

    def __init__(self, context, builder):
        super().__init__(context, builder, types.float32)

    def words(self, pointer, *offsets):
        place = self.builder.bitcast(self.at(pointer, *offsets), _WORDS.as_pointer())
        return self.builder.load(place, align=VECTOR_BYTES)

    def same(self, value, kind):
        """A constant vector."""
        return ir.Constant(kind, [value] * kind.count)

    def call(self, name, result, *arguments):
        kind = ir.FunctionType(result, [a.type for a in arguments])
        function = self.builder.module.globals.get(name) or ir.Function(self.builder.module, kind, name)
        return self.builder.call(function, arguments)

    def panels(self, first, depth, vectors):
        """Where each two vectors of a tile begin: panels of `packing.py`, which lie `depth` rows apart."""
        found = [first]
        while len(found) < vectors // 2:
            found.append(self.at(found[-1], self.builder.mul(depth, self.constant(2 * _LANES))))
        return found

    def folded(self, sums, vectors, add):
        """The phases of each vector's sum added up, pairwise."""
        while len(sums) > vectors:
            half = len(sums) // 2
            sums = [add(a, b) for a, b in zip(sums[:half], sums[half:], strict=True)]
        return sums


def _bfloat16_tile(vectors: int):
    """The intrinsic for a tile of so many vectors, 8 or 1; one vector's sum is kept in 8 parts, as in `simd.py`."""
    phases = 8 // vectors

    @intrinsic
    def add_tile(typing_context, y, x, count, first_panel, stride):
        """y (vectors * lanes,) += x (count,) @ words (ceil(count / 2), vectors * lanes) in panels, `stride` wide."""

        def generate_code(context, builder, signature, arguments):
            if y.dtype != types.float32:
                return context.get_dummy_value()
            emit = _Words(context, builder)
            target, vector, count_, first, stride_ = arguments
            pairs = builder.lshr(count_, emit.constant(1))
            depth = builder.sub(count_, pairs)
            panels = emit.panels(first, depth, vectors)

            def rows(number, whole=True):
                def body(k, sums):
                    sums, twice = list(sums), builder.add(k, k)
                    for phase in range(number):
                        row = builder.mul(builder.add(k, emit.constant(phase)), stride_)
                        upper = emit.broadcast(vector, twice, 2 * phase)
                        lower = emit.broadcast(vector, twice, 2 * phase + 1) if whole else None
                        for v in range(vectors):
                            at = phase * vectors + v
                            word = emit.words(panels[v // 2], row, v % 2 * _LANES)
                            # The upper half first: the other order costs copies and spilled registers as well.
                            sums[at] = emit.multiply_add(sums[at], upper, builder.bitcast(word, emit.vector))
                            if whole:
                                shifted = builder.shl(word, emit.same(16, _WORDS))
                                sums[at] = emit.multiply_add(sums[at], lower, builder.bitcast(shifted, emit.vector))
                    return sums

                return body

            def put(sums):
                for v, total in enumerate(sums):
                    emit.store(total, target, v * _LANES)

            sums = [emit.load(target, v * _LANES) for v in range(vectors)] + [emit.zero()] * (8 - vectors)
            k, sums = emit.loop(emit.constant(0), pairs, phases, sums, rows(phases))
            if phases > 1:
                _, sums = emit.loop(k, pairs, 1, sums, rows(1))
            put(emit.folded(sums, vectors, builder.fadd))
            # An odd last row. Were the sums handed on in registers, LLVM (22) would copy and spill them in the loop.
            with builder.if_then(builder.icmp_signed("<", pairs, depth)):
                put(rows(1, whole=False)(pairs, [emit.load(target, v * _LANES) for v in range(vectors)]))
            return context.get_dummy_value()

        return types.void(y, x, types.intp, first_panel, types.intp), generate_code

    return add_tile


bfloat16_tile_8, bfloat16_tile_1 = map(_bfloat16_tile, (8, 1))


def _dot_instructions() -> tuple[str, ...]:
    """The CPU's instructions that multiply bytes and add: one that does all, or two; none where it has none."""
    bits, names = 8 * VECTOR_BYTES, features()
    vnni = {256: "avxvnni", 512: "avx512vnni"}.get(bits) in names
    if vnni:
        return (f"llvm.x86.avx512.vpdpbusd.{bits}",)
    if bits == 512 and "avx512bw" in names:
        return "llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512"
    if bits == 256 and "avx2" in names:
        return "llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd"
    if bits == 128 and "ssse3" in names:
        return "llvm.x86.ssse3.pmadd.ub.sw.128", "llvm.x86.sse2.pmadd.wd"
    return ()


_DOT = _dot_instructions()


def _add_dots(emit, sums, levels, q):
    """sums (lanes) int32 += in each lane the dot product of four levels, bytes of 0 to 128, with four q.

    levels, q  (lanes) int32, of bytes
    """
    builder = emit.builder
    if len(_DOT) == 1:
        return emit.call(_DOT[0], _WORDS, sums, levels, q)
    if _DOT:
        pairs = emit.call(_DOT[0], _HALVES, builder.bitcast(levels, _BYTES), builder.bitcast(q, _BYTES))
        return builder.add(sums, emit.call(_DOT[1], _WORDS, pairs, emit.same(1, _HALVES)))
    a, b, eight = builder.bitcast(levels, _HALVES), builder.bitcast(q, _HALVES), emit.same(8, _HALVES)
    even = _pair_dots(emit, builder.and_(a, emit.same(255, _HALVES)), builder.ashr(builder.shl(b, eight), eight))
    odd = _pair_dots(emit, builder.lshr(a, eight), builder.ashr(b, eight))
    return builder.add(sums, builder.add(even, odd))


def _pair_dots(emit, a, b):
    """(2 lanes) int16 each -> (lanes) int32: the sums of two neighbouring products, in words that LLVM knows."""
    builder, wide = emit.builder, ir.VectorType(_INT32, 2 * _LANES)
    products = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
    even, odd = (ir.Constant(_WORDS, list(range(first, 2 * _LANES, 2))) for first in (0, 1))
    undefined = ir.Constant(wide, ir.Undefined)
    return builder.add(
        builder.shuffle_vector(products, undefined, even), builder.shuffle_vector(products, undefined, odd)
    )


def _int8_tile(vectors: int):
    phases = 8 // vectors

    @intrinsic
    def add_tile(typing_context, y, levels, count, first_panel, stride, columns, surplus, scale):
        """y (vectors * lanes,) += levels @ q, times scale * columns.

        levels   (count,) words of four bytes, level + LEVELS
        panels   (count, vectors * lanes) words of four q, in panels `stride` wide
        columns  (vectors * lanes,) float32;  surplus (vectors * lanes,) int32;  scale (1,) float32
        """

        def generate_code(context, builder, signature, arguments):
            if y.dtype != types.float32:
                return context.get_dummy_value()
            emit = _Words(context, builder)
            target, vector, count_, first, stride_, columns_, surplus_, scale_ = arguments
            vector, undefined = builder.bitcast(vector, _INT32.as_pointer()), ir.Constant(_WORDS, ir.Undefined)
            panels = emit.panels(first, count_, vectors)

            def broadcast(k, phase):
                one = builder.insert_element(undefined, builder.load(emit.at(vector, k, phase), align=4), _INT32(0))
                return builder.shuffle_vector(one, undefined, emit.same(0, _WORDS))

            def rows(number):
                def body(k, sums):
                    sums = list(sums)
                    for phase in range(number):
                        row, four = builder.mul(builder.add(k, emit.constant(phase)), stride_), broadcast(k, phase)
                        for v in range(vectors):
                            at, word = phase * vectors + v, emit.words(panels[v // 2], row, v % 2 * _LANES)
                            sums[at] = _add_dots(emit, sums[at], four, word)
                    return sums

                return body

            nothing = emit.same(0, _WORDS)
            sums = [emit.words(surplus_, v * _LANES) for v in range(vectors)] + [nothing] * (8 - vectors)
            k, sums = emit.loop(emit.constant(0), count_, phases, sums, rows(phases))
            if phases > 1:
                _, sums = emit.loop(k, count_, 1, sums, rows(1))
            factor = emit.broadcast(scale_)
            for v, total in enumerate(emit.folded(sums, vectors, builder.add)):
                unit = builder.fmul(emit.load(columns_, v * _LANES), factor)
                product = builder.sitofp(total, emit.vector)
                emit.store(emit.multiply_add(emit.load(target, v * _LANES), product, unit), target, v * _LANES)
            return context.get_dummy_value()

        signature = types.void(y, levels, types.intp, first_panel, types.intp, columns, surplus, scale)
        return signature, generate_code

    return add_tile


int8_tile_8, int8_tile_1 = map(_int8_tile, (8, 1))


@intrinsic
def as_bytes(typing_context, place):
    """The same place, as bytes."""
    result = types.CPointer(types.uint8)

    def generate_code(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(result))

    return result(place), generate_code


@intrinsic
def apart(typing_context):
    """The function that this stands in is not made a part of its callers, of which there are many: they would take
    twice as long to compile."""

    def generate_code(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate_code
