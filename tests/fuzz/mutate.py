"""Ways to damage bytes that know nothing of the format. Each takes (data, dice) and gives new data."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

Change = Callable[[bytes, random.Random], bytes]
WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}
NOTABLE = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63)


def flip(data: bytes, dice: random.Random) -> bytes:
    """One to four changed bits."""
    result = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4)) if data else 0):
        result[dice.randrange(len(result))] ^= 1 << dice.randrange(8)
    return bytes(result)


def _piece(data: bytes, dice: random.Random) -> tuple[int, int]:
    """Start and end of a piece, most often a short one."""
    start = dice.randrange(len(data) + 1)
    return start, min(len(data), start + int(2 ** dice.uniform(0, 9)))


def set_integer(data: bytes, dice: random.Random) -> bytes:
    """A little-endian integer, one more or less, a multiple, or a notable one."""
    width = dice.choice((1, 2, 4, 8))
    if len(data) < width:
        return data
    at = dice.randrange(len(data) - width + 1)
    if dice.random() < 0.5:
        at -= at % width
    value = int.from_bytes(data[at : at + width], "little")
    value = dice.choice((value + 1, value - 1, value * 2, value // 2, -value, dice.choice(NOTABLE)))
    return data[:at] + struct.pack(f"<{WIDTHS[width]}", value % (1 << 8 * width)) + data[at + width :]


def fill(data: bytes, dice: random.Random) -> bytes:
    """A run of 00, ff, 80 (a varint without end) or noise."""
    start, end = _piece(data, dice)
    kind = dice.randrange(4)
    return (
        data[:start]
        + (dice.randbytes(end - start) if kind == 3 else b"\0\xff\x80"[kind : kind + 1] * (end - start))
        + data[end:]
    )


def duplicate(data: bytes, dice: random.Random) -> bytes:
    start, end = _piece(data, dice)
    return data[:end] + data[start:end] * dice.choice((1, 1, 2, 50)) + data[end:]


def delete(data: bytes, dice: random.Random) -> bytes:
    start, end = _piece(data, dice)
    return data[:start] + data[end:]


def splice(data: bytes, dice: random.Random) -> bytes:
    """A piece written over another place."""
    start, end = _piece(data, dice)
    at = dice.randrange(len(data) + 1)
    return data[:at] + data[start:end] + data[at + end - start :]


def swap(data: bytes, dice: random.Random) -> bytes:
    """Two neighbouring pieces exchanged."""
    start, end = _piece(data, dice)
    stop = min(len(data), end + int(2 ** dice.uniform(0, 9)))
    return data[:start] + data[end:stop] + data[start:end] + data[stop:]


def insert(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.randbytes(dice.choice((1, 2, 8, 100))) + data[at:]


IN_PLACE: tuple[Change, ...] = (set_integer, set_integer, set_integer, fill, splice, swap, flip)  # the length stays
CHANGES: tuple[Change, ...] = (*IN_PLACE, duplicate, delete, insert)


def change(data: bytes, dice: random.Random, changes: tuple[Change, ...] = CHANGES) -> bytes:
    """One to three of them."""
    for _ in range(dice.choice((1, 1, 2, 3))):
        data = dice.choice(changes)(data, dice)
    return data
