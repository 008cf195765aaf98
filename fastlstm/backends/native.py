"""Compiled functions as built-in functions of Python, in an object file that is loaded without Numba (`objects.py`).

Numba's own way in from Python looks up types, which costs 0.2 us a call and 0.1 us an array; what is emitted here takes
the arguments out of Python's and NumPy's objects by itself. The loops raise nothing and own no memory: `object_file`
refuses code that would.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core.registry import cpu_target
from numba.np import arrayobj, numpy_support

from fastlstm.backends import denormals
from fastlstm.backends.objects import PYTHON, Setting
from fastlstm.backends.whole import lowered, machine_code

_INT, _LONG, _OBJECT, _VOID = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer(), ir.VoidType()
_NULL = ir.Constant(_OBJECT, None)

# Of PyArrayObject, in bytes after the object's header, which ends with the type: NumPy's ABI since 1.0.
_TYPE, _DATA, _AXES, _SHAPE, _DTYPE, _FLAGS = -8, 0, 8, 16, 40, 48
_HEADER = object.__basicsize__
_ITEMS, _CONTENT = tuple.__basicsize__, bytes.__basicsize__ - 1  # where a tuple's objects lie in it, and bytes' bytes
_FIT = 0x0001 | 0x0100  # NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_ALIGNED


def object_file(name: str, function: Callable[..., Any], signature: Any) -> bytes:
    """The machine code of `function`, with a way in, after a line with the symbols that it needs: `objects.Code`.

    function   Python's, or Numba's of it
    signature  Numba's: of C-contiguous arrays, int64, uint64, float64 and boolean; gives void or int64
    What takes a single int64, a table's address, has the ways in of a stream as well; what takes two and gives one, a
    plain function of C, for compiled code that knows its address.
    """
    compiled, module = lowered(function, signature)
    parts: list[_Entry] = [_Call(name, compiled)]
    if signature.args == (types.int64,) and signature.return_type == types.void:
        parts += [_VectorStep(f"{name}_vector", compiled), _IdStep(f"{name}_id", compiled)]
    if signature == types.int64(types.int64, types.int64):
        parts.append(_Plain(f"{name}_plain", compiled))
    for part in parts:
        part.emit()
        module.link_in(binding.parse_assembly(str(part.module)))
    module.verify()
    needed = sorted(f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm."))
    odd = [symbol for symbol in needed if symbol.startswith(("NRT_", "numba_"))]
    if odd:
        raise AssertionError(f"{name}: the code allocates or raises: it needs {', '.join(odd)}")
    return " ".join(needed).encode() + b"\n" + machine_code(module, [part.module.name for part in parts])


class _Entry:
    """A C function that Python calls, while it is emitted: with its `self` and, beside it, `given`."""

    takes: Sequence[ir.Type] = (_OBJECT, _OBJECT)  # METH_O
    gives: ir.Type = _OBJECT

    def __init__(self, name: str, compiled: Any) -> None:
        self.compiled, self.signature, self.context = compiled, compiled.signature, cpu_target.target_context
        self.module = ir.Module(name)
        self.module.triple = binding.get_process_triple()
        self.function = ir.Function(self.module, ir.FunctionType(self.gives, self.takes), name)
        self.own, self.given = self.function.args[:2]
        self.builder = ir.IRBuilder(self.function.append_basic_block())
        # What Numba's code would call to free memory: nothing here is ever owned.
        for unused in ("NRT_MemInfo_call_dtor", "NRT_Free"):
            empty = ir.Function(self.module, ir.FunctionType(_VOID, [_OBJECT]), unused)
            empty.linkage = "linkonce_odr"
            ir.IRBuilder(empty.append_basic_block()).ret_void()

    def call(self, name: str, result: ir.Type, *arguments: ir.Value, variadic: bool = False) -> ir.Value:
        """A function of Python's C interface, or of the C library."""
        shape = ir.FunctionType(result, [a.type for a in arguments], var_arg=variadic)
        return self.builder.call(self.module.globals.get(name) or ir.Function(self.module, shape, name), arguments)

    def equal(self, a: ir.Value, b: ir.Value | int) -> ir.Value:
        return self.builder.icmp_signed("==", a, ir.Constant(a.type, b) if isinstance(b, int) else b)

    def all(self, first: ir.Value, *others: ir.Value) -> ir.Value:
        for other in others:
            first = self.builder.and_(first, other)
        return first

    def number(self, table: ir.Value, k: int) -> ir.Value:
        """The k-th int64 of the bytes at `table`."""
        place = self.builder.gep(table, [ir.Constant(_LONG, 8 * k)])
        return self.builder.load(self.builder.bitcast(place, _LONG.as_pointer()))

    def field(self, thing: ir.Value, offset: int, kind: ir.Type) -> ir.Value:
        """What lies so many bytes after an object's header."""
        place = self.builder.gep(thing, [ir.Constant(_LONG, _HEADER + offset)])
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()))

    def is_vector_like(self, thing: ir.Value, dtype: ir.Value, axes: int) -> list[ir.Value]:
        """Whether an ndarray has this dtype (the address of NumPy's own), axes, C order and alignment."""
        flags = self.builder.and_(self.field(thing, _FLAGS, _INT), ir.Constant(_INT, _FIT))
        return [
            self.equal(self.field(thing, _DTYPE, _LONG), dtype),
            self.equal(self.field(thing, _AXES, _INT), axes),
            self.equal(flags, _FIT),
        ]

    def compute(self, arguments: Sequence[ir.Value]) -> ir.Value:
        """Call the compiled function, with denormals flushed."""
        builder = self.builder
        mode = denormals.flush(builder)
        _, result = self.context.call_internal_no_propagate(builder, self.compiled.fndesc, self.signature, arguments)
        denormals.write(builder, mode)
        return result

    def compute_apart(self, long: ir.Value, arguments: Sequence[ir.Value]) -> ir.Value:
        """`compute`, without the GIL where `long` is not 0."""
        results = []
        with self.builder.if_else(self.equal(long, 0)) as (with_gil, without):
            with with_gil:
                results.append((self.compute(arguments), self.builder.block))
            with without:
                state = self.call("PyEval_SaveThread", _OBJECT)
                results.append((self.compute(arguments), self.builder.block))
                self.call("PyEval_RestoreThread", _VOID, state)
        result = self.builder.phi(results[0][0].type)
        for value in results:
            result.add_incoming(*value)
        return result

    def give(self, thing: ir.Value) -> None:
        """Return an object that belongs to somebody else as well."""
        self.call("Py_IncRef", _VOID, thing)
        self.builder.ret(thing)


class _Call(_Entry):
    """A METH_FASTCALL function with the signature's arguments; its `self` is a table: see `objects.PYTHON`."""

    takes = (_OBJECT, _OBJECT.as_pointer(), _LONG)

    def emit(self) -> None:
        kinds, self.table = self.signature.args, self.builder.gep(self.own, [ir.Constant(_LONG, _CONTENT)])
        self.refuse_unless(self.equal(self.function.args[2], len(kinds)), "wrong number of arguments")
        arguments = [self.argument(k, kind) for k, kind in enumerate(kinds)]
        self.refuse_unless(self.equal(self.call("PyErr_Occurred", _OBJECT), _NULL), "")
        result = self.compute_apart(self.number(self.table, len(PYTHON)), arguments)
        if self.signature.return_type == types.void:
            self.give(self.builder.inttoptr(self.python("None"), _OBJECT))
        else:
            self.builder.ret(self.call("PyLong_FromLongLong", _OBJECT, result))

    def python(self, name: str) -> ir.Value:
        """The address of one of `objects.PYTHON`, not of the symbol: Numba gives PyExc_... another meaning."""
        return self.number(self.table, list(PYTHON).index(name))

    def refuse_unless(self, right: ir.Value, text: str) -> None:
        """Raise SystemError, or without a text what is raised already: an argument that our own code got wrong."""
        builder = self.builder
        with builder.if_then(builder.not_(right), likely=False):
            if text:
                data = bytearray(f"{self.function.name}: {text}\0".encode())
                message = ir.GlobalVariable(
                    self.module, ir.ArrayType(ir.IntType(8), len(data)), self.module.get_unique_name("text")
                )
                message.global_constant, message.linkage = True, "internal"
                message.initializer = ir.Constant(message.type.pointee, data)
                kind = builder.inttoptr(self.python("SystemError"), _OBJECT)
                self.call("PyErr_SetString", _VOID, kind, builder.bitcast(message, _OBJECT))
            builder.ret(_NULL)

    def argument(self, k: int, kind: Any) -> ir.Value:
        """The k-th argument as Numba's code takes it."""
        given = self.builder.load(self.builder.gep(self.given, [ir.Constant(_LONG, k)]))
        if isinstance(kind, types.Array):
            return self.array(given, kind, f"argument {k} is not {kind}")
        if kind == types.boolean:
            return self.equal(self.call("PyObject_IsTrue", _INT, given), 1)
        function, result = {
            types.float64: ("PyFloat_AsDouble", ir.DoubleType()),
            types.uint64: ("PyLong_AsUnsignedLongLongMask", _LONG),
            types.int64: ("PyLong_AsLongLong", _LONG),
        }[kind]
        return self.call(function, result, given)

    def array(self, given: ir.Value, kind: types.Array, text: str) -> ir.Value:
        """A NumPy array as Numba's, which does not count its references: the caller holds it."""
        builder, dtype = self.builder, self.python(numpy_support.as_dtype(kind.dtype).name)
        self.refuse_unless(self.equal(self.field(given, _TYPE, _LONG), self.python("ndarray")), text)
        self.refuse_unless(self.all(*self.is_vector_like(given, dtype, kind.ndim)), text)
        sizes = self.field(given, _SHAPE, _LONG.as_pointer())
        shape = [builder.load(builder.gep(sizes, [ir.Constant(_LONG, k)])) for k in range(kind.ndim)]
        width = ir.Constant(_LONG, kind.dtype.bitwidth // 8)
        strides = [width]
        for size in reversed(shape[1:]):
            strides.insert(0, builder.mul(strides[0], size))
        array = self.context.make_array(kind)(self.context, builder)
        data = builder.bitcast(self.field(given, _DATA, _OBJECT), array.data.type)
        arrayobj.populate_array(array, data=data, shape=shape, strides=strides, itemsize=width, meminfo=None)
        return array._getvalue()


class _Plain(_Entry):
    """A function of C that takes and gives int64, for code that has flushed denormals already."""

    takes, gives = (_LONG, _LONG), _LONG

    def emit(self) -> None:
        context, arguments = self.context, self.function.args
        _, result = context.call_internal_no_propagate(self.builder, self.compiled.fndesc, self.signature, arguments)
        self.builder.ret(result)


class _Step(_Entry, ABC):
    """A METH_O function: one step of a stream.  Its `self` is a tuple: see `objects.Code.step`."""

    def emit(self) -> None:
        builder = self.builder
        self.settings = builder.gep(self.own_item(0), [ir.Constant(_LONG, _CONTENT)])
        ready, odd, moved = (builder.append_basic_block(name) for name in ("ready", "odd", "moved"))
        is_type = self.equal(self.field(self.given, _TYPE, _LONG), self.setting(Setting.TYPE))
        look = builder.append_basic_block("look")
        builder.cbranch(is_type, look, odd)
        builder.position_at_end(look)
        fits, value = self.taken(self.given)
        builder.cbranch(fits, ready, odd)
        builder.position_at_end(ready)
        self.store(value)
        builder.branch(moved)
        builder.position_at_end(odd)
        self.convert()
        builder.branch(moved)
        builder.position_at_end(moved)
        self.advance()
        self.give(self.own_item(1))

    def own_item(self, k: int) -> ir.Value:
        """Of the tuple. (With Python's own functions for this and `settings` a step of 8 units took 82 ns, or 127 where
        the code happened to lie badly; now 79 anywhere.)"""
        place = self.builder.gep(self.own, [ir.Constant(_LONG, _ITEMS + 8 * k)])
        return self.builder.load(self.builder.bitcast(place, _OBJECT.as_pointer()))

    def setting(self, k: int) -> ir.Value:
        return self.number(self.settings, k)

    @abstractmethod
    def taken(self, thing: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Whether an object of the right type can be taken as it is, and what `store` needs of it."""

    @abstractmethod
    def store(self, value: ir.Value) -> None:
        """Put the input where the compiled function looks for it."""

    def convert(self) -> None:
        """Have Python's function make the input what it should be, or raise."""
        clean = self.call("PyObject_CallFunctionObjArgs", _OBJECT, self.own_item(2), self.given, _NULL, variadic=True)
        with self.builder.if_then(self.equal(clean, _NULL), likely=False):
            self.builder.ret(_NULL)
        self.store(self.taken(clean)[1])
        self.call("Py_DecRef", _VOID, clean)

    def advance(self) -> None:
        """Compute; a step that takes long gives up the GIL for it."""
        self.compute_apart(self.setting(Setting.LONG), [self.setting(Setting.ARGUMENT)])


class _VectorStep(_Step):
    def taken(self, thing: ir.Value) -> tuple[ir.Value, ir.Value]:
        size = self.builder.load(self.field(thing, _SHAPE, _LONG.as_pointer()))
        right = self.is_vector_like(thing, self.setting(Setting.DTYPE), 1)
        return self.all(*right, self.equal(size, self.setting(Setting.SIZE))), self.field(thing, _DATA, _OBJECT)

    def store(self, value: ir.Value) -> None:
        target = self.builder.inttoptr(self.setting(Setting.TARGET), _OBJECT)
        self.call("memmove", _OBJECT, target, value, self.setting(Setting.BYTES))


class _IdStep(_Step):
    def taken(self, thing: ir.Value) -> tuple[ir.Value, ir.Value]:
        value = self.call("PyLong_AsLongLong", _LONG, thing)
        with self.builder.if_then(self.equal(value, -1), likely=False):
            self.call("PyErr_Clear", _VOID)  # too large, if it is not -1; either is no id
        return self.builder.icmp_unsigned("<", value, self.setting(Setting.SIZE)), value

    def store(self, value: ir.Value) -> None:
        target = self.builder.inttoptr(self.setting(Setting.TARGET), _LONG.as_pointer())
        self.builder.store(value, target)
