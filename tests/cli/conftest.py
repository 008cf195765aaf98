"""Small models as files, and the command line as a function."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastlstm
from fastlstm import cli
from tests import models

LETTERS = "abcdefgh\n Z"


@pytest.fixture
def run(capsys):
    """run("inspect", path) -> exit status, stdout and stderr."""

    def run(*arguments):
        capsys.readouterr()
        try:
            status = cli.main([str(a) for a in arguments])
        except SystemExit as end:  # argparse
            status = end.code
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return run


@pytest.fixture(scope="session")
def process():
    """The same in a process of its own, with environment variables, and keywords for subprocess.run."""

    def process(*arguments, program=("-m", "fastlstm"), variables=None, **options):
        env = os.environ | {"PYTHONPATH": str(Path(fastlstm.__file__).parents[1])} | (variables or {})
        command = [sys.executable, *program, *map(str, arguments)]
        return subprocess.run(command, env=env, capture_output=True, timeout=300, check=False, **options)

    return process


def _saved(path, description):
    fastlstm.save(fastlstm.Model(models.layers_of(description, "float32"), device="numpy"), path)
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="session")
def text_model(folder):
    """Over LETTERS."""
    rng, size = np.random.default_rng(0), len(LETTERS)
    parts = [models.embedding(rng, size, 4), models.lstm(rng, 4, 6), models.dense(rng, 6, size)]
    return _saved(folder / "text.safetensors", parts)


@pytest.fixture(scope="session")
def pair_model(folder):
    """Takes and gives vectors of two numbers."""
    rng = np.random.default_rng(1)
    return _saved(folder / "pair.safetensors", [models.lstm(rng, 2, 5), models.dense(rng, 5, 2)])


@pytest.fixture(scope="session")
def vocab(folder):
    path = folder / "vocab.json"
    path.write_text(json.dumps(list(LETTERS)), "utf-8")
    return path
