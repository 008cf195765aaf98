"""Set-up for all tests."""

import os
import tempfile
from pathlib import Path

import pytest

# Code that is compiled by the tests is not to lie about; a folder that is given is used, and saves a minute.
if "NUMBA_CACHE_DIR" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="fastlstm-numba-")
    os.environ["NUMBA_CACHE_DIR"] = _CACHE.name
# TensorFlow 1's cells are in TensorFlow 2 only with Keras 2. Has to be set before TensorFlow is imported.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of checkpoints that other people trained, where there is one beside the repository."""
    folder = REPOSITORY.parent / "shared" / "real"
    if not folder.is_dir():
        pytest.skip("no folder of other people's checkpoints (../shared/real) beside the repository")
    return folder
