"""Damaged bytes, at random and at every length: the right arrays or a FastLSTMError, nothing else, and not for long."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from bundle_writer import BundleWriter, message

from fastlstm.errors import FastLSTMError, FormatError
from fastlstm.formats.safetensors_file import write_safetensors

FLIPS = 2000


def damaged(data, seed, count=FLIPS):
    """`count` copies with one to four changed bytes."""
    dice = random.Random(seed)
    for _ in range(count):
        result = bytearray(data)
        for _ in range(dice.choice([1, 1, 1, 2, 4])):
            result[dice.randrange(len(result))] ^= 1 << dice.randrange(8)
        yield bytes(result)


@pytest.fixture
def prefix(tmp_path, arrays):
    writer = BundleWriter(shards=2)
    for position, (name, array) in enumerate(arrays.items()):
        writer.add(name.encode(), array, position % 2)
    writer.add_slices(b"net/split", arrays["net/kernel"], [[(0, 1), (0, -1)], [(1, 2), (0, -1)]])
    writer.add_strings(b"net/texts", [b"a", b"bc"], (2,))
    writer.write(tmp_path / "m", per_block=4, compress=True)
    return tmp_path / "m"


def is_refused_or_same(got, expected, same):
    if isinstance(got, FastLSTMError):
        return True
    return same(got, expected)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00002", ".data-00001-of-00002"])
def test_checkpoint_bytes(prefix, suffix, outcome, same):
    path = prefix.with_name(f"m{suffix}")
    data = path.read_bytes()
    expected = outcome(prefix)
    refused = 0
    for copy in damaged(data, suffix, FLIPS if suffix == ".index" else FLIPS // 4):
        path.write_bytes(copy)
        got = outcome(prefix)
        refused += isinstance(got, FastLSTMError)
        assert is_refused_or_same(got, expected, same)
    assert refused > FLIPS // 5


def test_meta_bytes(prefix, outcome, same, fixture_file):
    meta = fixture_file("tf1.15/basic/model.meta").read_bytes()
    expected = outcome(prefix)
    for copy in damaged(meta, "meta", 150):
        prefix.with_name("m.meta").write_bytes(copy)
        assert is_refused_or_same(outcome(prefix), expected, same)


def test_state_file_bytes(prefix, outcome, same):
    expected = outcome(prefix)
    for copy in damaged(b'model_checkpoint_path: "m"\nall_model_checkpoint_paths: "m"\n', "state", 500):
        (prefix.parent / "checkpoint").write_bytes(copy)
        assert is_refused_or_same(outcome(prefix.parent), expected, same)


def test_safetensors_bytes(tmp_path, arrays, outcome, same):
    path = tmp_path / "m.safetensors"
    write_safetensors(path, arrays, {"fastlstm": '{"layers": []}'})
    data = path.read_bytes()
    for copy in damaged(data, "safetensors"):
        path.write_bytes(copy)
        assert is_refused_or_same(outcome(path), arrays, same)
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        assert isinstance(outcome(path), FormatError), length


def test_keras_zip_bytes(tmp_path, fixture_file, outcome, same):
    data = fixture_file("keras3/functional_no_bias/model.keras").read_bytes()
    path = tmp_path / "m.keras"
    path.write_bytes(data)
    expected = outcome(path)
    for copy in damaged(data, "zip"):
        path.write_bytes(copy)
        assert is_refused_or_same(outcome(path), expected, same)
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        assert isinstance(outcome(path), FormatError), length


HDF5 = """
import sys
from pathlib import Path
from conftest import everything
from test_formats_damage import damaged
source, path = Path(sys.argv[1]), Path(sys.argv[2])
data = source.read_bytes()
for copy in damaged(data, source.name, 250):
    path.write_bytes(copy)
    everything(path)
for length in range(0, len(data), 997):
    path.write_bytes(data[:length])
    assert not isinstance(everything(path), dict), length
"""


@pytest.mark.parametrize(
    "name",
    ["keras2/functional_no_bias/model.h5", "keras3/functional_no_bias/model.h5", "keras3/sequential/model.weights.h5"],
)
def test_hdf5_bytes(tmp_path, fixture_file, name):
    """In another process, which libhdf5 may bring down or hold up: that is a failure, not the end of the tests."""
    subprocess.run(
        [sys.executable, "-c", HDF5, fixture_file(name), tmp_path / "m.h5"],
        cwd=Path(__file__).parent,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
        timeout=120,
    )


def test_arbitrary_bytes(tmp_path, outcome):
    """Nothing, noise, and the right first or last bytes with noise."""
    dice = random.Random(1)
    table, hdf5, archive = bytes.fromhex("57fb808b247547db"), b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
    for name in ("m", "m.index", "m.meta", "m.h5", "m.keras", "m.pb", "m.data-00000-of-00001", "checkpoint"):
        for start, end in ((b"", b""), (b"", table), (hdf5, b""), (archive, b""), (b"\x40" + bytes(7) + b"{", b"")):
            for size in (0, 1, 8, 48, 500):
                folder = tmp_path / f"{name}-{len(start)}-{len(end)}-{size}"
                folder.mkdir(exist_ok=True)
                (folder / name).write_bytes(start + dice.randbytes(size) + end)
                assert isinstance(outcome(folder / name), FastLSTMError)
                assert isinstance(outcome(folder), FastLSTMError)


def test_deeply_nested_message(prefix, outcome):
    """protobuf refuses nesting; a parser that recurses would end the process."""
    data = b""
    for _ in range(3000):
        data = message(2, message(1, data))
    prefix.with_name("m.meta").write_bytes(data)
    assert isinstance(outcome(prefix), FastLSTMError)
