"""HDF5's variable-length strings, taken out of the file's bytes.

libhdf5 believes their lengths: one damaged number makes it fill 4 GB, another one loop for ever in the heap that holds
the strings. Here nothing is longer than its place in the file.
Source: HDF5 File Format Specification 3.0: IV.A.1 (object headers), IV.A.2.m (attribute message), III.E (global heap).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from fastlstm.errors import FormatError

ATTRIBUTE, CONTINUATION = 0x0C, 0x10  # types of messages
SHARED = 2  # flag of a message that lies elsewhere
VARIABLE_LENGTH = 9  # class of a datatype
POINTER = struct.Struct("<IQI")  # an element: its length, its heap's address, its index in the heap
HEAP = struct.Struct("<8sQ")  # START, size of the heap with this header
START = b"GCOL\x01\0\0\0"  # signature, version, reserved
OBJECT = struct.Struct("<HHIQ")  # index, references, reserved, size
SIGNATURE = struct.Struct("<4sxB")  # of an object header of version 2, and its flags
BLOCK = struct.Struct("<QQ")  # where a header goes on: offset, size
MESSAGE = struct.Struct("<BBHHH")  # of an attribute: version, flags, sizes of its name, datatype and dataspace
BYTE = struct.Struct("<B")


class Strings:
    """The variable-length strings of a file whose addresses count from its first byte.

    name  what the messages call it
    size  bytes
    read  (offset, size) inside the file -> bytes; the file may be changing, so it is not mapped.  Raises FormatError
    """

    def __init__(self, name: str, size: int, read: Callable[[int, int], bytes]) -> None:
        self.name = name
        self.size = size
        self._read = read
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}

    def attribute(self, header: int, name: str, count: int) -> list[bytes]:
        """The `count` elements of an attribute of the object whose header is at byte `header`.  Raises FormatError."""
        start = self._elements(header, name.encode("utf-8", "surrogateescape"))
        size = count * POINTER.size
        if start is None or size > self.size - start:
            raise FormatError(
                f"{self.name}: {count} strings of attribute {name!r} are not in the header of their object at byte "
                f"{header}; the file is damaged, or written with other settings than Keras': save the model again"
            )
        return [self._string(*place) for place in POINTER.iter_unpack(self._read(start, size))]

    def _string(self, length: int, heap: int, index: int) -> bytes:
        if not length:
            return b""
        start, size = self._objects(heap).get(index, (0, -1))
        if size != length:
            raise FormatError(
                f"{self.name}: a string of {length} bytes is object {index} of the heap at byte {heap}, which has "
                f"{max(size, 0)}; the file is damaged"
            )
        return self._read(start, size).partition(b"\0")[0]

    def _objects(self, at: int) -> dict[int, tuple[int, int]]:
        """(start, size) of the objects of the heap at byte `at`, by index."""
        if at not in self._heaps:
            signature, size = self._unpack(HEAP, at)
            end = at + size
            if signature != START or end > self.size:
                raise FormatError(f"{self.name}: no heap of {size} bytes at byte {at}; the file is damaged")
            found, position = {}, at + HEAP.size
            while position + OBJECT.size <= end:
                index, _, _, size = self._unpack(OBJECT, position)
                if index == 0:  # what is left of the heap
                    break
                position += OBJECT.size
                if size > end - position:
                    raise FormatError(f"{self.name}: heap at byte {at}: object {index} ends behind it; it is damaged")
                found[index] = (position, size)
                position += (size + 7) // 8 * 8
            self._heaps[at] = found
        return self._heaps[at]

    def _elements(self, header: int, name: bytes) -> int | None:
        """Where the elements of a variable-length attribute begin."""
        for kind, flags, start, end in self._messages(header):
            if kind != ATTRIBUTE or flags & SHARED or end - start < 9:
                continue
            version, own_flags, *sizes = self._unpack(MESSAGE, start)
            if not 1 <= version <= 3 or (version > 1 and own_flags & 3):
                continue
            at = start + (9 if version == 3 else 8)
            places = []
            for size in sizes:  # of the name, the datatype and the dataspace
                places.append((at, at + size))
                at += (size + 7) // 8 * 8 if version == 1 else size
            if at > end or self._read(places[0][0], sizes[0]).partition(b"\0")[0] != name:
                continue
            return at if self._unpack(BYTE, places[1][0])[0] & 15 == VARIABLE_LENGTH else None
        return None

    def _messages(self, at: int) -> Iterator[tuple[int, int, int, int]]:
        """(type, flags, start, end) of each message of an object header, of either version."""
        signature, flags = self._unpack(SIGNATURE, at)
        if signature == b"OHDR":
            position = at + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            size = self._unpack(struct.Struct("<" + "BHIQ"[flags & 3]), position)[0]
            message = struct.Struct("<BHBxx" if flags & 4 else "<BHB")
            blocks, around = [(position + width, size)], 4  # a later block has a signature and a checksum around it
        else:
            message, around = struct.Struct("<HHB3x"), 0
            blocks = [(at + 16, self._unpack(struct.Struct("<I"), at + 8)[0])]
        read = 0
        for start, size in blocks:  # grows
            read += size
            if size < 0 or start + size > self.size or read > self.size:
                raise FormatError(f"{self.name}: object header at byte {at} is longer than the file; it is damaged")
            end = start + size
            while start + message.size <= end:
                kind, length, flags = self._unpack(message, start)
                start += message.size
                if start + length > end:
                    raise FormatError(f"{self.name}: a message at byte {start} is longer than its block; it is damaged")
                if kind == CONTINUATION and length >= 16:
                    offset, length_there = self._unpack(BLOCK, start)
                    blocks.append((offset + around, length_there - 2 * around))
                yield kind, flags, start, start + length
                start += length

    def _unpack(self, layout: struct.Struct, at: int) -> tuple[Any, ...]:
        if not 0 <= at <= self.size - layout.size:
            raise FormatError(f"{self.name}: nothing at byte {at} of {self.size}; the file is damaged")
        return layout.unpack(self._read(at, layout.size))
