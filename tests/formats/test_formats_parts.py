"""What saves that were interrupted have left behind, and bundles on machines of the other byte order."""

import numpy as np
import pytest
from bundle_writer import BundleWriter

from fastlstm.errors import FormatError, MissingFileError
from fastlstm.formats import open_artefact

W = np.arange(24, dtype="f4").reshape(4, 6)
HALVES = [[(0, 2), (0, -1)], [(2, 2), (0, -1)]]


def write_parts(folder, names=("part-00000-of-00002", "part-00001-of-00002"), **spoil):
    """One tensor in each part, and one whose halves are in both."""
    folder.mkdir(exist_ok=True)
    for k, name in enumerate(names):
        writer = BundleWriter(big_endian=spoil.get("big", [False, False])[k])
        writer.add(b"own/%d" % k, W[k])
        writer.add_slices(b"net/kernel", W.astype(spoil.get("dtypes", ["f4", "f4"])[k]), [HALVES[k]])
        if "twice" in spoil:
            writer.add(b"own", W)
        writer.write(folder / name)


@pytest.mark.parametrize("given", ["model-7", "", "model-7_temp_6e2f", "model-7_temp_6e2f/part", "one of the parts"])
def test_an_unfinished_save_is_read_from_its_parts(tmp_path, given, same):
    folder = tmp_path / "model-7_temp_6e2f"
    write_parts(folder)
    given = "model-7_temp_6e2f/part-00001-of-00002.index" if " " in given else given
    artefact = open_artefact(tmp_path / given)
    assert same(artefact.tensors, {"own/0": W[0], "own/1": W[1], "net/kernel": W})
    assert "was not finished; it is read from the parts in model-7_temp_6e2f" in artefact.notes[0]


def test_parts_beside_the_prefix(tmp_path, same):
    write_parts(tmp_path, ("model-7.part-00000-of-00002", "model-7.part-00001-of-00002"))
    expected = {"own/0": W[0], "own/1": W[1], "net/kernel": W}
    for given in (tmp_path / "model-7", tmp_path):
        assert same(open_artefact(given).tensors, expected)


def test_a_finished_checkpoint_comes_before_leftovers(tmp_path):
    write_parts(tmp_path / "model-7_temp_6e2f")
    writer = BundleWriter()
    writer.add(b"whole", W)
    writer.write(tmp_path / "model-7")
    assert list(open_artefact(tmp_path / "model-7").tensors) == ["whole"]
    assert list(open_artefact(tmp_path).tensors) == ["whole"]


@pytest.mark.parametrize("gone", ["part-00001-of-00002.index", "part-00001-of-00002.data-00000-of-00001"])
def test_incomplete_parts(tmp_path, gone):
    write_parts(tmp_path / "m_temp_1")
    (tmp_path / "m_temp_1" / gone).unlink()
    with pytest.raises(MissingFileError, match=rf"{gone}: no such file, .*interrupted.*load an earlier checkpoint"):
        open_artefact(tmp_path / "m")


def test_leftovers_of_two_saves(tmp_path):
    for name in ("m_temp_1", "m_temp_2"):
        write_parts(tmp_path / name)
    with pytest.raises(
        FormatError, match=r"what 2 interrupted saves have left behind; pass one of .*m_temp_1, .*m_temp_2"
    ):
        open_artefact(tmp_path / "m")
    assert "own/0" in open_artefact(tmp_path / "m_temp_2").tensors


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        ({"twice": True}, "entry b'own': is in another part too"),
        ({"dtypes": ["f4", "f8"]}, "net/kernel.* is in another part too; the parts are not of one checkpoint"),
        ({"big": [False, True]}, "byte orders"),
    ],
)
def test_parts_that_contradict_each_other(tmp_path, spoil, match):
    write_parts(tmp_path / "m_temp_1", **spoil)
    with pytest.raises(FormatError, match=match):
        open_artefact(tmp_path / "m")


def test_a_half_that_neither_part_has(tmp_path):
    write_parts(tmp_path / "m_temp_1", ("part-00000-of-00001",))
    with pytest.raises(FormatError, match="1 slices hold 12 elements, expected 24"):
        open_artefact(tmp_path / "m").tensors["net/kernel"]


def test_many_shards_and_slices_over_them(tmp_path, same):
    writer = BundleWriter(shards=12)
    rows = [[(k, 1), (0, -1)] for k in range(4)]
    columns = [[(0, -1), (k, 2)] for k in (0, 2, 4)]
    writer.add_slices(b"rows", W, rows)
    writer.add_slices(b"columns", W, columns)
    for k in range(12):
        writer.add(b"own/%d" % k, np.array(k, "i8"), k)
    writer.write(tmp_path / "m")
    expected = {"rows": W, "columns": W} | {f"own/{k}": np.array(k, "i8") for k in range(12)}
    assert same(open_artefact(tmp_path / "m").tensors, expected)
    (tmp_path / "m.data-00007-of-00012").unlink()
    with pytest.raises(MissingFileError, match=r"m\.data-00007-of-00012: no such file, but m\.index says"):
        open_artefact(tmp_path / "m")


@pytest.mark.parametrize("code", ["f4", "f8", "f2", "i4", "i8", "c8", "u1"])
def test_big_endian(tmp_path, code, same):
    """Elements are swapped, each part of a complex number by itself; the checksum is of the bytes in the file."""
    array = (W - 7).astype(code) * (1 - 2j if code == "c8" else 1)
    array = array.astype(code)
    writer = BundleWriter(big_endian=True)
    writer.add(b"v", array)
    writer.add_slices(b"w", array, HALVES)
    writer.write(tmp_path / "m")
    assert writer.data[0].startswith(array.astype(array.dtype.newbyteorder(">")).tobytes())
    artefact = open_artefact(tmp_path / "m")
    assert same(artefact.tensors, {"v": array, "w": array})
    data = tmp_path / "m.data-00000-of-00001"
    data.write_bytes(array.tobytes() + writer.data[0][array.nbytes :])  # as if it had been little endian
    if array.itemsize > 1:
        with pytest.raises(FormatError, match="checksum"):
            artefact.tensors["v"]
