"""The tiles of `simd.py` for weights of two bytes and of one: see `narrow.py` for what a word holds.

Pointers are to float32, whatever the bits; for a model of float64 the intrinsics are empty, as its plan has no word.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastlstm.backends.narrow import BEFORE, PANEL
from fastlstm.backends.processor import VECTOR_BYTES, features
from fastlstm.backends.simd import Emitter

_INT8, _INT16, _INT32 = (ir.IntType(bits) for bits in (8, 16, 32))
_LANES = VECTOR_BYTES // 4
_IN_PANEL = PANEL // _LANES  # vectors
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

    def lower(self, word, pointer, row, v):
        """The second weights of the words of a row's vector v, where they have been loaded as `word`.

        The shift takes the place of a multiplication on some CPUs, where this binds: a vector of 32 bytes that lies in
        the second half of a cache line is read anew, two bytes before (tried on AVX2: 10 % less time in L1 and L2).
        """
        builder = self.builder
        if VECTOR_BYTES == 32 and v % 2:
            place = builder.bitcast(self.at(pointer, row, v * _LANES), _INT16.as_pointer())
            place = builder.bitcast(self.at(place, -1), _WORDS.as_pointer())
            halves = builder.and_(builder.load(place, align=2), self.same(0xFFFF0000, _WORDS))
        else:
            halves = builder.shl(word, self.same(16, _WORDS))
        return builder.bitcast(halves, self.vector)

    def same(self, value, kind):
        """A constant vector."""
        return ir.Constant(kind, [value] * kind.count)

    def call(self, name, result, *arguments):
        kind = ir.FunctionType(result, [a.type for a in arguments])
        function = self.builder.module.globals.get(name) or ir.Function(self.builder.module, kind, name)
        return self.builder.call(function, arguments)

    def panels(self, first, depth, vectors):
        """Where the panels of a tile begin, of `depth` rows each."""
        found = [first]
        while len(found) < vectors // _IN_PANEL:
            found.append(self.at(found[-1], self.builder.mul(depth, self.constant(PANEL))))
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
    def add_tile(typing_context, y, begin, x, count, first_panel, stride, depth):
        """y (vectors * lanes,) = begin + x (count,) @ the first words of panels, `stride` wide and of `depth` rows."""

        def generate_code(context, builder, signature, arguments):
            if y.dtype != types.float32:
                return context.get_dummy_value()
            emit = _Words(context, builder)
            target, initial, vector, count_, first, stride_, depth_ = arguments
            pairs, panels = builder.lshr(count_, emit.constant(1)), emit.panels(first, depth_, vectors)

            def rows(number, whole=True):
                def body(k, sums):
                    sums, twice = list(sums), builder.add(k, k)
                    for phase in range(number):
                        row = builder.mul(builder.add(k, emit.constant(phase)), stride_)
                        upper = emit.broadcast(vector, twice, 2 * phase)
                        lower = emit.broadcast(vector, twice, 2 * phase + 1) if whole else None
                        for v in range(vectors):
                            at, panel, inside = phase * vectors + v, panels[v // _IN_PANEL], v % _IN_PANEL
                            word = emit.words(panel, row, inside * _LANES)
                            # The upper half first: the other order costs copies and spilled registers as well.
                            sums[at] = emit.multiply_add(sums[at], upper, builder.bitcast(word, emit.vector))
                            if whole:
                                sums[at] = emit.multiply_add(sums[at], lower, emit.lower(word, panel, row, inside))
                    return sums

                return body

            def put(sums):
                for v, total in enumerate(sums):
                    emit.store(total, target, v * _LANES)

            sums = [emit.load(initial, v * _LANES) for v in range(vectors)] + [emit.zero()] * (8 - vectors)
            k, sums = emit.loop(emit.constant(0), pairs, phases, sums, rows(phases))
            if phases > 1:
                _, sums = emit.loop(k, pairs, 1, sums, rows(1))
            put(emit.folded(sums, vectors, builder.fadd))
            # An odd last row. Were the sums handed on in registers, LLVM (22) would copy and spill them in the loop.
            with builder.if_then(builder.trunc(count_, ir.IntType(1))):
                put(rows(1, whole=False)(pairs, [emit.load(target, v * _LANES) for v in range(vectors)]))
            return context.get_dummy_value()

        return types.void(y, begin, x, types.intp, first_panel, types.intp, types.intp), generate_code

    return add_tile


bfloat16_tile_8, bfloat16_tile_1 = map(_bfloat16_tile, (8, 1))


def _bfloat16_block(rows: int):
    """The intrinsic for so many rows of a batch and two vectors of a panel: 2 * rows sums in registers.

    A row's sums are made as in a tile of 8, to the last bit.
    """

    @intrinsic
    def add_block(typing_context, arena, starts, y, x, count, panel, place):
        """For each of `starts`: arena[start + y :][: 2 lanes] += arena[start + x :][:count] @ the panel's first words.

        place  whether the panel's first two vectors are meant, or which others, in pairs
        """

        def generate_code(context, builder, signature, arguments):
            if arena.dtype != types.float32:
                return context.get_dummy_value()
            emit = _Words(context, builder)
            start, packed, y_at, x_at, count_, kernel, place_ = arguments
            begin = [emit.at(start, builder.extract_value(packed, r)) for r in range(rows)]
            targets, vectors = [emit.at(one, y_at) for one in begin], [emit.at(one, x_at) for one in begin]
            kernel = emit.at(kernel, builder.mul(place_, emit.constant(2 * _LANES)))
            pairs = builder.lshr(count_, emit.constant(1))

            def add(sums, k, weights):
                for r in range(rows):
                    scale = emit.broadcast(vectors[r], k)
                    for v in range(2):
                        sums[2 * r + v] = emit.multiply_add(sums[2 * r + v], scale, weights[v])

            def body(k, sums, whole=True):
                sums, row, twice = list(sums), builder.mul(k, emit.constant(PANEL)), builder.add(k, k)
                words = [emit.words(kernel, row, v * _LANES) for v in range(2)]
                add(sums, twice, [builder.bitcast(word, emit.vector) for word in words])
                if whole:
                    lower = [emit.lower(word, kernel, row, v) for v, word in enumerate(words)]
                    add(sums, builder.add(twice, emit.constant(1)), lower)
                return sums

            places = [(targets[r], v * _LANES) for r in range(rows) for v in range(2)]

            def put(sums):
                for total, (target, offset) in zip(sums, places, strict=True):
                    emit.store(total, target, offset)

            _, sums = emit.loop(emit.constant(0), pairs, 1, [emit.load(*one) for one in places], body)
            put(sums)
            with builder.if_then(builder.trunc(count_, ir.IntType(1))):
                put(body(pairs, [emit.load(*one) for one in places], whole=False))
            return context.get_dummy_value()

        starts = types.UniTuple(types.intp, rows)
        return types.void(arena, starts, types.intp, types.intp, types.intp, panel, types.intp), generate_code

    return add_block


bfloat16_block_6, bfloat16_block_4, bfloat16_block_2, bfloat16_block_1 = map(_bfloat16_block, (6, 4, 2, 1))


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
    def add_tile(typing_context, y, begin, levels, count, first_panel, stride, depth):
        """y (vectors * lanes,) = begin + levels @ q, times the levels' scale and the columns'.

        levels  a scale, and from the 16th element on (count,) words of four bytes, level + LEVELS
        panels  `stride` wide and of `depth` rows: columns, surplus, then (count,) rows of words of four q
        """

        def generate_code(context, builder, signature, arguments):
            if y.dtype != types.float32:
                return context.get_dummy_value()
            emit = _Words(context, builder)
            target, initial, scale, count_, first, stride_, depth_ = arguments
            vector, undefined = emit.at(scale, 16), ir.Constant(_WORDS, ir.Undefined)
            vector = builder.bitcast(vector, _INT32.as_pointer())
            panels = emit.panels(first, depth_, vectors)
            before = [(panels[v // _IN_PANEL], v % _IN_PANEL * _LANES) for v in range(vectors)]

            def broadcast(k, phase):
                one = builder.insert_element(undefined, builder.load(emit.at(vector, k, phase), align=4), _INT32(0))
                return builder.shuffle_vector(one, undefined, emit.same(0, _WORDS))

            def rows(number):
                def body(k, sums):
                    sums = list(sums)
                    for phase in range(number):
                        row = builder.mul(builder.add(k, emit.constant(BEFORE + phase)), stride_)
                        four = broadcast(k, phase)
                        for v, (panel, offset) in enumerate(before):
                            at = phase * vectors + v
                            sums[at] = _add_dots(emit, sums[at], four, emit.words(panel, row, offset))
                    return sums

                return body

            nothing = emit.same(0, _WORDS)
            sums = [emit.words(panel, stride_, offset) for panel, offset in before] + [nothing] * (8 - vectors)
            k, sums = emit.loop(emit.constant(0), count_, phases, sums, rows(phases))
            if phases > 1:
                _, sums = emit.loop(k, count_, 1, sums, rows(1))
            factor = emit.broadcast(scale)
            for v, total in enumerate(emit.folded(sums, vectors, builder.add)):
                unit = builder.fmul(emit.load(*before[v]), factor)
                product = builder.sitofp(total, emit.vector)
                emit.store(emit.multiply_add(emit.load(initial, v * _LANES), product, unit), target, v * _LANES)
            return context.get_dummy_value()

        return types.void(y, begin, levels, types.intp, first_panel, types.intp, types.intp), generate_code

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
        builder.function.attributes.discard("alwaysinline")  # Numba's, where the first caller is itself inlined
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate_code
