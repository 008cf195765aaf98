"""The loop that measures read bandwidth: nothing but vector loads, as wide as the machine has them.

It is written as LLVM's vectors: a Numba loop over words sums up its accumulators after each pass over the array, which
takes half the time where the array is small, and loads 32 bytes at a time where the machine could load 64.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastlstm.backends import jit
from fastlstm.backends.processor import READ_BLOCK as BLOCK

_VECTOR = ir.VectorType(ir.IntType(64), 8)  # 64 bytes; where vectors are shorter, LLVM takes several
_CHAINS = BLOCK // 64


@intrinsic
def _xor_blocks(typing: Any, address: Any, blocks: Any, times: Any) -> Any:
    """XOR of `blocks` blocks of BLOCK bytes at `address`, `times` (> 0) over: an operation of one cycle."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, blocks, times = arguments
        word, begin, zero = ir.IntType(64), builder.block, ir.Constant(_VECTOR, None)
        base = builder.inttoptr(start, _VECTOR.as_pointer())
        vectors, rounds = builder.mul(blocks, word(_CHAINS)), builder.mul(blocks, times)
        loop, end = builder.append_basic_block("read"), builder.append_basic_block("done")
        builder.branch(loop)
        # One loop that begins again at the start: the accumulators stay in registers from pass to pass.
        builder.position_at_end(loop)
        place, left = builder.phi(word), builder.phi(word)
        sums = [builder.phi(_VECTOR) for _ in range(_CHAINS)]
        place.add_incoming(word(0), begin)
        left.add_incoming(rounds, begin)
        after = []
        for n, phi in enumerate(sums):
            phi.add_incoming(zero, begin)
            here = builder.gep(base, [builder.add(place, word(n))])
            after.append(builder.xor(phi, builder.load(here, align=64)))
            phi.add_incoming(after[n], loop)
        following = builder.add(place, word(_CHAINS))
        following = builder.select(builder.icmp_signed("<", following, vectors), following, word(0))
        remaining = builder.sub(left, word(1))
        place.add_incoming(following, loop)
        left.add_incoming(remaining, loop)
        builder.cbranch(builder.icmp_signed(">", remaining, word(0)), loop, end)
        builder.position_at_end(end)
        total = after[0]
        for value in after[1:]:
            total = builder.xor(total, value)
        parts = [builder.extract_element(total, ir.IntType(32)(n)) for n in range(8)]
        result = parts[0]
        for part in parts[1:]:
            result = builder.xor(result, part)
        return result

    return types.int64(types.int64, types.int64, types.int64), generate


@jit.compiled
def read(address, blocks, times):
    """XOR of all words of `blocks` * BLOCK bytes at `address` (64-byte aligned), read `times` (> 0) over."""
    return _xor_blocks(address, blocks, times)
