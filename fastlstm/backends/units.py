"""The loops over an LSTM's units, with two facts that LLVM cannot find out: arrays do not overlap and have no tail.

Without them LLVM compares all pointers at each call and keeps a second, scalar loop, whose constants take registers
away from the vector one: 35 ns against 15 for 8 units, 142 against 111 for 64 (AVX2).
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from fastlstm.backends import sigmoids
from fastlstm.backends.jit import scalar
from fastlstm.backends.processor import VECTOR_BYTES
from fastlstm.backends.simd import lanes_of, name_loop

_GATES = "ifgo"


@scalar
def plain_cells(z, hidden, c, m):
    """z (4, hidden), c (hidden,) -> c, m (hidden,): `sigmoids.cell` of each unit, hidden a multiple of the lanes.

    From one vector of units to its output it is a long way, and the CPU sees no more than two or three vectors at a
    time; the new c of all units first, then their outputs, is two shorter ways (118 against 150 ns for 64 units).
    """
    if hidden > lanes_of(z):
        _new_states(z, hidden, c, m)
        _outputs(z, hidden, c, m)
    else:
        _cells(z, hidden, c, m)


def _each_unit(function, reads: str, writes: str):
    """The intrinsic for `function` of each unit: what it takes and gives, a letter each: gates, c and m."""

    @intrinsic
    def loop(typing_context, z, hidden, c, m):
        resolved = typing_context.resolve_value_type(function)
        one_unit = resolved.get_call_type(typing_context, (c.dtype,) * len(reads), {})
        lanes = VECTOR_BYTES // (c.dtype.bitwidth // 8)

        def generate_code(context, builder, signature, arguments):
            gates, count, states, outputs = arguments
            index = count.type
            count = builder.and_(count, index(-lanes))
            places = {g: builder.gep(gates, [builder.mul(count, index(k))]) for k, g in enumerate(_GATES)}
            places |= {"c": states, "m": outputs}
            before = builder.block
            inside, after = (builder.append_basic_block(f"unit.{name}") for name in ("inside", "after"))
            builder.cbranch(builder.icmp_signed(">", count, index(0)), inside, after)
            builder.position_at_end(inside)
            j = builder.phi(index)
            j.add_incoming(index(0), before)
            loads = [builder.load(builder.gep(places[name], [j])) for name in reads]
            new = context.get_function(resolved, one_unit)(builder, loads)
            values = [new] if len(writes) == 1 else [builder.extract_value(new, k) for k in range(len(writes))]
            stores = [
                builder.store(value, builder.gep(places[name], [j])) for name, value in zip(writes, values, strict=True)
            ]
            following = builder.add(j, index(1), flags=["nsw", "nuw"])
            j.add_incoming(following, builder.block)
            branch = builder.cbranch(builder.icmp_signed("<", following, count), inside, after)
            name = name_loop(builder.module, branch)
            for instruction in loads + stores:  # a promise that no turn depends on another through them
                instruction.set_metadata("llvm.mem.parallel_loop_access", name)
            builder.position_at_end(after)
            return context.get_dummy_value()

        return types.void(z, types.intp, c, m), generate_code

    return loop


_cells = _each_unit(sigmoids.cell, "ifgoc", "cm")
_new_states = _each_unit(sigmoids.new_state, "ifgc", "c")
_outputs = _each_unit(sigmoids.output, "oc", "m")
