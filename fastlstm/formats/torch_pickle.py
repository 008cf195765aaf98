"""The pickles that `torch.save` writes, interpreted as plain data; nothing in them is ever called.

`pickletools` splits the bytes into operations; the few that a dictionary of tensors needs are carried out here, on
dictionaries, lists, tuples, text and numbers. A class or a function is a `Name`, and calling one makes a tensor's
description where the name is one of torch's own, else an `Opaque`.
Source: torch/serialization.py, torch/_utils.py, Lib/pickletools.py.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastlstm.errors import FormatError

MAX_OPERATIONS = 5_000_000

#: storage classes of torch: the type of their elements
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


class Name(NamedTuple):
    """A class or function that the pickle names."""

    module: str
    name: str


class Opaque:
    """What calling a name, that is not one of torch's, would have made."""

    def __init__(self, name: str) -> None:
        self.name = name


@dataclass(frozen=True)
class Storage:
    """dtype  of its elements
    key    which file in the archive holds them
    count  how many
    """

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class TensorView:
    """Part of a storage: element (i, j, ...) is number offset + i * strides[0] + j * strides[1] ..."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    pass


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "SHORT_BINBYTES", "BINBYTES", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip


def interpret(data: bytes, where: str) -> Any:
    """What the pickle describes: dictionaries, lists, tuples, text, numbers, TensorView and Opaque.

    where  what the errors call the pickle
    Raises FormatError.
    """
    machine = _Machine(where)
    try:
        for number, (operation, argument, at) in enumerate(pickletools.genops(data)):
            if number >= MAX_OPERATIONS:
                raise FormatError(f"{where}: more than {MAX_OPERATIONS} operations; expected a dictionary of tensors")
            if operation.name == "STOP":
                return machine.pop()
            machine.carry_out(operation.name, argument, at)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise FormatError(
            f"{where}: not a pickle that torch.save writes ({type(error).__name__}: {str(error)[:200]}); the file is "
            f"damaged or truncated"
        ) from error
    raise FormatError(f"{where}: the pickle has no end; the file is damaged or truncated")


class _Machine:
    def __init__(self, where: str) -> None:
        self.where, self.stack, self.memo = where, [], {}

    def pop(self) -> Any:
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        found = []
        while not isinstance(top := self.stack.pop(), _Mark):
            found.append(top)
        return found[::-1]

    def carry_out(self, name: str, argument: Any, at: int) -> None:
        stack = self.stack
        if name in ("PROTO", "FRAME"):
            return
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MARK":
            stack.append(_Mark())
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name.startswith("EMPTY_"):
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}[name]())
        elif name == "TUPLE":
            stack.append(tuple(self.pop_to_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])] if len(stack) >= count else [stack[count]]
        elif name in ("SETITEM", "SETITEMS"):
            items = self.pop_to_mark() if name == "SETITEMS" else [stack.pop() for _ in range(2)][::-1]
            self._fill(stack[-1], items)
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [stack.pop()] if name == "APPEND" else self.pop_to_mark()
            if isinstance(stack[-1], list):
                stack[-1].extend(items)
        elif name == "GLOBAL":
            stack.append(Name(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(Name(str(module), str(attribute)))
        elif name == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._called(function, arguments))
        elif name == "BUILD":
            stack.pop()  # attributes of an object that is not made; torch.save adds `_metadata` to a state_dict so
        else:
            raise FormatError(
                f"{self.where}: operation {name} at byte {at}, which no dictionary of tensors needs; fastlstm does not "
                f"carry it out. Save model.state_dict() alone"
            )

    @staticmethod
    def _fill(target: Any, items: list[Any]) -> None:
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                if isinstance(key, (str, int, float)) or key is None:
                    target[key] = value

    def _storage(self, identity: Any) -> Any:
        kind, storage, key, _, count = identity[:5]
        dtype = STORAGES.get(storage.name) if isinstance(storage, Name) else None
        if kind != "storage" or dtype is None or type(count) is not int or not str(key).isascii():
            return Opaque(f"a storage of type {getattr(storage, 'name', type(storage).__name__)}")
        return Storage(dtype, str(key), count)

    def _called(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Name):
            return Opaque("an object")
        if not isinstance(arguments, tuple):
            raise ValueError("a call without a tuple of arguments")
        if function == ("collections", "OrderedDict"):
            return {}
        if function.module == "torch._utils" and function.name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            storage, offset, shape, strides = arguments[:4]
            if isinstance(storage, Storage):
                return TensorView(storage, _integer(offset), _integers(shape), _integers(strides))
        if function.module == "torch._utils" and function.name in (
            "_rebuild_parameter", "_rebuild_parameter_with_state",
        ):  # fmt: skip
            return arguments[0]
        if function == ("torch", "Size"):
            return arguments[0]
        return Opaque(f"{function.module}.{function.name}")


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("a size that is no integer")
    return value


def _integers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > 64:
        raise ValueError("a shape that is no tuple of integers")
    return tuple(_integer(value) for value in values)
