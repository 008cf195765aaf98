"""Many steps in one call, fed back or of a known sequence: `pytest benchmarks/test_loop.py`."""

import pytest

from benchmarks.columns import known, looped, spelled
from benchmarks.parts import BATCH_STEPS, BATCHED, BATCHES, SEQUENCE_STEPS, SEQUENCES, SYMBOLS
from benchmarks.peers import CHARACTERS, LOOPS, THREADS_LOOP
from benchmarks.peers import SEQUENCES as SEQUENCE_PEERS
from benchmarks.problem import SIZES, Characters, Problem


def _benchmark(benchmark, installed, peer, entry, group):
    ready = installed(peer, entry)
    benchmark.group = f"{entry.steps} steps, {group}"
    benchmark.extra_info["steps"] = entry.steps
    benchmark.pedantic(ready.call, args=(ready.argument,), rounds=5, iterations=1, warmup_rounds=1)


@pytest.mark.parametrize("peer", {**LOOPS, **THREADS_LOOP})
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_loop(benchmark, installed, size, peer):
    entry = looped(Problem(*size), {**LOOPS, **THREADS_LOOP})[peer]
    _benchmark(benchmark, installed, peer, entry, f"fed back, (input, hidden) = {size}")


@pytest.mark.parametrize("peer", CHARACTERS)
def test_characters(benchmark, installed, peer):
    _benchmark(
        benchmark, installed, peer, spelled(Characters(), CHARACTERS, SYMBOLS)[peer], "a character model, 2 x 512"
    )


@pytest.mark.parametrize("peer", SEQUENCE_PEERS)
@pytest.mark.parametrize("size", SEQUENCES, ids=str)
def test_sequence(benchmark, installed, size, peer):
    entry = known(Problem(*size, steps=SEQUENCE_STEPS), SEQUENCE_PEERS)[peer]
    _benchmark(benchmark, installed, peer, entry, f"known, (input, hidden) = {size}")


@pytest.mark.parametrize("peer", SEQUENCE_PEERS)
@pytest.mark.parametrize("batch", BATCHES)
def test_sequences_of_a_batch(benchmark, installed, batch, peer):
    entry = known(Problem(*BATCHED, batch=batch, steps=BATCH_STEPS), SEQUENCE_PEERS)[peer]
    _benchmark(benchmark, installed, peer, entry, f"known, a batch of {batch}, (input, hidden) = {BATCHED}")
