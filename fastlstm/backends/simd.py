"""The matrix-vector core: panels of a packed matrix times a vector, the sums kept in vector registers.

Numba's own loops store and load the sums at each row of a matrix; here they stay in 8 registers from the first row to
the last, so that a step takes the time that its weights take to arrive. `packing.py` has the layout.

A lane is one element of a vector register. How wide a register is depends on the CPU; LLVM splits or joins what the
CPU has not.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastlstm.backends.processor import VECTOR_BYTES

_INT32 = ir.IntType(32)
_FAST = ("contract", "nsz")


@intrinsic
def lanes_of(typing_context, place):
    """`lanes` of what a pointer points to, a constant where it is compiled."""
    count = VECTOR_BYTES // (place.dtype.bitwidth // 8)

    def generate_code(context, builder, signature, arguments):
        return context.get_constant(types.intp, count)

    return types.intp(place), generate_code


class Emitter:
    """What the intrinsics below have in common: vectors of an element type, and a loop that carries some along."""

    def __init__(self, context, builder, dtype):
        self.builder = builder
        self.element = context.get_data_type(dtype)
        self.index = context.get_value_type(types.intp)
        self.lanes = VECTOR_BYTES // (dtype.bitwidth // 8)
        self.vector = ir.VectorType(self.element, self.lanes)

    def constant(self, value):
        return ir.Constant(self.index, value)

    def at(self, pointer, *offsets):
        for offset in offsets:
            offset = self.constant(offset) if isinstance(offset, int) else offset
            pointer = self.builder.gep(pointer, [offset])
        return pointer

    def load(self, pointer, *offsets, aligned=True):
        place = self.builder.bitcast(self.at(pointer, *offsets), self.vector.as_pointer())
        return self.builder.load(place, align=VECTOR_BYTES if aligned else VECTOR_BYTES // self.lanes)

    def store(self, value, pointer, *offsets, aligned=True):
        place = self.builder.bitcast(self.at(pointer, *offsets), self.vector.as_pointer())
        self.builder.store(value, place, align=VECTOR_BYTES if aligned else VECTOR_BYTES // self.lanes)

    def broadcast(self, pointer, *offsets):
        """The element at a place, in every lane."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, self.builder.load(self.at(pointer, *offsets)), _INT32(0))
        zeros = ir.Constant(ir.VectorType(_INT32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, undefined, zeros)

    def multiply_add(self, total, a, b):
        """Fused where the CPU can."""
        return self.builder.fadd(total, self.builder.fmul(a, b, flags=_FAST), flags=_FAST)

    def zero(self):
        return ir.Constant(self.vector, [ir.Constant(self.element, 0.0)] * self.lanes)

    def loop(self, start, stop, step, carried, body, *, short=False):
        """for k in range(start, stop - step + 1, step): carried = body(k, carried). Gives back the next k, carried.

        short  of few turns: LLVM is not to unroll it, which would take it longer than the loop itself
        """
        builder, before = self.builder, self.builder.block
        head, inside, after = (builder.append_basic_block(f"k.{name}") for name in ("head", "inside", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(self.index)
        k.add_incoming(start, before)
        phis = []
        for value in carried:
            phi = builder.phi(value.type)
            phi.add_incoming(value, before)
            phis.append(phi)
        following = builder.add(k, self.constant(step))
        builder.cbranch(builder.icmp_signed("<=", following, stop), inside, after)
        builder.position_at_end(inside)
        results = body(k, phis)
        for phi, value in zip([k, *phis], [following, *results], strict=True):
            phi.add_incoming(value, builder.block)
        back = builder.branch(head)
        if short:
            name_loop(builder.module, back, "llvm.loop.unroll.disable")
        builder.position_at_end(after)
        return k, phis


def name_loop(module, branch, *properties):
    """Give a loop, by its branch back, properties that LLVM cannot find out -> its name, for metadata."""
    loop = module.add_metadata([ir.MetaDataString(module, f"loop {len(module.metadata)}")])
    own = [module.add_metadata([ir.MetaDataString(module, text)]) for text in properties]
    loop.operands = (loop, *own)  # a node that names itself is like no other, which is how LLVM names a loop
    branch.set_metadata("llvm.loop", loop)
    return loop


def _vector_tile(vectors: int):
    """The intrinsic for the panels (`packing.py`) of so many vectors, 8 at most; the sums always fill 8 registers.

    Where there are fewer, rows k, k + phases, k + 2 phases ... have a sum of their own: one sum takes 4 cycles a row,
    and 8 of them hide that.
    """
    phases, panel = 8 // vectors, min(vectors, 2)

    @intrinsic
    def add_tile(typing_context, y, begin, x, count, first_panel, depth):
        """y (vectors * lanes,) = begin + x (count,) @ the first `count` rows of panels that have `depth` rows each."""

        def generate_code(context, builder, signature, arguments):
            emit = Emitter(context, builder, y.dtype)
            target, first, vector, count_, start, depth_ = arguments
            width = panel * emit.lanes
            size = builder.mul(depth_, emit.constant(width))
            panels = [start]
            while len(panels) < vectors // panel:
                panels.append(emit.at(panels[-1], size))

            def rows(number):
                def body(k, sums):
                    sums, row = list(sums), builder.mul(k, emit.constant(width))
                    for phase in range(number):
                        scale = emit.broadcast(vector, k, phase)
                        for v in range(vectors):
                            w = emit.load(panels[v // panel], row, phase * width + v % panel * emit.lanes)
                            at = phase * vectors + v
                            sums[at] = emit.multiply_add(sums[at], scale, w)
                    return sums

                return body

            sums = [emit.load(first, v * emit.lanes) for v in range(vectors)] + [emit.zero()] * (8 - vectors)
            k, sums = emit.loop(emit.constant(0), count_, phases, sums, rows(phases))
            if phases > 1:
                _, sums = emit.loop(k, count_, 1, sums, rows(1), short=True)
            while len(sums) > vectors:  # pairwise, the far half onto the near one
                half = len(sums) // 2
                sums = [builder.fadd(a, b) for a, b in zip(sums[:half], sums[half:], strict=True)]
            for v in range(vectors):
                emit.store(sums[v], target, v * emit.lanes)
            return context.get_dummy_value()

        return types.void(y, begin, x, types.intp, first_panel, types.intp), generate_code

    return add_tile


add_tile_8, add_tile_4, add_tile_2, add_tile_1 = map(_vector_tile, (8, 4, 2, 1))


def _row_block(rows: int):
    """The intrinsic for so many rows of a batch and one panel: 2 * rows sums in registers."""

    @intrinsic
    def add_block(typing_context, arena, starts, y, begin, moves, x, count, panel):
        """For each of `starts`: arena[start + y :][: 2 lanes] = begin + arena[start + x :][:count] @ panel[:count].

        begin  (2 lanes,) where moves is 0; where it is 1 each row's begins `start` further on
        """

        def generate_code(context, builder, signature, arguments):
            emit = Emitter(context, builder, arena.dtype)
            start, packed, y_at, first, moves_, x_at, count_, kernel = arguments
            offsets = [builder.extract_value(packed, r) for r in range(rows)]
            places = [emit.at(start, offset) for offset in offsets]
            before = [emit.at(first, builder.mul(offset, moves_)) for offset in offsets]
            targets = [emit.at(place, y_at) for place in places]
            vectors = [emit.at(place, x_at) for place in places]

            def weights(number):
                def body(k, sums):
                    sums, row = list(sums), builder.mul(k, emit.constant(2 * emit.lanes))
                    for j in range(number):
                        w = [emit.load(kernel, row, (2 * j + v) * emit.lanes) for v in range(2)]
                        for r in range(rows):
                            scale = emit.broadcast(vectors[r], k, j)
                            for v in range(2):
                                sums[2 * r + v] = emit.multiply_add(sums[2 * r + v], scale, w[v])
                    return sums

                return body

            sums = [emit.load(before[r], v * emit.lanes) for r in range(rows) for v in range(2)]
            k, sums = emit.loop(emit.constant(0), count_, 4, sums, weights(4))
            _, sums = emit.loop(k, count_, 1, sums, weights(1), short=True)
            for r in range(rows):
                for v in range(2):
                    emit.store(sums[2 * r + v], targets[r], v * emit.lanes)
            return context.get_dummy_value()

        starts = types.UniTuple(types.intp, rows)
        signature = types.void(arena, starts, types.intp, begin, types.intp, types.intp, types.intp, panel)
        return signature, generate_code

    return add_block


add_block_6, add_block_5, add_block_4, add_block_3, add_block_2, add_block_1 = map(_row_block, (6, 5, 4, 3, 2, 1))


@intrinsic
def copy_lanes(typing_context, y, x, count):
    """y[:count] = x[:count], in whole vectors as far as they go; neither needs to be aligned."""

    def generate_code(context, builder, signature, arguments):
        emit = Emitter(context, builder, y.dtype)
        target, source, count_ = arguments

        def vector(k, _):
            emit.store(emit.load(source, k, aligned=False), target, k, aligned=False)
            return []

        def element(k, _):
            builder.store(builder.load(emit.at(source, k)), emit.at(target, k))
            return []

        k, _ = emit.loop(emit.constant(0), count_, emit.lanes, [], vector)
        emit.loop(k, count_, 1, [], element, short=True)
        return context.get_dummy_value()

    return types.void(y, x, types.intp), generate_code
