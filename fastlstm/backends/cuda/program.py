"""A model as a program for CUDA: operations whose units are shared out among blocks, and the buffers they read.

weights  the matrices, (units, columns, K): a unit's columns (an LSTM's gates) side by side, each contiguous, so that
         the lanes of a warp walk it with 16-byte loads. Units come in order, so that the slice of any block is one
         stretch, whatever the grid. K is what multiplies the layer's input, then its own h, each padded to a multiple
         of four
table    biases, peepholes, norms and clips, in the model's dtype
lookup   (V, width): what an id stands for, an embedding or the first layer's sums before h (`tables.py`)
arena    of each block: the vectors of its batch rows, complete, `row_size` elements a row; behind them what a block
         needs of its own units only: most layers' c

Only products are shared out. What needs a whole layer at once (layer norm, softmax, a highway's mix, masks) each block
computes for itself from the exchanged vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends.packing import padded
from fastlstm.backends.plan import StateSlot

Array = NDArray[np.floating]

# Operations: what stands in column OP. Those before STATE are products.
LSTM_CELL, GRU_AFTER, GRU_GATES, GRU_CANDIDATE, DENSE, STATE, GATHER, ONE_HOT, NORM_CELL, SOFTMAX, AROUND, MASK_VALUE, \
    MASK_ID = range(13)  # fmt: skip

# Columns. A product is over A (A_DEPTH) and B (B_DEPTH), in the arena; its columns begin every STRIDE elements of
# `weights`; BEGIN is what its sums begin with, in `table`, or, with BY_TOKEN, in a row of `lookup`. WORDS is where its
# results are exchanged, SLICE where the first KEPT elements of each of the block's columns lie in shared memory, all in
# elements. OWN: which of `Sizes.own` C is. FIRST and END: the block's own units, which it fills in. NONE: not there.
(
    OP, UNITS, COLUMNS_OF_UNIT, WEIGHTS, STRIDE, A, A_DEPTH, B, B_DEPTH, BEGIN, BY_TOKEN, WORDS, SLICE, KEPT,
    TARGET, C, OWN, H, MASK, PEEPHOLES, CLIP, NORM, VALUE, ACTIVATION, RECURRENT_ACTIVATION, FIRST, END,
    COLUMNS,
) = range(28)  # fmt: skip
NONE = -1

# Shared memory of a block before its program: room for reductions, and of each batch row its token, whether it takes
# part and a place in the list of those that do, with the byte at which its row of the arena begins, int32 each.
SCRATCH_BYTES = 4096
ROW_BYTES = 16


@dataclass(frozen=True)
class Product:
    """What is shared out among blocks: `units` of `columns` weight columns each, `column_bytes` long."""

    name: str
    units: int
    columns: int
    column_bytes: int


@dataclass(frozen=True)
class Sizes:
    """What `fit.py` needs to know of a program.

    itemsize    bytes of an element of the state
    row_size    elements of an arena row, without what follows
    operations  rows of the program
    products    in the program's order
    own         units of each vector of which a block has its own units
    """

    itemsize: int
    row_size: int
    operations: int
    products: tuple[Product, ...]
    own: tuple[int, ...] = ()

    def own_places(self, unit_groups: int) -> tuple[list[int], int]:
        """Where the own units of each vector begin in an arena row, of so many blocks a row group, and its elements.

        A single block has at the end what it computes until all is computed.
        """
        places, at = [], self.row_size
        for units in self.own:
            places.append(at)
            at += padded(-(-units // unit_groups), 4)
        return places, at + (self.pending if unit_groups == 1 else 0)

    @property
    def pending(self) -> int:
        """Elements for the results of any product."""
        return padded(max((product.units for product in self.products), default=0), 4)


@dataclass(frozen=True)
class Program:
    """See above.

    operations  (N, COLUMNS) int32; where they lie in a block (SLICE, KEPT, C of OWN) not filled in
    weights     float32 or float64, or for bfloat16 uint32, two rows a word as `narrow.py` has them
    input       where x goes in an arena row; None where the model takes ids
    words       results of one batch row that are exchanged in a step
    first       the first layer's kernel (N, D), D padded to a multiple of 4, and its biases (N,), where `lookup` is to
                be their product with the inputs
    """

    operations: NDArray[np.int32]
    weights: NDArray[np.generic]
    table: Array
    lookup: Array
    input: slice | None
    output: slice
    words: int
    states: tuple[StateSlot, ...]
    sizes: Sizes
    first: tuple[Array, Array] | None = None
