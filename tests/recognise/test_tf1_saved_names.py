"""Variables that a Saver has written under other names than the graph's."""

import numpy as np
import pytest
from tf1_graphs import Builder, artefact, recognise

from fastlstm.layers import LSTM, Dense

CELL = "rnn/basic_lstm_cell"
NAMES = {"A": f"{CELL}/kernel", "B": f"{CELL}/bias", "C": "dense/kernel", "D": "dense/bias"}


def net():
    build = Builder()
    out, _ = build.dynamic_rnn(CELL, build.placeholder(), (3, 4), forget_bias=0.25)
    build.dense("dense", out, (4, 2))
    return build


def saver(build, names, op="SaveV2", name="save"):
    """The save operation of Saver(names); a variable is written by itself, or by what reads it."""
    texts = build.const(np.array([n.encode() for n in names], object), f"{name}/tensor_names")
    slices = build.const(np.array([b""] * len(names), object), f"{name}/shape_and_slices")
    more = () if op == "Save" else (slices,)
    build.add(
        op, f"{name}/{op}", build.const(np.array(b"model", object), f"{name}/Const"), texts, *more, *names.values()
    )


def saved(build, names):
    return artefact({name: build.shapes[variable] for name, variable in names.items()}, build.graph())


@pytest.mark.parametrize("op", ["Save", "SaveSlices", "SaveV2"])
def test_the_graph_says_what_they_are(op):
    build = net()
    saver(build, NAMES, op)
    given = saved(build, NAMES)
    recognised = recognise(given)
    assert [type(layer) for layer in recognised.layers] == [LSTM, Dense]
    np.testing.assert_array_equal(recognised.layers[1].bias, given.tensors["D"])
    assert recognised.notes[0].startswith("model.meta says which variables were saved under other names")
    assert "'A' is 'rnn/basic_lstm_cell/kernel'" in recognised.notes[0]


def test_names_that_are_exchanged():
    build = net()
    build.dense("other", "dense/BiasAdd", (2, 2))
    build.dense("third", "other/BiasAdd", (2, 2))
    names = {name: name for name in build.shapes} | {"other/kernel": "third/kernel", "third/kernel": "other/kernel"}
    saver(build, names)
    given = saved(build, names)
    *_, last = recognise(given).layers
    np.testing.assert_array_equal(last.kernel, given.tensors["other/kernel"])


@pytest.mark.parametrize("more", [{}, {"dense/bias": f"{CELL}/bias"}, {f"{CELL}/bias": "dense/bias"}])
def test_savers_that_change_nothing_or_contradict_each_other(more):
    """An average is saved as itself, and read by another saver as its variable."""
    build = net()
    names = {name: name for name in build.shapes}
    saver(build, names)
    saver(build, names | more, name="save_1")
    recognised = recognise(saved(build, names))
    assert [type(layer) for layer in recognised.layers] == [LSTM, Dense]
    assert not recognised.notes
