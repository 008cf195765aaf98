"""Paths to files that genuine TensorFlow and Keras wrote, and the two questions asked of damaged ones."""

from pathlib import Path

import numpy as np
import pytest

from fastlstm.errors import FastLSTMError
from fastlstm.formats import open_artefact

DATA = Path(__file__).parents[1] / "data"
REAL = Path(__file__).parents[2].parent / "shared/real"  # beside the checkout on some machines


def finder(folder):
    """A function that gives the path of a file in `folder`; the test is skipped where it is not there."""

    def find(name):
        path = folder / name
        if not path.exists():
            pytest.skip(f"{path} is not there")
        return path

    return find


@pytest.fixture
def fixture_file():
    return finder(DATA)


@pytest.fixture
def real_file():
    return finder(REAL)


def everything(path):
    """All tensors and all attributes of all nodes, or the FastLSTMError; any other exception is a failure."""
    try:
        artefact = open_artefact(path)
        if artefact.graph is not None:
            for node in artefact.graph.nodes.values():
                assert isinstance(dict(node.attrs), dict)
        return dict(artefact.tensors)
    except FastLSTMError as error:
        assert str(error)
        return error


@pytest.fixture
def outcome():
    return everything


@pytest.fixture
def same():
    def compare(got, expected):
        assert sorted(got) == sorted(expected)
        for name, array in expected.items():
            assert got[name].dtype == array.dtype, name
            assert got[name].shape == array.shape, name
            assert (
                got[name].tolist() == array.tolist()
                if array.dtype == object
                else got[name].tobytes() == array.tobytes()
            )
        return True

    return compare


@pytest.fixture
def arrays():
    random = np.random.default_rng(5)
    return {
        "net/bias": random.normal(size=7).astype("f4"),
        "net/kernel": random.normal(size=(3, 5)),
        "net/step": np.array(12345678901, "i8"),
        "net/mask": random.integers(0, 2, (2, 3)).astype(bool),
        "net/none": np.zeros((0, 4), "f4"),
        "net/half": random.normal(size=3).astype("f2"),
    }
