"""What is no file of any format, whatever its name and its first bytes say; tests/fuzz damages genuine files."""

import random

import pytest
from bundle_writer import BundleWriter, message

from fastlstm.errors import FastLSTMError


@pytest.fixture
def prefix(tmp_path, arrays):
    writer = BundleWriter(shards=2)
    for position, (name, array) in enumerate(arrays.items()):
        writer.add(name.encode(), array, position % 2)
    writer.add_slices(b"net/split", arrays["net/kernel"], [[(0, 1), (0, -1)], [(1, 2), (0, -1)]])
    writer.add_strings(b"net/texts", [b"a", b"bc"], (2,))
    writer.write(tmp_path / "m", per_block=4, compress=True)
    return tmp_path / "m"


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
