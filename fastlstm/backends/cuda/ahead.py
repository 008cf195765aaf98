"""The first layer's products with a whole sequence's inputs as one, and the launches that look them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba.np.numpy_support import from_dtype
from numpy.typing import NDArray

from fastlstm.backends.cuda import calls, memory
from fastlstm.backends.cuda.device import simulated
from fastlstm.backends.cuda.interface import DeviceArray
from fastlstm.backends.cuda.packing import lower
from fastlstm.backends.cuda.primitives import LANES
from fastlstm.backends.cuda.rooms import Loaded, Room
from fastlstm.backends.cuda.sequences import ROWS, multiply
from fastlstm.layers import Layer

_BYTES = 256 << 20  # of products at a time
_WARPS = 2 if simulated() else 8  # of a block
_BLOCKS = 2 if simulated() else 1024  # at most


class Products:
    """A program whose first layer looks its products up (`Program.first`), and what computes them.

    trouble  why CuPy, which is installed, does not compute them; None where there is none
    """

    def __init__(self, layers: Sequence[Layer], dtype: np.dtype, storage: int) -> None:
        program = lower(layers, dtype, storage, ahead=True)
        assert program.first is not None
        self.loaded, self.trouble = Loaded.of(program), None
        self._columns, self._bias = map(memory.put, program.first)

    def run(self, room: Room, xs: DeviceArray, lengths: NDArray[np.int64], state: DeviceArray, ys: DeviceArray) -> None:
        """A known sequence of a room's rows, as `backend.CudaBackend._run`: in pieces whose products fit."""
        batch, steps, size = xs.shape
        stream, dtype, width = room.stream, xs.dtype, self._bias.size
        most = min(steps, max(1, _BYTES // (batch * width * dtype.itemsize)))
        rows = memory.allocated((batch, most, self._columns.shape[1]), dtype)
        for start in range(0, steps, most):
            count = min(most, steps - start)
            if start == 0 or count < most:
                rows = (
                    rows.reshape(rows.size)
                    .part(0, batch * count * rows.shape[-1])
                    .reshape(batch, count, rows.shape[-1])
                )
                memory.clear(rows, stream)
            memory.copy(xs.part(start, start + count, axis=1), rows.part(0, size, axis=2), stream)
            out = memory.allocated((batch * count, width), dtype)
            self._multiply(rows.reshape(batch * count, rows.shape[-1]), out, stream)
            left = np.clip(lengths - start, 0, count)
            part = ys
            if count < steps:
                part = memory.allocated((batch, count, ys.shape[2]), dtype)
                if left.min() < count:
                    memory.clear(part, stream)
            ids = memory.put(np.arange(batch * count).reshape(batch, count))
            room.launch(count, count, ids=ids, lengths=memory.put(left), state=state, ys=part, lookup=out)
            if part is not ys:
                memory.copy(part, ys.part(start, start + count, axis=1), stream)

    def _multiply(self, rows: DeviceArray, out: DeviceArray, stream: int) -> None:
        """out (M, N) = rows (M, K) @ columns (N, K).T + bias: by cuBLAS where CuPy is installed and works."""
        cupy = None if simulated() or self.trouble else self._cupy()
        if cupy is not None:
            try:
                target = cupy.asarray(out)
                cupy.matmul(cupy.asarray(rows), cupy.asarray(self._columns).T, out=target)
                target += cupy.asarray(self._bias)
                cupy.cuda.get_current_stream().synchronize()
                return
            except Exception as error:  # of cuBLAS, of a CuPy for another CUDA, of its own pool of memory
                self._without(error)
        tasks = -(-out.shape[0] // ROWS) * -(-out.shape[1] // 4)
        shared = _WARPS * 4 * ROWS * out.dtype.itemsize
        given = rows.reshape(rows.size), self._columns.reshape(self._columns.size), self._bias, out
        real = from_dtype(out.dtype)
        kinds = real[::1], real[::1], real[::1], real[:, ::1]
        blocks = min(_BLOCKS, -(-tasks // _WARPS))
        calls.Launcher(multiply, kinds, blocks, _WARPS * LANES, shared, given, stream, at_once=False).launch()

    def _cupy(self) -> Any:
        """None where it is not installed, or cannot be imported."""
        try:
            import cupy
        except ModuleNotFoundError as error:
            if error.name != "cupy":
                self._without(error)
            return None
        except Exception as error:  # its libraries are looked for while it is imported
            self._without(error)
            return None
        return cupy

    def _without(self, error: Exception) -> None:
        self.trouble = (
            f"CuPy does not work here ({type(error).__name__}: {' '.join(str(error).split())[:200]}): the products of "
            f"known sequences are computed by fastlstm's own kernel; install the CuPy that fits the CUDA driver"
        )
