"""GRU, Bidirectional, masks, go_backwards, cells, nested and stateful models: files that genuine Keras wrote.

Recognised and run by the oracle of this folder: tests/test_golden.py runs them with the package.
"""

import json

import numpy as np
import pytest
from keras_helpers import DATA, oracle

from fastlstm.formats import open_artefact
from fastlstm.layers import recurrent_layers
from fastlstm.recognise import recognise

ERAS = ("keras1.2", "keras2.1", "keras2", "keras2.15", "tf_keras", "keras3")


def cases():
    for era in ERAS:
        for folder in sorted((DATA / era).glob("*/")):
            expect = folder / "expect.json"
            listed = json.loads(expect.read_text()).get("models", []) if expect.exists() else []
            own = [file for file in listed if file.endswith((".h5", ".keras", ".json", "folder"))]
            yield from (pytest.param(folder, file, id=f"{era}/{folder.name}/{file}") for file in own)


CASES = list(cases())


def found_in(folder, file):
    expect = json.loads((folder / "expect.json").read_text())
    return recognise(open_artefact(folder / file), overrides=expect.get("load"))


@pytest.mark.parametrize(("folder", "file"), CASES)
def test_outputs_and_states(folder, file):
    found = found_in(folder, file)
    golden = np.load(folder / "golden.npz")
    ys, states = oracle(found.layers, golden["x"])
    tolerance = 1e-12 if golden["x"].dtype == np.float64 else 2e-5
    if "y" in golden:
        np.testing.assert_allclose(ys, golden["y"], rtol=0, atol=tolerance)
    else:
        np.testing.assert_allclose(ys[:, -1:], golden["y_last"], rtol=0, atol=tolerance)
        assert any("ys[:, -1]" in note for note in found.notes)
    assert len(states) == len(recurrent_layers(found.layers))
    compared = 0
    for k, state in enumerate(states):
        for letter, value in zip("ch", state, strict=True):
            if f"{letter}_{k}" in golden:
                np.testing.assert_allclose(value, golden[f"{letter}_{k}"], rtol=0, atol=tolerance)
                compared += 1
    assert compared == sum(name[:2] in ("c_", "h_") for name in golden)


def test_every_era_is_there():
    assert {case.values[0].parent.name for case in CASES} == set(ERAS)
    assert len(CASES) > 90
