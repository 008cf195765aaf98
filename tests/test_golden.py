"""Every fixture that genuine TensorFlow and Keras wrote: loaded without hints, run, and compared with their outputs."""

import json
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from tests.tolerances import TOLERANCES, assert_close

DATA = Path(__file__).parent / "data"

# Fixtures without a model that runs in this version, each tested elsewhere.
NOT_MODELS = {"tf1.15/cnn", "tf1.15/dtypes"}
NOT_YET: set[str] = set()  # fixtures of formats to come

LOOSE = {
    "tf1.15/half": 2e-3,  # float16 throughout: TensorFlow rounded every product to 11 bits, and we run in float32
    "tflite/int8_weights": 1e-2,  # TensorFlow Lite rounds every layer's input to 8 bits
    "cells_tf1.0/bidirectional_concat": 1e-5,  # a cell state of 30, TensorFlow's own being 5e-6 from float64's
    "tf1.15/block": 1e-5,  # an unclipped cell state of 76, where float32 has steps of 8e-6
}

# What a fixture's model may be called, unless its expect.json lists `models`. All of a folder hold the same weights.
FILES = ("model.index", "model.h5", "model.keras")


def cases():
    for folder in sorted(DATA.glob("*/*")):
        name = f"{folder.parent.name}/{folder.name}"
        if name in NOT_MODELS | NOT_YET or not (folder / "golden.npz").exists():
            continue
        yield from (pytest.param(folder, f, id=f"{name}/{f}") for f in files_of(folder))


def files_of(folder):
    """The models of a fixture: what expect.json lists as `models`, else those of FILES that are there."""
    listed = expected_of(folder).get("models")
    return listed or [f for f in FILES if (folder / f).exists()]


def expected_of(folder):
    return json.loads((folder / "expect.json").read_text())


@pytest.mark.parametrize("device", ["cpu", "numpy"])
@pytest.mark.parametrize(("folder", "file"), list(cases()))
def test_outputs_and_states_are_tensorflows(folder, file, device):
    expect = expected_of(folder)
    golden = np.load(folder / "golden.npz")
    model = fastlstm.load(folder / file, scope=expect["scope"], device=device, **expect.get("load", {}))
    kind = "layer norm" if expect.get("layer_norm") else model.dtype.name
    tolerance = LOOSE.get(f"{folder.parent.name}/{folder.name}", TOLERANCES[kind])
    ys, state = model.run(golden["x"], initial_state(golden), golden.get("lengths"))
    if "y" in golden:
        assert_close(without_padding(ys, golden), golden["y"], tolerance)
    else:
        assert_close(ys[:, -1:], golden["y_last"], tolerance)
    for k, layer in enumerate(state):
        for name in "ch":
            if f"{name}_{k}" in golden:
                assert_close(getattr(layer, name), golden[f"{name}_{k}"], tolerance)


@pytest.mark.parametrize(
    "folder", sorted({case.values[0] for case in cases()}), ids=lambda f: f"{f.parent.name}/{f.name}"
)
def test_every_file_of_a_fixture_gives_the_same_model(folder):
    """To the last bit: the same weights, saved in every format of one era."""
    expect = expected_of(folder)
    models = [fastlstm.load(folder / f, scope=expect["scope"], **expect.get("load", {})) for f in files_of(folder)]
    for other in models[1:]:
        assert other.dtype == models[0].dtype
        for one, two in zip(models[0].layers, other.layers, strict=True):
            assert type(one) is type(two)
            assert without_names(one.config()) == without_names(two.config())
            assert {k: a.tobytes() for k, a in one.arrays().items()} == {
                k: a.tobytes() for k, a in two.arrays().items()
            }


def without_names(config):
    """A layer's configuration without its name and those of the layers in it."""
    if isinstance(config, dict):
        return {key: without_names(value) for key, value in config.items() if key != "name"}
    return [without_names(value) for value in config] if isinstance(config, list | tuple) else config


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
