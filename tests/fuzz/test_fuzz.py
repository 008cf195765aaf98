"""Damaged files of every format, 10,000 with changed bytes, one of each length, and changes behind the checksums.

The outcomes allowed are the same model, a FastLSTMError, and, where a file has no checksums, another model. A worker
process reads them (worker.py says what it measures). FASTLSTM_FUZZ=1000000 makes a longer run, FASTLSTM_FUZZ_SEED
another one; `python -m tests.fuzz FORMAT --case NAME` reads one case again.
"""

import sys

import pytest

from fastlstm.formats import FORMATS
from tests.fuzz.runner import flips_wanted
from tests.fuzz.samples import DATA, SAMPLES, format_of

NAMES = [row.name for row in FORMATS]


def test_every_format_has_samples():
    sampled = {format_of(name) for name in SAMPLES}
    assert set(NAMES) - sampled == set(), "add samples of these to tests/fuzz/samples.py"
    assert sampled == set(NAMES)
    assert all(SAMPLES.values())


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_small_and_there(name):
    for sample in SAMPLES[name]:
        assert (DATA / sample.folder).is_dir()
        assert sum(map(len, sample.files().values())) < 120_000
        assert set(sample.checked) <= set(sample.damaged)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory and time are measured as Linux does")
@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_files(outcomes, name):
    outcome = outcomes[name].result()
    assert not outcome.failures, f"{len(outcome.failures)} failures, the first: {outcome.failures[0]}"
    assert outcome.counts["truncated"] > 100
    assert outcome.counts["flipped"] >= flips_wanted() - 5  # rounding of shares
    assert outcome.counts["refused"] > outcome.counts["truncated"] // 2
