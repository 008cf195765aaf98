"""PTX of a kernel, run by NumPy: one warp, its 32 lanes side by side; as far as `intrinsics.py` needs it.

What Numba's simulator cannot run: there the intrinsics' twins in Python run. Of lanes that went different ways those
that are behind go first, until all are at one place. Memory is one array of bytes; what lies outside the arrays that
were put there, or not on the boundary that a load of its size needs, is an AssertionError.
"""

import re

import numpy as np

LANES = 32
_SPECIAL = {"%tid.x": np.arange(LANES), "%ntid.x": LANES, "%ctaid.x": 0, "%nctaid.x": 1, "%laneid": np.arange(LANES)}
_COMPARE = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip
_BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor, "min": np.minimum, "max": np.maximum, "shl": np.left_shift, "shr": np.right_shift,
}  # fmt: skip


def _dtype(suffix):
    """Of PTX: u32, s64, f32, b64, pred ..."""
    if suffix == "pred":
        return np.dtype(bool)
    return np.dtype({"b": "u", "u": "u", "s": "i", "f": "f"}[suffix[0]] + str(int(suffix[1:]) // 8))


class Memory:
    """Arrays side by side, each at an address that a device's allocation could have."""

    def __init__(self):
        self.bytes, self.regions = np.zeros(0, np.uint8), []

    def put(self, array):
        """-> the address."""
        start = self.bytes.size + 4096
        start -= start % 256
        data = np.ascontiguousarray(array).view(np.uint8).ravel()
        self.bytes = np.concatenate([self.bytes, np.zeros(start - self.bytes.size, np.uint8), data])
        self.regions.append((start, start + data.size))
        return start

    def at(self, address, array):
        """What now stands there, like the array."""
        return self.bytes[address : address + array.nbytes].view(array.dtype).reshape(array.shape)

    def places(self, addresses, size):
        """Of each byte: (n, size)."""
        assert (addresses % size == 0).all(), f"{addresses}: not on a boundary of {size} bytes"
        inside = [(addresses >= a) & (addresses + size <= b) for a, b in self.regions]
        assert np.any(inside, axis=0).all(), f"{addresses}: outside of all arrays"
        return addresses[:, None] + np.arange(size)


def run(text, arguments, shared_bytes=0):
    """The only kernel in `text` with these arguments, as Numba flattens them: arrays are written in place."""
    memory = Memory()
    shared = memory.put(np.full(shared_bytes, 0x7F, np.uint8))
    flat, arrays = [], []
    for value in arguments:
        if isinstance(value, np.ndarray):
            address = memory.put(value)
            arrays.append((address, value))
            flat += [0, 0, value.size, value.itemsize, address, *value.shape, *value.strides]
        else:
            flat.append(int(value))
    with np.errstate(all="ignore"):
        _Warp(text, memory, flat, shared).run()
    for address, value in arrays:
        value[...] = memory.at(address, value)


class _Warp:
    def __init__(self, text, memory, flat, shared):
        head, body = re.search(r"\.entry \S+?\((.*?)\)\s*(?:\.\w+[^{]*)?\{(.*)\}", text, re.S).groups()
        names = re.findall(r"\.param \.\w+ (\w+)", head)
        assert len(names) == len(flat), (len(names), len(flat))
        self.params, self.memory = dict(zip(names, flat, strict=True)), memory
        self.symbols = dict.fromkeys(re.findall(r"\.extern \.shared .*?(\w+)\[\]", text), shared)
        self.registers, self.code, self.labels = {}, [], {}
        for line in re.sub(r"//.*", "", body).replace(";", ";\n").split("\n"):
            if label := re.match(r"\s*(\$\w+):", line):
                self.labels[label.group(1)] = len(self.code)
            elif found := re.match(r"\s*(?:@(!?)(%p\d+)\s+)?([a-z][\w.]*)\s*(.*?)\s*;", line):
                self.code.append((*found.groups()[:3], re.findall(r"\{.*?\}|\[.*?\]|[^,\s]+", found.group(4))))

    def run(self):
        self.at = np.zeros(LANES, np.int64)
        while (self.at < len(self.code)).any():
            self.here = self.at.min()
            self.lanes = self.at == self.here
            negated, predicate, op, operands = self.code[self.here]
            self.at[self.lanes] += 1
            if predicate:
                self.lanes &= self.raw(predicate).astype(bool) != bool(negated)
            base, *more = op.split(".")
            if self.lanes.any():
                getattr(self, f"_{base}", self._calculated)(more, *operands)

    # Registers are kept as 64 bits.

    def raw(self, operand):
        if operand in _SPECIAL:
            return np.broadcast_to(np.asarray(_SPECIAL[operand], np.uint64), LANES)
        if operand.startswith("%"):
            return self.registers.get(operand, np.full(LANES, 0x7FF4DEAD7FADDEAD, np.uint64))  # signalling nonsense
        if operand in self.symbols:
            return np.full(LANES, self.symbols[operand], np.uint64)
        if operand[:2] in ("0f", "0d"):
            return np.full(LANES, int(operand[2:], 16), np.uint64)
        return np.full(LANES, int(operand, 0) & 0xFFFFFFFFFFFFFFFF, np.uint64)

    def value(self, operand, suffix):
        kind, raw = _dtype(suffix), self.raw(operand)
        return raw.astype(bool) if suffix == "pred" else raw.astype(f"u{kind.itemsize}").view(kind)

    def set(self, register, value):
        if value.dtype != bool:
            value = value.view(f"u{value.itemsize}")
        self.registers[register] = np.where(self.lanes, value.astype(np.uint64), self.raw(register))

    # Instructions.

    def _calculated(self, more, target, *operands):
        base, suffix = self.code[self.here][2].split(".")[0], more[-1]
        if base in ("shl", "shr"):
            a, b = self.value(operands[0], suffix), self.raw(operands[1])
            self.set(target, _BINARY[base](a, (b & np.uint64(0xFFFFFFFF)).astype(a.dtype)))
            return
        a, b = (self.value(operand, suffix) for operand in operands)
        if "wide" in more:
            wide = _dtype(suffix[0] + "64")
            a, b = a.astype(wide), b.astype(wide)
        self.set(target, _BINARY[base](a, b))

    def _neg(self, more, target, a):
        self.set(target, -self.value(a, more[-1]))

    def _abs(self, more, target, a):
        self.set(target, np.abs(self.value(a, more[-1])))

    def _div(self, more, target, a, b):
        assert more[-1][0] == "u", "of whole numbers without a sign"
        self.set(target, self.value(a, more[-1]) // np.maximum(self.value(b, more[-1]), 1))

    def _fma(self, more, target, a, b, c):
        kind = _dtype(more[-1])
        a, b, c = (self.value(each, more[-1]).astype(np.float64) for each in (a, b, c))
        self.set(target, (a * b + c).astype(kind))

    def _mad(self, more, target, a, b, c):
        a, b = (self.value(each, more[-1]) for each in (a, b))
        suffix = more[-1]
        if "wide" in more:
            suffix = suffix[0] + "64"
            a, b = a.astype(_dtype(suffix)), b.astype(_dtype(suffix))
        self.set(target, a * b + self.value(c, suffix))

    def _bfi(self, more, target, field, into, start, length):
        start, length = int(self.raw(start)[0]), int(self.raw(length)[0])
        mask = np.uint64(((1 << length) - 1) << start)
        self.set(target, (self.raw(into) & ~mask) | ((self.raw(field) << np.uint64(start)) & mask))

    def _selp(self, more, target, a, b, condition):
        chosen = np.where(self.raw(condition).astype(bool), self.raw(a), self.raw(b))
        self.registers[target] = np.where(self.lanes, chosen, self.raw(target))

    def _setp(self, more, target, a, b):
        a, b = self.value(a, more[-1]), self.value(b, more[-1])
        if a.dtype.kind == "f":
            unordered = np.isnan(a) | np.isnan(b)
            if more[0] in ("nan", "num"):
                return self.set(target, unordered == (more[0] == "nan"))
            if more[0][-1] == "u":  # or one of them is no number
                return self.set(target, _COMPARE[more[0][:-1]](a, b) | unordered)
            return self.set(target, _COMPARE[more[0]](a, b) & ~unordered)
        self.set(target, _COMPARE[more[0]](a, b))

    def _mov(self, more, target, source):
        half = np.uint64(int(more[-1][1:]) // 2) if more[-1] != "pred" else None
        if target[0] == "{":
            for k, name in enumerate(re.findall(r"%\w+", target)):
                part = self.raw(source) >> (np.uint64(k) * half) & np.uint64((1 << int(half)) - 1)
                self.set(name, part)
        elif source[0] == "{":
            low, high = map(self.raw, re.findall(r"%\w+", source))
            self.set(target, (low & np.uint64((1 << int(half)) - 1)) | high << half)
        else:
            self.set(target, self.raw(source))

    def _cvt(self, more, target, source):
        to, of = more[-2:]
        self.set(target, self.value(source, of).astype(_dtype(to)))

    def _cvta(self, more, target, source):
        self.set(target, self.raw(source))

    def _not(self, more, target, source):
        self.set(target, ~self.value(source, more[-1]))

    def _access(self, more, place):
        """How many numbers of which type, and where."""
        count = next((int(part[1:]) for part in more if re.fullmatch(r"v[24]", part)), 1)
        base, offset = re.match(r"\[(%?[\w$]+)(?:\+(-?\w+))?\]", place).groups()
        address = self.raw(base).view(np.int64) + int(offset or "0", 0)
        kind = _dtype(more[-1])
        return count, kind, self.memory.places(address[self.lanes], count * kind.itemsize)

    def _ld(self, more, target, place):
        if "param" in more:
            name, offset = re.match(r"\[(\w+)(?:\+(\d+))?\]", place).groups()
            assert not offset
            return self.set(target, np.full(LANES, self.params[name] & 0xFFFFFFFFFFFFFFFF, np.uint64))
        count, kind, places = self._access(more, place)
        found = self.memory.bytes[places].reshape(len(places), count, kind.itemsize).view(kind)[..., 0]
        for k, name in enumerate(re.findall(r"%\w+", target)):
            value = np.zeros(LANES, kind)
            value[self.lanes] = found[:, k]
            self.set(name, value.astype("i8") if kind.kind == "i" else value)

    def _st(self, more, place, source):
        _, _, places = self._access(more, place)
        names = re.findall(r"[^{},\s]+", source)
        values = np.stack([self.value(name, more[-1])[self.lanes] for name in names], axis=1)
        self.memory.bytes[places] = np.ascontiguousarray(values).view(np.uint8).reshape(len(places), -1)

    def _shfl(self, more, target, source, distance, limit, members):
        assert self.lanes.all() and more[:2] == ["sync", "bfly"], "all lanes have to be there"
        others = np.arange(LANES) ^ int(self.raw(distance)[0])
        self.set(target.split("|")[0], self.raw(source)[others])

    def _bar(self, more, *operands):
        assert self.lanes.all(), "all lanes have to be there"

    def _bra(self, more, label):
        self.at[self.lanes] = self.labels[label]

    def _ret(self, more):
        self.at[self.lanes] = len(self.code)
