"""HDF5's global heaps, which hold the variable-length strings, looked over before libhdf5 sees them.

libhdf5 loops forever over a heap that has a free object of size 0, as a single damaged byte can make it.
Source: HDF5 File Format Specification 3.0, III.E; H5HGcache.c.
"""

from __future__ import annotations

import mmap
import struct

from fastlstm.errors import FormatError

START = b"GCOL\x01\0\0\0"  # signature, version, reserved
HEADER = struct.Struct("<8sQ")  # START, size of the heap with this header
OBJECT = struct.Struct("<HHIQ")  # index, references, reserved, size


def check_heaps(data: bytes | mmap.mmap, name: str) -> None:
    """Follow the objects of each global heap to its end.

    data  the whole file
    Raises FormatError if one of them does not end there.
    """
    at, end = data.find(START), 0
    while at >= 0:
        if at < end:
            raise FormatError(f"{name}: a heap at byte {at} inside another one; the file is damaged")
        if at + HEADER.size > len(data):
            raise FormatError(f"{name}: the file ends inside the heap at byte {at}; it is truncated")
        end = at + HEADER.unpack_from(data, at)[1]
        if end > len(data):
            raise FormatError(
                f"{name}: heap at byte {at} ends at {end} of {len(data)}; the file is damaged or truncated"
            )
        position = at + HEADER.size
        while position + OBJECT.size <= end:
            index, _, _, size = OBJECT.unpack_from(data, position)
            if index == 0:  # what is left of the heap, with this header
                if position + size != end:
                    raise FormatError(
                        f"{name}: free space at byte {position} has {size} bytes, expected {end - position}"
                    )
                break
            position += OBJECT.size + (size + 7) // 8 * 8
        if position > end:
            raise FormatError(f"{name}: an object of the heap at byte {at} ends at {position}, the heap at {end}")
        at = data.find(START, at + 1)
