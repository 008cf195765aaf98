"""PTX, run by NumPy: the lanes of a warp side by side, the warps of all blocks by turns.

What Numba's simulator cannot run is what the compiler makes of a kernel: there its Python runs, with twins of the
intrinsics. Of lanes that went different ways those that are behind go first, until all are at one place. Memory is one
array of bytes; what lies outside the arrays that were put there, or not on the boundary that a load of its size needs,
is an AssertionError.
"""

import re
from dataclasses import dataclass, field

import numpy as np

LANES = 32
_NONSENSE = np.uint64(0x7FF4DEAD7FADDEAD)  # of a register that nothing has written
_COMPARE = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip
_BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor, "min": np.fmin, "max": np.fmax, "shl": np.left_shift, "shr": np.right_shift,
}  # fmt: skip
_UNARY = {
    "neg": np.negative, "abs": np.abs, "not": np.invert, "sqrt": np.sqrt, "rcp": np.reciprocal, "ex2": np.exp2,
    "lg2": np.log2,
}  # fmt: skip


def _dtype(suffix):
    """Of PTX: u32, s64, f32, b64, pred ..."""
    if suffix == "pred":
        return np.dtype(bool)
    return np.dtype({"b": "u", "u": "u", "s": "i", "f": "f"}[suffix[0]] + str(int(suffix[1:]) // 8))


class Memory:
    """Arrays side by side, each at an address that a device's allocation could have."""

    def __init__(self):
        self.bytes, self.starts, self.ends = np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64)

    def put(self, array):
        """-> the address."""
        start = self.bytes.size + 4096
        start -= start % 256
        data = np.ascontiguousarray(array).view(np.uint8).ravel()
        self.bytes = np.concatenate([self.bytes, np.zeros(start - self.bytes.size, np.uint8), data])
        self.starts, self.ends = np.append(self.starts, start), np.append(self.ends, start + data.size)
        return start

    def at(self, address, array):
        """What now stands there, like the array."""
        return self.bytes[address : address + array.nbytes].view(array.dtype).reshape(array.shape)

    def places(self, addresses, size):
        """Of each byte: (n, size)."""
        assert (addresses % size == 0).all(), f"{addresses}: not on a boundary of {size} bytes"
        array = np.searchsorted(self.starts, addresses, "right") - 1
        assert (array >= 0).all() and (addresses + size <= self.ends[array]).all(), (
            f"{addresses}: outside of all arrays"
        )
        return addresses[:, None] + np.arange(size)


@dataclass
class Function:
    """code: (negated, predicate, operation, its parts, operands) each."""

    name: str
    params: list[str]
    code: list = field(default_factory=list)
    labels: dict = field(default_factory=dict)
    depot: tuple[str, int] | None = None


def parsed(text):
    """The functions of a PTX module by name, and its kernel."""
    text = re.sub(r"//.*", "", text)
    found, kernel = {}, None
    head = re.compile(r"\.(entry|func)\s*(?:\([^)]*\))?\s*([\w$]+)\s*\(([^)]*)\)[^{;]*\{")
    for start in head.finditer(text):
        function = Function(start.group(2), re.findall(r"([\w$]+_param_\d+)", start.group(3)))
        end = text.find("\n}", start.end())
        body = text[start.end() : end]
        if depot := re.search(r"\.local [^;]*?(\w+)\[(\d+)\];", body):
            function.depot = depot.group(1), int(depot.group(2))
        for statement in re.sub(r"^\s*[{}]\s*$", "", body, flags=re.M).split(";"):
            while label := re.match(r"\s*(\$[\w$]+):", statement):
                function.labels[label.group(1)] = len(function.code)
                statement = statement[label.end() :]
            if ready := re.match(r"\s*(?:@(!?)(%p\d+)\s+)?([a-z][\w.]*)\s*(.*)\Z", statement, re.S):
                operation = ready.group(3).split(".")
                operands = re.findall(r"\{.*?\}|\[.*?\]|\(.*?\)|[^,\s]+", ready.group(4), re.S)
                function.code.append((*ready.group(1, 2), operation[0], operation[1:], operands))
        found[function.name] = function
        kernel = function if start.group(1) == "entry" else kernel
    return found, kernel


def run(text, arguments, blocks=1, threads=LANES, shared_bytes=0):
    """The kernel in `text` with these arguments, as Numba flattens them: arrays are written in place.

    -> how many instructions each warp has run, by block
    """
    functions, kernel = parsed(text)
    memory, flat, arrays = Memory(), [], []
    symbols = {name: memory.put(np.zeros(int(size), np.uint8)) for name, size in re.findall(
        r"\.global \.align \d+ \.b8 ([\w$]+)\[(\d+)\]", text)}  # fmt: skip
    for value in arguments:
        if isinstance(value, np.ndarray):
            address = memory.put(value)
            arrays.append((address, value))
            flat += [0, 0, value.size, value.itemsize, address, *value.shape, *value.strides]
        elif isinstance(value, float):
            flat.append(int(np.float64(value).view(np.uint64)))
        else:
            flat += [int(number) for number in (value if isinstance(value, tuple) else (value,))]
    pairs = zip(kernel.params, flat, strict=True)
    given = {name: np.full(LANES, value & (2**64 - 1), np.uint64) for name, value in pairs}
    shared_names, waiting, warps = re.findall(r"\.extern \.shared .*?([\w$]+)\[\]", text), [], []
    for block in range(blocks):
        own = symbols | dict.fromkeys(shared_names, memory.put(np.full(shared_bytes, 0x7F, np.uint8)))
        group = [Warp(functions, memory, own, block, blocks, first, threads) for first in range(0, threads, LANES)]
        warps.append(group)
        waiting.append({warp: warp.run(kernel, given) for warp in group})
    with np.errstate(all="ignore"):
        _take_turns(waiting)
    for address, value in arrays:
        value[...] = memory.at(address, value)
    return [[warp.count for warp in group] for group in warps]


def _take_turns(blocks):
    """Each warp goes on until it waits: at a barrier for the others of its block, at a word for other blocks."""
    idle = 0
    while any(blocks):
        idle += 1
        assert idle < 100_000, "warps wait for each other"
        for running in blocks:
            if running and all(warp.at_barrier for warp in running):
                for warp in running:
                    warp.at_barrier = False
            for warp, steps in list(running.items()):
                if not warp.at_barrier:
                    try:
                        warp.at_barrier = next(steps) == "barrier"
                    except StopIteration:
                        del running[warp]
                        idle = 0


class Warp:
    def __init__(self, functions, memory, symbols, block, blocks, first, threads):
        self.functions, self.memory, self.symbols = functions, memory, dict(symbols)
        self.at_barrier, self.count = False, 0
        numbers = {"%tid.x": first + np.arange(LANES), "%ntid.x": threads, "%ctaid.x": block, "%nctaid.x": blocks}
        self.special = {name: np.broadcast_to(np.asarray(n, np.uint64), LANES) for name, n in numbers.items()}
        for function in functions.values():
            if function.depot:
                name, size = function.depot
                each = -(-size // 256) * 256
                start = memory.put(np.full(LANES * each, 0x7F, np.uint8))
                self.symbols[name] = start + each * np.arange(LANES)

    def run(self, function, params, lanes=None):
        """A generator that yields where others have to go on -> what the function returns, as 64 bits a lane."""
        frame = Frame(self, function, params, np.ones(LANES, bool) if lanes is None else lanes)
        while (frame.at[frame.inside] < len(function.code)).any():
            frame.here = frame.at[frame.inside].min()
            frame.lanes = frame.inside & (frame.at == frame.here)
            negated, predicate, operation, more, operands = function.code[frame.here]
            frame.at[frame.lanes] += 1
            self.count += 1
            if predicate:
                frame.lanes = frame.lanes & (frame.raw(predicate).astype(bool) != bool(negated))
            if not frame.lanes.any():
                continue
            if operation == "call":
                yield from self._called(frame, operands)
            elif operation == "bar" and more[0] == "sync":
                assert frame.lanes.all(), "all lanes have to be there"
                yield "barrier"
            else:
                frame.operation = operation
                getattr(frame, f"_{operation}", frame._calculated)(more, *operands)
                if "relaxed" in more or "acquire" in more:
                    yield "word"
        return frame.result

    def _called(self, frame, operands):
        names = [operand for operand in operands if operand[0] == "("]
        target = next(operand for operand in operands if operand[0] != "(")
        callee = self.functions[target]
        given = re.findall(r"\w+", names[-1]) if callee.params else []
        pairs = zip(callee.params, given, strict=True)
        params = {name: frame.out.get(mine, np.full(LANES, _NONSENSE)) for name, mine in pairs}
        result = yield from self.run(callee, params, frame.lanes)
        if len(names) > bool(callee.params):
            frame.out[re.findall(r"\w+", names[0])[0]] = result


class Frame:
    """A function that runs; registers are kept as 64 bits."""

    def __init__(self, warp, function, params, inside):
        self.warp, self.memory, self.function, self.params, self.inside = warp, warp.memory, function, params, inside
        self.at, self.registers, self.out, self.result = np.zeros(LANES, np.int64), {}, {}, None

    def raw(self, operand):
        if operand[0] == "%":
            if operand in self.registers:
                return self.registers[operand]
            return self.warp.special.get(operand, np.full(LANES, _NONSENSE))
        if operand in self.warp.symbols:
            return np.broadcast_to(np.asarray(self.warp.symbols[operand]).astype(np.uint64), LANES)
        if operand[:2] in ("0f", "0d"):
            return np.full(LANES, int(operand[2:], 16), np.uint64)
        return np.full(LANES, int(operand, 0) & (2**64 - 1), np.uint64)

    def value(self, operand, suffix):
        kind, raw = _dtype(suffix), self.raw(operand)
        return raw.astype(bool) if suffix == "pred" else raw.astype(f"u{kind.itemsize}").view(kind)

    def set(self, register, value):
        if value.dtype != bool:
            value = value.view(f"u{value.itemsize}")
        self.registers[register] = np.where(self.lanes, value.astype(np.uint64), self.raw(register))

    # Instructions.

    def _calculated(self, more, target, *operands):
        suffix = more[-1]
        if self.operation in _UNARY:
            return self.set(target, _UNARY[self.operation](self.value(operands[0], suffix)).astype(_dtype(suffix)))
        if self.operation in ("shl", "shr"):
            a, b = self.value(operands[0], suffix), self.raw(operands[1])
            return self.set(target, _BINARY[self.operation](a, (b & np.uint64(0xFFFFFFFF)).astype(a.dtype)))
        a, b = (self.value(operand, suffix) for operand in operands)
        if "wide" in more:
            a, b = (each.astype(_dtype(suffix[0] + "64")) for each in (a, b))
        if "hi" in more:
            assert suffix == "u64"
            products = [int(x) * int(y) >> 64 for x, y in zip(a, b, strict=True)]
            return self.set(target, np.array(products, np.uint64))
        if "rz" in more:
            return self.set(target, _towards(_BINARY[self.operation](a.astype("f8"), b.astype("f8")), 0.0))
        self.set(target, _BINARY[self.operation](a, b))

    def _div(self, more, target, a, b):
        a, b = (self.value(each, more[-1]) for each in (a, b))
        if a.dtype.kind == "f":
            return self.set(target, a / b)
        size = a // np.where(b == 0, 1, b) if a.dtype.kind == "u" else _truncated(a, np.where(b == 0, 1, b))
        self.set(target, size.astype(a.dtype))

    def _rem(self, more, target, a, b):
        a, b = (self.value(each, more[-1]) for each in (a, b))
        b = np.where(b == 0, 1, b).astype(a.dtype)
        self.set(target, (a - _truncated(a, b).astype(a.dtype) * b) if a.dtype.kind == "i" else a % b)

    def _fma(self, more, target, a, b, c):
        a, b, c = (self.value(each, more[-1]).astype(np.float64) for each in (a, b, c))
        exact = a * b + c
        self.set(target, _towards(exact, -np.inf) if "rm" in more else exact.astype(_dtype(more[-1])))

    def _mad(self, more, target, a, b, c):
        suffix = more[-1]
        a, b = (self.value(each, suffix) for each in (a, b))
        if "wide" in more:
            suffix = suffix[0] + "64"
            a, b = a.astype(_dtype(suffix)), b.astype(_dtype(suffix))
        self.set(target, a * b + self.value(c, suffix))

    def _bfi(self, more, target, part, into, start, length):
        start, length = int(self.raw(start)[0]), int(self.raw(length)[0])
        mask = np.uint64(((1 << length) - 1) << start)
        self.set(target, (self.raw(into) & ~mask) | ((self.raw(part) << np.uint64(start)) & mask))

    def _selp(self, more, target, a, b, condition):
        self.set(target, np.where(self.raw(condition).astype(bool), self.raw(a), self.raw(b)))

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
        if target[0] != "{" and source[0] != "{":
            return self.set(target, self.raw(source))
        half = np.uint64(int(more[-1][1:]) // 2)
        mask = np.uint64((1 << int(half)) - 1)
        if target[0] == "{":
            for k, name in enumerate(re.findall(r"%\w+", target)):
                self.set(name, self.raw(source) >> (np.uint64(k) * half) & mask)
        else:
            low, high = map(self.raw, re.findall(r"%\w+", source))
            self.set(target, (low & mask) | high << half)

    def _cvt(self, more, target, source):
        to, of = more[-2:]
        value = self.value(source, of)
        for name, function in (("rni", np.rint), ("rzi", np.trunc), ("sat", lambda x: np.clip(x, 0, 1))):
            value = function(value) if name in more else value
        value = value.astype(_dtype(to))
        self.set(target, value.astype("i8") if to[0] == "s" else value)

    def _cvta(self, more, target, source):
        self.set(target, self.raw(source))

    def _access(self, more, place):
        """How many numbers of which type, and where."""
        count = next((int(part[1:]) for part in more if re.fullmatch(r"v[24]", part)), 1)
        base, offset = re.match(r"\[(%?[\w$]+)(?:\+(-?\w+))?\]", place).groups()
        address = self.raw(base).view(np.int64) + int(offset or "0", 0)
        kind = _dtype(more[-1])
        return count, kind, self.memory.places(address[self.lanes], count * kind.itemsize)

    def _ld(self, more, target, place):
        if more[0] == "param":
            name = re.match(r"\[([\w$]+)(\+0)?\]", place).group(1)
            return self.set(target, self.params[name] if name in self.params else self.out[name])
        count, kind, places = self._access(more, place)
        found = self.memory.bytes[places].reshape(len(places), count, kind.itemsize).view(kind)[..., 0]
        for k, name in enumerate(re.findall(r"%\w+", target)):
            value = np.zeros(LANES, kind)
            value[self.lanes] = found[:, k]
            self.set(name, value.astype("i8") if kind.kind == "i" else value)

    def _st(self, more, place, source):
        if more[0] == "param":
            name = re.match(r"\[([\w$]+)(\+0)?\]", place).group(1)
            if name.endswith("_retval0"):
                before = np.zeros(LANES, np.uint64) if self.result is None else self.result
                self.result = np.where(self.lanes, self.raw(source), before)
            else:
                self.out[name] = np.where(self.lanes, self.raw(source), self.out.get(name, _NONSENSE))
            return
        _, _, places = self._access(more, place)
        names = re.findall(r"[^{},\s]+", source)
        values = np.stack([self.value(name, more[-1])[self.lanes] for name in names], axis=1)
        self.memory.bytes[places] = np.ascontiguousarray(values).view(np.uint8).reshape(len(places), -1)

    def _red(self, more, place, source):
        _, kind, places = self._access(more, place)
        for each, value in zip(places, self.value(source, more[-1])[self.lanes], strict=True):
            self.memory.bytes[each] = np.array([self.memory.bytes[each].view(kind)[0] + value]).view(np.uint8)

    def _shfl(self, more, target, source, distance, limit, members):
        assert self.lanes.all() and more[:2] == ["sync", "bfly"], "all lanes have to be there"
        self.set(target.split("|")[0], self.raw(source)[np.arange(LANES) ^ int(self.raw(distance)[0])])

    def _bar(self, more, *operands):
        assert self.lanes.all(), "all lanes have to be there"

    def _bra(self, more, label):
        self.at[self.lanes] = self.function.labels[label]

    def _ret(self, more):
        self.at[self.lanes] = len(self.function.code)


def _truncated(a, b):
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))


def _towards(exact, limit):
    """float64 -> float32, rounded towards a limit."""
    near = exact.astype(np.float32)
    beyond = near > exact if limit < 0 else np.abs(near.astype("f8")) > np.abs(exact)
    return np.where(beyond, np.nextafter(near, np.float32(limit)), near).astype(np.float32)
