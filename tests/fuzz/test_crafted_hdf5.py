"""HDF5 files that are well formed and mean harm."""

import json
import os
import struct

import h5py
import numpy as np
import pytest

from fastlstm.formats import open_artefact
from tests.fuzz.samples import DATA

CONFIG = json.dumps({"class_name": "Sequential", "config": {"layers": []}})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.h5"


@pytest.fixture
def other(path):
    """A file of one layer "r" with weights r/a and r/b, its strings of variable length."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["r"]
        group = file.create_group("r")
        group.attrs["weight_names"] = ["a", "b"]
        group["a"] = np.ones((2, 3), "f4")
    return path


def pointers(data):
    """Where elements (length, heap, index) of variable length are."""
    heap = data.find(b"GCOL")
    address = struct.pack("<Q", heap)
    return [at - 4 for at in range(4, len(data)) if data[at : at + 8] == address], heap


@pytest.mark.parametrize("length", [0x10000000, 0xFFFFFFFF, 1, 100_000])
def test_strings_of_any_length(path, refused, length):
    """libhdf5 fills that many bytes before it looks for the string; a shorter one it would write past its end."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["x" * 70_000]
    data = bytearray(path.read_bytes())
    for at in pointers(data)[0]:
        if struct.unpack_from("<I", data, at)[0] == 70_000:
            data[at : at + 4] = struct.pack("<I", length)
    path.write_bytes(data)
    assert "a string of" in refused(path)


@pytest.mark.parametrize(("offset", "value"), [(4, 0), (4, 1 << 40), (4, (1 << 64) - 1), (4, 7), (12, 99), (12, 0)])
def test_strings_elsewhere(other, refused, offset, value):
    """A heap and an index that are not there."""
    data = bytearray(other.read_bytes())
    for at in pointers(data)[0]:
        width = 8 if offset == 4 else 4
        data[at + offset : at + offset + width] = value.to_bytes(width, "little")
    other.write_bytes(data)
    assert "damaged" in refused(other)


@pytest.mark.parametrize("size", [0, 16, 4097, 1 << 40, (1 << 64) - 8])
def test_heaps_of_any_size(other, refused, size):
    data = bytearray(other.read_bytes())
    heap = pointers(data)[1]
    data[heap + 8 : heap + 16] = struct.pack("<Q", size)
    other.write_bytes(data)
    assert "damaged" in refused(other)


def test_objects_of_no_size(other, refused):
    """Where libhdf5 would loop for ever."""
    data = bytearray(other.read_bytes())
    heap = pointers(data)[1]
    data[heap + 16 : heap + 18] = b"\0\0"
    data[heap + 24 : heap + 32] = bytes(8)
    other.write_bytes(data)
    assert "damaged" in refused(other)


@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize("count", [1, 7])
def test_both_kinds_of_object_header(path, version, count):
    """Attributes in old headers and in new ones, with their continuations; the weights are read."""
    with h5py.File(path, "w", libver=version) as file:
        for k in range(count - 1):
            file.attrs[f"note{k}"] = "n" * 500
        file.attrs["model_config"] = CONFIG
        file.attrs["layer_names"] = ["r", "é"]
        for layer in ("r", "é"):
            group = file.create_group(layer)
            group.attrs["weight_names"] = ["a"]
            group["a"] = np.ones(2, "f4")
    artefact = open_artefact(path)
    assert artefact.keras.layer_weights == {"r": ("r/a",), "é": ("é/a",)}
    assert artefact.keras.model["class_name"] == "Sequential"
    assert artefact.tensors["é/a"].tolist() == [1, 1]


def test_attributes_that_are_not_in_the_header(path, refused):
    """Many attributes in a file of libhdf5's newest layout are in a heap of another kind: refused, not believed."""
    with h5py.File(path, "w", libver="latest") as file:
        for k in range(20):
            file.attrs[f"note{k}"] = "n"
        file.attrs["layer_names"] = ["r"]
    assert "are not in the header" in refused(path)


def test_a_bomb_of_zeros(path, refused):
    """4 GB of zeros in some kilobytes."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["r"]
        group = file.create_group("r")
        group.attrs["weight_names"] = ["a"]
        group.create_dataset("a", (1 << 30,), "f4", chunks=(1 << 24,), compression="gzip", fillvalue=1.0)
    assert path.stat().st_size < 1 << 16
    assert "does not fit a file" in refused(path)


def test_a_bomb_in_one_chunk(path, refused):
    data = np.zeros(1 << 26, "u1")
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/x/vars/0", data=data, chunks=data.shape, compression="gzip", compression_opts=9)
    assert "does not fit a file" in refused(path)


def test_one_dataset_by_many_names(path, refused):
    """Each link takes some bytes, and would be a tensor of a megabyte."""
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/x/vars")
        group["0"] = np.zeros(1 << 18, "f4")
        for k in range(1, 400):
            group[str(k)] = group["0"]
    assert path.stat().st_size < 2 << 20
    assert "tensors of 419430400 bytes" in refused(path)


@pytest.mark.parametrize("kind", ["soft", "external", "virtual", "storage"])
def test_no_way_out_of_the_file(path, tmp_path, refused, kind):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.ones(4, "f4")
    (tmp_path / "raw").write_bytes(bytes(16))
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/x/vars")
        if kind == "soft":
            group["0"] = h5py.SoftLink("/elsewhere")
            file["elsewhere"] = np.ones(4, "f4")
        elif kind == "external":
            group["0"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (4,))
            group.create_virtual_dataset("0", layout)
        else:
            group.create_dataset("0", (4,), "f4", external=[(str(tmp_path / "raw"), 0, 16)])
    assert "not followed" in refused(path)


@pytest.mark.parametrize("kind", ["reference", "text", "compound", "long", "empty"])
def test_no_numbers(path, refused, kind):
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/x/vars")
        if kind == "reference":
            group.create_dataset("0", (2,), h5py.ref_dtype)
            group["0"][0] = file.ref
        elif kind == "text":
            group["0"] = "text"
        elif kind == "compound":
            group["0"] = np.zeros(2, [("a", "f4"), ("b", "i4")])
        elif kind == "long":
            group["0"] = np.zeros(2, "V200")
        else:
            group["0"] = h5py.Empty("f4")
    assert "expected numbers" in refused(path)


def test_groups_in_circles(path, refused):
    with h5py.File(path, "w") as file:
        group = file
        for k in range(50):
            group = group.create_group("g")
            group["top"] = file
            group[f"back{k}"] = group
    assert "without weights" in refused(path)


def test_groups_without_end(path, refused):
    """A path of thousands of names, from a file of a megabyte."""
    with h5py.File(path, "w") as file:
        group = file
        for _ in range(1000):
            group = group.create_group("g")
        group["vars/0"] = h5py.SoftLink("/")
    assert "not followed" in refused(path)


@pytest.mark.parametrize("name", sorted(p.name for p in (DATA / "fuzz/keras-h5").glob("*.h5")))
def test_another_size_of_offsets(tmp_path, refused, name):
    """A superblock that says that addresses have two bytes, or that the file is longer than it is."""
    data = bytearray((DATA / "fuzz/keras-h5" / name).read_bytes())
    for at, value in ((13, 2), (14, 2), (40, 0), (41, 255)):
        copy = bytearray(data)
        copy[at] = value
        (tmp_path / name).write_bytes(copy)
        assert refused(tmp_path / name)
    assert os.path.getsize(tmp_path / name) == len(data)
