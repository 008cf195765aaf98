"""ONNX graphs -> layers.  Source: onnx/docs/Operators.md."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlstm.errors import ArgumentError
from fastlstm.recognise.findings import Recognised
from fastlstm.recognise.foreign.flow import Axis, Dim, Filled, Flow, Refused, Signal, Sizes
from fastlstm.recognise.foreign.onnx_cells import STATE_OUT, cell_parts, final_states, hard_sigmoid
from fastlstm.recognise.foreign.parts import Part, build
from fastlstm.recognise.overrides import Book

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact
    from fastlstm.formats.dataflow import Operation

END = 1 << 31  # a slice's end from here on means the axis' end


def recognise_onnx(artefact: Artefact, *, scope: str | None, book: Book) -> Recognised:
    """The chain of layers in an ONNX model.  Raises RecognitionError, ArgumentError."""
    if scope is not None:
        raise ArgumentError(f"{artefact.path}: scope is {scope!r}, but an ONNX file holds one model; leave scope out")
    flow = OnnxFlow(artefact.dataflow, artefact.tensors, str(artefact.path))
    parts = flow.follow()
    return build(parts, artefact, book, flow.notes)


class OnnxFlow(Flow):
    # Recurrent layers.

    def do_LSTM(self, operation: Operation) -> list[Any]:
        return self._cell(operation)

    def do_GRU(self, operation: Operation) -> list[Any]:
        return self._cell(operation)

    def _cell(self, operation: Operation) -> list[Any]:
        batch_first = bool(operation.attrs.get("layout", 0))
        signal = self.recurrent(operation.name, self.signal(operation), int(batch_first), 1 - batch_first)
        if len(operation.inputs) > 4 and operation.inputs[4]:
            self.note(f"{operation.name!r} takes sequence_lens; pass lengths to run() where rows end early")
        parts, directions, units = cell_parts(self, operation)
        made = replace(signal, parts=(*signal.parts, *parts))
        features, each = Axis("features", units), (Axis("directions", 2),) if directions == 2 else ()
        time, batch = signal.dims[int(batch_first)], signal.dims[1 - batch_first]
        dims: tuple[Dim, ...] = (batch, time, each, (features,)) if batch_first else (time, each, batch, (features,))
        return [replace(made, dims=dims), *final_states(made, parts, batch, features, batch_first)]

    # Dense layers.

    def do_MatMul(self, operation: Operation) -> Signal:
        name = operation.inputs[1]
        return self.dense(operation.name, self.signal(operation), self.constant(operation, 1), None, "it", [name])

    def do_Gemm(self, operation: Operation) -> Signal:
        attrs = operation.attrs
        if attrs.get("transA", 0) or attrs.get("alpha", 1.0) != 1.0:
            raise Refused(f"Gemm {operation.name!r} with transA or alpha")
        kernel = self.constant(operation, 1)
        bias = None
        if len(operation.inputs) > 2 and operation.inputs[2]:
            bias = self.constant(operation, 2) * np.float32(attrs.get("beta", 1.0))
        kernel = kernel.T if attrs.get("transB", 0) else kernel
        result = self.dense(operation.name, self.signal(operation), kernel, None, "it", operation.inputs[1:3])
        return result if bias is None else self.add_bias(operation.name, result, bias)

    def do_Add(self, operation: Operation) -> Any:
        first, second = self.input(operation, 0), self.input(operation, 1)
        if isinstance(first, Signal) and isinstance(second, Signal):
            return self.join(operation.name, first, second, "sum")
        if isinstance(first, np.ndarray):
            first, second = second, first
        if isinstance(first, Signal) and isinstance(second, np.ndarray):
            return self.add_bias(operation.name, first, second)
        raise Refused(f"Add {operation.name!r} of what is no signal")

    def do_Mul(self, operation: Operation) -> Any:
        first, second = self.input(operation, 0), self.input(operation, 1)
        if isinstance(first, Signal) and isinstance(second, Signal):
            return self.join(operation.name, first, second, "mul")
        if isinstance(first, Sizes) or isinstance(second, Sizes):
            return self._product(first, second)
        raise Refused(f"Mul {operation.name!r} by a constant is not folded into a layer; fold it into the weights")

    @staticmethod
    def _product(first: Any, second: Any) -> Sizes:
        """The size of two dimensions together."""
        dims = []
        for value in (first, second):
            if not isinstance(value, Sizes) or len(value.entries) != 1:
                return Sizes((-1,), scalar=True)
            entry = value.entries[0]
            dims.append(() if entry == 1 else entry)
        if all(isinstance(dim, tuple) for dim in dims):
            return Sizes((dims[0] + dims[1],), scalar=first.scalar)
        return Sizes((-1,), scalar=first.scalar)

    def do_ReduceProd(self, operation: Operation) -> Sizes:
        value = self.input(operation, 0)
        if not isinstance(value, Sizes):
            raise Refused(f"ReduceProd {operation.name!r} of what is no shape")
        if all(isinstance(entry, tuple) for entry in value.entries):
            return Sizes((sum(value.entries, ()),), scalar=True)
        return Sizes((-1,), scalar=True)

    def do_OneHot(self, operation: Operation) -> Signal:
        signal, depth, values = self.signal(operation), self.constant(operation, 1), self.constant(operation, 2)
        if signal.parts or values.tolist() != [0, 1] or operation.attrs.get("axis", -1) not in (-1, len(signal.dims)):
            raise Refused(f"OneHot {operation.name!r} of anything but the input's ids, or not to 0 and 1")
        size = int(depth.reshape(-1)[0])
        part = Part("OneHot", operation.name, {"vocabulary_size": size})
        return replace(signal, parts=(part,), dims=(*signal.dims, (Axis("features", size),)))

    # Activations.

    def _activate(self, operation: Operation, activation: str) -> Signal:
        source = f"{operation.op} {operation.name!r}"
        return self.activation(operation.name, self.signal(operation), activation, source)

    def do_Tanh(self, operation: Operation) -> Signal:
        return self._activate(operation, "tanh")

    def do_Sigmoid(self, operation: Operation) -> Signal:
        return self._activate(operation, "sigmoid")

    def do_Relu(self, operation: Operation) -> Signal:
        return self._activate(operation, "relu")

    def do_Softplus(self, operation: Operation) -> Signal:
        return self._activate(operation, "softplus")

    def do_Softsign(self, operation: Operation) -> Signal:
        return self._activate(operation, "softsign")

    def do_Exp(self, operation: Operation) -> Signal:
        return self._activate(operation, "exponential")

    def do_Elu(self, operation: Operation) -> Signal:
        return self._only(operation, "elu", alpha=1.0)

    def do_Selu(self, operation: Operation) -> Signal:
        return self._activate(operation, "selu")

    def do_LeakyRelu(self, operation: Operation) -> Signal:
        if abs(operation.attrs.get("alpha", 0.01) - 0.2) > 1e-7:
            raise Refused(f"LeakyRelu {operation.name!r} with alpha other than 0.2")
        return self._activate(operation, "leaky_relu")

    def do_HardSigmoid(self, operation: Operation) -> Signal:
        alpha, beta = operation.attrs.get("alpha", 0.2), operation.attrs.get("beta", 0.5)
        return self._activate(operation, hard_sigmoid(alpha, beta, operation.name))

    def _only(self, operation: Operation, activation: str, **expected: float) -> Signal:
        for key, value in expected.items():
            if abs(operation.attrs.get(key, value) - value) > 1e-7:
                raise Refused(f"{operation.op} {operation.name!r} with {key} other than {value}")
        return self._activate(operation, activation)

    def do_Softmax(self, operation: Operation) -> Signal:
        signal = self.signal(operation)
        if operation.attrs.get("axis", -1) not in (-1, len(signal.dims) - 1):
            raise Refused(f"Softmax {operation.name!r} over an axis that is not the last")
        return self._activate(operation, "softmax")

    # Plumbing.

    def do_Identity(self, operation: Operation) -> Any:
        return self.input(operation, 0)

    do_Dropout = do_Identity

    def do_Cast(self, operation: Operation) -> Any:
        value = self.input(operation, 0)
        if isinstance(value, Signal) and value.parts and operation.attrs.get("to") not in (1, 11):
            raise Refused(f"Cast {operation.name!r} of a layer's output to another type")
        return value

    def do_Transpose(self, operation: Operation) -> Any:
        value = self.input(operation, 0)
        if isinstance(value, np.ndarray):
            return np.transpose(value, operation.attrs.get("perm"))
        signal = self.signal(operation)
        return self.transposed(signal, operation.attrs.get("perm", range(len(signal.dims))[::-1]))

    def _axes(self, operation: Operation) -> list[int] | None:
        if "axes" in operation.attrs:
            return list(operation.attrs["axes"])
        axes = self.input(operation, 1)
        return None if axes is None else [int(a) for a in np.ravel(axes)]

    def do_Squeeze(self, operation: Operation) -> Any:
        value = self.input(operation, 0)
        if isinstance(value, np.ndarray):
            axes = self._axes(operation)
            return np.squeeze(value, None if axes is None else tuple(axes))
        return (
            value
            if isinstance(value, (Sizes, Filled))
            else self.squeezed(self.signal(operation), self._axes(operation))
        )

    def do_Unsqueeze(self, operation: Operation) -> Any:
        value, axes = self.input(operation, 0), self._axes(operation) or []
        if isinstance(value, np.ndarray):
            return np.expand_dims(value, tuple(axes))
        return value if isinstance(value, (Sizes, Filled)) else self.unsqueezed(self.signal(operation), axes)

    def do_Reshape(self, operation: Operation) -> Any:
        value, shape = self.input(operation, 0), self.input(operation, 1)
        if isinstance(value, np.ndarray) and isinstance(shape, np.ndarray):
            return value.reshape([int(n) for n in np.ravel(shape)])
        if isinstance(value, (Sizes, Filled)):
            return value
        signal = self.signal(operation)
        entries: list[int | Dim] = (
            list(shape.entries) if isinstance(shape, Sizes) else [int(n) for n in np.ravel(shape)]
        )
        for k, entry in enumerate(entries):
            if isinstance(entry, int) and entry == 0 and not operation.attrs.get("allowzero") and k < len(signal.dims):
                entries[k] = signal.dims[k]
        return self.reshaped(signal, entries)

    def do_Flatten(self, operation: Operation) -> Signal:
        signal, axis = self.signal(operation), operation.attrs.get("axis", 1)
        groups = [sum(dims, ()) for dims in (signal.dims[:axis], signal.dims[axis:])]
        return replace(signal, dims=tuple(groups))

    def do_Shape(self, operation: Operation) -> Sizes:
        return Sizes(tuple(dim or 1 for dim in self.signal(operation).dims))

    def do_ConstantOfShape(self, operation: Operation) -> Filled:
        value = operation.attrs.get("value")
        return Filled(0.0 if value is None else float(np.ravel(value)[0]))

    def do_Expand(self, operation: Operation) -> Any:
        value = self.input(operation, 0)
        if isinstance(value, np.ndarray):
            return Filled(float(value.ravel()[0])) if value.size == 1 else value
        if isinstance(value, Filled):
            return value
        raise Refused(f"Expand {operation.name!r} of what is no constant")

    def do_Concat(self, operation: Operation) -> Any:
        if self.are_states([self.found.get(name) for name in operation.inputs]):
            return STATE_OUT
        values = [self.input(operation, k) for k in range(len(operation.inputs))]
        if values and all(isinstance(value, Filled) and value == values[0] for value in values):
            return values[0]
        if all(isinstance(value, np.ndarray) for value in values):
            return np.concatenate(values, operation.attrs.get("axis", 0))
        if all(isinstance(value, (Sizes, np.ndarray)) for value in values):
            entries = [v.entries if isinstance(v, Sizes) else tuple(int(n) for n in np.ravel(v)) for v in values]
            return Sizes(tuple(entry for each in entries for entry in each))
        both = len(values) == 2 and all(isinstance(value, Signal) for value in values)
        if both and operation.attrs.get("axis", 0) in (-1, len(values[0].dims) - 1):
            return self.join(operation.name, *values, "concat")
        raise Refused(f"Concat {operation.name!r} joins {len(values)} values, of which not all are a layer's outputs")

    def do_Gather(self, operation: Operation) -> Any:
        data, ids, axis = self.input(operation, 0), self.input(operation, 1), operation.attrs.get("axis", 0)
        if isinstance(data, np.ndarray) and isinstance(ids, Signal):
            if axis or data.ndim != 2 or ids.parts:
                raise Refused(f"Gather {operation.name!r} looks up something that is no id of the input")
            part = Part("Embedding", operation.name, {"table": data}, tensors=(operation.inputs[0],))
            return replace(ids, parts=(part,), dims=(*ids.dims, (Axis("features", data.shape[1]),)))
        if not isinstance(ids, np.ndarray):
            raise Refused(f"Gather {operation.name!r} by what is no constant")
        if isinstance(data, Sizes):
            picked = [data.entries[int(k)] for k in np.ravel(ids) if -len(data.entries) <= k < len(data.entries)]
            return Sizes(tuple(picked), scalar=ids.ndim == 0)
        if isinstance(data, Filled):
            return data
        if isinstance(data, np.ndarray):
            return np.take(data, ids, axis, mode="clip")
        if ids.size != 1:
            raise Refused(f"Gather {operation.name!r} takes {ids.size} elements of a layer's output")
        return self.taken(operation.name, self.signal(operation), axis, int(np.ravel(ids)[0]), keep=ids.ndim > 0)

    def do_Slice(self, operation: Operation) -> Any:
        value = self.input(operation, 0)
        if "starts" in operation.attrs:  # operator sets before 10
            bounds = [operation.attrs.get(key) for key in ("starts", "ends", "axes")] + [None]
        else:
            bounds = [None if (v := self.input(operation, k)) is None else np.ravel(v).tolist() for k in (1, 2, 3, 4)]
        starts, ends, axes, steps = bounds
        axes = list(range(len(starts))) if axes is None else axes
        steps = [1] * len(starts) if steps is None else steps
        if isinstance(value, Filled):
            return value
        if isinstance(value, Sizes):
            return Sizes(value.entries[int(starts[0]) : int(ends[0]) : int(steps[0])])
        if isinstance(value, np.ndarray):
            spans = [slice(None)] * value.ndim
            for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
                spans[axis] = slice(start, end if end > -END else None, step)
            return value[tuple(spans)]
        signal = self.signal(operation)
        if len(starts) != 1:
            raise Refused(f"Slice {operation.name!r} cuts several axes")
        return self._cut(operation, signal, axes[0], int(starts[0]), int(ends[0]), int(steps[0]))

    def _cut(self, operation: Operation, signal: Signal, axis: int, start: int, end: int, step: int) -> Signal:
        dim = signal.dims[axis]
        size = dim[0].size if len(dim) == 1 else None if dim else 1
        if step == -1 and start in (-1, (size or 0) - 1) and end < -(1 << 30):
            return self.turned(operation.name, signal, axis % len(signal.dims))
        if step == 1 and start == 0 and (end >= END - 1 or end == size):
            return signal
        if step == 1 and [a.name for a in dim] == ["directions"] and end - start == 1:
            return self.taken(operation.name, signal, axis % len(signal.dims), start, keep=True)
        if step == 1 and (start == -1 or start + 1 == size) and (end >= END - 1 or end == size):
            return self.taken(operation.name, signal, axis % len(signal.dims), -1, keep=True)
        raise Refused(f"Slice {operation.name!r} takes part of a layer's output")

    def do_ReverseSequence(self, operation: Operation) -> Signal:
        self.note(f"{operation.name!r} turns each row round within its length; pass lengths to run() for that")
        return self.turned(operation.name, self.signal(operation), operation.attrs.get("time_axis", 0))
