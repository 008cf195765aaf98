"""A dataflow followed from its input to its output: which layers stand for it, whatever plumbing is between them.

Every value of the graph is one of: a Signal (what layers made of the input), an array (a constant), Sizes (numbers
computed from shapes), or Unclear (anything else, with the reason; it matters only if the output needs it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FastLSTMError, RecognitionError
from fastlstm.recognise.foreign.parts import EXPECTED, Part, dense, is_recurrent, reverse, with_activation

if TYPE_CHECKING:
    from fastlstm.formats.dataflow import Dataflow, Operation


@dataclass(frozen=True)
class Axis:
    """name  "features", "directions", or which dimension of the input it is; size  None where it is not known"""

    name: str
    size: int | None


Dim = tuple[Axis, ...]  # axes that one dimension holds, the last one running fastest; () is a dimension of size 1


@dataclass(frozen=True)
class Signal:
    """parts  the layers so far
    dims   what the dimensions of the value are
    time   the name of the time axis, once a recurrent layer told it
    last   only the last step is left
    """

    parts: tuple[Part, ...]
    dims: tuple[Dim, ...]
    time: str = ""
    last: bool = False


@dataclass(frozen=True)
class Sizes:
    """A vector, or with `scalar` a number, of sizes: integers, or dimensions of a signal."""

    entries: tuple[int | Dim, ...]
    scalar: bool = False


@dataclass(frozen=True)
class Filled:
    """An array of any shape, all of it `value`."""

    value: float


@dataclass(frozen=True)
class Unclear:
    """why      what cannot be told or run
    outside  it comes from an input of the graph, and no layer made it
    """

    why: str
    outside: bool = False


class Refused(Exception):
    """An operation that no layer stands for; becomes an Unclear value."""


class Flow:
    """Follows a dataflow; a format's class adds a method for each of its operations, `do_<OP>(operation)`."""

    def __init__(self, graph: Dataflow, tensors: Any, source: str) -> None:
        self.graph, self.tensors, self.source = graph, tensors, source
        self.found: dict[str, Any] = {name: self._input(name) for name in graph.inputs}
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def follow(self) -> list[Part]:
        """The layers of the output.  Raises RecognitionError."""
        for operation in self.graph.operations:
            handler = getattr(self, f"do_{operation.op}", None)
            try:
                if handler is None:
                    raise Refused(f"{operation.op} {operation.name!r} is no operation that a layer of fastlstm does")
                results = handler(operation)
                results = results if isinstance(results, list) else [results]
            except Refused as error:
                results = [self._unclear(operation, str(error))] * len(operation.outputs)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                if isinstance(error, FastLSTMError):
                    raise
                why = f"{operation.op} {operation.name!r} is not what a converter writes ({error!r:.120})"
                results = [self._unclear(operation, why)] * len(operation.outputs)
            self.found.update((name, value) for name, value in zip(operation.outputs, results, strict=False) if name)
        return self._output()

    def value(self, name: str) -> Any:
        """What is known of a value; None for an input that is left out."""
        if not name:
            return None
        if name in self.found:
            return self.found[name]
        if name in self.tensors.specs:
            return self.tensors[name]
        raise Refused(f"the value {name!r} is made nowhere")

    def input(self, operation: Operation, k: int) -> Any:
        value = self.value(operation.inputs[k]) if k < len(operation.inputs) else None
        if isinstance(value, Unclear):
            raise Refused(value.why)
        return value

    def signal(self, operation: Operation, k: int = 0) -> Signal:
        value = self.input(operation, k)
        if not isinstance(value, Signal):
            raise Refused(f"{operation.op} {operation.name!r} reads something that no layer made")
        return value

    def constant(self, operation: Operation, k: int) -> NDArray[Any]:
        value = self.input(operation, k)
        if not isinstance(value, np.ndarray):
            raise Refused(f"{operation.op} {operation.name!r}: input {k} is no constant")
        return value

    def _unclear(self, operation: Operation, why: str) -> Unclear:
        values = [self.found.get(name) for name in operation.inputs if name]
        made = [v for v in values if isinstance(v, (Signal, Unclear))]
        outside = bool(made) and all(v.outside if isinstance(v, Unclear) else not v.parts for v in made)
        return Unclear(why, outside)

    def _input(self, name: str) -> Any:
        value = self.graph.values.get(name)
        shape = value.shape if value is not None and value.shape is not None else (None, None, None)
        whole = value is not None and value.dtype.startswith(("int", "uint"))
        dims = [_dim(Axis(str(k), size)) for k, size in enumerate(shape)]
        if dims and not whole:
            dims[-1] = _dim(Axis("features", shape[-1]))
        return Signal((), tuple(dims))

    def _output(self) -> list[Part]:
        ends = {name: self.found.get(name) for name in self.graph.outputs}
        signals = {n: v for n, v in ends.items() if isinstance(v, Signal) and any(is_recurrent(p) for p in v.parts)}
        if not signals:
            for name, value in ends.items():
                if isinstance(value, Unclear):
                    raise RecognitionError(f"{self.source}: output {name!r}: {value.why}. {EXPECTED}")
            raise RecognitionError(f"{self.source}: no output comes from an LSTM or a GRU. {EXPECTED}")
        unclear = [v for v in ends.values() if isinstance(v, Unclear) and v.why != STATE]
        if unclear:
            raise RecognitionError(f"{self.source}: {unclear[0].why}. {EXPECTED}")
        name = max(signals, key=lambda n: (len(signals[n].parts), not signals[n].last))
        others = [
            other for other in signals if signals[other].parts != signals[name].parts[: len(signals[other].parts)]
        ]
        if others:
            raise RecognitionError(f"{self.source}: several outputs, {name!r} and {others[0]!r}. {EXPECTED}")
        if left := [other for other in ends if other != name]:
            self.note(f"the output is {name!r}; left aside: {', '.join(left)}")
        if signals[name].last:
            self.note("run gives every step's output; the original model gave only the last one, which is ys[:, -1]")
        return list(signals[name].parts)

    def are_states(self, values: Sequence[Any]) -> bool:
        """Whether all of `values` are what layers leave at the end of the sequence."""
        return all(v.last if isinstance(v, Signal) else isinstance(v, Unclear) and v.why == STATE for v in values)

    # What operations of both formats do to a signal.

    def dense(
        self, name: str, signal: Signal, kernel: NDArray[Any], bias: Any, source: str, tensors: Any = ()
    ) -> Signal:
        """kernel (D, V), bias (V,) or None."""
        size = self.width(signal, name)
        if kernel.ndim != 2 or (size is not None and kernel.shape[0] != size):
            raise Refused(f"{name!r}: a product of {size} features with an array of shape {kernel.shape}")
        part = dense(name, kernel, bias, ("linear", "inferred", f"no activation after {source}"), tuple(tensors))
        dims = (*signal.dims[:-1], (Axis("features", kernel.shape[1]),))
        return replace(signal, parts=(*signal.parts, part), dims=dims)

    def activation(self, name: str, signal: Signal, activation: str, source: str) -> Signal:
        before = signal.parts[-1] if signal.parts else None
        if activation == "linear":
            return signal
        if before is None or before.kind != "Dense" or before.settings["activation"][0] != "linear":
            what = f"{before.kind} {before.name!r}" if before else "the input"
            raise Refused(f"{activation} {name!r} after {what}; it can only follow a dense layer without one")
        return replace(signal, parts=(*signal.parts[:-1], with_activation(before, (activation, "read", source))))

    def add_bias(self, name: str, signal: Signal, bias: NDArray[Any]) -> Signal:
        before = signal.parts[-1] if signal.parts else None
        bias = bias.reshape(-1)
        if not bias.any():
            return signal
        if before is None or before.kind != "Dense" or before.settings["activation"][0] != "linear":
            raise Refused(f"{name!r} adds a constant, and no dense layer comes before it")
        columns = before.arguments["kernel"].shape[1]
        if bias.size not in (1, columns):
            raise Refused(f"{name!r} adds {bias.size} numbers to {columns} features")
        own = before.arguments["bias"]
        total = np.broadcast_to(bias, columns) + (0 if own is None else own)
        return replace(
            signal, parts=(*signal.parts[:-1], replace(before, arguments=before.arguments | {"bias": total}))
        )

    def join(self, name: str, first: Signal, second: Signal, mode: str) -> Signal:
        """Two signals added, multiplied or side by side: a residual layer, or a bidirectional one."""
        short, long = sorted((first, second), key=lambda s: len(s.parts))
        added = long.parts[len(short.parts) :]
        prefix = long.parts[: len(short.parts)] == short.parts
        if mode == "sum" and prefix and [part.kind for part in added] in (["LSTM"], ["GRU"]):
            part = replace(added[0], settings=added[0].settings | {"residual": (True, "read", f"{name!r} adds")})
            return replace(long, parts=(*short.parts, part))
        common = 0
        while common < min(len(first.parts), len(second.parts)) and first.parts[common] is second.parts[common]:
            common += 1
        forward, backward = first.parts[common:], second.parts[common:]
        ends = len(backward) > 2 and backward[0].kind == backward[-1].kind == "Reverse"
        if not ends or not forward or "Reverse" in {p.kind for p in (*forward, *backward[1:-1])} or first.last:
            raise Refused(f"{name!r} joins two branches")
        setting = (mode, "read", f"{name!r} joins the two directions")
        part = Part("Bidirectional", name, {}, {"merge_mode": setting}, forward, backward[1:-1])
        sizes = [self.width(signal, name) for signal in (first, second)]
        size = sizes[0] if mode != "concat" else None if None in sizes else sum(sizes)
        return replace(first, parts=(*first.parts[:common], part), dims=(*first.dims[:-1], (Axis("features", size),)))

    def turned(self, name: str, signal: Signal, axis: int) -> Signal:
        """Time turned round; two turns one after the other are none."""
        dim = signal.dims[axis]
        if len(dim) != 1 or dim[0].name in ("features", "directions") or signal.time not in ("", dim[0].name):
            raise Refused(f"{name!r} turns round an axis that is not time")
        if signal.parts and signal.parts[-1].kind == "Reverse":
            return replace(signal, parts=signal.parts[:-1])
        return replace(signal, parts=(*signal.parts, reverse(name)), time=dim[0].name)

    def width(self, signal: Signal, name: str) -> int | None:
        """How many features the last dimension holds.  Raises Refused where it holds anything else."""
        last = signal.dims[-1] if signal.dims else ()
        if [axis.name for axis in last] not in ([], ["features"], ["directions", "features"]):
            raise Refused(f"{name!r} works on an axis that is not that of the features: it needs several steps at once")
        return size_of(last)

    def recurrent(self, name: str, signal: Signal, time: int, batch: int) -> Signal:
        """`signal` with its time axis known, checked for a recurrent layer."""
        if len(signal.dims) != 3:
            raise Refused(f"{name!r}: an input of {len(signal.dims)} dimensions, expected 3")
        if signal.last:
            raise Refused(f"{name!r} comes after a layer that gives its last output only")
        self.width(signal, name)
        names = [axis.name for axis in signal.dims[time]]
        if len(names) > 1 or {*names} & {"features", "directions"} or (names and signal.time not in ("", names[0])):
            raise Refused(f"{name!r} does not run along the time axis of the layer before it")
        if names and names[0] == "0":
            self.note("the file's input is time-major; run takes and gives (B, T, ...) all the same")
        return replace(signal, time=names[0] if names else signal.time)

    # Plumbing.

    def transposed(self, signal: Signal, order: Sequence[int]) -> Signal:
        if sorted(order) != list(range(len(signal.dims))):
            raise Refused(f"a transposition {list(order)} of {len(signal.dims)} dimensions")
        return replace(signal, dims=tuple(signal.dims[k] for k in order))

    def squeezed(self, signal: Signal, axes: Sequence[int] | None) -> Signal:
        count = len(signal.dims)
        gone = {k for k, dim in enumerate(signal.dims) if not dim} if axes is None else {a % count for a in axes}
        if any(size_of(signal.dims[k]) not in (None, 1) for k in gone):
            raise Refused("a dimension of more than 1 is squeezed")
        return replace(signal, dims=tuple(dim for k, dim in enumerate(signal.dims) if k not in gone))

    def unsqueezed(self, signal: Signal, axes: Sequence[int]) -> Signal:
        dims, count = list(signal.dims), len(signal.dims) + len(axes)
        for axis in sorted(a % count for a in axes):
            dims.insert(axis, ())
        return replace(signal, dims=tuple(dims))

    def reshaped(self, signal: Signal, target: Sequence[int | Dim]) -> Signal:
        """The way to put the axes into the new dimensions that keeps most of them, and the features, apart."""
        axes = [axis for dim in signal.dims for axis in dim]
        if len(target) > 6 or len(axes) > 6:
            raise Refused(f"a reshape of {len(axes)} axes to {len(target)}")
        best = min(
            (groups for groups in _partitions(axes, len(target)) if all(map(_fits, groups, target))),
            key=lambda groups: [
                sum(len(g) > 1 and g[-1].name == "features" and g[0].name != "directions" for g in groups),
                sum(len(g) > 1 for g in groups),
            ],
            default=None,
        )
        if best is None:
            raise Refused(f"a reshape of {[size_of(d) for d in signal.dims]} to {[_shown(t) for t in target]}")
        return replace(signal, dims=tuple(best))

    def taken(self, name: str, signal: Signal, axis: int, index: int, keep: bool = False) -> Signal:
        """One index of a dimension: the last step, one of two directions, or all of a dimension of size 1."""
        dim = signal.dims[axis]
        left = (*signal.dims[:axis], *([()] if keep else []), *signal.dims[axis + 1 :])
        if not dim:
            return replace(signal, dims=left)
        if [a.name for a in dim] == ["directions"] and index in (0, 1) and signal.parts[-1].kind == "Bidirectional":
            both = signal.parts[-1]
            parts = (reverse(), *both.backward, reverse()) if index else both.forward
            return replace(signal, dims=left, parts=(*signal.parts[:-1], *parts))
        if len(dim) == 1 and dim[0].name == signal.time and index in (-1, (dim[0].size or 0) - 1):
            return replace(signal, dims=left, last=True)
        raise Refused(f"{name!r} takes element {index} of a dimension; only the last step of time can be taken")


STATE = "it is a layer's final state"


def size_of(dim: Dim) -> int | None:
    return None if any(axis.size is None for axis in dim) else int(np.prod([axis.size for axis in dim], dtype=object))


def _dim(axis: Axis) -> Dim:
    return () if axis.size == 1 and axis.name != "features" else (axis,)


def _partitions(axes: Sequence[Axis], count: int) -> Iterator[list[Dim]]:
    """Every way to cut `axes` into `count` groups one after the other."""
    if count == 0:
        if not axes:
            yield []
        return
    for k in range(len(axes) + 1):
        yield from ([tuple(axes[:k]), *rest] for rest in _partitions(axes[k:], count - 1))


def _fits(group: Dim, target: int | Dim) -> bool:
    if isinstance(target, int):
        size = size_of(group)
        return target == -1 or size == target or (size is None and target > 1)
    return group == target or (None not in (size_of(group), size_of(target)) and size_of(group) == size_of(target))


def _shown(target: int | Dim) -> int | str:
    return target if isinstance(target, int) else "x".join(str(axis.size or axis.name) for axis in target) or 1
