"""A kernel for each intrinsic, as PTX: python -m tests.cuda.intrinsic_kernels     JSON: name -> PTX."""

import json
import sys

from numba import cuda, types

from fastlstm.backends.cuda import primitives as p
from fastlstm.backends.cuda.primitives import LANES
from tests.cuda import ptx


@cuda.jit(device=True, forceinline=True)
def multiplied(weights, arena, rows, out, stride, further, x, begin, end):
    """Columns 1 to 4, in two parts, whose lanes go on where they were."""
    lane, sums, half = cuda.threadIdx.x, cuda.shared.array(0, out.dtype), (begin + end) // 8 * 4
    columns = stride, 2 * stride, 3 * stride, 4 * stride
    parts = p.multiplied(p.no_sums(out, rows), weights, columns, further, arena, rows, x, lane, begin, half)
    parts = p.multiplied(parts, weights, columns, further, arena, rows, x, lane, half, end)
    p.warp_sums(parts, lane, sums, 8)
    while lane < out.size:
        out[lane] = sums[8 + lane]
        lane += LANES


@cuda.jit
def product_one(weights, arena, starts, out, stride, further, x, begin, end, count):
    multiplied(weights, arena, (starts[3],), out, stride, further, x, begin, end)


@cuda.jit
def product_few(weights, arena, starts, out, stride, further, x, begin, end, count):
    multiplied(weights, arena, p.few_of(starts, 3, count), out, stride, further, x, begin, end)


@cuda.jit
def product_many(weights, arena, starts, out, stride, further, x, begin, end, count):
    multiplied(weights, arena, p.many_of(starts, 3, count, out), out, stride, further, x, begin, end)


@cuda.jit
def words(posted, values, seen, index, stamp, asked):
    lane = cuda.threadIdx.x
    p.post(posted, index + lane, values[lane], stamp)
    came, value = p.peek(posted, index + lane, asked, values[0])
    seen[0, lane], seen[1, lane] = came, value


@cuda.jit
def over_a_warp(values, out):
    lane = cuda.threadIdx.x
    out[0, lane], out[1, lane] = p.warp_sum(values[lane]), p.warp_largest(values[lane])


@cuda.jit
def copy(target, source, out, count, divisor):
    lane = cuda.threadIdx.x
    j = 4 * lane
    while j < count:
        p.copy4(target, 8, source, 4, j, 4 * LANES, count - 4)
        j += 16 * LANES
    out[lane] = p.quotient(lane * count, divisor)


def texts():
    long, short, found = types.int64, types.int32, {}
    for weights, stored, real in (
        ("float32", types.float32, types.float32),
        ("float64", types.float64, types.float64),
        ("bfloat16", types.uint32, types.float32),
    ):
        for name, kernel in (("one", product_one), ("few", product_few), ("many", product_many)):
            kinds = (stored[::1], real[::1], short[::1], real[::1], long, long, long, long, long, long)
            found[f"product {name} {weights}"] = kernel, kinds
    for name, real in (("float32", types.float32), ("float64", types.float64), ("int32", short)):
        found[f"words {name}"] = words, (types.uint64[::1], real[::1], real[:, ::1], long, short, short)
        if real is not short:
            found[f"over a warp {name}"] = over_a_warp, (real[::1], real[:, ::1])
    found["copy"] = copy, (types.float32[::1], types.float32[::1], long[::1], long, long)
    return {name: ptx.ptx(kernel, kinds, (7, 0)) for name, (kernel, kinds) in found.items()}


if __name__ == "__main__":
    json.dump(texts(), sys.stdout)
