"""Configurations with one part replaced by something else: recognised, or refused with an error of fastlstm's own."""

import json
from dataclasses import replace

import numpy as np
import pytest
from keras_helpers import DATA, tensors

from fastlstm.errors import FastLSTMError
from fastlstm.formats import open_artefact
from fastlstm.recognise import recognise

JUNK = [
    None,
    True,
    -1,
    0.5,
    2**70,
    "x",
    "",
    [],
    {},
    [None],
    ["a", 0, 1],
    {"class_name": 3},
    [[1, 2], [3]],
    {"config": []},
]
FILES = [
    "keras3/sequential/model.keras", "tf_keras/functional_no_bias/model.h5", "keras2/last_step/model.h5",
    "keras3/mask_zero/model.keras", "keras2/bidirectional_cells/model.h5",
]  # fmt: skip


def places(value, path=()):
    """The path of every part of nested lists and dictionaries."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def changed(model, path, junk):
    copy = json.loads(json.dumps(model))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = junk
    return copy


@pytest.mark.parametrize("name", FILES)
def test_one_part_replaced(name):
    artefact = open_artefact(DATA / name)
    artefact = replace(artefact, tensors=tensors(dict(artefact.tensors)))  # in memory: there are thousands of turns
    rng = np.random.default_rng(1)
    spots = [path for path in places(artefact.keras.model) if path]
    outcomes = {"recognised": 0, "refused": 0}
    for path in spots:
        for k in rng.choice(len(JUNK), 4, replace=False):
            keras = replace(artefact.keras, model=changed(artefact.keras.model, path, JUNK[k]))
            try:
                recognise(replace(artefact, keras=keras))
                outcomes["recognised"] += 1
            except FastLSTMError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 50
