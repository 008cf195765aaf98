"""What goes into an arena before a call and comes out of it afterwards, in one call of compiled code each.

NumPy's copies take as long where their code is in the cache, but a large model's step leaves nothing in it but weights.
"""

from __future__ import annotations

from fastlstm.backends.jit import compiled, scalar
from fastlstm.backends.memory import at, base
from fastlstm.backends.simd import copy_lanes


@compiled
def exchange(slots, arena, row_size, place, values, state, outwards):
    """The arena's first B rows take `values` and `state`, or where `outwards` is 1 give them.

    values (B, N)  what lies at `place` in a row
    state (S,)     what lies at `slots` (K, 2), offsets and sizes: a slot of all rows after the other
    """
    batch, size = values.shape
    memory, start = base(arena), 0
    _move(memory, row_size, batch, place, size, base(values), outwards)
    for k in range(slots.shape[0]):
        size = slots[k, 1]
        _move(memory, row_size, batch, slots[k, 0], size, at(base(state), start), outwards)
        start += batch * size


@scalar
def _move(arena, row_size, batch, place, size, array, outwards):
    for r in range(batch):
        inside, outside = at(arena, r * row_size + place), at(array, r * size)
        if outwards:
            copy_lanes(outside, inside, size)
        else:
            copy_lanes(inside, outside, size)
