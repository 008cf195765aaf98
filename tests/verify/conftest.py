"""What the originals are run with: TensorFlow of this environment, in processes of its own."""

import importlib.util
import json
import os
import stat
import subprocess
import sys

import pytest

from fastlstm.verification import launch

# The runner, for one folder after another: TensorFlow is imported once. What it prints does not get in between.
_SERVER = """
import importlib.util, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
sys.path.insert(0, sys.argv[1])
sys.setrecursionlimit(20000)
spec = importlib.util.spec_from_file_location("runner", os.path.join(sys.argv[1], "__main__.py"))
runner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runner)
for line in sys.stdin:
    runner.main(line.strip())
    answers.write("done\\n")
    answers.flush()
"""


@pytest.fixture(scope="session")
def tensorflow(_one_process_for_all):
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("the original runs in TensorFlow, which is not installed: pip install 'fastlstm[test]'")


@pytest.fixture(scope="session")
def tf_keras(tensorflow):
    if importlib.util.find_spec("tf_keras") is None:
        pytest.skip("files of Keras 2 run in tf_keras, which is not installed: pip install 'fastlstm[test]'")


@pytest.fixture(scope="session")
def _one_process_for_all():
    """Where these tests start the runner, one process for graphs and one for Keras answer them all."""
    servers = {}
    alone = launch._started

    def started(python, folder, timeout):
        if python != sys.executable or os.environ.get("FASTLSTM_TEST_ALONE"):
            return alone(python, folder, timeout)
        graphs = json.loads((folder / "job.json").read_text())["kind"] == "graph"  # these turn eager execution off
        if graphs not in servers:
            environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
            command = [sys.executable, "-c", _SERVER, str(launch.RUNNER)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            servers[graphs] = subprocess.Popen(command, **pipes, text=True, env=environment)
        server = servers[graphs]
        server.stdin.write(f"{folder}\n")
        server.stdin.flush()
        assert server.stdout.readline() == "done\n"
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "_started", started)
        yield
    for server in servers.values():
        server.stdin.close()
        server.wait(timeout=60)


@pytest.fixture
def alone(monkeypatch):
    """The runner starts by itself, as it does outside of these tests."""
    monkeypatch.setenv("FASTLSTM_TEST_ALONE", "1")


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
