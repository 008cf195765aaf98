"""How long a model takes to be there: `pytest benchmarks/test_load.py`."""

from pathlib import Path

import pytest

import fastlstm
from benchmarks.checkpoint import load_times, write_checkpoint

LIMIT = 0.3  # seconds, for 13 MB


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    pytest.importorskip("tf_keras", reason="TensorFlow writes the checkpoint that is loaded")
    prefix = write_checkpoint(tmp_path_factory.mktemp("two_layers_of_512"))
    assert Path(f"{prefix}.data-00000-of-00001").stat().st_size > 13e6
    return prefix


def test_load(benchmark, prefix):
    model = benchmark.pedantic(fastlstm.load, args=(prefix,), rounds=10, warmup_rounds=1)
    assert model.state_sizes == [(512, 512), (512, 512)]
    assert benchmark.stats.stats.median < LIMIT


def test_load_in_a_fresh_process_without_tensorflow(prefix):
    """Imports included that only loading needs; TensorFlow cannot be imported there."""
    assert load_times(prefix, rounds=3)["load"] < LIMIT
