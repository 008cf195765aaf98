"""Two ways for compiled code to reach memory that Numba's own arrays would make slow.

Neither keeps its memory alive nor checks a bound: callers hold the buffers, and a plan's offsets lie within them.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj


@intrinsic
def part(typing_context, array, start, size):
    """array[start : start + size] of a one-dimensional contiguous array, as a view that is not reference counted.

    A slice costs two atomic operations and some 50 instructions for steps and negative indices; this costs one
    addition. A step of a small model is twice as fast for it, and the loops compile in half the time.
    """
    result = types.Array(array.dtype, 1, "C")

    def generate_code(context, builder, signature, arguments):
        whole = context.make_array(array)(context, builder, arguments[0])
        view = context.make_array(result)(context, builder)
        width = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(array.dtype)))
        arrayobj.populate_array(
            view,
            data=builder.gep(whole.data, [arguments[1]]),
            shape=[arguments[2]],
            strides=[width],
            itemsize=width,
            meminfo=None,
        )
        return view._getvalue()

    return result(array, types.intp, types.intp), generate_code


@intrinsic
def pointer(typing_context, address):
    """An int64 address -> a pointer, for `numba.carray`."""

    def generate_code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate_code
