"""The autoregressive loop, 1000 steps a call: `pytest benchmarks/test_loop.py`."""

import pytest

from benchmarks.peers import LOOPS, checked_loop
from benchmarks.problem import SIZES, Problem

STEPS = 1000


@pytest.mark.parametrize("peer", LOOPS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_loop(benchmark, size, peer):
    call, first = checked_loop(peer, Problem(*size), STEPS)
    benchmark.group = f"{STEPS} steps fed back, (input, hidden) = {size}"
    benchmark.pedantic(call, args=(first,), rounds=5, iterations=1, warmup_rounds=1)
