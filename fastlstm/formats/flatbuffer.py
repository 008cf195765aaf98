"""FlatBuffers read with every offset checked before it is followed.

The package `flatbuffers` has no verifier for Python: once each of its reads is checked first, `struct` is all that is
left of it, so this reader stands without it.  Source: flatbuffers.dev, "FlatBuffer Internals".
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError

SHARING = 8  # a file's parts may be referred to several times, but what is read in all is at most this many times the
SLACK = 1 << 20  # file and this many bytes


class FlatBuffer:
    """The bytes of a file and what is left of the budget for reading them.

    where  what the errors call the file
    """

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where = data, where
        self._budget = SHARING * len(data) + SLACK

    def root(self) -> Table:
        """The outermost table.  Raises FormatError."""
        return Table(self, self.follow(0, "the root"))

    def check(self, at: int, size: int, what: str) -> None:
        """Raises FormatError unless bytes at .. at+size are in the file."""
        if at < 0 or at + size > len(self.data):
            raise FormatError(
                f"{self.where}: {what}: {size} bytes at byte {at}, but the file has {len(self.data)}; the file is "
                f"damaged or truncated"
            )

    def spend(self, size: int) -> None:
        """Raises FormatError where the parts of the file are referred to so often that reading them would never end."""
        self._budget -= size
        if self._budget < 0:
            raise FormatError(f"{self.where}: its parts refer to the same bytes again and again; the file is damaged")

    def number(self, at: int, code: str, what: str) -> Any:
        """The little-endian number of `struct`'s type `code`."""
        self.check(at, struct.calcsize(code), what)
        return struct.unpack_from(f"<{code}", self.data, at)[0]

    def follow(self, at: int, what: str) -> int:
        """Where the forward offset at `at` leads."""
        return at + self.number(at, "I", what)

    def vector(self, at: int, item: int, what: str) -> tuple[int, int]:
        """Where the vector that the offset at `at` leads to has its elements, and how many."""
        start = self.follow(at, what)
        count = self.number(start, "I", what)
        self.check(start + 4, count * item, what)
        self.spend(count * item)
        return start + 4, count


class Table:
    """A table at byte `at`; its fields are asked for by their number in the schema."""

    def __init__(self, buffer: FlatBuffer, at: int) -> None:
        self._buffer, self._at = buffer, at
        buffer.spend(8)
        what = f"table at byte {at}"
        self._vtable = at - buffer.number(at, "i", what)
        self._vtable_size = buffer.number(self._vtable, "H", f"vtable of the {what}")
        self._size = buffer.number(self._vtable + 2, "H", f"vtable of the {what}")
        buffer.check(self._vtable, self._vtable_size, f"vtable of the {what}")
        buffer.check(at, self._size, what)
        if self._vtable_size < 4 or self._size < 4:
            raise FormatError(f"{buffer.where}: {what}: sizes {self._vtable_size}, {self._size}; the file is damaged")

    def _field(self, number: int, size: int) -> int | None:
        """Where field `number` of `size` bytes is; None if the table leaves it out."""
        slot = 4 + 2 * number
        if slot + 2 > self._vtable_size:
            return None
        offset = self._buffer.number(self._vtable + slot, "H", "vtable")
        if offset and (offset < 4 or offset + size > self._size):
            raise FormatError(
                f"{self._buffer.where}: table at byte {self._at}: field {number} at byte {offset} of {self._size}; the "
                f"file is damaged"
            )
        return self._at + offset if offset else None

    def number(self, field: int, code: str, default: Any = 0) -> Any:
        """A scalar field of `struct`'s type `code`."""
        at = self._field(field, struct.calcsize(code))
        return default if at is None else self._buffer.number(at, code, f"field {field}")

    def table(self, field: int) -> Table | None:
        at = self._field(field, 4)
        return None if at is None else Table(self._buffer, self._buffer.follow(at, f"field {field}"))

    def tables(self, field: int) -> list[Table]:
        """A vector of tables; empty where the field is left out."""
        at = self._field(field, 4)
        if at is None:
            return []
        start, count = self._buffer.vector(at, 4, f"vector of field {field}")
        return [Table(self._buffer, self._buffer.follow(start + 4 * k, f"element {k}")) for k in range(count)]

    def numbers(self, field: int, dtype: str) -> NDArray[Any] | None:
        """A vector of numbers; None where the field is left out."""
        at = self._field(field, 4)
        if at is None:
            return None
        item = np.dtype(dtype).itemsize
        start, count = self._buffer.vector(at, item, f"vector of field {field}")
        return np.frombuffer(self._buffer.data, np.dtype(dtype).newbyteorder("<"), count, start)

    def span(self, field: int) -> tuple[int, int] | None:
        """Where a vector of bytes is in the file, and how many; None where the field is left out."""
        at = self._field(field, 4)
        return None if at is None else self._buffer.vector(at, 1, f"vector of field {field}")

    def check(self, at: int, size: int, what: str) -> None:
        """As `FlatBuffer.check`."""
        self._buffer.check(at, size, what)

    def text(self, field: int) -> str:
        """A string; "" where the field is left out.  Raises FormatError if it is not UTF-8."""
        span = self.span(field)
        if span is None:
            return ""
        data = self._buffer.data[span[0] : sum(span)]
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{self._buffer.where}: {data[:80]!r} is not UTF-8; the file is damaged") from error
