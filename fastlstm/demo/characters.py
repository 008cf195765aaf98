"""The character model: text written live, and the greedy text compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fastlstm.model import Model
from fastlstm.sampling import Sampler

TEMPERATURE = 0.7
_LINES, _AT_MOST = 4, 800


def show(model: Model, data: Path, seed: int) -> bool:
    """Write some lines as they are made; give back whether the greedy text is TensorFlow's."""
    vocabulary = json.loads((data / "vocab.json").read_text("utf-8"))
    with np.load(data / "golden.npz") as stored:
        prime, expected = stored["prime"], stored["greedy"]
    print(f"  temperature {TEMPERATURE}, seed {seed}\n")
    print("".join(vocabulary[k] for k in prime), end="", flush=True)
    lines = 0
    for k in model.iterate(_AT_MOST, prime=prime, sample=Sampler(TEMPERATURE), seed=seed):
        print(vocabulary[k], end="", flush=True)
        lines += vocabulary[k] == "\n"
        if lines == _LINES:
            break
    else:
        print()
    greedy, _ = model.generate(len(expected), prime=prime, sample="greedy")
    equal = int((greedy == expected).sum())
    print(f"\ngreedy: {equal} of {len(expected)} characters equal TensorFlow's")
    return equal == len(expected)
