"""How models are laid over devices: by hand for those that matter, and for random ones that everything fits."""

import math
import os
from dataclasses import replace
from itertools import pairwise

import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("runs without the simulator too", allow_module_level=True)

from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm
from fastlstm.backends.cuda.device import SIMULATED, Properties
from fastlstm.backends.cuda.fit import fit
from fastlstm.backends.cuda.program import COLUMNS, ROW_BYTES, Product, Sizes

# Figures of the data sheets and of the CUDA programming guide's table of compute capabilities.
H200 = Properties("H200", (9, 0), 132, 2048, 232448, 233472, 1024, 65536, 60 << 20, 141 * 10**9, 1.98e9, 4.9e12)
A100 = Properties("A100", (8, 0), 108, 2048, 166912, 167936, 1024, 65536, 40 << 20, 80 * 10**9, 1.41e9, 2.04e12)
T4 = Properties("T4", (7, 5), 40, 1024, 65536, 65536, 0, 65536, 4 << 20, 16 * 10**9, 1.59e9, 0.32e12)
DEVICES = [H200, A100, T4, SIMULATED]


def network(inputs, hidden, layers=1, outputs=None, bytes_each=4):
    """Layers of LSTM and a dense head."""
    products, row, outputs = [], inputs, outputs or inputs
    for k in range(layers):
        products.append(Product(f"lstm_{k}", hidden, 4, -(-(inputs + hidden) * bytes_each // 16) * 16))
        inputs, row = hidden, row + hidden
    products.append(Product("head", outputs, 1, -(-hidden * bytes_each // 16) * 16))
    return Sizes(4, row + outputs, 2 * layers + 1, tuple(products), (hidden,) * layers)


def whole(sizes):
    """All columns kept."""
    return tuple(product.column_bytes for product in sizes.products)


@pytest.mark.parametrize(("hidden", "blocks", "most_us"), [(512, 128, 1.0), (1024, 128, 2.0)])
def test_weights_stay_on_the_chip_of_an_h200(hidden, blocks, most_us):
    sizes = network(1, hidden)
    found = fit(sizes, H200, 1)
    assert (found.row_groups, found.unit_groups, found.rows, found.launches) == (1, blocks, 1, 1)
    assert found.kept == whole(sizes) and found.arena_resident
    assert 0.5 < 1e6 * found.floor < most_us < 1e6 * found.seconds
    assert f"{hidden // blocks} of {hidden} units a block" in found.text
    assert "2 exchanges between blocks" in found.text and "128 of 132 multiprocessors of H200" in found.text


def test_a_character_model_of_two_layers_stays_too():
    sizes = network(65, 512, layers=2)
    assert fit(sizes, H200, 1).kept == whole(sizes)


@pytest.mark.parametrize(("hidden", "layers"), [(4096, 1), (2048, 2)])
def test_what_does_not_fit_is_streamed_by_all(hidden, layers):
    """At the rate of the device's memory: the weights are more than its L2 cache."""
    sizes = network(64, hidden, layers)
    found = fit(sizes, H200, 1)
    assert all(kept < product.column_bytes for kept, product in zip(found.kept, sizes.products[:layers], strict=False))
    assert found.blocks > 100 and found.launches == 1
    pairs = zip(found.kept, sizes.products, strict=True)
    streamed = sum(p.units * p.columns * (p.column_bytes - kept) for kept, p in pairs)
    assert found.floor >= streamed / H200.memory_bandwidth
    assert "are read at each step" in found.text


def test_of_two_large_layers_a_part_stays():
    """2 x 1024: 464 KiB a block, of which shared memory takes what there is room for, to the last 16 KiB."""
    sizes = network(512, 1024, layers=2)
    found = fit(sizes, H200, 1)
    first, second, head = found.kept
    assert head == 4096 and first == sizes.products[0].column_bytes and second % 512 == 0
    assert 0 <= H200.shared_per_block - found.shared_bytes < 32 * 512
    less = fit(sizes, replace(H200, shared_per_block=H200.shared_per_block - 40_000), 1)
    assert less.kept[2] == 4096 and 0 < less.kept[0] < first and less.kept[1] == 0
    assert less.seconds > found.seconds
    kept = 32 * less.kept[0] / 1024
    assert f"whose 192 KiB are read at each step but for {kept:.3g}, which stay in shared memory" in less.text


def test_halves_of_weights_stay_where_whole_ones_do_not():
    sizes = network(1, 1536)
    assert fit(sizes, H200, 1).kept[0] < sizes.products[0].column_bytes
    sizes = network(1, 1536, bytes_each=2)
    assert fit(sizes, H200, 1).kept == whole(sizes)


@pytest.mark.parametrize("hidden", [8, 32, 64])
def test_a_small_model_is_one_block_without_exchange(hidden):
    sizes = network(1, hidden)
    found = fit(sizes, H200, 1)
    assert found.blocks == 1 and found.kept == whole(sizes)
    assert "no exchange" in found.text


def test_no_more_blocks_than_the_largest_share_needs():
    """132 blocks would have 4 units at most too."""
    assert fit(network(256, 512), H200, 1).unit_groups == 128


def test_many_rows_are_shared_out():
    few, many = fit(network(16, 64), H200, 4), fit(network(16, 64), H200, 4096)
    assert few.row_groups * few.rows >= 4 and few.unit_groups == 1
    assert many.row_groups > 100 and many.row_groups * many.rows * many.launches >= 4096
    assert many.seconds > few.seconds
    assert f"{many.rows} rows at a time" in many.text


def test_little_shared_memory():
    """Less and less of it: first the weights leave, then the vectors, then it is refused."""
    sizes = network(256, 256)
    one = fit(sizes, replace(H200, multiprocessors=1), 1)
    assert one.arena_resident and one.kept == (0, 512)
    least = replace(H200, shared_per_block=4096 + sizes.operations * COLUMNS * 4 + 32)
    tiny = fit(sizes, least, 1)
    assert not tiny.arena_resident and not any(tiny.kept) and "vectors do not fit" in tiny.text
    assert tiny.rows == 1
    most = sizes.own_places(1)[1] * sizes.itemsize
    row = replace(least, shared_per_block=least.shared_per_block + most)
    assert fit(sizes, row, 1).arena_resident
    with pytest.raises(fastlstm.DeviceError, match=r"H200: a block has 4000 bytes of shared memory, .* needs"):
        fit(sizes, replace(H200, shared_per_block=4000), 1)


def test_a_model_without_products():
    """An embedding alone."""
    found = fit(Sizes(4, 12, 2, ()), H200, 3)
    assert found.blocks >= 1 and found.kept == ()


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(1, 5000), st.sampled_from([1, 2, 4]), st.integers(1, 5000)), min_size=1, max_size=5),
    st.integers(1, 4096),
    st.sampled_from(DEVICES),
    st.sampled_from([2, 4, 8]),
)
def test_everything_is_done_once_and_fits(products, batch, device, bytes_each):
    products = tuple(Product("p", units, n, -(-k * bytes_each // 16) * 16) for units, n, k in products)
    own = tuple(p.units for p in products if p.columns == 4)
    sizes = Sizes(max(4, bytes_each), sum(p.units for p in products) + 8, len(products) + 2, products, own)
    found = fit(sizes, device, batch)

    assert found.row_groups >= 1 and found.unit_groups >= 1 and found.blocks <= device.multiprocessors
    assert found.threads == 16 if device is SIMULATED else found.threads in range(128, 513, 32)
    assert found.row_groups * found.rows * found.launches >= batch
    assert found.row_groups * found.rows * (found.launches - 1) < batch
    assert (found.row_groups - 1) * found.rows * found.launches < batch  # no group without a row
    assert found.rows == 1 or found.rows % 4 == 0
    assert 0 < found.floor <= found.seconds

    parts = [4096, ROW_BYTES * found.rows, len(products) * COLUMNS * 4 + 2 * COLUMNS * 4]
    own_units = sum(math.ceil(math.ceil(units / found.unit_groups) / 4) * 4 for units in own)
    pending = -(-max(p.units for p in products) // 4) * 4 if found.unit_groups == 1 else 0
    parts += [found.rows * (sizes.row_size + own_units + pending) * sizes.itemsize] * found.arena_resident
    for product, kept in zip(products, found.kept, strict=True):
        ends = [m * product.units // found.unit_groups for m in range(found.unit_groups + 1)]
        assert ends[0] == 0 and ends[-1] == product.units
        share = max(last - first for first, last in pairwise(ends))
        assert share * found.unit_groups < product.units + found.unit_groups
        assert kept == product.column_bytes or (kept % 512 == 0 and kept < product.column_bytes)
        parts += [share * product.columns * kept]
    assert found.shared_bytes == sum(-(-part // 16) * 16 for part in parts) <= device.shared_per_block
