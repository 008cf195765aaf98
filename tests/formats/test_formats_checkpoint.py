"""What people pass for a checkpoint: a prefix, a file of it, a folder; and what is something else."""

import errno
import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from bundle_writer import BundleWriter, message

from fastlstm.errors import FormatError, MissingFileError
from fastlstm.formats import FORMATS, open_artefact, read_variables


@pytest.fixture
def prefix(tmp_path, arrays):
    prefix = tmp_path / "model.ckpt-7"
    writer = BundleWriter()
    for name, array in arrays.items():
        writer.add(name.encode(), array)
    writer.write(prefix)
    return prefix


META = message(2, message(1, message(1, b"v") + message(2, b"VariableV2")))


@pytest.mark.parametrize("suffix", ["", ".index", ".meta", ".data-00000-of-00001"])
def test_prefix_and_files(prefix, suffix, arrays, same):
    prefix.with_name(f"{prefix.name}.meta").write_bytes(META)
    artefact = open_artefact(f"{prefix}{suffix}")
    assert (artefact.format, artefact.path, artefact.notes) == ("checkpoint", prefix, ())
    assert list(artefact.graph.nodes) == ["v"]
    assert same(artefact.tensors, arrays)
    assert same(read_variables(prefix), arrays)


def test_without_meta(prefix):
    artefact = open_artefact(prefix)
    assert artefact.graph is None
    assert artefact.notes[0].startswith("no model.ckpt-7.meta beside it: ")


def test_damaged_meta(prefix):
    prefix.with_name("model.ckpt-7.meta").write_bytes(META[:-3])
    with pytest.raises(FormatError, match=r"model\.ckpt-7\.meta: .*not a MetaGraphDef.* move model\.ckpt-7\.meta away"):
        open_artefact(prefix)


@pytest.mark.parametrize(
    "named",
    [
        "model.ckpt-7",
        "/home/somebody/training/model.ckpt-7",
        "C:\\\\training\\\\model.ckpt-7",
        "old/model.ckpt-7",
        "model\\056ckpt-7",
    ],
)
def test_folder_with_state_file(prefix, named, arrays):
    (prefix.parent / "checkpoint").write_text(
        f'model_checkpoint_path: "{named}"\nall_model_checkpoint_paths: "{named}"\n'
        "all_model_checkpoint_timestamps: 1516461441.5\nlast_preserved_timestamp: 1.5\n"
    )
    BundleWriter().write(prefix.with_name("model.ckpt-8"))
    assert set(open_artefact(prefix.parent).tensors) == set(arrays)


@pytest.mark.parametrize(
    ("state", "match"),
    [
        ("", "names no model_checkpoint_path"),
        ('model_checkpoint_path: "gone"', "names 'gone'.*no gone.index"),
        ('model_checkpoint_path: "/a/gone"', "no gone.index"),
        ('model_checkpoint_path: "a\\000b"', "names"),
        ('model_checkpoint_path: "' + "x" * 5000 + '"', "names"),
        ('model_checkpoint_path: "..', "not a checkpoint state"),
        ("\xff\xfe", "not a checkpoint state|UTF-8"),
        ("{" * 5000, "not a checkpoint state"),
    ],
)
def test_bad_state_file(prefix, state, match):
    (prefix.parent / "checkpoint").write_bytes(state.encode("latin-1"))
    with pytest.raises(FormatError, match=match):
        open_artefact(prefix.parent)


def test_state_file_that_names_another_checkpoint(prefix):
    (prefix.parent / "checkpoint").write_text('model_checkpoint_path: "gone"')
    with pytest.raises(MissingFileError, match=r"no gone\.index in the folder, which has model\.ckpt-7; pass one"):
        open_artefact(prefix.parent)
    for k in range(10, 22):
        BundleWriter().write(prefix.with_name(f"m{k}"))
    with pytest.raises(MissingFileError, match=r"which has m10, m11, .*m19 and 3 more; pass one of these"):
        open_artefact(prefix.parent)
    for index in prefix.parent.glob("*.index"):
        index.unlink()
    with pytest.raises(FormatError, match="nor of another checkpoint; put the checkpoint's files beside it"):
        open_artefact(prefix.parent)


def test_files_too_large_for_protobuf_are_not_read(prefix):
    meta, state = prefix.with_name("model.ckpt-7.meta"), prefix.with_name("checkpoint")
    for path, size, opened in ((meta, 3 << 30, prefix), (state, 1 << 30, prefix.parent)):
        with path.open("wb") as file:
            file.truncate(size)  # sparse
        tracemalloc.start()
        with pytest.raises(FormatError, match=rf"{path.name}: {size} bytes, expected at most \d+; .*damaged"):
            open_artefact(opened)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
        tracemalloc.stop()


ANOTHER_USER = """
import os, sys
from fastlstm.errors import FastLSTMError
from fastlstm.formats import checkpoint, keras_h5, keras_zip, open_artefact, safetensors_file
os.chdir("/")
os.setegid(65534)
os.seteuid(65534)
for path in sys.argv[1:]:
    try:
        open_artefact(path)
    except FastLSTMError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_what_may_not_be_read():
    with tempfile.TemporaryDirectory() as name:  # a folder of pytest's is its user's alone
        folder = Path(name)
        folder.chmod(0o755)
        paths = [folder / name for name in ("a.keras", "a.h5", "a.safetensors", "a.index", "closed", "closed/model")]
        for path in paths[:4]:
            path.write_bytes(b"x" * 100)
            path.chmod(0)
        paths[4].mkdir()
        (paths[4] / "model.index").write_bytes(b"x")
        paths[4].chmod(0)
        command = [sys.executable, "-c", ANOTHER_USER, *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "PermissionError" in done.stderr or "ModuleNotFoundError" in done.stderr:
        pytest.skip("another user may not read this Python")
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths), done.stderr
    for path, line in zip(paths, lines, strict=True):
        assert f"{path}: cannot be read: " in line and "Permission denied" in line


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.safetensors", "folder"])
def test_permission_denied(tmp_path, monkeypatch, name):
    """The same for any user, with a system that says no."""
    path = tmp_path / name
    path.mkdir() if name == "folder" else path.write_bytes(b"x")

    def denied(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os if name == "folder" else Path, "scandir" if name == "folder" else "open", denied)
    with pytest.raises(FormatError, match=rf"{name}: cannot be read: Permission denied; change its permissions"):
        open_artefact(path)


def test_folder_without_state_file(prefix, arrays):
    assert set(open_artefact(prefix.parent).tensors) == set(arrays)
    BundleWriter().write(prefix.with_name("model.ckpt-8"))
    with pytest.raises(FormatError, match=r"2 checkpoints.*pass one of model\.ckpt-7, model\.ckpt-8"):
        open_artefact(prefix.parent)


def test_incomplete(prefix):
    index = prefix.with_name("model.ckpt-7.index")
    content = index.read_bytes()
    index.unlink()
    with pytest.raises(MissingFileError, match=r"model\.ckpt-7\.index: no such file"):
        open_artefact(prefix.with_name("model.ckpt-7.data-00000-of-00001"))
    prefix.with_name("model.ckpt-7.meta").write_bytes(META)
    with pytest.raises(FormatError, match="holds the graph but no weights"):
        open_artefact(prefix.with_name("model.ckpt-7.meta"))
    index.write_bytes(content)
    prefix.with_name("model.ckpt-7.data-00000-of-00001").unlink()
    with pytest.raises(MissingFileError, match=r"model\.ckpt-7\.data-00000-of-00001: no such file"):
        open_artefact(prefix)


def test_other_formats(tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    with pytest.raises(FormatError, match="a folder without a checkpoint"):
        open_artefact(folder)
    (folder / "saved_model.pb").write_bytes(b"")
    with pytest.raises(FormatError, match=r"saved_model.pb: a SavedModel without graphs"):
        open_artefact(folder)
    for name, content, match in (
        ("frozen.pb", b"\n\0", "a graph with 1 nodes but no weights"),
        ("model.tflite", b"\x20\0\0\0TFL3", "the file has 8"),
        ("text.txt", b"hello world", "starts with 68 65 6c 6c 6f 20 77 6f"),
        ("empty", b"", "it is empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match=match):
            open_artefact(tmp_path / name)


@pytest.mark.parametrize("name", ["gone", "gone.h5", "gone.index", "a/b/c", "x" * 5000, "nul\0"])
def test_nothing_there(tmp_path, name):
    with pytest.raises(MissingFileError, match="no such file"):
        open_artefact(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_not_waited_for(prefix):
    os.mkfifo(prefix.with_name("pipe"))
    with pytest.raises(FormatError):
        open_artefact(prefix.with_name("pipe"))
    index = prefix.with_name("model.ckpt-7.index")
    index.unlink()
    os.mkfifo(index)
    with pytest.raises(FormatError):
        open_artefact(index)


def test_the_table_of_formats():
    assert len({row.name for row in FORMATS}) == len(FORMATS)
    assert not any(row.detect(Path("not there")) for row in FORMATS)


def test_nothing_heavy_is_imported():
    code = "import sys, fastlstm.formats; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"google.protobuf", "google_crc32c", "h5py", "safetensors"} & set(done.stdout.split())
