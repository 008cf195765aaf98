"""V1 checkpoints: what TensorFlow wrote, every type, shards and slices, and what must be refused."""

import json
import shutil
import tracemalloc

import numpy as np
import pytest
from bundle_writer import masked, message, number, table, varint
from v1_writer import V1Writer, data, header, meta, values

from fastlstm.errors import FormatError, MissingFileError
from fastlstm.formats import open_artefact
from fastlstm.formats.v1 import read_v1
from fastlstm.formats.wire import Field, fields, read_varints

ALL = [(0, -1), (0, -1)]
W = np.arange(24, dtype="f4").reshape(4, 6)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.ckpt-7"


@pytest.fixture
def every_type():
    random = np.random.default_rng(3)
    normal = random.normal(size=(3, 5))
    found = {code: normal.astype(code) for code in ("f4", "f8", "f2", "c8", "c16")}
    found["c8"] = found["c8"] * np.complex64(1 - 2j)
    for code in ("i4", "i8", "i2", "i1", "u1", "u2"):
        edge = np.iinfo(code)
        found[code] = np.array([edge.min, edge.max, 0, 1, -1 % (edge.max + 1), 127, edge.max // 2], code)
    found["?"] = normal > 0
    found["S"] = np.array([[b"a", b""], [b"long " * 40, b"\0\xff"]], object)
    found |= {"scalar": np.array(-1.25, "f4"), "none": np.zeros((0, 4), "f4"), "whole none": np.zeros((0, 4), "i4")}
    return {f"net/{code}": array for code, array in found.items()}


@pytest.mark.parametrize(("per_block", "compress"), [(1000, False), (1, False), (4, True)])
def test_every_type(path, every_type, same, per_block, compress):
    writer = V1Writer()
    for name, array in every_type.items():
        writer.add(name.encode(), array)
    writer.write(path, per_block=per_block, compress=compress)
    tensors = read_v1([path])
    assert same(tensors, every_type)
    assert same(tensors, every_type), "and again, from blocks that were checked"
    assert tensors.specs["net/f2"].dtype == "float16"
    assert tensors["net/f4"].flags.writeable


def test_literal_bytes(path, same):
    """A float32 (2,) called "v", byte by byte."""
    head = bytes.fromhex("0a 17 0a 0f 0a 01 76 12 04 12 02 08 02 18 01 22 02 0a 00 12 04 08 01 10 00".replace(" ", ""))
    head = b"\x0a" + bytes([len(head) - 2]) + head[2:]
    value = bytes.fromhex("12 15 0a 01 76 12 02 0a 00 1a 0a 2a 08 00 00 80 3f 00 00 00 40".replace(" ", ""))
    value = b"\x12" + bytes([len(value) - 2]) + value[2:]
    key = bytes.fromhex("00 76 00 01 01 01 80 7f".replace(" ", ""))
    entries = b"\0\0" + varint(len(head)) + head + b"\0\x08" + varint(len(value)) + key + value
    contents = entries + bytes(4) + b"\1\0\0\0\0"
    index = b"\0\1" + b"\2\0" + varint(len(contents) - 1) + b"\1"
    index = b"\0\1" + bytes([1 + len(varint(len(contents) - 1))]) + b"\1" + b"\0" + varint(len(contents) - 1)
    index += bytes(4) + b"\1\0\0\0\0"
    file = contents + masked(contents)
    handle = varint(len(file)) + varint(len(index) - 1)
    file += index + masked(index)
    path.write_bytes(file + (b"\0\0" + handle).ljust(40, b"\0") + bytes.fromhex("57fb808b247547db"))
    assert same(read_v1([path]), {"v": np.array([1, 2], "f4")})


@pytest.mark.parametrize("era", ["tf1.0", "tf1.15"])
def test_genuine(fixture_file, era, same):
    v1, v2 = (open_artefact(fixture_file(f"{era}/{name}") / "model") for name in ("multi_v1", "multi"))
    assert (v1.format, v1.path.name) == ("checkpoint-v1", "model")
    assert same(v1.tensors, dict(v2.tensors))


def test_genuine_types(fixture_file):
    """All that TensorFlow 1.15 saves in a V1 file, to the last bit."""
    tensors = read_v1([fixture_file("tf1.15/dtypes") / "model_v1"])
    with np.load(fixture_file("tf1.15/dtypes/golden.npz")) as golden:
        expected = {key.removeprefix("var/"): golden[key] for key in golden if key.startswith("var/")}
    assert sorted(tensors) == sorted(expected)
    for name, array in expected.items():
        got = tensors[name].astype("S") if array.dtype.kind == "S" else tensors[name]
        assert (got.dtype, got.shape) == (array.dtype, array.shape), name
        assert got.tobytes() == array.tobytes(), name


@pytest.mark.parametrize(
    "slices",
    [
        [[(0, 1), (0, -1)], [(1, 3), (0, -1)]],
        [[(0, 4), (0, 2)], [(0, 4), (2, 4)]],
        [[(0, 2), (0, 2)], [(0, 2), (2, 4)], [(2, 2), (0, 6)]],
        [[(0, 4), (0, 6)]],
        [ALL],
    ],
)
def test_slices_over_shards(tmp_path, slices, same):
    paths = [tmp_path / f"m-{k:05d}-of-00002" for k in range(2)]
    for k, path in enumerate(paths):
        writer = V1Writer()
        if slices[k::2]:
            writer.add("wé".encode(), W, slices[k::2])
        writer.add(b"only in %d" % k, W[k])
        writer.write(path)
    assert same(read_v1(paths), {"wé": W, "only in 0": W[0], "only in 1": W[1]})


@pytest.mark.parametrize(
    ("slices", "shape", "match"),
    [
        ([[(0, 1), (0, -1)], [(2, 2), (0, -1)]], None, "hold 18 elements, expected 24"),  # a hole
        ([[(0, 2), (0, -1)], [(1, 3), (0, -1)]], None, "hold 30 elements"),  # an overlap
        ([[(0, 2), (0, 3)], [(0, 2), (2, 3)], [(2, 2), (0, -1)]], None, "overlaps"),  # both
        ([ALL, ALL], None, "2 slices hold 48"),
        ([[(0, 4), (0, -1)]], (4, 5), "elements, expected 20"),
        ([[(0, 2), (0, -1)], [(2, 2), (0, -1)]], (3, 6), "not inside the shape"),
        ([[(-1, 5), (0, -1)]], (4, 6), "not inside the shape"),
        ([[(0, -5), (0, -1)]], (4, 6), "not inside the shape"),
        ([[(1, -1), (0, -1)]], (4, 6), "not inside the shape|hold 18"),
        ([[(0, -1)]], (4, 6), "not inside the shape"),  # too few dimensions
        ([ALL], (2**62, 2**62), "no array can have the shape"),
        ([ALL], (2**40, 6), "24 elements, expected 6597069766656"),
        ([ALL], (-1, 6), "not fully known"),
        ([], (4, 6), "'w'"),
    ],
)
def test_slices_refused(path, slices, shape, match):
    """As tensor_slice_set.cc refuses them; where it lets the whole file fail, the tensor does."""
    writer = V1Writer()
    writer.metas = meta(b"w", shape or W.shape, 1, slices)
    for extents in [e for e in slices if len(e) == 2]:
        region = tuple(slice(max(a, 0), None if n < 0 else max(a, 0) + n) for a, n in extents)
        writer.rows.update([data(b"w", extents, values(np.ascontiguousarray(W[region])))])
    writer.write(path)
    tracemalloc.start()
    with pytest.raises((FormatError, KeyError), match=match):
        read_v1([path])["w"]
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def test_shards_that_contradict_each_other(tmp_path):
    paths = [tmp_path / name for name in "ab"]
    for other, match in (
        (np.zeros((2, 6), "f4"), r"float32 \(2, 6\), and float32 \(4, 6\) before"),
        (W.astype("f8"), "float64"),
        (W, "2 slices hold 48 elements, expected 24"),  # the same tensor twice: TensorFlow calls it overlapping
    ):
        for path, array in zip(paths, (W, other), strict=True):
            writer = V1Writer()
            writer.add(b"w", array)
            writer.write(path)
        with pytest.raises(FormatError, match=match):
            read_v1(paths)["w"]


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (message(5, W.tobytes()[:8]) + message(5, W.tobytes()[8:]), W),  # packed in two
        (b"".join(b"\x2d" + W.tobytes()[k : k + 4] for k in range(0, 96, 4)), W),  # not packed
        (b"\x2d" + W.tobytes()[:4] + message(5, W.tobytes()[4:]), W),
        (number(1, 3) + message(4, b"ignored") + message(5, W.tobytes()) + number(77, 1), W),
        (message(5, W.tobytes()[:-4]), "23 elements, expected 24"),  # no short lists here
        (message(5, W.tobytes() + b"1234"), "25 elements"),
        (message(5, W.tobytes()[:-1]), "23.75 elements"),
        (b"\x2d1234", "1 elements, expected 24"),
        (b"", "0 elements, expected 24"),
        (message(4, W.tobytes()), "0 elements"),
        (message(6, W.tobytes()), "0 elements"),
        (b"\x2d123", "damaged or truncated"),
        (b"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "damaged or truncated"),
        (b"\x2a" + b"\xff" * 20, "no varint"),
        (b"\x2b", "wire type 3"),
        (b"\x02\x00", "field 0"),
    ],
)
def test_numbers_in_other_forms(path, tensor, expected):
    """Whatever protobuf would make of the message, and no reading past it."""
    writer = V1Writer()
    writer.metas = meta(b"w", W.shape, 1, [ALL])
    writer.rows = dict([data(b"w", ALL, tensor)])
    writer.write(path)
    if isinstance(expected, str):
        with pytest.raises(FormatError, match=expected):
            read_v1([path])["w"]
    else:
        assert read_v1([path])["w"].tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("code", "packed", "match"),
    [
        (3, varint(1), "1 bytes of varints, expected 2"),
        (3, b"\xff" * 21, "21 bytes of varints"),
        (3, b"\xff" * 10, "no 2 varints"),
        (3, varint(1) + varint(2) + varint(3), "no 2 varints"),
        (3, b"\xff\xff\1", "1 numbers, expected 2"),
        (3, varint(1) + varint(2**31), "does not fit int32"),
        (4, varint(1) + varint(256), "does not fit uint8"),
        (19, varint(1) + varint(-1), "does not fit uint16"),
        (7, b"", "0 elements, expected 2"),
        (21, b"", "variant"),
        (99, b"", "unknown type 99"),
    ],
)
def test_varints_refused(path, code, packed, match):
    field = {3: 7, 4: 7, 19: 13}.get(code, 5)
    writer = V1Writer()
    writer.metas = meta(b"v", (2,), code, [[(0, -1)]])
    writer.rows = dict([data(b"v", [(0, -1)], message(field, packed))])
    writer.write(path)
    with pytest.raises(FormatError, match=match):
        read_v1([path])["v"]


def test_many_varints():
    """More than are decoded at a time."""
    random = np.random.default_rng(0)
    numbers = random.integers(-(2**63), 2**63 - 1, 30000) >> random.integers(0, 63, 30000)
    raw = b"".join(varint(int(value)) for value in numbers)
    assert len(raw) > 1 << 17
    got = read_varints(b"xx" + raw + b"\0", Field(7, 2, 2, 2 + len(raw)), numbers.size, np.int64, "v")
    assert np.array_equal(got, numbers)


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ([], "no empty key"),
        ([(b"a", b"")], "no empty key"),
        ([(b"", b"")], "list of tensors: is not there"),
        ([(b"", number(1, 1))], "index of a V2 checkpoint"),
        ([header(b"", message(2, number(2, 5)))], "needs a reader of version 5"),
        ([header(meta(b"\xff", (1,), 1, [[(0, -1)]]))], "not UTF-8"),
        ([header(message(1, b"\xff"))], "not a SavedSliceMeta"),
        ([(b"", message(1, b"\x0a\x05a"))], "damaged or truncated"),
    ],
)
def test_bad_lists(path, entries, match):
    path.write_bytes(table(entries))
    with pytest.raises(FormatError, match=match):
        read_v1([path])


def test_without_a_slice(path):
    writer = V1Writer()
    writer.add(b"w", W)
    (key,) = writer.rows
    for rows in ({}, {b"\0a": b""}, {b"\xff": b""}):
        writer.rows = rows
        writer.write(path)
        with pytest.raises(FormatError, match="is not there; the checkpoint is incomplete"):
            read_v1([path])["w"]
    path.write_bytes(table([header(writer.metas), (key, b""), (key, b"")]))
    with pytest.raises(FormatError, match="is there twice"):
        read_v1([path])["w"]


def test_fields_end_where_they_say():
    assert [tuple(f) for f in fields(b"\x08\x96\x01\x12\1a\x1d1234\x2112345678", 0, 20, "m")] == [
        (1, 0, 1, 3),
        (2, 2, 5, 6),
        (3, 5, 7, 11),
        (4, 1, 12, 20),
    ]


# What people pass


@pytest.fixture
def shards(tmp_path):
    for k in range(3):
        writer = V1Writer()
        writer.add(b"w%d" % k, W[k])
        writer.write(tmp_path / f"model-{k:05d}-of-00003")
    (tmp_path / "model.meta").write_bytes(message(2, message(1, message(1, b"v") + message(2, b"Variable"))))
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["model", "model.meta", "model-00001-of-00003", "model-?????-of-00003", "", "model-?????-of-00003 in the state"],
)
def test_shards_by_any_name(shards, name):
    if " " in name:
        (shards / "checkpoint").write_text('model_checkpoint_path: "/gone/model-?????-of-00003"\n')
        name = ""
    artefact = open_artefact(shards / name)
    assert sorted(artefact.tensors) == ["w0", "w1", "w2"]
    assert artefact.path == shards / "model"
    assert list(artefact.graph.nodes) == ["v"]


def test_shards_that_are_missing(shards):
    (shards / "model-00001-of-00003").unlink()
    for name in ("model", "model-00000-of-00003"):
        with pytest.raises(MissingFileError, match=r"model-00001-of-00003: no such file, and it is a shard"):
            open_artefact(shards / name)
    shutil.copy(shards / "model-00000-of-00003", shards / "model-00000-of-00001")
    with pytest.raises(FormatError, match="2 checkpoints of this name; pass one of model-00000-of-00001, model-00000"):
        open_artefact(shards / "model")
    assert list(open_artefact(shards / "model-00000-of-00001").tensors) == ["w0"]


def test_a_file_and_its_folder(path, tmp_path):
    writer = V1Writer()
    writer.add(b"w", W)
    writer.write(path)
    for given in (path, tmp_path):
        artefact = open_artefact(given)
        assert (artefact.path, artefact.format) == (path, "checkpoint-v1")
        assert artefact.notes[0].startswith("no model.ckpt-7.meta beside it")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt-7"\n')
    writer.write(tmp_path / "model.ckpt-8")
    assert open_artefact(tmp_path).path == path
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(FormatError, match=r"2 checkpoints.*pass one of model\.ckpt-7, model\.ckpt-8"):
        open_artefact(tmp_path)


# Damage


def test_every_length_and_changed_bytes(tmp_path, path, every_type, outcome, same):
    writer = V1Writer()
    small = {name: every_type[name] for name in ("net/f4", "net/i4", "net/S", "net/scalar")}
    for name, array in small.items():
        writer.add(name.encode(), array[:1] if array.ndim else array)
    writer.add(b"net/split", W, [[(0, 1), (0, -1)], [(1, 3), (0, -1)]])
    content = writer.bytes(per_block=3)
    path.write_bytes(content)
    expected = outcome(path)
    assert len(expected) == 5
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert isinstance(outcome(path), FormatError), length


def test_more_names_than_a_file_has(path, monkeypatch):
    """A file of 3 MB with 200,000 names would take 110 MB; the budget is cut down here, to be quick."""
    path.write_bytes(table([header(b"".join(meta(b"%x" % k, (), 1, [[]]) for k in range(2000)))]))
    assert len(read_v1([path])) == 2000
    monkeypatch.setattr("fastlstm.formats.v1.memory_for", lambda source: source.size * 20)
    with pytest.raises(FormatError, match="more tensors than a file of this size has"):
        read_v1([path])


def test_peak_memory(path):
    """A tensor is held twice while it is read: its block, and the array."""
    big = np.random.default_rng(0).normal(size=(1 << 10, 1 << 9)).astype("f4")  # 2 MiB
    writer = V1Writer()
    writer.add(b"big", big)
    writer.write(path)
    read_v1([path])["big"]
    tracemalloc.start()
    got = read_v1([path])["big"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got.tobytes() == big.tobytes()
    assert peak < 2.3 * big.nbytes


def test_the_fixture_names_its_models(fixture_file):
    for era in ("tf1.0", "tf1.15"):
        expect = json.loads((fixture_file(f"{era}/multi_v1") / "expect.json").read_text())
        assert expect["models"] == ["model", "../multi/model.index"]
