"""Compiled code as object files on disk, loaded by LLVM alone: a process that finds them never imports Numba.

An object file is made by `native.py` from a function in `entries.py` when it is first needed, or by `fastlstm warmup`.
Its name has a digest of all that the code depends on, so that a file is never stale; its content a checksum. Where
nothing can be written each process compiles for itself, and says so once.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import tempfile
import threading
import warnings
import zlib
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import __version__ as llvmlite_version
from llvmlite import binding

from fastlstm.backends import processor
from fastlstm.errors import DeviceError

_DTYPES = ("float32", "float64", "int64", "uint32", "int32", "uint16", "int8", "uint8")
#: What compiled code has to know of Python, by name: it finds the address at the same place of a table.
PYTHON: dict[str, Any] = {"None": None, "SystemError": SystemError, "ndarray": np.ndarray} | {
    name: np.dtype(name) for name in _DTYPES
}

_MAGIC = b"fastlstm object 1\n"
_COMPILER_SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO", "DISABLE_INTEL_SVML")
_FASTCALL, _ONE_ARGUMENT = 0x80, 0x08


class Setting(IntEnum):
    """The int64 that a stream's step reads.

    TYPE, DTYPE, SIZE  of an input that needs no conversion; SIZE is the vocabulary's where it is an id
    TARGET, BYTES      where to put the input, and how much
    ARGUMENT           the compiled function's
    LONG               whether to give up the GIL
    """

    TYPE = 0
    DTYPE = 1
    SIZE = 2
    TARGET = 3
    BYTES = 4
    ARGUMENT = 5
    LONG = 6


class _Method(ctypes.Structure):
    """PyMethodDef"""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    ]


_new_function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


class Code:
    """One object file, loaded: it stays in memory as long as the process."""

    def __init__(self, name: str, content: bytes) -> None:
        self._name = name
        symbols, _, machine_code = content.partition(b"\n")
        triple = binding.get_process_triple()
        target = binding.Target.from_triple(triple).create_target_machine(codemodel="jitdefault", jit=True)
        empty = binding.parse_assembly(f'target triple = "{triple}"')
        self._engine = binding.create_mcjit_compiler(empty, target)
        self._engine.add_object_file(binding.ObjectFileRef.from_data(machine_code))
        if any(binding.address_of_symbol(symbol) is None for symbol in symbols.decode().split()):
            _import_numba()  # which loads Intel's vector mathematics, where that is installed
        self._engine.finalize_object()
        self._methods: dict[str, _Method] = {}
        #: Takes the compiled function's arguments, in their own types: it converts nothing.
        self.call: Callable[..., Any] = self._function(name, _FASTCALL, _numbers(map(id, PYTHON.values())))

    def step(self, settings: dict[Setting, int], ids: bool, output: Any, convert: Any, *owners: Any) -> Any:
        """x -> output: put x in its place and call the compiled function, of a table, with its argument.

        convert  called where x is not what `settings` say; gives what is, or raises
        owners   of the memory that is used
        """
        numbers = _numbers(settings.get(k, 0) for k in Setting)
        return self._function(
            f"{self._name}_{'id' if ids else 'vector'}", _ONE_ARGUMENT, (numbers, output, convert, *owners)
        )

    def _function(self, symbol: str, flags: int, own: Any) -> Any:
        """A built-in function whose `self` is `own`."""
        if symbol not in self._methods:
            address = self._engine.get_function_address(symbol)
            self._methods[symbol] = _Method(symbol.encode(), address, flags, None)
        return _new_function(ctypes.addressof(self._methods[symbol]), own, None)


def _numbers(values: Any) -> bytes:
    return np.fromiter(values, np.int64).tobytes()


_loaded: dict[str, Code] = {}
_lock = threading.Lock()


def code(name: str) -> Code:
    """The compiled function of this name in `entries.py`: from memory, from the disk, or compiled now.

    Raises DeviceError where there is no Numba to compile it with.
    """
    found = _loaded.get(name)
    if found is None:
        with _lock:
            found = _loaded.get(name) or _loaded.setdefault(name, Code(name, read(name) or _make(name)))
    return found


def _make(name: str) -> bytes:
    content = compiled(name)
    _, problems = keep(name, content)
    if problems:
        _warn_once(problems)
    return content


def compiled(name: str) -> bytes:
    """Compile an entry, which takes some seconds.  Raises DeviceError where there is no Numba."""
    _import_numba()
    from fastlstm.backends import entries

    return entries.compiled(name)


def _import_numba() -> None:
    try:
        import numba  # noqa: F401
    except ImportError as error:
        raise DeviceError(
            f"device 'cpu' needs Numba, which cannot be imported ({error}); install numba, or pass device='numpy'"
        ) from error


def folders() -> list[Path]:
    """Where object files are looked for, and written: the first that can be."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return [Path(given) / "fastlstm"]
    return [Path(__file__).parent / "__pycache__", *_user_folder()]


def _user_folder() -> list[Path]:
    """The user's folder for caches; none where there is no home."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        place = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        place = os.path.join(home, "Library", "Caches")
    else:
        place = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return [Path(place) / "fastlstm"] if place and os.path.isabs(place) else []


def file_name(name: str) -> str:
    return f"{name}-{_key()}.o"


@cache
def _key() -> str:
    """A digest of everything that compiled code depends on."""
    here = Path(__file__).parent
    numba = find_spec("numba")
    sources = sorted([*here.glob("*.py*"), here.parent / "layers" / "activations.py"])
    if numba is not None and numba.origin:
        sources.append(Path(numba.origin).with_name("_version.py"))
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes() if source.is_file() else b"")
    settings = [os.environ.get(f"NUMBA_{name}") for name in _COMPILER_SETTINGS]
    layout = (sys.implementation.cache_tag, object.__basicsize__, np.__version__.partition(".")[0])
    machine = (binding.get_process_triple(), processor.name(), sorted(processor.features()))
    digest.update(repr((llvmlite_version, settings, layout, machine)).encode())
    return digest.hexdigest()[:20]


def read(name: str) -> bytes | None:
    """The object file's content; None where there is none that is whole."""
    for folder in folders():
        try:
            whole = (folder / file_name(name)).read_bytes()
        except OSError:
            continue
        head, content = whole[: len(_MAGIC) + 4], whole[len(_MAGIC) + 4 :]
        if head == _head(content):
            return content
    return None


def _head(content: bytes) -> bytes:
    return _MAGIC + zlib.crc32(content).to_bytes(4, "little")


def keep(name: str, content: bytes) -> tuple[Path | None, list[str]]:
    """Write an object file into the first folder that takes it: its path, or why none does."""
    problems = []
    for folder in folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / file_name(name), _head(content) + content)
        except OSError as error:
            problems.append(f"{folder}: {error.strerror or error}")
        else:
            return folder / file_name(name), []
    return None, problems or ["there is no home folder"]


def _write(path: Path, content: bytes) -> None:
    """All or nothing: another process may read it, or write the same."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)  # mkstemp's is for its owner alone, who may be an installer
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


_warned = threading.Event()


def _warn_once(problems: list[str]) -> None:
    if not _warned.is_set():
        _warned.set()
        warnings.warn(
            f"fastlstm: compiled code cannot be kept on disk ({'; '.join(problems)}), so each process compiles for "
            "some seconds; set NUMBA_CACHE_DIR to a folder that can be written, or run `fastlstm warmup` where one can",
            RuntimeWarning,
            stacklevel=5,
        )


binding.initialize_native_target()
binding.initialize_native_asmprinter()
