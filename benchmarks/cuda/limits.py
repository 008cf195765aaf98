"""What the GPU allows, measured alone: reading from each level of its memory, and blocks that wait for each other.

Each call is timed beside the calls that it bounds; `Limits.bound` says how much of which calls a step is.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import cuda, float32, types

from benchmarks.bounds import Bound
from fastlstm import Model
from fastlstm.backends.cuda import calls
from fastlstm.backends.cuda.device import Properties
from fastlstm.backends.cuda.fit import Fit, fit
from fastlstm.backends.cuda.packing import lower
from fastlstm.backends.cuda.primitives import arrivals, arrive, load4, pause, peek, post
from fastlstm.backends.cuda.program import Program
from fastlstm.backends.narrow import STORAGES
from fastlstm.bench.interleave import Timing

_THREADS = 512
_SHARED = 32 << 10  # bytes of a block that are read again and again
RATES = ("device memory", "L2", "shared memory", "multiply-adds")  # the others are times


@cuda.jit
def read(numbers, times, sums):
    """Sum up `numbers`, each block another part each time, so that its own cache does not keep it."""
    each = numbers.size // cuda.gridDim.x // 4 * 4
    total = float32(0)
    for k in range(times):
        start = (cuda.blockIdx.x + k) % cuda.gridDim.x * each
        for j in range(4 * cuda.threadIdx.x, each, 4 * cuda.blockDim.x):
            a, b, c, d = load4(numbers, start + j)
            total += (a + b) + (c + d)
    sums[cuda.grid(1)] = total


@cuda.jit
def read_shared(numbers, times, sums):
    """Sum up `numbers`, a power of two of them, in each block's shared memory."""
    kept, mask = cuda.shared.array(0, float32), numbers.size - 1
    for j in range(cuda.threadIdx.x, numbers.size, cuda.blockDim.x):
        kept[j] = numbers[j]
    cuda.syncthreads()
    total = float32(0)
    for k in range(times):
        for j in range(4 * cuda.threadIdx.x, numbers.size, 4 * cuda.blockDim.x):
            a, b, c, d = load4(kept, (j + 4 * k) & mask)
            total += (a + b) + (c + d)
    sums[cuda.grid(1)] = total


@cuda.jit
def exchange(words, each, times, stamp, sums):
    """Every block hands out `each` numbers and takes everyone's, `times` times: as the kernels do between products."""
    total, zero, all_words = float32(0), float32(0), each * cuda.gridDim.x
    for t in range(times):
        mark = np.int32(stamp + t)
        start = (mark & 1) * all_words
        for j in range(cuda.threadIdx.x, each, cuda.blockDim.x):
            post(words, start + cuda.blockIdx.x * each + j, float32(j), mark)
        for j in range(cuda.threadIdx.x, all_words, cuda.blockDim.x):
            came, value = peek(words, start + j, mark, zero)
            while not came:
                pause(mark)
                came, value = peek(words, start + j, mark, zero)
            total += value
        cuda.syncthreads()
    sums[cuda.grid(1)] = total


@cuda.jit
def barrier(counters, times, turn):
    """All blocks wait for all, `times` times, after `turn` times before."""
    for t in range(times):
        cuda.syncthreads()
        if cuda.threadIdx.x == 0:
            arrive(counters, 0)
            while arrivals(counters, 0) < (turn + t + 1) * cuda.gridDim.x:
                pause(t)
        cuda.syncthreads()


@cuda.jit
def grid_barrier(times):
    """The same by CUDA's own barrier of all blocks."""
    grid = cuda.cg.this_grid()
    for _ in range(times):
        grid.sync()


@cuda.jit
def multiply(factor, times, sums):
    """Multiply-adds of float32: eight chains a thread."""
    a, b, c, d = sums[0], sums[1], sums[2], sums[3]
    e, f, g, h = sums[4], sums[5], sums[6], sums[7]
    for _ in range(times):
        a, b, c, d = a * factor + a, b * factor + b, c * factor + c, d * factor + d
        e, f, g, h = e * factor + e, f * factor + f, g * factor + g, h * factor + h
    sums[cuda.grid(1)] = (a + b) + (c + d) + (e + f) + (g + h)


@cuda.jit
def nothing(sums):
    if sums.size == 0:
        sums[0] = 0


_FLOATS, _WORDS, _LONG = types.float32[::1], types.uint64[::1], types.int64
#: Kernel, argument types and threads, for the tests that compile them.
SIGNATURES = {
    "read": (read, (_FLOATS, _LONG, _FLOATS), _THREADS),
    "read_shared": (read_shared, (_FLOATS, _LONG, _FLOATS), _THREADS),
    "exchange": (exchange, (_WORDS, _LONG, _LONG, _LONG, _FLOATS), _THREADS),
    "barrier": (barrier, (_WORDS, _LONG, _LONG), _THREADS),
    "grid_barrier": (grid_barrier, (_LONG,), _THREADS),
    "multiply": (multiply, (types.float32, _LONG, _FLOATS), _THREADS),
    "nothing": (nothing, (_FLOATS,), _THREADS),
}


@dataclass(frozen=True)
class Sizes:
    """What a call reads or does: bytes of device memory and of L2, times, exchanges."""

    memory: int = 2 << 30
    l2: int = 16 << 20
    times: int = 200
    exchanges: int = 1000
    threads: int = _THREADS


class Limits:
    """The calls, name -> (function, argument), and what one of them does.

    words  that each block hands out in an exchange
    """

    def __init__(self, found: Properties, sizes: Sizes | None = None, words: int = 4) -> None:
        self.found, self.sizes, self.blocks = found, sizes or Sizes(), found.multiprocessors
        numbers = np.random.default_rng(0).normal(size=self.sizes.l2 // 4).astype(np.float32)
        large = cuda.device_array(self.sizes.memory // 4, np.float32)
        small = cuda.to_device(numbers)
        for start in range(0, large.size, small.size):
            large[start : start + small.size].copy_to_device(small[: large.size - start])
        kept, threads = cuda.to_device(numbers[: _SHARED // 4]), self.sizes.threads
        self.sums = cuda.to_device(np.zeros(self.blocks * 2 * threads, np.float32))
        self.words = cuda.to_device(np.zeros(2 * words * self.blocks, np.uint64))
        self.counters = cuda.to_device(np.zeros(1, np.uint64))
        self.stamp = self.turn = 1
        each = words

        def exchanged(times: int) -> None:
            exchange[self.blocks, threads](self.words, each, times, self.stamp, self.sums)
            self.stamp += times

        def met(times: int) -> None:
            barrier[self.blocks, threads](self.counters, times, self.turn - 1)
            self.turn += times

        def reading(numbers: Any) -> Callable[[int], None]:
            return lambda times: read[2 * self.blocks, threads](numbers, times, self.sums)

        self.calls = {
            "device memory": (reading(large), 1),
            "L2": (reading(small), self.sizes.times),
            "shared memory": (
                lambda times: read_shared[self.blocks, threads, 0, _SHARED](kept, times, self.sums),
                10 * self.sizes.times,
            ),
            "multiply-adds": (
                lambda times: multiply[2 * self.blocks, threads](np.float32(-0.75), times, self.sums),
                10 * self.sizes.times,
            ),
            "exchange": (exchanged, self.sizes.exchanges),
            "barrier": (met, self.sizes.exchanges),
            "CUDA's grid barrier": (lambda times: grid_barrier[self.blocks, threads](times), self.sizes.exchanges),
            "launch": (lambda _: nothing[1, 32](self.sums), None),
        }
        #: bytes of all blocks, multiply-adds, or times a call
        self.amounts = {
            "device memory": _whole(self.sizes.memory, 2 * self.blocks),
            "L2": _whole(self.sizes.l2, 2 * self.blocks) * self.sizes.times,
            "shared memory": _SHARED * self.blocks * 10 * self.sizes.times,
            "multiply-adds": 2 * self.blocks * threads * 8 * 10 * self.sizes.times,
            "exchange": self.sizes.exchanges,
            "barrier": self.sizes.exchanges,
            "CUDA's grid barrier": self.sizes.exchanges,
            "launch": 1,
        }
        # Blocks that wait for each other have to be there at once.
        for name in ("exchange", "barrier"):
            kernel, argument_types, _ = SIGNATURES[name]
            calls.prepare(kernel, argument_types)
        try:
            self.calls["CUDA's grid barrier"][0](1)
        except Exception as error:  # numba-cuda links it with libcudadevrt, which may not be there
            print(f"CUDA's grid barrier is left out: {error}", file=sys.stderr)
            del self.calls["CUDA's grid barrier"]

    def measured(self, timings: dict[str, Timing]) -> dict[str, float]:
        """Thousand millions a second of bytes and multiply-adds, microseconds of the others; medians."""
        rates = {name: self.amounts[name] / timings[name].median for name in self.calls}
        return {name: rate / 1e9 if name in RATES else 1e6 / rate for name, rate in rates.items()}

    def bound(self, model: Model, batch: int = 1) -> Bound:
        """Of a step of `model`, fed its own output: reading what is read where `fit` puts it, and the exchanges."""
        amounts = needed(model, batch, self.found)
        shares = {name: amount / self.amounts[name] for name, amount in amounts.items() if amount}
        return Bound({name: self.calls[name] for name in shares}, shares)

    def arithmetic(self, multiply_adds: float) -> Bound:
        """Multiply-adds of float32 at the device's full rate."""
        share = multiply_adds / self.amounts["multiply-adds"]
        return Bound({"multiply-adds": self.calls["multiply-adds"]}, {"multiply-adds": share})


def fitted(model: Model, batch: int, found: Properties) -> Fit:
    """How the model lies on the device."""
    return fit(_program(model).sizes, found, batch)


def _program(model: Model) -> Program:
    return lower(model.layers, model.dtype, STORAGES.index(model.weights))


def needed(model: Model, batch: int, found: Properties) -> dict[str, float]:
    """What a step reads of each memory, and exchanges: each weight once. Of shared memory as if all blocks did so."""
    layout, program = fitted(model, batch, found), _program(model)
    sizes = program.sizes.products
    kept = sum(each.units * each.columns * stays for each, stays in zip(sizes, layout.kept, strict=True))
    outside = sum(each.units * each.columns * each.column_bytes for each in sizes) - kept
    return {
        "shared memory": kept / layout.unit_groups * found.multiprocessors,
        "L2": outside if outside <= found.l2_bytes / 2 else 0,
        "device memory": outside if outside > found.l2_bytes / 2 else 0,
        "exchange": len(sizes) * (layout.unit_groups > 1),
    }


def _whole(size: int, blocks: int) -> int:
    """Bytes that so many blocks read of `size`."""
    return size // 4 // blocks // 4 * 4 * blocks * 4
