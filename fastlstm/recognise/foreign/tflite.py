"""TensorFlow Lite models -> layers.

Source: tensorflow/lite/kernels/{unidirectional_sequence_lstm,lstm,lstm_eval,fully_connected,basic_rnn}.cc.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import ArgumentError
from fastlstm.recognise.findings import Recognised
from fastlstm.recognise.foreign.flow import Axis, Flow, Refused, Signal, Sizes
from fastlstm.recognise.foreign.parts import Part, build, reverse
from fastlstm.recognise.foreign.tflite_cells import STATE_OUT, basic_cell, full_cell
from fastlstm.recognise.foreign.tflite_loop import loop_cell
from fastlstm.recognise.overrides import Book

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact
    from fastlstm.formats.dataflow import Operation, Value

FUSED = {"NONE": "linear", "RELU": "relu", "RELU6": "relu6", "TANH": "tanh"}


@dataclass(frozen=True, eq=False)
class Negative:
    """Whether the ids `of` are below 0, or the ids moved up by `rows`."""

    of: Signal
    rows: int | None


def recognise_tflite(artefact: Artefact, *, scope: str | None, book: Book) -> Recognised:
    """The chain of layers in a TensorFlow Lite model.  Raises RecognitionError, ArgumentError."""
    if scope is not None:
        raise ArgumentError(f"{artefact.path}: scope is {scope!r}, but a .tflite file holds one model; leave scope out")
    flow = TFLiteFlow(artefact.dataflow, artefact.tensors, str(artefact.path))
    return build(flow.follow(), artefact, book, flow.notes)


class TFLiteFlow(Flow):
    def value(self, name: str) -> Any:
        """As `Flow.value`; a quantised constant as the numbers that it stands for."""
        found = super().value(name)
        if isinstance(found, np.ndarray) and name not in self.found:
            return self._dequantised(name, found)
        if found is None or name not in self.graph.values:
            return found
        if isinstance(found, Signal) and self.graph.values[name].scale:
            raise Refused(f"the value {name!r} is quantised; convert the model with float activations")
        return found

    def _dequantised(self, name: str, stored: NDArray[Any]) -> NDArray[Any]:
        if stored.dtype == np.float16:
            return stored.astype(np.float32)
        graphs = (self.graph, *self.graph.bodies.values())
        value: Value | None = next((graph.values[name] for graph in graphs if name in graph.values), None)
        if value is None or stored.dtype.kind not in "iu" or not value.scale or stored.dtype.itemsize > 4:
            return stored
        self.note(
            "weights are 8-bit integers with a scale: they are run as the numbers that they stand for; TensorFlow Lite "
            "also rounds each layer's input to 8 bits, so its outputs differ from these by about 1 in 100"
        )
        scale, zero = np.array(value.scale, np.float32), np.array(value.zero_point, np.int64)
        if scale.size > 1:
            shape = [1] * stored.ndim
            if not 0 <= value.axis < stored.ndim or stored.shape[value.axis] != scale.size:
                raise Refused(f"the scales of {name!r} do not fit its shape {stored.shape}")
            shape[value.axis] = scale.size
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        return (stored - zero).astype(np.float32) * scale

    # Recurrent layers.

    def do_UNIDIRECTIONAL_SEQUENCE_LSTM(self, operation: Operation) -> Any:
        time = 0 if operation.attrs["time_major"] else 1
        signal = self.recurrent(operation.name, self.signal(operation), time, 1 - time)
        part, size = full_cell(self, operation, 1, 0)
        return self._sequence(signal, part, size)

    def do_BIDIRECTIONAL_SEQUENCE_LSTM(self, operation: Operation) -> Any:
        time = 0 if operation.attrs["time_major"] else 1
        signal = self.recurrent(operation.name, self.signal(operation), time, 1 - time)
        if any(operation.inputs[39:]):
            raise Refused(f"{operation.name!r} takes an auxiliary input")
        (forward, size), (backward, other) = full_cell(self, operation, 1, 35), full_cell(self, operation, 18, 37)
        setting = ("concat", "read", "option merge_outputs")
        both = Part("Bidirectional", operation.name, {}, {"merge_mode": setting}, (forward,), (backward,))
        if operation.attrs["merge_outputs"]:
            return self._sequence(signal, both, size + other)
        turned = replace(signal, parts=(*signal.parts, reverse()))
        back = self._sequence(turned, backward, other)
        return [self._sequence(signal, forward, size), replace(back, parts=(*back.parts, reverse()))]

    def _sequence(self, signal: Signal, part: Part, size: int) -> Signal:
        return replace(signal, parts=(*signal.parts, part), dims=(*signal.dims[:-1], (Axis("features", size),)))

    def do_LSTM(self, operation: Operation) -> list[Any]:
        signal = self.signal(operation)
        self.width(signal, operation.name)
        basic = operation.attrs["kernel_type"] == 1
        part, size = basic_cell(self, operation) if basic else full_cell(self, operation, 1, 18)
        self.note(f"{operation.name!r} takes one step; its state is an input and an output of the graph, or a variable")
        made = self._sequence(signal, part, size)
        outputs: list[Any] = [STATE_OUT] * len(operation.outputs)
        outputs[0 if basic else -1] = made
        return outputs

    def do_WHILE(self, operation: Operation) -> list[Any]:
        return loop_cell(self, operation)

    # Dense layers.

    def do_FULLY_CONNECTED(self, operation: Operation) -> Signal:
        signal, weights = self.signal(operation), self.constant(operation, 1)
        if operation.attrs["weights_format"] or weights.ndim != 2:
            raise Refused(f"FULLY_CONNECTED {operation.name!r} with shuffled weights")
        bias = self.input(operation, 2)
        if bias is not None and not isinstance(bias, np.ndarray):
            raise Refused(f"FULLY_CONNECTED {operation.name!r} with a bias that is computed")
        tensors = [name for name in operation.inputs[1:] if name]
        result = self.dense(operation.name, signal, weights.T, bias, "it", tensors)
        if not operation.attrs["keep_num_dims"] and len(result.dims) > 2:
            rows = tuple(axis for dim in result.dims[:-1] for axis in dim)
            result = replace(result, dims=(rows, result.dims[-1]))
        return self._fused(operation, result)

    def do_BATCH_MATMUL(self, operation: Operation) -> Signal:
        kernel = self.constant(operation, 1)
        if operation.attrs["adj_x"]:
            raise Refused(f"BATCH_MATMUL {operation.name!r} of a transposed layer output")
        kernel = kernel.T if operation.attrs["adj_y"] else kernel
        return self.dense(operation.name, self.signal(operation), kernel, None, "it", operation.inputs[1:2])

    def _fused(self, operation: Operation, signal: Signal) -> Signal:
        fused = operation.attrs["fused"]
        if fused not in FUSED:
            raise Refused(f"{operation.op} {operation.name!r} with the fused activation {fused}")
        return self.activation(operation.name, signal, FUSED[fused], "option fused_activation_function")

    def do_LESS(self, operation: Operation) -> Negative:
        signal, zero = self.signal(operation), self.constant(operation, 1)
        if signal.parts or zero.any():
            raise Refused(f"LESS {operation.name!r} of what is not the input's ids")
        return Negative(signal, None)

    def do_SELECT(self, operation: Operation) -> Signal:
        """Keras 3's embedding counts negative ids from the table's end."""
        negative, moved, signal = (self.input(operation, k) for k in range(3))
        if not (isinstance(negative, Negative) and isinstance(moved, Negative) and negative.of is moved.of is signal):
            raise Refused(f"SELECT {operation.name!r} of anything but ids")
        self.note("negative ids, which Keras 3 counts from the end of the table, are refused")
        return signal

    do_SELECT_V2 = do_SELECT

    def do_ADD(self, operation: Operation) -> Any:
        values = [self.input(operation, k) for k in range(2)]
        if isinstance(values[0], Signal) and not values[0].parts and np.size(values[1]) == 1:
            return Negative(values[0], int(np.ravel(values[1])[0]))
        if all(isinstance(value, Signal) for value in values):
            return self._fused(operation, self.join(operation.name, *values, "sum"))
        if isinstance(values[0], np.ndarray):
            values.reverse()
        if not isinstance(values[0], Signal) or not isinstance(values[1], np.ndarray):
            raise Refused(f"ADD {operation.name!r} of what is no signal")
        return self._fused(operation, self.add_bias(operation.name, *values))

    def do_MUL(self, operation: Operation) -> Any:
        values = [self.input(operation, k) for k in range(2)]
        if all(isinstance(value, Signal) for value in values):
            return self._fused(operation, self.join(operation.name, *values, "mul"))
        raise Refused(f"MUL {operation.name!r} by a constant is not folded into a layer; fold it into the weights")

    def do_CONCATENATION(self, operation: Operation) -> Any:
        if self.are_states([self.found.get(name) for name in operation.inputs]):
            return STATE_OUT
        values = [self.input(operation, k) for k in range(len(operation.inputs))]
        if all(isinstance(value, (Sizes, np.ndarray)) for value in values):
            entries = [v.entries if isinstance(v, Sizes) else tuple(int(n) for n in np.ravel(v)) for v in values]
            return Sizes(tuple(entry for each in entries for entry in each))
        last = isinstance(values[0], Signal) and operation.attrs["axis"] in (-1, len(values[0].dims) - 1)
        if last and len(values) == 2 and isinstance(values[1], Signal):
            return self._fused(operation, self.join(operation.name, *values, "concat"))
        raise Refused(f"CONCATENATION {operation.name!r} joins {len(values)} values")

    def do_GATHER(self, operation: Operation) -> Any:
        data, ids = self.input(operation, 0), self.input(operation, 1)
        if isinstance(data, np.ndarray) and isinstance(ids, Signal):
            return self._embedded(operation, data, ids)
        if not isinstance(ids, np.ndarray) or ids.size != 1:
            raise Refused(f"GATHER {operation.name!r} by what is no constant")
        signal, axis = self.signal(operation), operation.attrs["axis"]
        return self.taken(operation.name, signal, axis % len(signal.dims), int(np.ravel(ids)[0]), keep=ids.ndim > 0)

    def do_EMBEDDING_LOOKUP(self, operation: Operation) -> Signal:
        return self._embedded(operation, self.constant(operation, 1), self.signal(operation))

    def _embedded(self, operation: Operation, table: NDArray[Any], ids: Signal) -> Signal:
        if table.ndim != 2 or ids.parts or operation.attrs.get("axis", 0) or operation.attrs.get("batch_dims", 0):
            raise Refused(f"{operation.op} {operation.name!r} looks up something that is no id of the input")
        tensors = tuple(name for name in operation.inputs if name in self.tensors.specs)
        part = Part("Embedding", operation.name, {"table": table}, tensors=tensors)
        return replace(ids, parts=(part,), dims=(*ids.dims, (Axis("features", table.shape[1]),)))

    # Activations.

    def _activate(self, operation: Operation, activation: str) -> Any:
        source = f"{operation.op} {operation.name!r}"
        return self.activation(operation.name, self.signal(operation), activation, source)

    def do_TANH(self, operation: Operation) -> Any:
        return self._activate(operation, "tanh")

    def do_LOGISTIC(self, operation: Operation) -> Any:
        return self._activate(operation, "sigmoid")

    def do_RELU(self, operation: Operation) -> Any:
        return self._activate(operation, "relu")

    def do_RELU6(self, operation: Operation) -> Any:
        return self._activate(operation, "relu6")

    def do_ELU(self, operation: Operation) -> Any:
        return self._activate(operation, "elu")

    def do_EXP(self, operation: Operation) -> Any:
        return self._activate(operation, "exponential")

    def do_LEAKY_RELU(self, operation: Operation) -> Any:
        if abs(operation.attrs["alpha"] - 0.2) > 1e-7:
            raise Refused(f"LEAKY_RELU {operation.name!r} with alpha other than 0.2")
        return self._activate(operation, "leaky_relu")

    def do_SOFTMAX(self, operation: Operation) -> Any:
        if operation.attrs["beta"] != 1:
            raise Refused(f"SOFTMAX {operation.name!r} with beta {operation.attrs['beta']}")
        return self._activate(operation, "softmax")

    # Plumbing.

    def do_DEQUANTIZE(self, operation: Operation) -> Any:
        return self.constant(operation, 0)  # the numbers that a constant stands for, `value` gave already

    def do_CAST(self, operation: Operation) -> Any:
        value = self.input(operation, 0)
        to = self.graph.values.get(operation.outputs[0])
        if isinstance(value, Signal) and value.parts and (to is None or not to.dtype.startswith("float")):
            raise Refused(f"CAST {operation.name!r} of a layer's output to another type")
        return value

    def do_TRANSPOSE(self, operation: Operation) -> Any:
        value, order = self.input(operation, 0), [int(k) for k in self.constant(operation, 1)]
        return (
            np.transpose(value, order)
            if isinstance(value, np.ndarray)
            else self.transposed(self.signal(operation), order)
        )

    def do_RESHAPE(self, operation: Operation) -> Any:
        value = self.input(operation, 0)
        if isinstance(value, Sizes):
            return value
        shape = self.input(operation, 1)
        declared = self.graph.values[operation.outputs[0]].shape if operation.outputs[0] in self.graph.values else None
        if isinstance(shape, Sizes):
            target = list(shape.entries)
        elif shape is not None or "new_shape" in operation.attrs:
            target = [int(n) for n in np.ravel(operation.attrs["new_shape"] if shape is None else shape)]
        else:
            target = [-1 if n is None else n for n in declared or ()]
        if isinstance(value, np.ndarray):
            return value.reshape([n for n in target if isinstance(n, int)])
        return self.reshaped(self.signal(operation), target)

    def do_SQUEEZE(self, operation: Operation) -> Any:
        return self.squeezed(self.signal(operation), operation.attrs.get("dims") or None)

    def do_EXPAND_DIMS(self, operation: Operation) -> Any:
        return self.unsqueezed(self.signal(operation), [int(np.ravel(self.constant(operation, 1))[0])])

    def do_REVERSE_V2(self, operation: Operation) -> Any:
        signal, axes = self.signal(operation), np.ravel(self.constant(operation, 1))
        if axes.size != 1:
            raise Refused(f"REVERSE_V2 {operation.name!r} of several axes")
        return self.turned(operation.name, signal, int(axes[0]) % len(signal.dims))

    def do_SHAPE(self, operation: Operation) -> Sizes:
        return Sizes(tuple(dim or 1 for dim in self.signal(operation).dims))

    def do_PACK(self, operation: Operation) -> Sizes:
        values = [self.input(operation, k) for k in range(len(operation.inputs))]
        if not all(isinstance(value, (Sizes, np.ndarray)) for value in values):
            raise Refused(f"PACK {operation.name!r} of layers' outputs; a network unrolled over time is not read")
        return Sizes(tuple(v.entries[0] if isinstance(v, Sizes) else int(np.ravel(v)[0]) for v in values))

    def do_STRIDED_SLICE(self, operation: Operation) -> Any:
        value = self.input(operation, 0)
        starts, ends, steps = ([int(n) for n in np.ravel(self.constant(operation, k))] for k in (1, 2, 3))
        masks = operation.attrs
        if masks["ellipsis"] or masks["new_axis"]:
            raise Refused(f"STRIDED_SLICE {operation.name!r} with an ellipsis or a new axis")
        if isinstance(value, Sizes):
            start = 0 if masks["begin"] & 1 else starts[0]
            span = value.entries[start : None if masks["end"] & 1 else ends[0] : steps[0]]
            return Sizes(value.entries[start : start + 1] if masks["shrink"] & 1 else span, bool(masks["shrink"] & 1))
        signal = self.signal(operation)
        for axis in reversed(range(len(starts))):
            dim = signal.dims[axis]
            size = dim[0].size if len(dim) == 1 else None if dim else 1
            bit = 1 << axis
            if masks["shrink"] & bit:
                signal = self.taken(operation.name, signal, axis, starts[axis])
                continue
            begins = bool(masks["begin"] & bit) or starts[axis] == 0
            closes = bool(masks["end"] & bit) or (size is not None and ends[axis] >= size)
            if steps[axis] == 1 and begins and closes:
                continue
            if steps[axis] == -1 and masks["begin"] & bit and masks["end"] & bit:
                signal = self.turned(operation.name, signal, axis)
            elif steps[axis] == 1 and closes and starts[axis] in (-1, (size or 0) - 1):
                signal = self.taken(operation.name, signal, axis, -1, keep=True)
            else:
                raise Refused(f"STRIDED_SLICE {operation.name!r} takes part of a layer's output")
        return signal
