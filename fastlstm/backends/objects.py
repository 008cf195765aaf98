"""Compiled code, loaded by LLVM alone from object files: a process that finds them on disk never imports Numba.

An object file is made by `native.py` from a function in `entries.py` when it is first needed, or by `fastlstm warmup`,
and kept by `storage.py`. Where it cannot be kept each process compiles for itself, and says so once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import warnings
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import binding

from fastlstm.backends import storage
from fastlstm.errors import DeviceError

_DTYPES = ("float32", "float64", "int64", "uint32", "int32", "uint16", "int8", "uint8")
#: What compiled code has to know of Python, by name: it finds the address at the same place of a table. After them it
#: finds whether to give up the GIL.
PYTHON: dict[str, Any] = {"None": None, "SystemError": SystemError, "ndarray": np.ndarray} | {
    name: np.dtype(name) for name in _DTYPES
}

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
        if _missing(symbols):
            _import_numba()  # which loads Intel's vector mathematics, where that is installed
        if missing := _missing(symbols):
            raise _Unfit(f"the compiled {name} needs {', '.join(missing)}, which this process has not")
        self._engine.finalize_object()
        self._methods: dict[str, _Method] = {}
        known = [id(thing) for thing in PYTHON.values()]
        #: Takes the compiled function's arguments, in their own types: it converts nothing.
        self.call: Callable[..., Any] = self._function(name, _FASTCALL, _numbers([*known, 1]))
        #: The same, but it keeps the GIL: for what takes less time than to give that up and get it back.
        self.brief: Callable[..., Any] = self._function(name, _FASTCALL, _numbers([*known, 0]))

    def step(self, settings: dict[Setting, int], ids: bool, output: Any, convert: Any, *owners: Any) -> Any:
        """x -> output: put x in its place and call the compiled function, of a table, with its argument.

        convert  called where x is not what `settings` say; gives what is, or raises
        owners   of the memory that is used
        """
        numbers = _numbers(settings.get(k, 0) for k in Setting)
        return self._function(
            f"{self._name}_{'id' if ids else 'vector'}", _ONE_ARGUMENT, (numbers, output, convert, *owners)
        )

    @property
    def address(self) -> int:
        """Of the plain function of C, where there is one."""
        return self._engine.get_function_address(f"{self._name}_plain")

    def _function(self, symbol: str, flags: int, own: Any) -> Any:
        """A built-in function whose `self` is `own`."""
        method = self._methods.get(symbol)
        if method is None:  # two threads may both come here: one of theirs is kept, and it is that which both use
            address = self._engine.get_function_address(symbol)
            method = self._methods.setdefault(symbol, _Method(symbol.encode(), address, flags, None))
        return _new_function(ctypes.addressof(method), own, None)


class _Unfit(DeviceError):
    """Code that calls what is not there: it was compiled where something else was installed."""


def _missing(symbols: bytes) -> list[str]:
    return [symbol for symbol in symbols.decode().split() if binding.address_of_symbol(symbol) is None]


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
            found = _loaded.get(name) or _loaded.setdefault(name, _load(name))
    return found


def _load(name: str) -> Code:
    kept = storage.read(name)
    if kept is not None:
        with contextlib.suppress(_Unfit):
            return Code(name, kept)
    return Code(name, _make(name))


def _make(name: str) -> bytes:
    content = compiled(name)
    _, problem = storage.keep(name, content)
    if problem:
        _warn_once(problem)
    return content


def compiled(name: str) -> bytes:
    """Compile an entry, which takes some 5 to 15 seconds.  Raises DeviceError where there is no Numba."""
    check_compiling()
    _import_numba()
    from fastlstm.backends import entries

    return entries.compiled(name)


def check_compiling() -> None:
    """Raise DeviceError where the environment forbids it."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        raise DeviceError("device 'cpu' is compiled, and NUMBA_DISABLE_JIT forbids that; pass device='numpy'")


def _import_numba() -> None:
    try:
        import numba  # noqa: F401
    except ImportError as error:
        raise DeviceError(
            f"device 'cpu' needs Numba, which cannot be imported ({error}); install numba, or pass device='numpy'"
        ) from error


_warned = threading.Event()


def _warn_once(problem: str) -> None:
    if not _warned.is_set():
        _warned.set()
        warnings.warn(
            f"fastlstm: compiled code cannot be kept on disk ({problem}), so each process compiles for half a "
            "minute; set NUMBA_CACHE_DIR to a folder that can be written, or run `fastlstm warmup` where one can",
            RuntimeWarning,
            stacklevel=_outside(),
        )


def _outside() -> int:
    """How many calls above the caller's the package was entered, for `warnings`."""
    package, level, frame = str(Path(__file__).parents[1]) + os.sep, 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level


binding.initialize_native_target()
binding.initialize_native_asmprinter()
