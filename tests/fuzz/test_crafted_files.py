"""Zips, JSON, and what a path can be beside a file, made to do harm."""

import json
import os
import struct
import threading
import time
import zipfile

import pytest

from fastlstm.errors import FastLSTMError
from fastlstm.formats import FORMATS, open_artefact, source
from tests.formats.bundle_writer import BundleWriter
from tests.fuzz.rebuild import zipped
from tests.fuzz.samples import DATA, SAMPLES

KERAS = DATA / "fuzz/keras/model.keras"


def members():
    with zipfile.ZipFile(KERAS) as archive:
        return [(each.filename, archive.read(each)) for each in archive.infolist()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.keras"


def central(data):
    """Positions of the entries of a zip's directory."""
    return [at for at in range(len(data)) if data.startswith(b"PK\1\2", at)]


def test_the_zips_made_here_are_good(path):
    path.write_bytes(zipped(members()))
    assert dict(open_artefact(path).tensors)


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
@pytest.mark.parametrize("size", [30 << 20, 1 << 30])
def test_a_member_that_inflates(path, refused, name, size):
    content = bytes(30 << 20) if size < 1 << 30 else b""
    data = bytearray(zipped([(n, content if n == name else c) for n, c in members()], zipfile.ZIP_DEFLATED))
    if not content:  # a size that the directory claims, without the bytes
        for at in central(data):
            if data[at + 46 : at + 46 + len(name)] == name.encode():
                data[at + 24 : at + 28] = struct.pack("<I", size)
    path.write_bytes(data)
    assert "expected at most" in refused(path)


def test_a_member_that_inflates_to_more_than_it_says(path, refused):
    name = "model.weights.h5"
    data = bytearray(zipped([(n, bytes(30 << 20) if n == name else c) for n, c in members()], zipfile.ZIP_DEFLATED))
    for at in central(data):
        if data[at + 46 : at + 46 + len(name)] == name.encode():
            data[at + 24 : at + 28] = struct.pack("<I", 1000)
    path.write_bytes(data)
    assert refused(path)


def test_members_that_overlap(path, refused):
    """Two entries of the directory for the same bytes, under two names."""
    good = dict(members())
    data = bytearray(zipped([("config.json", good["config.json"]), ("metadata.json", good["config.json"])]))
    places = central(data)
    data[places[1] + 42 : places[1] + 46] = data[places[0] + 42 : places[0] + 46]
    path.write_bytes(data)
    assert refused(path)


def test_a_member_twice(path, refused):
    good = dict(members())
    path.write_bytes(zipped([*members(), ("config.json", b"{}"), ("model.weights.h5", good["model.weights.h5"])]))
    assert "twice" in refused(path)


def test_names_that_lead_elsewhere_are_not_written(path, tmp_path):
    path.write_bytes(zipped([*members(), ("../../escaped", b"x"), ("/escaped", b"x"), ("C:\\escaped", b"x")]))
    before = sorted(tmp_path.rglob("*"))
    assert dict(open_artefact(path).tensors)
    assert sorted(tmp_path.rglob("*")) == before


def test_encrypted(path, refused):
    data = bytearray(zipped(members()))
    for at in central(data):
        data[at + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in refused(path)


def test_a_zip_in_a_zip(path, refused):
    path.write_bytes(zipped([("model.keras", KERAS.read_bytes())]))
    assert "a zip without config.json" in refused(path)


def test_a_directory_of_many_entries(path, refused):
    path.write_bytes(zipped([(f"{k}", b"") for k in range(20_000)]))
    start = time.process_time()
    assert "a zip without" in refused(path)
    assert time.process_time() - start < 5


JSONS = {
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "many lists": b'{"a":[' + b"[]," * 2_000_000 + b"0]}",
    "many objects": b'{"a":[' + b"{}," * 1_000_000 + b"0]}",
    "many texts": b'{"a":[' + b'"\\u0100",' * 1_500_000 + b"0]}",
    "surrogate": b'{"class_name": "\\ud800"}',
    "huge float": b'{"class_name": 1e400}',
    "huge integer": b'{"class_name": ' + b"9" * 10_000 + b"}",
    "nan": b'{"class_name": NaN}',
    "latin": b'{"class_name": "\xe9"}',
    "nul": b'{"class_name": "a\\u0000b"}',
    "nothing": b"",
    "null": b"null",
    "twice": b'{"class_name": "Sequential", "class_name": 3}',
}


@pytest.mark.parametrize("case", JSONS)
@pytest.mark.parametrize("name", ["config.json", "metadata.json"])
def test_json(path, refused, name, case):
    path.write_bytes(zipped([(n, JSONS[case] if n == name else c) for n, c in members()]))
    assert refused(path)


NUMBERS = [1e400, -1e400, float("nan"), 10**400, -1, 0, 2**62, 2**31, 0.5, True, None, "9" * 5000, [], {}]


@pytest.mark.parametrize("key", ["units", "activation", "layers", "name", "batch_shape"])
def test_json_numbers(path, key):
    """Whatever number stands in the configuration: the model, or a FastLSTMError."""
    from fastlstm.recognise import recognise

    config = json.loads(dict(members())["config.json"])
    for number in NUMBERS:
        text = json.dumps(_replaced(config, key, number)).encode()
        path.write_bytes(zipped([(n, text if n == "config.json" else c) for n, c in members()]))
        try:
            recognise(open_artefact(path))
        except FastLSTMError as error:
            assert str(error)


def _replaced(value, key, number):
    if isinstance(value, dict):
        return {k: number if k == key else _replaced(v, key, number) for k, v in value.items()}
    return [_replaced(v, key, number) for v in value] if isinstance(value, list) else value


# What a path can be

OPENED = [
    pytest.param(name, sample, file, id=f"{name}-{sample.opened or 'folder'}-{file.rpartition('/')[2]}")
    for name, samples in SAMPLES.items()
    for sample in samples
    for file in sample.damaged
]


def spread(sample, folder, without=()):
    for name, data in sample.files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name not in without:
            (folder / name).write_bytes(data)
    return folder / sample.opened if sample.opened else folder


def outcome(path):
    """Any tensors, or the error's text."""
    try:
        return dict(open_artefact(path).tensors)
    except FastLSTMError as error:
        assert str(error)
        return str(error)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize(("name", "sample", "file"), OPENED)
def test_no_regular_file(tmp_path, name, sample, file):
    """A pipe, a folder, links in a circle, a link to nothing and to an endless file, each in a file's place."""
    makers = {
        "pipe": os.mkfifo,
        "folder": os.mkdir,
        "circle": lambda place: os.symlink(place, place),
        "nothing": lambda place: os.symlink(place.with_name("gone"), place),
        "endless": lambda place: os.symlink("/dev/zero", place),
    }
    for kind, make in makers.items():
        path = spread(sample, tmp_path / kind, without=(file,))
        make(tmp_path / kind / file)
        got = outcome(path)
        assert isinstance(got, (str, dict)), kind
        assert path.name != file.rpartition("/")[2] or isinstance(got, str), kind


@pytest.mark.parametrize(("name", "sample", "file"), OPENED)
def test_a_file_that_shrinks(tmp_path, name, sample, file):
    """Cut by another thread again and again, while it is read again and again."""
    path = spread(sample, tmp_path)
    data = sample.files()[file]
    done = threading.Event()

    def cut():
        place, k = tmp_path / file, 0
        while not done.is_set():
            k = (k + 977) % (len(data) + 1)
            with place.open("r+b") as stream:
                stream.truncate(k)
                stream.seek(0)
                stream.write(data)

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        for _ in range(15):
            outcome(path)
    finally:
        done.set()
        thread.join()


def test_a_file_that_shrinks_between_its_reads(tmp_path, monkeypatch):
    """The size that was seen is not there any more when it is read."""
    path = spread(SAMPLES["checkpoint V1"][0], tmp_path)
    real = os.fstat

    class Longer:
        def __init__(self, status):
            self.st_size, self.st_mode = status.st_size + 100, status.st_mode

    monkeypatch.setattr(source.os, "fstat", lambda number: Longer(real(number)))
    assert isinstance(outcome(path), str)


@pytest.mark.parametrize(
    "named",
    [
        "../../../../../../etc/passwd",
        "/etc/passwd",
        "/dev/zero",
        "..",
        ".",
        "/",
        "a" * 300,
        "a/" * 3000,
        "\\000",
        "*",
        "[a",
    ],
)
def test_state_files_that_name_others(tmp_path, named):
    """Another file is read only if it is a checkpoint; a name is never a pattern."""
    BundleWriter().write(tmp_path / "model")
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{named}"\n')
    got = outcome(tmp_path)
    assert isinstance(got, str)
    assert "root:" not in got


def test_every_row_looks_at_names_and_ends_only(tmp_path):
    """Detecting is quick for a file of many gigabytes, and for each name that a file can have."""
    endings = ("", ".h5", ".keras", ".pb", ".tflite", ".onnx", ".pt", ".pth", ".json", ".nam", ".safetensors", ".index")
    for ending in endings:
        path = tmp_path / f"large{ending}"
        with path.open("wb") as file:
            file.truncate(40 << 30)  # sparse
        start = time.process_time()
        for row in FORMATS:
            row.detect(path)
        assert isinstance(outcome(path), str)
        assert time.process_time() - start < 1
        path.unlink()
