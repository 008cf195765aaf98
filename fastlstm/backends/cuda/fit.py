"""How a program is laid over a device: a pure function of its sizes, the device's figures and the batch.

The grid is `row_groups` x `unit_groups` blocks, one a multiprocessor. A row group has some rows of the batch and shares
nothing with the others; the blocks in it share out each product's units and exchange the results. What a step costs is
reckoned for every grid that fits, from bytes and exchanges; of the cheapest the one of fewest blocks is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from fastlstm.backends.cuda.device import Properties
from fastlstm.backends.cuda.program import COLUMNS, ROW_BYTES, SCRATCH_BYTES, Product, Sizes
from fastlstm.backends.cuda.settings import FEW, MANY, MOST_THREADS
from fastlstm.errors import DeviceError

# Of a multiprocessor, a clock (CUDA programming guide, shared memory and arithmetic instructions; A100 white paper).
_SHARED_BYTES = 128
_FILL_BYTES = 32  # from L2: half of what the bus takes, as one block's loads do not keep it full
# Of the L2 cache, a clock and multiprocessor, by major capability: V100 2048 and A100 5120 bytes a clock (their white
# papers); H100 5.6 TB/s on 114 multiprocessors at 1.755 GHz (Chips and Cheese 2023). Others as H100.
_L2_BYTES = {7: 25.6, 8: 47.4}
_L2_BYTES_ELSE = 28.0
_L2_LATENCY = 270  # clocks (H100 and A100: Luo et al. 2024, arXiv 2402.13499)
# Seconds that choosing reckons with for an exchange, the block's own barriers and the late ones included. An estimate:
# `python -m benchmarks.cuda` measures it. The floor has two L2 latencies, a word's way there and back.
_EXCHANGE = 1e-6
_WORD = 8  # bytes of a result that is exchanged
_AS_GOOD = 1.01  # times the least cost: of these layouts that of fewest blocks

_PIECE = 512  # bytes of a column that a warp reads at a time: a slice that is not whole is of whole ones
_TILE = 4  # columns that a warp computes at a time, and what rows are a multiple of
_WARP = 32
_LEAST_THREADS = 128
_WORDS_A_THREAD = 4  # that a thread waits for


@dataclass(frozen=True)
class Fit:
    """What is launched, and where everything lies.

    row_groups      how many groups of rows there are
    unit_groups     blocks of a group; block m of U has units [m N // U, (m + 1) N // U) of a product of N
    rows            batch rows of a group, at most
    launches        one after the other, where the batch is larger than the groups' rows
    threads         of a block
    kept            of each product, bytes of each column that are copied into shared memory when the kernel starts
    arena_resident  whether the block's arena lies in shared memory
    shared_bytes    of a block
    seconds         a step of the whole batch is reckoned to take
    floor           seconds that such a step takes at least: its bytes, and each exchange's way to L2 and back
    text            all this for people
    """

    row_groups: int
    unit_groups: int
    rows: int
    launches: int
    threads: int
    kept: tuple[int, ...]
    arena_resident: bool
    shared_bytes: int
    seconds: float
    floor: float
    text: str

    @property
    def blocks(self) -> int:
        return self.row_groups * self.unit_groups


@dataclass(frozen=True)
class _Layout:
    """A grid that fits, as in Fit."""

    row_groups: int
    unit_groups: int
    rows: int
    launches: int
    kept: tuple[int, ...]
    arena_resident: bool
    shared_bytes: int


@lru_cache(maxsize=256)
def fit(sizes: Sizes, device: Properties, batch: int) -> Fit:
    """The cheapest layout of a batch of so many rows.

    Raises DeviceError where the program itself does not fit into a block's shared memory.
    """
    rates = _Rates(device)

    costs = {layout: sum(_parts(sizes, layout, rates, _EXCHANGE)) for layout in _layouts(sizes, device, batch)}
    nearly = [layout for layout, seconds in costs.items() if seconds <= _AS_GOOD * min(costs.values())]
    best = min(nearly, key=lambda layout: (layout.row_groups * layout.unit_groups, costs[layout]))
    chip, memory, exchanges = _parts(sizes, best, rates, 2 * _L2_LATENCY / device.clock)
    floor = max(chip, memory) + exchanges
    return Fit(
        best.row_groups, best.unit_groups, best.rows, best.launches, _threads(sizes, device, best), best.kept,
        best.arena_resident, best.shared_bytes, costs[best], floor, _text(sizes, device, best, floor),
    )  # fmt: skip


def _layouts(sizes: Sizes, device: Properties, batch: int) -> Iterator[_Layout]:
    most_units = max((product.units for product in sizes.products), default=1)
    for row_groups in sorted({-(-batch // -(-batch // k)) for k in range(1, min(batch, device.multiprocessors) + 1)}):
        of_group = -(-batch // row_groups)
        for unit_groups in range(1, min(most_units, device.multiprocessors // row_groups) + 1):
            layout = _layout(sizes, device, row_groups, unit_groups, of_group)
            if batch > (row_groups - 1) * layout.rows * layout.launches:  # else a group has nothing to do
                yield layout


def _layout(sizes: Sizes, device: Properties, row_groups: int, unit_groups: int, of_group: int) -> _Layout:
    """The arena first, which everything reads, then the smallest slices, then of a larger one what there is room for.

    Waiting for L2 takes its time however little comes from there: so as few products as can be wait.

    of_group  rows that a group has to do, in as many launches as it takes
    """
    program = _sixteen(sizes.operations * COLUMNS * 4)
    limit, row = device.shared_per_block - SCRATCH_BYTES - program, sizes.own_places(unit_groups)[1] * sizes.itemsize
    if limit < 16:
        raise DeviceError(
            f"{device.name}: a block has {device.shared_per_block} bytes of shared memory, and the program of "
            f"{sizes.operations} operations needs {SCRATCH_BYTES + program + 16}; pass device='cpu'"
        )
    arena_resident = _sixteen(ROW_BYTES) + _sixteen(row) <= limit
    room = (limit - 32) // (ROW_BYTES + row * arena_resident)  # 32: both parts are rounded up
    rows = _rows(of_group, max(1, min(room, (1 << 31) // row)))  # an arena's bytes are counted in 32 bits
    launches = -(-of_group // rows)
    rows = _rows(-(-of_group // launches), rows)
    used = _sixteen(rows * ROW_BYTES) + _sixteen(rows * row) * arena_resident
    kept = [0] * len(sizes.products)
    shares = [_share(product, unit_groups) for product in sizes.products]
    for k in sorted(range(len(kept)), key=lambda k: shares[k] * sizes.products[k].column_bytes):
        whole, room = sizes.products[k].column_bytes, (limit - used) // shares[k]
        kept[k] = whole if whole <= room else room // _PIECE * _PIECE
        used += shares[k] * kept[k]
    shared = SCRATCH_BYTES + program + used
    return _Layout(row_groups, unit_groups, rows, launches, tuple(kept), arena_resident, shared)


def _rows(wanted: int, room: int) -> int:
    """One, or whole tiles, but no more than there is room for."""
    whole = -(-wanted // _TILE) * _TILE
    return 1 if wanted == 1 or room < _TILE else min(whole, room // _TILE * _TILE)


def _passes(rows: int, itemsize: int) -> int:
    """How often a warp reads a weight."""
    return -(-rows // (1 << FEW if rows <= 2 << FEW else 1 << MANY - (itemsize >> 3)))


def _share(product: Product, unit_groups: int) -> int:
    """Columns of the block that has most."""
    return -(-product.units // unit_groups) * product.columns


class _Rates:
    """Of a device: bytes a second, of a block or of all; multiply-adds a second of a block."""

    def __init__(self, device: Properties) -> None:
        self.shared = _SHARED_BYTES * device.clock
        self.fill = _FILL_BYTES * device.clock
        a_clock = _L2_BYTES.get(device.capability[0], _L2_BYTES_ELSE) * device.multiprocessors
        self.l2 = a_clock * device.clock
        self.l2_bytes = device.l2_bytes
        self.memory = device.memory_bandwidth or 1e12  # some drivers tell no clock
        self.multiply = (64 if device.capability in ((7, 0), (7, 2), (7, 5), (8, 0)) else 128) * device.clock


def _parts(sizes: Sizes, layout: _Layout, rates: _Rates, exchange: float) -> tuple[float, float, float]:
    """Seconds of a step of the whole batch: on the chip, reading the device's memory, exchanging.

    exchange  seconds of one, without the words' own bytes
    """
    rows, passes = layout.rows, _passes(layout.rows, sizes.itemsize)
    from_l2 = min(rates.fill, rates.l2 / (layout.row_groups * layout.unit_groups))
    chip, streamed, exchanges = 0.0, 0, 0.0
    for product, kept in zip(sizes.products, layout.kept, strict=True):
        columns = -(-_share(product, layout.unit_groups) // _TILE) * _TILE
        weights = columns * product.column_bytes * passes
        vectors = columns // _TILE * product.column_bytes * rows
        multiplied = columns * rows * product.column_bytes / sizes.itemsize / rates.multiply
        near = weights * kept / product.column_bytes
        in_shared = near + vectors * layout.arena_resident
        outside = weights - near + vectors * (not layout.arena_resident)
        chip += max(multiplied, in_shared / rates.shared, outside / from_l2)
        streamed += product.units * product.columns * (product.column_bytes - kept)
        if layout.unit_groups > 1:
            exchanges += exchange + rows * product.units * _WORD / from_l2
    # Each half of the cache keeps what its multiprocessors read.
    memory = streamed / rates.memory if streamed > rates.l2_bytes / 2 else 0.0
    return chip * layout.launches, memory * layout.launches, exchanges * layout.launches


def _threads(sizes: Sizes, device: Properties, layout: _Layout) -> int:
    """A warp a tile, and no thread with many words to wait for."""
    passes = _passes(layout.rows, sizes.itemsize)
    tiles = max((-(-_share(each, layout.unit_groups) // _TILE) * passes for each in sizes.products), default=1)
    words = max((each.units for each in sizes.products), default=0) * layout.rows * (layout.unit_groups > 1)
    wanted = max(tiles * _WARP, -(-words // _WORDS_A_THREAD))
    return min(MOST_THREADS, device.threads_per_sm, max(_LEAST_THREADS, -(-wanted // _WARP) * _WARP))


def _text(sizes: Sizes, device: Properties, layout: _Layout, floor: float) -> str:
    groups = f"{layout.row_groups} x " if layout.row_groups > 1 else ""
    first = (
        f"{groups}{layout.unit_groups} of {device.multiprocessors} multiprocessors of {device.name}, "
        f"{layout.shared_bytes / 1024:.0f} of {device.shared_per_block / 1024:.0f} KiB of shared memory each"
    )
    if layout.rows > 1 or layout.launches > 1:
        again = f", {layout.launches} times" if layout.launches > 1 else ""
        first += f"; {layout.rows} row{'s'[: layout.rows - 1]} at a time{again}"
    lines = [first]
    for product, kept in zip(sizes.products, layout.kept, strict=True):
        units = -(-product.units // layout.unit_groups)
        size = units * product.columns * product.column_bytes
        where = "stay in shared memory" if kept else "are read at each step"
        if 0 < kept < product.column_bytes:
            stay = units * product.columns * kept / 1024
            where = f"are read at each step but for {stay:.3g}, which stay in shared memory"
        lines.append(f"{product.name}: {units} of {product.units} units a block, whose {size / 1024:.3g} KiB {where}")
    if not layout.arena_resident:
        lines.append("vectors do not fit into shared memory")
    exchanges = f"{len(sizes.products)} exchanges between blocks" if layout.unit_groups > 1 else "no exchange"
    lines.append(f"a step takes {1e6 * floor:.2g} us at least, with {exchanges}")
    return "; ".join(lines)


def _sixteen(size: int) -> int:
    return -(-size // 16) * 16
