"""The processor's rate of float32 multiply-adds: a loop of independent ones that stay in vector registers."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

CHAINS = 10  # independent sums: enough to hide a multiply-add's latency, few enough for 16 registers
_INDEX = ir.IntType(32)


def loop_of(lanes):
    """times -> CHAINS multiply-adds of `lanes` float32, `times` over; LLVM splits vectors that the machine has not."""
    vector = ir.VectorType(ir.FloatType(), lanes)

    @intrinsic
    def chains(typing, times, factor):
        def generate(context, builder, signature, arguments):
            times, factor = arguments
            factors = ir.Constant(vector, ir.Undefined)
            for n in range(lanes):
                factors = builder.insert_element(factors, factor, _INDEX(n))
            begin, word = builder.block, ir.IntType(64)
            loop, end = builder.append_basic_block("multiply"), builder.append_basic_block("done")
            builder.branch(loop)
            builder.position_at_end(loop)
            left, sums = builder.phi(word), [builder.phi(vector) for _ in range(CHAINS)]
            left.add_incoming(times, begin)
            after = []
            for n, before in enumerate(sums):
                before.add_incoming(ir.Constant(vector, [float(n)] * lanes), begin)
                product = builder.fmul(before, factors, flags=["contract"])
                after.append(builder.fadd(product, factors, flags=["contract"]))
                before.add_incoming(after[n], loop)
            remaining = builder.sub(left, word(1))
            left.add_incoming(remaining, loop)
            builder.cbranch(builder.icmp_signed(">", remaining, word(0)), loop, end)
            builder.position_at_end(end)
            total = after[0]
            for value in after[1:]:
                total = builder.fadd(total, value)
            result = builder.extract_element(total, _INDEX(0))
            for n in range(1, lanes):
                result = builder.fadd(result, builder.extract_element(total, _INDEX(n)))
            return result

        return types.float32(types.int64, types.float32), generate

    half = np.float32(0.5)  # x / 2 + 1/2 comes to 1 and stays there
    return njit(lambda times: chains(times, half))
