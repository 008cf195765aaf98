"""Every fixture that genuine TensorFlow and Keras wrote: loaded without hints, run, and compared with their outputs."""

import json
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from tests.tolerances import TOLERANCES, assert_close

DATA = Path(__file__).parent / "data"

# Fixtures without a model that runs in this version, each tested elsewhere.
NOT_MODELS = {"tf1.15/cnn", "tf1.15/gru", "tf1.15/dtypes"}
NOT_YET = {"tf1.0/multi_v1", "tf1.15/multi_v1"}  # V1 files

LOOSE = {
    "tf1.15/half": 2e-3,  # float16 throughout: TensorFlow rounded every product to 11 bits, and we run in float32
    "tf1.15/block": 1e-5,  # an unclipped cell state of 76, where float32 has steps of 8e-6
}


def cases():
    for folder in sorted(DATA.glob("*/*")):
        name = f"{folder.parent.name}/{folder.name}"
        if name in NOT_MODELS | NOT_YET or not (folder / "golden.npz").exists():
            continue
        files = [f for f in ("model.index", "model.h5", "model.keras") if (folder / f).exists()]
        yield from (pytest.param(folder, f, id=f"{name}/{f}") for f in files)


@pytest.mark.parametrize("device", ["cpu", "numpy"])
@pytest.mark.parametrize(("folder", "file"), list(cases()))
def test_outputs_and_states_are_tensorflows(folder, file, device):
    expect = json.loads((folder / "expect.json").read_text())
    golden = np.load(folder / "golden.npz")
    model = fastlstm.load(folder / file, scope=expect["scope"], device=device)
    tolerance = LOOSE.get(f"{folder.parent.name}/{folder.name}", TOLERANCES[model.dtype.name])
    ys, state = model.run(golden["x"], initial_state(golden), golden.get("lengths"))
    if "y" in golden:
        assert_close(without_padding(ys, golden), golden["y"], tolerance)
    else:
        assert_close(ys[:, -1:], golden["y_last"], tolerance)
    for k, layer in enumerate(state):
        for name in "ch":
            if f"{name}_{k}" in golden:
                assert_close(getattr(layer, name), golden[f"{name}_{k}"], tolerance)


def initial_state(golden):
    pairs = []
    while f"c0_{len(pairs)}" in golden:
        pairs.append((golden[f"c0_{len(pairs)}"], golden[f"h0_{len(pairs)}"]))
    return pairs or None


def without_padding(ys, golden):
    """TensorFlow's zeros past a row's length come before the head; the fixtures hold zeros after it, as `run` gives."""
    return ys if "lengths" not in golden else ys * (np.arange(ys.shape[1]) < golden["lengths"][:, None])[..., None]


def test_every_fixture_is_either_run_or_named():
    run = {f"{p.values[0].parent.name}/{p.values[0].name}" for p in cases()}
    there = {f"{f.parent.name}/{f.name}" for f in DATA.glob("*/*") if (f / "golden.npz").exists()}
    assert run | NOT_MODELS | NOT_YET >= there
    assert len(run) > 30
