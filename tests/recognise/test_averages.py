"""ema=True: the moving averages of the weights in place of the weights."""

from pathlib import Path

import numpy as np
import pytest

import fastlstm
from tests.tolerances import TOLERANCES, assert_close

DATA = Path(__file__).parents[1] / "data"


def outputs(model, golden):
    """Of the longest row, which is a whole one."""
    return model.run(golden["x"][:1])[0]


@pytest.mark.parametrize("era", ["tf1.0", "tf1.15"])
def test_outputs_are_tensorflows_with_the_shadows(era):
    golden = np.load(DATA / era / "training" / "golden.npz")
    model = fastlstm.load(DATA / era / "training" / "model", ema=True, device="numpy")
    assert_close(outputs(model, golden), golden["y_ema"][:1], TOLERANCES["float32"])
    assert np.abs(golden["y"] - golden["y_ema"]).max() > 1e-4
    (finding,) = model.report["ema"]
    assert (finding.value, finding.how) == (True, "given")


def test_the_report_says_that_there_are_averages_until_it_is_asked():
    path = DATA / "tf1.15" / "training" / "model"
    assert any("ema=True" in note for note in fastlstm.load(path).report.notes)
    model = fastlstm.load(path, ema=False, device="numpy")
    assert not any("ema=True" in note for note in model.report.notes)
    golden = np.load(path.parent / "golden.npz")
    assert_close(outputs(model, golden), golden["y"][:1], TOLERANCES["float32"])


@pytest.mark.parametrize("path", ["tf1.15/basic/model", "keras3/sequential/model.keras"])
def test_no_averages(path):
    with pytest.raises(fastlstm.ArgumentError, match="no moving averages"):
        fastlstm.load(DATA / path, ema=True)
