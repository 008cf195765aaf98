"""Plain pointers for compiled code: an array argument is seven words and a reference count, a pointer is one word.

A pointer is indexed as an array is (`p[k]`, k not negative), keeps nothing alive and checks no bound: callers hold the
buffers, and a plan's offsets lie within them. A step of a small model is twice as fast for it.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic


@intrinsic
def pointer(typing_context, address, dtype):
    """An int64 address -> a pointer to elements of `dtype`, a NumPy scalar type."""
    result = types.CPointer(dtype.dtype)

    def generate_code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(result))

    return result(types.int64, dtype), generate_code


@intrinsic
def base(typing_context, array):
    """Where the elements of a contiguous array begin."""
    result = types.CPointer(array.dtype)

    def generate_code(context, builder, signature, arguments):
        return context.make_array(array)(context, builder, arguments[0]).data

    return result(array), generate_code


@intrinsic
def at(typing_context, place, offset):
    """The pointer `offset` elements further on."""

    def generate_code(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return place(place, types.intp), generate_code


@intrinsic
def address(typing_context, place):
    """The pointer as an int64, for another thread's `pointer`."""

    def generate_code(context, builder, signature, arguments):
        return builder.ptrtoint(arguments[0], context.get_value_type(types.int64))

    return types.int64(place), generate_code
