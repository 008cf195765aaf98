"""What the originals are run with: TensorFlow of this environment, in a process of its own."""

import importlib.util
import os
import stat
import sys

import pytest


@pytest.fixture(scope="session")
def tensorflow():
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("the original runs in TensorFlow, which is not installed: pip install 'fastlstm[test]'")


@pytest.fixture(scope="session")
def tf_keras(tensorflow):
    if importlib.util.find_spec("tf_keras") is None:
        pytest.skip("files of Keras 2 run in tf_keras, which is not installed: pip install 'fastlstm[test]'")


@pytest.fixture
def interpreter(tmp_path):
    """Makes an executable file of a shell script; $PYTHON in it is this Python."""
    if sys.platform == "win32":
        pytest.skip("the interpreters of these tests are shell scripts")

    def make(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n".replace("$PYTHON", f"'{sys.executable}'"))
        os.chmod(path, path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make
