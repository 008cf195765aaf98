"""Set-up for `pytest benchmarks`; peers that are not installed are left out."""

import os

import pytest

pytest.importorskip("pytest_benchmark", reason="pytest benchmarks needs pytest-benchmark")
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture
def installed():
    """Skip the test of a peer that is not installed, or of an argument that this version of fastlstm does not take."""
    from benchmarks.columns import prepare

    def make(name, entry):
        ready, refused = prepare(name, {name: entry})
        reason = refused.get(name, "")
        if reason.startswith(("not installed", "not available")):
            pytest.skip(f"{name}: {reason}")
        assert not reason
        return ready[name]

    return make
