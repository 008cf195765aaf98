"""Compiled code on disk: kept whole or not at all, found again, and done without where nothing can be written."""

import ctypes
import os
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm.backends import objects, storage
from fastlstm.cli import main

REPOSITORY = Path(__file__).parents[1]
CONTENT = b"symbols\n" + bytes(range(256)) * 100


def model(device="cpu"):
    return fastlstm.Model([fastlstm.LSTM(np.ones((1, 8)), np.ones((2, 8)))], dtype="float64", device=device)


OF_A_STREAM = ["exchange_float64", "run_block_float64", "step_float64"]


@pytest.fixture
def compilations(monkeypatch):
    """A process that has loaded nothing yet; what it would compile comes from the tests' own folder, and is counted."""
    whole = {name: objects.code(name) and storage.read(name) for name in OF_A_STREAM}
    counted = []

    def compiled(name):
        counted.append(name)
        return whole[name]

    monkeypatch.setattr(objects, "compiled", compiled)
    monkeypatch.setattr(objects, "_loaded", {})
    objects._warned.clear()
    yield counted
    objects._warned.clear()


def unwritable(tmp_path):
    """A folder that not even root can make: its parent is a file."""
    (tmp_path / "file").write_text("")
    return str(tmp_path / "file" / "cache")


def test_where_nothing_can_be_written_one_warning_says_so(monkeypatch, tmp_path, compilations):
    monkeypatch.setenv("NUMBA_CACHE_DIR", unwritable(tmp_path))
    expected = model("numpy").stream().process([[1.0], [2.0]])
    with pytest.warns(RuntimeWarning, match="set NUMBA_CACHE_DIR to a folder that can be written") as said:
        stream = model().stream()
        np.testing.assert_allclose(stream.process([[1.0], [2.0]]), expected, rtol=1e-12)
        model().stream()
    assert [str(warning.message).partition(":")[0] for warning in said] == ["fastlstm"]
    assert "Not a directory" in str(said[0].message)
    assert str(tmp_path) in str(said[0].message)
    assert said[0].filename == __file__, "the line that called fastlstm"
    assert sorted(compilations) == OF_A_STREAM, "once in a process"


def test_without_a_home_and_beside_a_read_only_package_too(monkeypatch, tmp_path, compilations):
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", unwritable(tmp_path))
    monkeypatch.setattr(storage, "__file__", str(tmp_path / "file" / "storage.py"))
    monkeypatch.setattr(storage, "_key", lambda: "key")
    with pytest.warns(RuntimeWarning, match="cannot be kept on disk") as said:
        model().stream()
    assert str(said[0].message).count("Not a directory") == 2


def test_a_read_only_folder_is_still_read(monkeypatch, tmp_path, compilations):
    """The code was compiled at install time, and the user's home is what can be written."""
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(storage, "__file__", str(tmp_path / "package" / "storage.py"))
    monkeypatch.setattr(storage, "_key", lambda: "key")
    path, problems = storage.keep("x", CONTENT)
    assert (path.parent, problems) == (tmp_path / "package" / "__pycache__", "")
    (tmp_path / "home").mkdir()
    path.parent.rename(tmp_path / "home" / "fastlstm")
    assert storage.read("x") == CONTENT


@pytest.mark.parametrize(
    "damage", [lambda whole: b"", lambda whole: whole[:1000], lambda whole: whole[:2000] + b"?" + whole[2001:]]
)
def test_a_damaged_file_is_compiled_anew(monkeypatch, tmp_path, compilations, damage):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    expected = model().stream().step([0.5]).copy()
    files = sorted((tmp_path / "fastlstm").iterdir())
    wholes = [file.read_bytes() for file in files]
    compilations.clear()
    objects._loaded.clear()
    for file, whole in zip(files, wholes, strict=True):
        file.write_bytes(damage(whole))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(model().stream().step([0.5]), expected)
    assert len(compilations) == len(OF_A_STREAM)
    assert [file.read_bytes() for file in files] == wholes


def test_a_disk_that_fills_up_leaves_no_part_of_a_file(tmp_path):
    resource = pytest.importorskip("resource", reason="limits of a process, on POSIX")
    code = f"""
import resource, sys
from fastlstm.backends import storage
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))
print(storage.keep("x", bytes(100_000)), storage.read("x"))
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == f"(None, '{tmp_path}/fastlstm: File too large') None\n"
    assert list((tmp_path / "fastlstm").iterdir()) == []


def test_processes_that_write_the_same_file_never_show_half_of_it(tmp_path):
    code = """
from fastlstm.backends import storage
content = bytes(300_000)
for _ in range(100):
    storage.keep("x", content)
    assert storage.read("x") == content
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    processes = [subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=REPOSITORY) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(list((tmp_path / "fastlstm").iterdir())) == 1


def test_warmup_compiles_what_is_missing(monkeypatch, tmp_path, capsys):
    from fastlstm.backends import entries

    compiled = []
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(entries, "compiled", lambda name: compiled.append(name) or CONTENT)
    assert main(["warmup", "--dtype", "float32"]) == 0
    assert "step_float32" in compiled
    assert not any("float64" in name for name in compiled)
    count, first = len(compiled), capsys.readouterr().out
    assert re.fullmatch(
        rf"{count} compiled functions, {count} of them compiled now, in [0-9.]+ s: [0-9.]+ MB in {tmp_path}/fastlstm\n",
        first,
    )
    assert main(["warmup"]) == 0
    assert len(set(compiled)) == len(compiled) == len(entries.ENTRIES)
    assert storage.read("step_float64") == CONTENT
    assert sorted(path.name for path in (tmp_path / "fastlstm").iterdir()) == sorted(map(storage.file_name, compiled))


def test_warmup_fails_where_nothing_can_be_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("NUMBA_CACHE_DIR", unwritable(tmp_path))
    assert main(["warmup"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("fastlstm: error: warmup: compiled code cannot be written (")
    assert "Not a directory" in error
    assert "set NUMBA_CACHE_DIR" in error


def test_two_threads_that_ask_at_once_get_functions_that_stay(monkeypatch):
    """The object that a built-in function points at is made once, or the one that loses would be freed under it."""
    code = objects.Code("step_float64", (objects.code("step_float64"), storage.read("step_float64"))[1])
    together, engine = threading.Barrier(4), code._engine

    class Slow:
        def get_function_address(self, symbol):
            together.wait()
            return engine.get_function_address(symbol)

    code._engine = Slow()
    made = []
    threads = [threading.Thread(target=lambda: made.append(code._function("step_float64_id", 8, None))) for _ in "abcd"]
    kept = []
    monkeypatch.setattr(objects, "_new_function", lambda address, own, module: kept.append(address))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == [ctypes.addressof(code._methods["step_float64_id"])] * 4


def test_code_that_needs_what_is_not_there_is_compiled_anew(compilations, monkeypatch):
    read = storage.read
    monkeypatch.setattr(
        storage, "read", lambda name: b"no_such_symbol " + content if (content := read(name)) is not None else None
    )
    assert np.isfinite(model().stream().step(0.5)).all()
    assert sorted(set(compilations)) == OF_A_STREAM


def test_warmup_where_compiling_is_forbidden(monkeypatch, capsys):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert main(["warmup"]) == 1
    assert "NUMBA_DISABLE_JIT" in capsys.readouterr().err


def test_compiling_an_entry_leaves_numba_as_it_was():
    """Parts of an entry are left unfinished: what anybody compiles afterwards, of the same functions too, is whole."""
    from numba import njit, types
    from numba.core.registry import cpu_target

    from fastlstm.backends import native, scalar

    @njit
    def halved(x):
        return x / 2  # raises ZeroDivisionError, so that Numba keeps an environment for it

    def entry(n, m):
        return np.int64(scalar.relu(halved(float(n))) + scalar.relu(float(m)))

    codegen = cpu_target.target_context.codegen()
    before = dict(vars(codegen))
    code = objects.Code("entry", native.object_file("entry", entry, types.int64(types.int64, types.int64)))
    assert vars(codegen) == before
    assert code.call(7, -3) == 3

    @njit
    def afterwards(x):
        return scalar.relu(x) + 1

    assert afterwards(2.5) == 3.5
    assert halved(5.0) == 2.5  # compiled as a part above, and called from Python now


def test_an_entry_that_fails_to_compile_leaves_numba_as_it_was():
    from numba import TypingError, njit, types
    from numba.core.registry import cpu_target

    from fastlstm.backends import native

    codegen = cpu_target.target_context.codegen()
    before = dict(vars(codegen))
    with pytest.raises(TypingError):
        native.object_file("wrong", lambda n, m: n + "text", types.int64(types.int64, types.int64))
    assert vars(codegen) == before
    assert njit(lambda x: x + 1)(2) == 3


def test_a_function_is_compiled_once_whatever_literals_it_is_called_with():
    from numba import njit

    from fastlstm.backends.jit import inner

    @inner
    def add(a, b):
        return a + b

    @njit
    def calls(n):
        return add(n, 1) + add(2, n) + add(0, 0)

    assert calls(5) == 13
    assert len(add.overloads) == 1
