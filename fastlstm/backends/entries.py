"""The compiled functions that Python calls, with their types.  Imported where one has to be compiled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from numba import types

from fastlstm.backends import cpu_exchange, cpu_loops, cpu_team, native, read_loop

_INT, _FLAG, _FLOAT = types.int64, types.boolean, types.float64


def _signatures(real: Any) -> Iterator[tuple[str, Any, Any]]:
    """name, function, signature of what is compiled for each dtype."""
    ints, ids = types.Array(types.int64, 1, "C"), types.Array(types.int64, 2, "C")
    reals, sequences = types.Array(real, 1, "C"), types.Array(real, 3, "C")
    buffers = (ints, reals, reals, _INT, ints, ints)  # program, weights, arena, row_size, tokens, rows
    inputs = (sequences, ids, ints, _INT, _INT, sequences)  # xs, ids, lengths, source, target, ys
    vectors = types.Array(real, 2, "C")
    block = (vectors, ints, _INT, _INT, vectors)  # inputs of a single row, without lengths
    drawing = (ids, _FLAG, _FLOAT, _INT, _FLOAT, _FLAG, types.uint64, types.uint64, ints)
    scratch = (ints, types.Array(types.float64, 1, "C"))
    yield "work", cpu_team.work_32 if real == types.float32 else cpu_team.work_64, types.int64(_INT, _INT)
    yield "step", cpu_loops.step_32 if real == types.float32 else cpu_loops.step_64, types.void(_INT)
    yield "exchange", cpu_exchange.exchange, types.void(ids, reals, _INT, _INT, vectors, reals, _INT)
    yield "run", cpu_loops.run, types.void(*buffers, *inputs)
    yield "run_block", cpu_loops.run_block, types.void(*buffers, *block)
    yield "generate", cpu_loops.generate, types.void(*buffers, *inputs, *drawing, *scratch)


ENTRIES = {
    f"{name}_{real}": (function, signature)
    for real in (types.float32, types.float64)
    for name, function, signature in _signatures(real)
}
ENTRIES["lead"] = (cpu_team.lead, types.int64(_INT, _INT, _INT))
ENTRIES["read"] = (read_loop.read, types.int64(_INT, _INT, _INT))


def compiled(name: str) -> bytes:
    """The object file of an entry."""
    return native.object_file(name, *ENTRIES[name])


def names(dtypes: Iterable[str]) -> list[str]:
    """The entries that models of these dtypes need."""
    others = {"float32", "float64"} - set(dtypes)
    return [name for name in ENTRIES if not others & set(name.split("_"))]
