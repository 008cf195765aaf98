"""safetensors read and written, npz written, and what happens to files when writing fails."""

import errno
import json
import os
import struct
from pathlib import Path

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


def header_of(path):
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:start]), data[start:]


def test_checksums(tmp_path, arrays, same):
    """Of each tensor when it is fetched, of the architecture at once; the same file for the same arguments."""
    path, metadata = tmp_path / "m.safetensors", {"fastlstm": '{"layers": []}'}
    write_safetensors(path, arrays, metadata)
    whole = path.read_bytes()
    write_safetensors(path, arrays, metadata)
    assert path.read_bytes() == whole and metadata.keys() == {"fastlstm"}
    header, data = header_of(path)
    assert json.loads(header["__metadata__"]["fastlstm_crc32c"]).keys() == {*arrays, "__metadata__"}

    damaged = bytearray(data)
    damaged[header["net/kernel"]["data_offsets"][0] + 3] ^= 1
    raw(path, header, damaged)
    tensors = open_artefact(path).tensors
    assert same({"net/bias": tensors["net/bias"]}, {"net/bias": arrays["net/bias"]})
    with pytest.raises(
        FormatError, match=r"m\.safetensors: tensor 'net/kernel': checksum \w{8}, expected \w{8}; the file is damaged"
    ):
        tensors["net/kernel"]


def renamed(header, old, new):
    return json.loads(json.dumps(header).replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("layers", "lavers", "metadata 'fastlstm': checksum .*, expected .*; the file is damaged"),
        ('"fastlstm":', '"fastlstn":', "a checksum of metadata 'fastlstm', that is not there"),
        ("fastlstm_crc32c", "fastlstm_crc32d", "written by fastlstm.save, but without its checksums"),
        ('"a": {', '"b": {', "a checksum of tensor 'a', that is not there"),
        ("F32", "I32", "tensor 'a': checksum"),
        ("[2, 3]", "[3, 2]", "tensor 'a': checksum"),
    ],
)
def test_damaged_header(tmp_path, old, new, says):
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {"a": np.ones((2, 3), np.float32)}, {"fastlstm": '{"layers": []}'})
    header, data = header_of(path)
    raw(path, renamed(header, old, new), data)
    with pytest.raises(FormatError, match=says):
        dict(open_artefact(path).tensors)


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
def test_a_name_that_cannot_be(tmp_path, write, arrays):
    with pytest.raises(WriteError, match="cannot be written: no name may hold the character NUL"):
        write(tmp_path / "o\0ut", arrays)


@pytest.mark.parametrize("write", WRITERS)
def test_target_is_a_folder(tmp_path, write, arrays):
    (tmp_path / "out").mkdir()
    with pytest.raises(WriteError, match="out: cannot be written"):
        write(tmp_path / "out", arrays)
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("write", WRITERS)
def test_folder_that_may_not_be_entered(tmp_path, write, arrays, monkeypatch):
    def denied(self, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(WriteError, match="out: cannot be written: Permission denied; nothing was changed there"):
        write(tmp_path / "out", arrays)


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
