"""safetensors read and written, npz written, and what happens to files when writing fails."""

import errno
import json
import os
import struct

import numpy as np
import pytest
import safetensors.numpy

from fastlstm.errors import FormatError, WriteError
from fastlstm.formats import open_artefact
from fastlstm.formats.atomic import replacing
from fastlstm.formats.npz import write_npz
from fastlstm.formats.safetensors_file import write_safetensors


def raw(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_safetensors(tmp_path, arrays, same):
    path = tmp_path / "model.safetensors"
    architecture = {"layers": [{"kind": "LSTM", "forget_bias": 0.1}]}
    write_safetensors(path, arrays, {"fastlstm": json.dumps(architecture), "else": "1"})
    artefact = open_artefact(path)
    assert (artefact.format, artefact.architecture) == ("safetensors", architecture)
    assert same(artefact.tensors, arrays)
    assert same(safetensors.numpy.load_file(path), arrays)
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_safetensors_of_others(tmp_path, arrays, same):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(arrays, path)
    artefact = open_artefact(path)
    assert artefact.architecture is None
    assert same(artefact.tensors, arrays)


def test_safetensors_of_odd_arrays(tmp_path, same):
    path = tmp_path / "model.safetensors"
    matrix = np.arange(6.0).reshape(2, 3)
    write_safetensors(path, {"t": matrix.T, "strided": matrix[:, ::2], "big": matrix.astype(">f8")})
    assert same(open_artefact(path).tensors, {"t": matrix.T.copy(), "strided": matrix[:, ::2].copy(), "big": matrix})


def test_bfloat16(tmp_path):
    path = tmp_path / "b.safetensors"
    raw(path, {"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, b"\x80\x3f\0\xc0")
    tensors = open_artefact(path).tensors
    assert tensors.specs["w"].dtype == "bfloat16"
    assert tensors["w"].tolist() == [1, -2]
    assert tensors["w"].dtype == np.float32


def test_type_that_numpy_lacks(tmp_path):
    path = tmp_path / "f8.safetensors"
    raw(path, {"w": {"dtype": "F8_E5M2", "shape": [2], "data_offsets": [0, 2]}}, b"12")
    with pytest.raises(FormatError, match=r"f8\.safetensors: (tensor 'w': elements of type F8_E5M2|not safetensors)"):
        dict(open_artefact(path).tensors)  # safetensors 0.4.0 does not know the type either


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
        ({"w": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 4]}}, b"1234"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"1234"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"12345678"),
        ({"w": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        ({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
        ({"w": {"dtype": "F32", "data_offsets": [0, 4]}}, b"1234"),
        ({"w": 1}, b""),
        (b"{", b""),
        (b"{}" + b"[" * 100, b""),
        ({"__metadata__": {"fastlstm": "{"}}, b""),
        ({"__metadata__": {"fastlstm": "[]"}}, b""),
        ({"__metadata__": [1]}, b""),
    ],
)
def test_safetensors_refused(tmp_path, header, data):
    path = tmp_path / "bad.safetensors"
    raw(path, header, data)
    with pytest.raises(FormatError, match=r"bad\.safetensors"):
        dict(open_artefact(path).tensors)


def test_npz(tmp_path, arrays, same):
    path = tmp_path / "weights.npz"
    arrays = {**arrays, "file": np.zeros(1), "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    write_npz(path, arrays)
    with np.load(path) as loaded:
        assert same(dict(loaded), arrays)
    first = path.read_bytes()
    write_npz(path, arrays)
    assert path.read_bytes() == first
    assert os.listdir(tmp_path) == ["weights.npz"]


WRITERS = [write_npz, write_safetensors]


@pytest.mark.parametrize("write", WRITERS)
def test_strings_cannot_be_written(tmp_path, write):
    path = tmp_path / "out"
    path.write_bytes(b"before")
    with pytest.raises(WriteError, match="out"):
        write(path, {"s": np.array([b"a"], object)})
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("write", WRITERS)
def test_no_such_folder(tmp_path, write, arrays):
    with pytest.raises(WriteError, match=r"gone/out: cannot be written: .*choose another folder"):
        write(tmp_path / "gone/out", arrays)
    with pytest.raises(OSError, match="cannot be written"):
        write(tmp_path / "gone/out", arrays)


@pytest.mark.parametrize("write", WRITERS)
def test_target_is_a_folder(tmp_path, write, arrays):
    (tmp_path / "out").mkdir()
    with pytest.raises(WriteError, match="out: cannot be written"):
        write(tmp_path / "out", arrays)
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user who may not write everywhere")
@pytest.mark.parametrize("write", WRITERS)
def test_folder_that_cannot_be_written(tmp_path, write, arrays):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(WriteError, match="cannot be written"):
            write(tmp_path / "out", arrays)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("write", WRITERS)
def test_disk_full(tmp_path, write, arrays, monkeypatch):
    path = tmp_path / "out"
    path.write_bytes(b"before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"out: cannot be written: .*No space left"):
        write(path, arrays)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["out"]


def test_interrupted(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to("target")
    with replacing(tmp_path / "link") as file:
        file.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"x"
