"""Protocol buffers changed below the surface: a field deep inside, with all lengths around it made right again."""

from __future__ import annotations

import random
import struct

from tests.fuzz.mutate import change

Field = tuple[int, int, bytes]  # number, wire type, contents without the length

NUMBERS = (0, 1, 2, 7, 63, 64, 127, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
CRAFTED = (
    b"\x80" * 9 + b"\x01",
    b"\xff" * 10,
    b"\x80" * 20,
    b"\xff" * 9 + b"\x7f",
    b"\x0b\x0c",  # a group
    b"\x0b" * 200,
    b"\0\0",
    b"\x0a\xff\xff\xff\xff\x0f",
)


def varint(value: int) -> bytes:
    value %= 1 << 64
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    return bytes([*result, value])


def parse(data: bytes) -> list[Field] | None:
    """The fields of a message; None if it is not one."""
    fields, at = [], 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise IndexError

    try:
        while at < len(data):
            key = number()
            kind, start = key & 7, at
            if key >> 3 == 0 or kind not in (0, 1, 2, 5):
                return None
            if kind == 0:
                number()
            else:
                size = {1: 8, 5: 4}[kind] if kind != 2 else number()
                start = at
                at += size
            if at > len(data):
                return None
            fields.append((key >> 3, kind, data[start:at]))
    except IndexError:
        return None
    return fields


def build(fields: list[Field]) -> bytes:
    return b"".join(
        varint(number << 3 | kind) + (varint(len(contents)) if kind == 2 else b"") + contents
        for number, kind, contents in fields
    )


def change_tree(data: bytes, dice: random.Random) -> bytes:
    """One field, somewhere in the tree, changed, dropped, doubled, moved or replaced."""
    fields = parse(data)
    if not fields:
        return change(data, dice)
    at = dice.randrange(len(fields))
    number, kind, contents = fields[at]
    if kind == 2 and len(contents) > 1 and dice.random() < 0.85:
        inner = parse(contents)
        fields[at] = (
            number,
            kind,
            change_tree(contents, dice) if inner and dice.random() < 0.9 else change(contents, dice),
        )
        return build(fields)
    action = dice.randrange(8)
    if action == 0:
        del fields[at]
    elif action == 1:
        fields[at:at] = [fields[at]] * dice.choice((1, 1, 3, 100))
    elif action == 2:
        fields.insert(dice.randrange(len(fields)), fields.pop(at))
    elif action == 3:
        fields[at] = (dice.randrange(1, 20), kind, contents)
    elif action == 4:
        return build(fields[:at]) + dice.choice(CRAFTED) + build(fields[at:])
    elif action == 5:
        other = dice.choice(fields)
        fields[at] = (number, other[1], other[2])
    elif kind == 0:
        fields[at] = (number, 0, varint(dice.choice((*NUMBERS, contents[0] + 1, contents[0] - 1))))
    elif kind in (1, 5):
        width = len(contents)
        fields[at] = (number, kind, struct.pack("<Q", dice.choice(NUMBERS))[:width])
    else:
        fields[at] = (number, kind, change(contents, dice))
    return build(fields)
