"""Has the damaged files read, and prints their figures at the end of a test run; and how crafted files are opened."""

import gc
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from fastlstm.errors import FastLSTMError
from fastlstm.formats import open_artefact
from fastlstm.recognise import recognise
from tests.fuzz import runner

OUTCOMES = pytest.StashKey[dict[str, Future]]()


def _waits(item):
    return "outcomes" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(items):
    """Who waits for the workers comes last."""
    items.sort(key=_waits)


def pytest_collection_finish(session):
    """Start the workers, which take as long as all other tests do, beside these: on all processors but one."""
    wanted = [item.callspec.params["name"] for item in session.items if _waits(item)]
    if wanted and sys.platform.startswith("linux") and not session.config.option.collectonly:
        seed = int(os.environ.get("FASTLSTM_FUZZ_SEED", "0"))
        pool = ThreadPoolExecutor(max(1, os.cpu_count() - 1))
        flips = runner.flips_wanted()
        session.config.stash[OUTCOMES] = {name: pool.submit(runner.run, name, flips, seed) for name in wanted}
        session.config.add_cleanup(lambda: pool.shutdown(wait=False, cancel_futures=True))


@pytest.fixture
def outcomes(request):
    return request.config.stash[OUTCOMES]


def pytest_terminal_summary(terminalreporter):
    if runner.RESULTS:
        terminalreporter.section("damaged files")
        for line in runner.table(dict(sorted(runner.RESULTS.items()))):
            terminalreporter.write_line(line)


@pytest.fixture
def refused():
    """A function: the FastLSTMError for a path, which must take no more than 4 times the file and 64 MB to find out."""

    def check(path, size=None):
        error = used = None
        size = (path.stat().st_size if path.is_file() else 0) if size is None else size
        if sys.platform.startswith("linux"):
            from tests.fuzz.worker import forget_peak, memory

            gc.collect()
            forget_peak()
            before = memory("VmRSS")
        try:
            artefact = open_artefact(path)
            dict(artefact.tensors)
            recognise(artefact)
        except FastLSTMError as caught:
            error = str(caught)
        if sys.platform.startswith("linux"):
            used = memory("VmHWM") - before
            assert used < 4 * size + (64 << 20), f"{used >> 20} MB"
        assert error, "read without complaint"
        return error

    return check
