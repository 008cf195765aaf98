"""Numba's CUDA simulator with all blocks of a grid at once, each with shared memory of its own.

The simulator itself runs one block after the other, which would wait for ever where blocks wait for each other. Its
threads stay what they are, and what `cuda` means inside a kernel; they meet at barriers of Python.
"""

import contextlib
import sys
import threading
from unittest import mock

import numpy as np

_PATIENCE = 60.0  # seconds that a thread waits at a barrier


@contextlib.contextmanager
def all_blocks(*more):
    """Launch kernels so, until the end of the block.

    more  a kernel of each further module that has some
    """
    from numba.cuda.simulator import kernel as simulator
    from numba.cuda.simulator import kernelapi

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        with (
            mock.patch.object(simulator.FakeCUDAKernel, "__call__", lambda *given: _call(more, *given)),
            mock.patch.object(simulator.FakeCUDAModule, "shared", property(_shared)),
            mock.patch.object(simulator.BlockThread, "syncthreads", _syncthreads),
            mock.patch.object(kernelapi.GridGroup, "sync", lambda _: threading.current_thread().grid.wait(_PATIENCE)),
        ):
            yield
    finally:
        sys.setswitchinterval(before)


class _Shared:
    """A block's shared memory. The simulator's own would give threads that come at the same time an array each."""

    def __init__(self, size):
        # What a launch before has left there: no zeros.
        self._dynamic = np.random.default_rng(0).integers(-128, 127, size, dtype=np.int8)
        self._arrays, self._lock = {}, threading.Lock()

    def array(self, shape, dtype):
        dtype = np.dtype(str(dtype))
        if shape == 0:
            return self._dynamic[: self._dynamic.size // dtype.itemsize * dtype.itemsize].view(dtype)
        caller = sys._getframe(1)
        with self._lock:
            return self._arrays.setdefault((caller.f_code, caller.f_lineno), np.full(shape, 99, dtype))


class _Block:
    """What its threads call their manager."""

    def __init__(self, threads, shared_bytes):
        self._block_dim = threads
        self.barrier = threading.Barrier(int(np.prod(threads)))
        self.shared = _Shared(shared_bytes)

    def abort(self):
        """Let nobody wait for a thread that has failed."""
        for barrier in [self.barrier, *(warp.barrier for warp in self.__dict__.get("warps", {}).values())]:
            barrier.abort()


def _shared(module):
    return threading.current_thread()._manager.shared


def _syncthreads(thread):
    thread._manager.barrier.wait(_PATIENCE)


def _call(more, kernel, *arguments):
    from numba.cuda.simulator import kernel as simulator

    if simulator._get_kernel_context() is not None:  # a device function
        return kernel.fn(*arguments)
    grid, threads = simulator.normalize_kernel_dimensions(kernel.grid_dim, kernel.block_dim)
    module = simulator.FakeCUDAModule(grid, threads, 0)
    arguments = [getattr(a, "_ary", a) for a in arguments]
    found, everyone = [], threading.Barrier(int(np.prod(grid)) * int(np.prod(threads)))
    with simulator._push_kernel_context(module), contextlib.ExitStack() as stack:
        for function in [*_functions(), *(one.fn for one in more)]:
            stack.enter_context(simulator.swapped_cuda_module(function, module))

        def run():
            try:
                kernel.fn(*arguments)
            except BaseException:
                everyone.abort()
                for thread in found:
                    thread.abort = True
                    thread._manager.abort()
                raise

        for place in np.ndindex(*grid):
            block = _Block(threads, kernel.dynshared_size)
            found += [simulator.BlockThread(run, block, place, at, False) for at in np.ndindex(*threads)]
        for thread in found:
            thread.grid = everyone
            thread.start()
        for thread in found:
            thread.join()
    failed = [thread.exception for thread in found if thread.exception]
    for kind, trace in sorted(failed, key=lambda pair: isinstance(pair[0], RuntimeError)):
        raise kind.with_traceback(trace)


def _functions():
    """One function of each module that says `cuda`: what stands for it is put there once, not at each call."""
    from fastlstm.backends.cuda import drawing, exchange, kernels, sequences, steps, vectors

    return [
        drawing.largest.fn, exchange.meet.fn, kernels.loop.fn, sequences.multiply.fn, steps.advance.fn,
        vectors.block_sum.fn,
    ]  # fmt: skip
