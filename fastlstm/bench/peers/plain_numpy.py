"""fastlstm's own NumPy device: what the model costs without anything compiled."""

from __future__ import annotations

from fastlstm.bench.peers.common import Step
from fastlstm.model import Model


def build(model: Model, threads: int) -> Step:
    """Its threads are those of NumPy's BLAS, which are set before Python starts (OPENBLAS_NUM_THREADS=1)."""
    plain = Model(model.layers, device="numpy", dtype=model.dtype)
    return Step((lambda xs: plain.run(xs)[0]) if plain.run_only else plain.stream().step)
