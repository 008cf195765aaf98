"""Tables and tensor bundles: what TensorFlow wrote, what it never would, and what must be refused."""

import struct
import tracemalloc

import numpy as np
import pytest
from bundle_writer import (
    BundleWriter,
    block,
    entry,
    header,
    masked,
    message,
    number,
    slice_name,
    table,
    table_of_blocks,
    varint,
    write_files,
)

from fastlstm.errors import FormatError, MissingFileError
from fastlstm.formats.bundle import read_bundle
from fastlstm.formats.source import Source
from fastlstm.formats.sstable import read_table


@pytest.fixture
def prefix(tmp_path):
    return tmp_path / "model.ckpt-7"


def write(prefix, entries, shards=(b"",), **options):
    """Entries without their header."""
    write_files(prefix, table([(b"", header(len(shards))), *entries], **options), list(shards))


def rows(path):
    with Source(path) as source:
        return list(read_table(source))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("per_block", [1, 3, 1000])
def test_table(tmp_path, per_block, compress):
    entries = [(b"key%05d" % position, b"value" * (position % 50)) for position in range(300)]
    (tmp_path / "t").write_bytes(table(entries, per_block, compress))
    assert rows(tmp_path / "t") == entries


def test_table_keys_must_ascend(tmp_path):
    for entries in ([(b"b", b""), (b"a", b"")], [(b"a", b""), (b"a", b"")]):
        for per_block in (1, 2):
            (tmp_path / "t").write_bytes(table(entries, per_block))
            with pytest.raises(FormatError, match=r"t: block at byte \d+: key .* expected ascending keys"):
                rows(tmp_path / "t")


def test_table_whose_keys_share_too_much(tmp_path):
    """Each key repeats a long prefix: a small file must not become large in memory."""
    entries = [varint(0) + varint(60000) + varint(0) + b"k" * 60000]
    entries += [varint(60000) + varint(4) + varint(0) + struct.pack(">I", number) for number in range(9000)]
    contents = b"".join(entries) + struct.pack("<II", 0, 1)
    (tmp_path / "t").write_bytes(table_of_blocks([(b"z", contents)]))
    with pytest.raises(FormatError, match="more keys, or longer ones, than a file of"):
        rows(tmp_path / "t")


def test_blocks_must_not_be_read_twice(tmp_path):
    """An index that points to one block over and over would take quadratic time."""
    file = table_of_blocks([(b"a", block([]))])
    index = block([(b"key%d" % number, varint(0) + varint(8)) for number in range(3)], 1) + b"\0"
    at = len(file)
    footer = (varint(0) + varint(8) + varint(at) + varint(len(index) - 1)).ljust(40, b"\0") + file[-8:]
    (tmp_path / "t").write_bytes(file + index + masked(index) + footer)
    with pytest.raises(FormatError, match="block at byte 0: the block before it ends at byte 13"):
        rows(tmp_path / "t")


def test_checksum_message(prefix):
    write(prefix, [(b"a", entry(1, (1,), b"1234"))], [b"1234"])
    index = prefix.with_name("model.ckpt-7.index")
    data = bytearray(index.read_bytes())
    data[5] ^= 1
    index.write_bytes(data)
    with pytest.raises(
        FormatError, match=r"^model.ckpt-7.index: block at byte 0: checksum \w{8}, expected \w{8}; the file is damaged"
    ):
        read_bundle(prefix)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(("per_block", "compress"), [(1000, False), (2, True)])
def test_bundle(prefix, arrays, same, big_endian, per_block, compress):
    writer = BundleWriter(shards=3, big_endian=big_endian)
    for position, (name, array) in enumerate(arrays.items()):
        writer.add(name.encode(), array, position % 3)
    texts = [b"", b"text \0", b"x" * 300]
    writer.add_strings(b"texts", texts, (3,))
    writer.add_strings(b"one text", texts[2:], ())
    writer.add_strings(b"no text", [], (0, 2))
    writer.write(prefix, per_block, compress)
    tensors = read_bundle(prefix)
    expected = {**arrays, "texts": np.array(texts, object), "no text": np.empty((0, 2), object)}
    expected["one text"] = np.array(texts[2], object)
    assert same(tensors, expected)
    assert tensors.specs["net/half"].dtype == "float16"
    assert tensors.specs["texts"].shape == (3,)
    assert tensors["net/kernel"].flags.writeable


def test_genuine_dtypes(fixture_file):
    """Every dtype that TensorFlow 1.15 saves, bit by bit."""
    folder = fixture_file("tf1.15/dtypes")
    tensors = read_bundle(folder / "model")
    with np.load(folder / "golden.npz") as golden:
        for key in golden:
            kind, name = key.split("/", 1)
            if kind == "var":
                expected = golden[key]
                if expected.dtype.kind == "S":
                    assert tensors[name].astype("S").tolist() == expected.tolist()
                    continue
                assert tensors[name].dtype == expected.dtype
            else:
                expected = (golden[key].astype("u4") << 16).view("f4")
            assert tensors[name].shape == expected.shape
            assert tensors[name].tobytes() == expected.tobytes(), name


def test_genuine_partitioned(fixture_file):
    tensors = read_bundle(fixture_file("tf1.15/partitioned") / "model")
    assert tensors.specs["net/rnn/lstm_cell/kernel"].shape == tensors["net/rnn/lstm_cell/kernel"].shape
    assert all(np.isfinite(tensors[name]).all() and tensors[name].any() for name in tensors)


SLICED = np.arange(24, dtype="f4").reshape(4, 6)


@pytest.mark.parametrize(
    "slices",
    [
        [[(0, 1), (0, -1)], [(1, 3), (0, -1)]],
        [[(0, 4), (0, 2)], [(0, 4), (2, 4)]],
        [[(0, 2), (0, 2)], [(0, 2), (2, 4)], [(2, 2), (0, 6)]],
        [[(0, -1), (0, -1)]],
    ],
)
def test_partitioned(prefix, slices, same):
    writer = BundleWriter(shards=2)
    writer.add_slices("wé".encode(), SLICED, slices)
    writer.write(prefix)
    tensors = read_bundle(prefix)
    assert same(tensors, {"wé": SLICED})


@pytest.mark.parametrize(
    ("slices", "shape", "match"),
    [
        ([[(0, 1), (0, -1)], [(2, 2), (0, -1)]], None, "hold 18 elements, expected 24"),  # a hole
        ([[(0, 2), (0, -1)], [(1, 3), (0, -1)]], None, "hold 30 elements"),  # an overlap
        ([[(0, 2), (0, 3)], [(0, 2), (2, 3)], [(2, 2), (0, -1)]], None, "overlaps"),  # both
        ([[(0, 4), (0, -1)]], (4, 5), "is float32"),  # more than the shape
        ([[(0, 2), (0, -1)], [(2, 2), (0, -1)]], (3, 6), "not inside the shape"),
        ([[(0, 2), (0, -1)], [(2, 2), (0, -1)]], (4, 2**54), "is float32"),
        ([[(0, -1)]], (4, 6), "not inside the shape"),  # too few dimensions
    ],
)
def test_partitioned_refused(prefix, slices, shape, match):
    writer = BundleWriter()
    writer.add_slices(b"w", SLICED, slices, shape)
    writer.write(prefix)
    with pytest.raises(FormatError, match=rf"'w'.*({match})"):
        read_bundle(prefix)["w"]


def test_partitioned_without_one_slice(prefix):
    writer = BundleWriter()
    slices = [[(0, 2), (0, -1)], [(2, 2), (0, -1)]]
    writer.add_slices(b"w", SLICED, slices)
    del writer.entries[slice_name(b"w", slices[1])]
    writer.write(prefix)
    with pytest.raises(FormatError, match=r"'w': slice \[\(2, 4\), \(0, 6\)\] is not there"):
        read_bundle(prefix)["w"]


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (entry(1, (2**62,), b"1234"), "4 bytes, expected|no array can"),
        (entry(1, (2**62, 2**62), b"1234"), "no array can"),
        (entry(1, (2**40,), size=2**42), "said to be 4398046511104 bytes"),
        (entry(7, (2**62,), b"1234"), "no array can"),
        (entry(7, (2**40,), b"1234"), "at least 1099511627776"),
        (entry(7, (2**40,), size=2**41), "said to be"),
        (entry(7, (0, 2**61), b""), "no array can"),
        (entry(1, (0, 2**62), b""), "no array can"),
        (entry(1, (-1,), b""), "not fully known"),
        (entry(1, (1,) * 33, b"1234"), "33 dimensions"),
        (entry(1, (1,), b"1234", offset=-4), ">= 0"),
        (entry(1, (1,), b"1234", offset=5), "said to be 4 bytes at byte 5"),
        (entry(1, (1,), size=-4), ">= 0"),
        (entry(1, (1,), b"1234", shard=1), "shard below 1"),
        (entry(1, (1,), b"1234", shard=-1), "shard below 1"),
        (entry(1, (2,), b"1234"), "4 bytes, expected 8"),
        (entry(1, (1,), b"123"), "3 bytes, expected 4"),
        (entry(1, (1,), b"1235"), "checksum"),
        (entry(21, (1,), b"1234"), "type variant"),
        (entry(20, (1,), b"1234"), "type resource"),
        (entry(24, (4,), b"1234"), "type float8_e5m2"),
        (entry(99, (4,), b"1234"), "unknown type 99"),
        (entry(7, (2,), b"1234"), "strings of|no varint|checksum"),
        (b"\xff", "not a BundleEntryProto"),
    ],
)
def test_entries_refused(prefix, value, match):
    write(prefix, [(b"w", value)], [b"1234"])
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=match):
            read_bundle(prefix)["w"]
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_unreadable_types_are_listed(prefix):
    write(prefix, [(b"v", entry(21, (1,), b"1234"))], [b"1234"])
    spec = read_bundle(prefix).specs["v"]
    assert (spec.dtype, spec.shape) == ("variant", (1,))


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (header(0), "header with 0 shards"),
        (header(-1), "shards"),
        (number(1, 1) + number(2, 7), "byte order 7"),
        (header(1, min_consumer=2), "needs a reader of version 2"),
        (number(1, 1) + message(3, number(3, 1)), "needs a reader"),
        (b"\xff", "not a BundleHeaderProto"),
    ],
)
def test_headers_refused(prefix, value, match):
    write_files(prefix, table([(b"", value)]), [b""])
    with pytest.raises(FormatError, match=match):
        read_bundle(prefix)


def test_no_header(prefix):
    write_files(prefix, table([(b"a", entry(1, (1,), b"1234"))]), [b"1234"])
    with pytest.raises(FormatError, match="expected the empty key of a header"):
        read_bundle(prefix)


def test_tensors_must_not_share_bytes(prefix):
    write(prefix, [(b"a", entry(1, (1,), b"1234")), (b"b", entry(1, (1,), b"1234"))], [b"1234"])
    with pytest.raises(FormatError, match="two tensors at byte 0 of shard 0"):
        read_bundle(prefix)


def test_name_that_is_not_utf8(prefix):
    write(prefix, [(b"\xff", entry(1, (1,), b"1234"))], [b"1234"])
    with pytest.raises(FormatError, match="not UTF-8"):
        read_bundle(prefix)


def test_strings_refused(prefix):
    """A lengths' checksum that is wrong, lengths that do not add up, and more strings than bytes."""
    writer = BundleWriter()
    writer.add_strings(b"s", [b"ab", b"c"], (2,))
    good = writer.data[0]
    for data in (good[:3] + b"\0" + good[4:], b"\3" + good[1:], b"\xff" * len(good), good[:-1], good[:2]):
        write(prefix, [(b"s", entry(7, (2,), data, crc=masked(b"")))], [data])
        with pytest.raises(FormatError, match="'s'"):
            read_bundle(prefix)["s"]
    write(prefix, [(b"s", entry(7, (2,), good, crc=masked(b"")))], [good])
    with pytest.raises(FormatError, match="checksum"):
        read_bundle(prefix)["s"]


def test_missing_shard(prefix, arrays):
    writer = BundleWriter(shards=2)
    writer.add(b"a", arrays["net/bias"])
    writer.add(b"b", arrays["net/bias"], 1)
    writer.write(prefix)
    prefix.with_name("model.ckpt-7.data-00001-of-00002").unlink()
    with pytest.raises(MissingFileError, match=r"model\.ckpt-7\.data-00001-of-00002: no such file"):
        read_bundle(prefix)
    with pytest.raises(FileNotFoundError):
        read_bundle(prefix)


def test_every_truncation(prefix, arrays, same, outcome):
    """Each length of the index and of the shard: never anything but a FormatError, or all arrays."""
    writer = BundleWriter()
    for name, array in arrays.items():
        writer.add(name.encode(), array)
    writer.add_strings(b"texts", [b"a", b"bc"], (2,))
    writer.write(prefix)
    full = outcome(prefix)
    for path in (prefix.with_name("model.ckpt-7.index"), prefix.with_name("model.ckpt-7.data-00000-of-00001")):
        data = path.read_bytes()
        for length in range(len(data)):
            path.write_bytes(data[:length])
            assert isinstance(outcome(prefix), FormatError), (path, length)
        path.write_bytes(data)
    assert same(outcome(prefix), full)


def test_peak_memory(prefix):
    """A tensor is read into the array that it becomes; in slices, they are held beside the whole."""
    big = np.random.default_rng(0).normal(size=(1 << 9, 1 << 9)).astype("f4")  # 1 MiB
    writer = BundleWriter()
    writer.add(b"whole", big)
    writer.add_slices(b"halves", big, [[(0, 256), (0, -1)], [(256, 256), (0, -1)]])
    writer.write(prefix)
    tensors = read_bundle(prefix)
    for name, times in (("whole", 1.1), ("halves", 2.4)):
        tracemalloc.start()
        got = tensors[name]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert got.tobytes() == big.tobytes()
        assert peak < times * big.nbytes
