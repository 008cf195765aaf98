"""Starting the runner in a Python that has TensorFlow, and reading its answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import VerificationError

RUNNER = Path(__file__).with_name("runner")
_INSTALL = (
    "pip install tensorflow-cpu tf_keras, or pass --python /path/to/python (python= in Python) of one that has it"
)
_OTHER_AGE = "a TensorFlow of the file's own age may, with --python (python= in Python)"
_SHOWN = 12  # lines of what the runner wrote to stderr


def run_original(
    job: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], python: str | None, timeout: float
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Give the runner a job and wait for its answer.

    python   an interpreter; this one when None
    timeout  seconds
    ->       what it says, and its arrays by name
    Raises VerificationError where the original could not be run.
    """
    with tempfile.TemporaryDirectory(prefix="fastlstm-verify-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        np.savez(folder / "job.npz", **arrays)  # type: ignore[arg-type]
        said = _started(python or sys.executable, folder, timeout)
        try:
            answer = json.loads((folder / "answer.json").read_text("utf-8"))
        except (OSError, ValueError):
            raise VerificationError(f"{python or sys.executable} ended without an answer:\n{said}") from None
        _check(answer, job, python, said)
        with np.load(folder / "answer.npz", allow_pickle=False) as file:
            return answer, {key: file[key] for key in file.files}


def _started(python: str, folder: Path, timeout: float) -> str:
    """Run the runner to its end; what it wrote to stderr."""
    environment = {k: v for k, v in os.environ.items() if k not in ("TF_USE_LEGACY_KERAS", "PYTHONSTARTUP")}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    try:
        done = subprocess.run(
            [python, str(RUNNER), str(folder)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
            env=environment, check=False, text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise VerificationError(
            f"the original did not finish within {timeout:g} s; allow more with --timeout, or compare fewer --steps"
        ) from None
    except OSError as error:
        raise VerificationError(f"{python}: cannot be started: {error.strerror}; pass the path of a Python") from None
    said = "\n".join(done.stdout.strip().splitlines()[-_SHOWN:])
    if not (folder / "answer.json").exists():
        raise VerificationError(f"{python} ended with status {done.returncode} and without an answer:\n{said}")
    return said


def _check(answer: Mapping[str, Any], job: Mapping[str, Any], python: str | None, said: str) -> None:
    where = python or "this Python"
    if "missing" in answer:
        raise VerificationError(f"{where} has no TensorFlow that runs {job['path']} ({answer['missing']}): {_INSTALL}")
    if "cannot" in answer:
        raise VerificationError(
            f"{job['path']}: {answer.get('runner', where)} cannot load it: {answer['cannot']}; {_OTHER_AGE}"
        )
    if "error" in answer:
        raise VerificationError(
            f"{job['path']}: {answer.get('runner', where)} cannot run it: {answer['error']}; {_OTHER_AGE}\n{said}"
        )
