"""Damage behind the checksums: parts of a file are changed, and every checksum and length around them made right.

Each function takes the files of a sample, {name: bytes}, and dice, and gives the files that it changed.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from tests.formats.bundle_writer import masked, table, varint
from tests.fuzz.mutate import IN_PLACE, NOTABLE, change
from tests.fuzz.protobuf_tree import build, change_tree, parse

Files = Mapping[str, bytes]
Rebuild = Callable[[Files, random.Random], dict[str, bytes]]

OBJECTS = b"_CHECKPOINTABLE_OBJECT_GRAPH"
JUNK: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    2**31,
    2**63,
    10**400,
    "",
    "x",
    "\x00\ud800",
    "tanh",
    [],
    {},
    [None],
    [[1, 2], [3]],
    {"config": []},
    {"class_name": 3},
    [1.5] * 1000,
)


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] > 127:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


def _handle(data: bytes, at: int = 0) -> tuple[int, int]:
    offset, at = _number(data, at)
    return offset, _number(data, at)[0]


def _entries(contents: bytes) -> list[tuple[bytes, bytes]]:
    end = len(contents) - 4 - 4 * struct.unpack("<I", contents[-4:])[0]
    at, key, result = 0, b"", []
    while at < end:
        shared, at = _number(contents, at)
        unshared, at = _number(contents, at)
        length, at = _number(contents, at)
        key = key[:shared] + contents[at : at + unshared]
        at += unshared
        result.append((key, contents[at : at + length]))
        at += length
    return result


def read_blocks(data: bytes) -> list[tuple[int, int]]:
    """(offset, size) of each block of an undamaged, uncompressed table: its data, then the index, last."""
    footer = data[-48:]
    _, at = _number(footer, 0)
    _, at = _number(footer, at)
    index = _handle(footer, at)
    return [_handle(value) for _, value in _entries(data[index[0] : sum(index)])] + [index]


def table_bytes(name: str) -> Rebuild:
    """Bytes inside the blocks of a table, and the blocks' checksums."""

    def rebuild(files: Files, dice: random.Random) -> dict[str, bytes]:
        data = files[name]
        offset, size = dice.choice(read_blocks(data))
        contents = change(data[offset : offset + size], dice, IN_PLACE)[:size].ljust(size, b"\0")
        kind = dice.choice((b"\0", b"\0", b"\0", b"\0", b"\1", b"\2"))
        return {name: data[:offset] + contents + kind + masked(contents + kind) + data[offset + size + 5 :]}

    return rebuild


def table_entries(name: str) -> Rebuild:
    """Keys and messages of a table, written anew, at times compressed."""

    def rebuild(files: Files, dice: random.Random) -> dict[str, bytes]:
        data = files[name]
        entries = [entry for offset, size in read_blocks(data)[:-1] for entry in _entries(data[offset : offset + size])]
        for _ in range(dice.choice((1, 1, 2))):
            at = dice.randrange(len(entries))
            key, value = entries[at]
            action = dice.randrange(10)
            if action == 0:
                entries[at] = (change(key, dice), value)
            elif action == 1:
                entries.insert(dice.randrange(len(entries)), entries.pop(at))
            elif action == 2:
                entries[at] = (key, entries[dice.randrange(len(entries))][1])
            elif action == 3 and len(entries) > 1:
                del entries[at]
            else:
                entries[at] = (key, change_tree(value, dice))
        if dice.random() < 0.7:
            entries = sorted({key: value for key, value in entries}.items())
        return {name: table(entries, dice.choice((1, 2, 1000)), dice.random() < 0.2)}

    return rebuild


def bundle_data(index: str, shard: str) -> Rebuild:
    """Elements of a bundle with one shard; the index has their new checksums."""

    def rebuild(files: Files, dice: random.Random) -> dict[str, bytes]:
        data = change(files[shard], dice, IN_PLACE)[: len(files[shard])].ljust(len(files[shard]), b"\0")
        offset, size = read_blocks(files[index])[0]
        entries = _entries(files[index][offset : offset + size])
        for at, (key, value) in enumerate(entries):
            fields = parse(value) or []
            place = {number: _number(contents, 0)[0] for number, kind, contents in fields if kind == 0}
            piece = data[place.get(4, 0) :][: place.get(5, 0)]
            fixed = [(n, kind, masked(piece) if n == 6 and kind == 5 else contents) for n, kind, contents in fields]
            entries[at] = (key, build(fixed))
        return {shard: data, index: table(entries)}

    return rebuild


def object_graph(index: str, shard: str) -> Rebuild:
    """The graph of objects of a bundle with one shard, a string tensor; its checksums and its entry are made anew."""

    def rebuild(files: Files, dice: random.Random) -> dict[str, bytes]:
        offset, size = read_blocks(files[index])[0]
        entries = dict(_entries(files[index][offset : offset + size]))
        fields = parse(entries[OBJECTS]) or []
        place = {number: _number(contents, 0)[0] for number, kind, contents in fields if kind == 0}
        stored = files[shard][place.get(4, 0) :][: place[5]]
        _, at = _number(stored, 0)
        text = change_tree(stored[at + 4 :], dice)
        for _ in range(dice.choice((0, 0, 1, 5))):
            text = change_tree(text, dice)
        word = struct.pack("<I", len(text))
        new = varint(len(text)) + masked(word) + text
        numbers = {4: varint(len(files[shard])), 5: varint(len(new)), 6: masked(word + masked(word) + text)}
        kept = [field for field in fields if field[0] not in numbers]
        kept += [(number, 5 if number == 6 else 0, contents) for number, contents in numbers.items()]
        entries[OBJECTS] = build(kept)
        return {shard: files[shard] + new, index: table(sorted(entries.items()))}

    return rebuild


def protobuf(name: str) -> Rebuild:
    """Fields of a message."""
    return lambda files, dice: {name: change_tree(files[name], dice)}


def json_file(name: str) -> Rebuild:
    """Values of a JSON file."""
    return lambda files, dice: {name: change_json(files[name], dice)}


def change_json(text: bytes | str, dice: random.Random) -> bytes:
    """One value or key, anywhere, replaced; at times the text itself."""
    value = json.loads(text)
    if dice.random() < 0.1:
        return change(json.dumps(value).encode(), dice)
    if dice.random() < 0.02:
        return dice.choice((b"[" * 100_000, b'{"a":' * 100_000, b"1e400", b"9" * 10_000, b"NaN", b'"\\ud800"'))
    places: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        each = pending.pop()
        children = (
            list(each.items()) if isinstance(each, dict) else list(enumerate(each)) if isinstance(each, list) else []
        )
        for key, child in children:
            places.append((each, key))
            if isinstance(child, (dict, list)) and not (isinstance(child, list) and len(child) > 100):
                pending.append(child)
    if not places:
        return json.dumps(dice.choice(JUNK)).encode()
    holder, key = dice.choice(places)
    action = dice.randrange(6)
    if action == 0:
        del holder[key]
    elif action == 1 and isinstance(holder, dict):
        holder[dice.choice(("", "x", "name", "config"))] = holder.pop(key)
    elif action == 2:
        other, name = dice.choice(places)
        if name in other if isinstance(other, dict) else name < len(other):
            holder[key] = json.loads(json.dumps(other[name]))
    elif isinstance(holder[key], (int, float)) and action == 3:
        holder[key] += dice.choice((1, -1, holder[key]))
    else:
        holder[key] = dice.choice(JUNK)
    return json.dumps(value).encode()


def hdf5_addresses(name: str) -> Rebuild:
    """What is written beside the addresses of heaps and trees, or there: lengths, counts, indices, other addresses."""

    def rebuild(files: Files, dice: random.Random) -> dict[str, bytes]:
        data = bytearray(files[name])
        places, spots = _hdf5_places(files[name])
        for _ in range(dice.choice((1, 1, 2, 4))):
            at = max(0, dice.choice(spots) + dice.choice((-8, -4, -4, -4, 0, 0, 8, 8, 12, 16, 24)))
            width = min(dice.choice((2, 4, 8)), len(data) - at)
            value = int.from_bytes(data[at : at + width], "little")
            other = dice.choice((value + 1, value - 1, value * 2, 0, dice.choice(NOTABLE), dice.choice(places)))
            data[at : at + width] = (other % (1 << 8 * width)).to_bytes(width, "little")
        return {name: bytes(data)}

    return rebuild


@lru_cache(maxsize=4)
def _hdf5_places(data: bytes) -> tuple[list[int], list[int]]:
    """Where heaps and trees begin, and where these addresses are written."""
    signs = (b"GCOL", b"TREE", b"HEAP", b"SNOD", b"OHDR", b"FRHP", b"BTHD")
    places = [at for sign in signs for at in range(len(data)) if data.startswith(sign, at)]
    known = {struct.pack("<Q", at) for at in places}
    return places, places + [at for at in range(len(data) - 8) if data[at : at + 8] in known] * 2


def zip_members(name: str) -> Rebuild:
    """The contents of a zip's members, or how they are stored."""

    def rebuild(files: Files, dice: random.Random) -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(files[name])) as archive:
            members = [(each.filename, archive.read(each)) for each in archive.infolist()]
        at = dice.randrange(len(members))
        title, content = members[at]
        if title.endswith(".json") and dice.random() < 0.9:
            content = change_json(content, dice)
        else:
            content = change(content, dice)
        action = dice.randrange(12)
        if action == 0:
            del members[at]
        elif action == 1:
            members[at] = (change(title.encode(), dice).decode("latin-1").replace("\0", "/") or "x", content)
        elif action == 2:
            members.append((title, content))
        else:
            members[at] = (title, content)
        method = dice.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        return {name: zipped(members, method)}

    return rebuild


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip, its names as they are given, twice if they are given twice."""
    result, central = b"", b""
    for title, content in members:
        raw = title.encode("utf-8", "surrogatepass")
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        stored = packer.compress(content) + packer.flush() if method else content
        head = struct.pack(
            "<HHHHHIIIH", 20, 0x800, method, 0, 33, zlib.crc32(content), len(stored), len(content), len(raw)
        )
        central += b"PK\1\2\x14\0" + head + struct.pack("<HHHHII", 0, 0, 0, 0, 0, len(result)) + raw
        result += b"PK\3\4" + head + b"\0\0" + raw + stored
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(central), len(result), 0)
    return result + central + b"PK\5\6" + end


def safetensors(name: str) -> Rebuild:
    """The header, the architecture or the elements of what `fastlstm.save` wrote, and its checksums."""

    def rebuild(files: Files, dice: random.Random) -> dict[str, bytes]:
        data = files[name]
        start = 8 + int.from_bytes(data[:8], "little")
        header, body = json.loads(data[8:start]), data[start:]
        action = dice.randrange(3)
        if action == 0:
            body = change(body, dice, IN_PLACE)[: len(body)].ljust(len(body), b"\0")
        elif action == 1:
            architecture = change_json(header["__metadata__"]["fastlstm"], dice)
            header["__metadata__"]["fastlstm"] = architecture.decode("utf-8", "replace")
        text = json.dumps(header, separators=(",", ":")).encode()
        if action == 2:
            text = change_json(text, dice)
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            text = _checked(json.loads(text), body)  # unless what is left of the header has no place for checksums
        return {name: len(text).to_bytes(8, "little") + text + body}

    return rebuild


def _checked(header: dict[str, Any], body: bytes) -> bytes:
    sums = {}
    for title, entry in header.items():
        if title != "__metadata__":
            begin, end = entry["data_offsets"]
            sums[title] = _unmasked(f"{entry['dtype']} {entry['shape']}".encode() + body[begin:end])
    metadata = header["__metadata__"]
    if "fastlstm" in metadata:
        sums["__metadata__"] = _unmasked(metadata["fastlstm"].encode())
    metadata["fastlstm_crc32c"] = json.dumps(sums)
    return json.dumps(header, separators=(",", ":")).encode()


def _unmasked(data: bytes) -> str:
    from tests.formats.bundle_writer import crc32c

    return f"{crc32c(data):08x}"


def state_file(name: str, prefix: str) -> Rebuild:
    """Names for `checkpoint` to name."""
    hostile = (
        "../../../etc/passwd",
        "/etc/passwd",
        "/dev/zero",
        "a" * 5000,
        "\\000",
        "C:\\\\x\\\\" + prefix,
        "./" * 2000 + prefix,
        "..",
        ".",
        "/",
        prefix + "\\n",
        "\\377\\376",
        "*",
        "[" * 100,
    )

    def rebuild(files: Files, dice: random.Random) -> dict[str, bytes]:
        named = dice.choice(hostile)
        lines = [f'model_checkpoint_path: "{named}"\n'] * dice.choice((1, 1, 2))
        lines += [f'all_model_checkpoint_paths: "{named}"\n'] * dice.choice((0, 1, 1000))
        return {name: "".join(lines).encode()}

    return rebuild


__all__ = [
    "bundle_data",
    "hdf5_addresses",
    "json_file",
    "object_graph",
    "protobuf",
    "safetensors",
    "state_file",
    "table_bytes",
    "table_entries",
    "varint",
    "zip_members",
    "zipped",
]
