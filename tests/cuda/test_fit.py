"""How models are laid over devices: by hand for those that matter, and for random ones that everything fits."""

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
from fastlstm.backends.cuda.packing import COLUMNS, ROW_BYTES, Product, Sizes

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
        inputs, row = hidden, row + 2 * hidden
    products.append(Product("head", outputs, 1, -(-hidden * bytes_each // 16) * 16))
    return Sizes(4, row + outputs + hidden, 2 * layers + 1, tuple(products))


@pytest.mark.parametrize(("hidden", "blocks", "most_us"), [(512, 128, 1.0), (1024, 128, 2.0)])
def test_weights_stay_on_the_chip_of_an_h200(hidden, blocks, most_us):
    found = fit(network(1, hidden), H200, 1)
    assert (found.row_groups, found.unit_groups, found.rows, found.launches) == (1, blocks, 1, 1)
    assert found.resident == (True, True) and found.arena_resident
    assert 0.5 < 1e6 * found.floor < most_us < 1e6 * found.seconds
    assert f"{hidden // blocks} of {hidden} units a block" in found.text
    assert "2 exchanges between blocks" in found.text and "128 of 132 multiprocessors of H200" in found.text


def test_a_character_model_of_two_layers_stays_too():
    assert fit(network(65, 512, layers=2), H200, 1).resident == (True, True, True)


@pytest.mark.parametrize(("hidden", "layers"), [(4096, 1), (2048, 2)])
def test_what_does_not_fit_is_streamed_by_all(hidden, layers):
    """At the rate of the device's memory: the weights are more than its L2 cache."""
    sizes = network(64, hidden, layers)
    found = fit(sizes, H200, 1)
    assert found.resident[:layers] == (False,) * layers
    assert found.blocks > 100 and found.launches == 1
    streamed = sum(p.units * p.columns * p.column_bytes for p in sizes.products[:layers])
    assert found.floor >= streamed / H200.memory_bandwidth
    assert "are read at each step" in found.text


def test_halves_of_weights_stay_where_whole_ones_do_not():
    assert not fit(network(1, 1536), H200, 1).resident[0]
    assert fit(network(1, 1536, bytes_each=2), H200, 1).resident[0]


@pytest.mark.parametrize("hidden", [8, 32, 64])
def test_a_small_model_is_one_block_without_exchange(hidden):
    found = fit(network(1, hidden), H200, 1)
    assert found.blocks == 1 and found.resident == (True, True)
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
    whole = fit(sizes, replace(H200, multiprocessors=1), 1)
    assert whole.arena_resident and whole.resident == (False, False)
    least = replace(H200, shared_per_block=4096 + sizes.operations * COLUMNS * 4 + 32)
    tiny = fit(sizes, least, 1)
    assert not tiny.arena_resident and not any(tiny.resident) and "vectors do not fit" in tiny.text
    assert tiny.rows == 1
    row = replace(least, shared_per_block=least.shared_per_block + sizes.row_size * sizes.itemsize)
    assert fit(sizes, row, 1).arena_resident
    with pytest.raises(fastlstm.DeviceError, match=r"H200: a block has 4000 bytes of shared memory, .* needs"):
        fit(sizes, replace(H200, shared_per_block=4000), 1)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(1, 5000), st.sampled_from([1, 2, 4]), st.integers(1, 5000)), min_size=1, max_size=5),
    st.integers(1, 4096),
    st.sampled_from(DEVICES),
    st.sampled_from([2, 4, 8]),
)
def test_everything_is_done_once_and_fits(products, batch, device, bytes_each):
    products = tuple(Product("p", units, n, -(-k * bytes_each // 16) * 16) for units, n, k in products)
    sizes = Sizes(max(4, bytes_each), sum(p.units for p in products) + 8, len(products) + 2, products)
    found = fit(sizes, device, batch)

    assert found.row_groups >= 1 and found.unit_groups >= 1 and found.blocks <= device.multiprocessors
    assert found.threads == 16 if device is SIMULATED else found.threads in range(128, 513, 32)
    assert found.row_groups * found.rows * found.launches >= batch
    assert found.row_groups * found.rows * (found.launches - 1) < batch
    assert found.rows == 1 or found.rows % 4 == 0
    assert 0 < found.floor <= found.seconds

    parts = [4096, ROW_BYTES * found.rows, len(products) * COLUMNS * 4 + 2 * COLUMNS * 4]
    parts += [found.rows * sizes.row_size * sizes.itemsize] * found.arena_resident
    for product, resident in zip(products, found.resident, strict=True):
        ends = [m * product.units // found.unit_groups for m in range(found.unit_groups + 1)]
        assert ends[0] == 0 and ends[-1] == product.units
        share = max(last - first for first, last in pairwise(ends))
        assert share * found.unit_groups < product.units + found.unit_groups
        parts += [share * product.columns * product.column_bytes] * resident
    assert found.shared_bytes == sum(-(-part // 16) * 16 for part in parts) <= device.shared_per_block
