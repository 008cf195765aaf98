"""Set-up for `pytest benchmarks`; the TensorFlow peers are left out where TensorFlow is not installed."""

import os

import pytest

pytest.importorskip("pytest_benchmark", reason="pytest benchmarks needs pytest-benchmark")
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_runtest_setup(item: pytest.Item) -> None:
    name = getattr(item, "callspec", None) and str(item.callspec.params.get("peer", ""))
    if name and not name.startswith(("fastlstm", "naive")):
        pytest.importorskip("tf_keras", reason=f"{name} needs TensorFlow and tf_keras")
