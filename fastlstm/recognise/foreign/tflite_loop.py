"""A WHILE of TensorFlow Lite whose body is an LSTM's step -> a part.

The converter writes such loops for every LSTM of Keras 3, and for those of Keras 2 with other activations or batch
sizes. The body's operations become expressions, which are then compared with the equations of a cell.
Source: tensorflow/lite/kernels/while.cc; keras.layers.LSTMCell.call.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.recognise.foreign.flow import STATE, Axis, Refused, Signal, Unclear
from fastlstm.recognise.foreign.parts import Setting, lstm

if TYPE_CHECKING:
    from fastlstm.formats.dataflow import Dataflow, Operation
    from fastlstm.recognise.foreign.flow import Flow

ACTIVATIONS = {
    "LOGISTIC": "sigmoid",
    "TANH": "tanh",
    "RELU": "relu",
    "RELU6": "relu6",
    "ELU": "elu",
    "EXP": "exponential",
}
ADVICE = "convert the model with fixed batch size and standard activations, for a fused LSTM operator"


@dataclass(frozen=True)
class Argument:
    number: int


@dataclass(frozen=True)
class Element:
    """argument[counter], along the first axis"""

    argument: int
    counter: int


@dataclass(frozen=True, eq=False)
class Sum:
    """x W + h R + bias: `products` are (expression, weights (V, D)); all these are compared by identity"""

    products: tuple[Any, ...]
    bias: Any


@dataclass(frozen=True, eq=False)
class Gate:
    """Part `number` of `count` of a sum"""

    of: Sum
    number: int
    count: int
    extra: float = 0.0


@dataclass(frozen=True, eq=False)
class Active:
    function: str
    of: Any


@dataclass(frozen=True, eq=False)
class Product:
    parts: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Total:
    parts: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Written:
    """The loop's array with one more element"""

    argument: int
    element: Any


@dataclass(frozen=True)
class Next:
    """counter + 1"""

    counter: int


@dataclass(frozen=True)
class _Piece:
    """What the loop's array held before"""

    argument: int


def loop_cell(flow: Flow, operation: Operation) -> list[Any]:
    """The loop's outputs: the sequence of the cell's outputs, and states.  Raises Refused."""
    body, condition = (flow.graph.bodies.get(operation.attrs[key]) for key in ("body", "condition"))
    if body is None or condition is None or len(body.inputs) != len(operation.inputs):
        raise Refused(f"WHILE {operation.name!r} without a body")
    try:
        return _cell(flow, operation, body, condition)
    except (_Unknown, IndexError, AttributeError, TypeError, ValueError, KeyError) as error:
        raise Refused(
            f"WHILE {operation.name!r}: its body is not the step of an LSTM that fastlstm knows ({error}); {ADVICE}"
        ) from error


class _Unknown(Exception):
    pass


def _cell(flow: Flow, operation: Operation, body: Dataflow, condition: Dataflow) -> list[Any]:
    expressions = _Body(flow, body).outputs()
    written = [k for k, e in enumerate(expressions) if isinstance(e, Written) and e.argument == k]
    made_h = [expressions[k].element for k in written] or [e for e in expressions if isinstance(e, Product)]
    if not made_h or any(e is not made_h[0] for e in made_h):
        raise _Unknown(f"{len(written)} arrays are written")
    new_h = made_h[0]
    h = [k for k, e in enumerate(expressions) if e is new_h]
    output, active_c = _two(new_h, Product, lambda e: isinstance(e.of, Gate))
    new_c = active_c.of
    c = [k for k, e in enumerate(expressions) if e is new_c]
    if len(c) != 1:
        raise _Unknown("the cell state is no state of the loop")
    kept, added = _two(new_c, Total, lambda e: Argument(c[0]) in e.parts)
    forget, _ = _two(kept, Product, lambda e: isinstance(e, Active))
    first, second = added.parts
    gates = [forget, output, first, second]
    if not all(isinstance(g, Active) and isinstance(g.of, Gate) and g.of.of is output.of.of for g in gates):
        raise _Unknown("the gates are not parts of one sum")
    candidate, entry = (first, second) if first.function == active_c.function != output.function else (second, first)
    if first.function == second.function:  # one function for all: Keras' order i, f, c, o tells the two apart
        entry, candidate = sorted((first, second), key=lambda g: g.of.number)
    if candidate.function != active_c.function or not entry.function == forget.function == output.function:
        raise _Unknown("the gates' functions differ")
    arguments, element, own = _weights(output.of.of, h)
    numbers = {"i": entry.of.number, "f": forget.of.number, "g": candidate.of.number, "o": output.of.number}
    if sorted(numbers.values()) != [0, 1, 2, 3] or any(g.of.extra for g in (output, entry, candidate)):
        raise _Unknown("the gates are not four parts")
    arguments["gate_order"] = "".join(sorted(numbers, key=numbers.__getitem__))
    signal = _checked_input(flow, operation, expressions, element, condition)
    source = f"body of WHILE {operation.name!r}"
    settings: dict[str, Setting] = {
        "activation": (candidate.function, "read", source),
        "recurrent_activation": (output.function, "read", source),
        "forget_bias": (forget.of.extra, "read", source),
    }
    initial = [_start(flow, operation, k) for k in (c[0], own)]
    units = arguments["recurrent_kernel"].shape[0]
    state = (initial[0], initial[1]) if any(rows.any() for rows in initial) else None
    part = lstm(operation.name, arguments, settings, initial=state)
    made = replace(signal, parts=(*signal.parts, part), dims=(*signal.dims[:2], (Axis("features", units),)))
    results: list[Any] = [Unclear(STATE)] * len(operation.outputs)
    for k in written:
        results[k] = made
    for k in h:  # the last output, with or without a time axis of 1
        rank = len(flow.graph.values[operation.outputs[k]].shape or ())
        results[k] = replace(made, dims=(*[()] * (rank - 2), *made.dims[1:]), last=True)
    return results


def _two(expression: Any, kind: type, first: Any) -> tuple[Any, Any]:
    """The two parts of a Product or Total, the one for which `first` holds before the other."""
    if not isinstance(expression, kind) or len(expression.parts) != 2:
        raise _Unknown(f"a {type(expression).__name__} where a {kind.__name__} of two was expected")
    one, other = expression.parts
    return (one, other) if first(one) else (other, one)


def _weights(total: Sum, h: list[int]) -> tuple[dict[str, Any], Element, int]:
    """The arrays of an LSTM, the element of the sequence that it reads, and which of the states `h` it reads."""
    element, kernel, recurrent, own = None, None, None, 0
    for expression, weights in total.products:
        if isinstance(expression, Element) and kernel is None:
            element, kernel = expression, weights
        elif isinstance(expression, Argument) and expression.number in h and recurrent is None:
            recurrent, own = weights, expression.number
    if kernel is None or recurrent is None or len(total.products) != 2:
        raise _Unknown("the sum is not of the input and the state")
    return {"kernel": kernel.T, "recurrent_kernel": recurrent.T, "bias": total.bias}, element, own


def _checked_input(
    flow: Flow, operation: Operation, expressions: list[Any], element: Element, condition: Dataflow
) -> Signal:
    """The sequence, once it is seen that the loop reads all of it from its start, element by element."""
    if expressions[element.argument] != Argument(element.argument) or expressions[element.counter] != Next(
        element.counter
    ):
        raise _Unknown("the sequence is not read in order")
    counter = flow.input(operation, element.counter)
    signal = flow.signal(operation, element.argument)
    if not isinstance(counter, np.ndarray) or counter.size != 1 or counter.any():
        raise _Unknown("the loop does not start at 0")
    signal = flow.recurrent(operation.name, signal, 0, 1)
    steps = signal.dims[0][0].size if signal.dims[0] else 1
    for test in condition.operations:
        if test.op == "LESS" and test.inputs[0] == condition.inputs[element.counter]:
            limit = flow.value(test.inputs[1]) if test.inputs[1] in flow.tensors.specs else None
            if limit is None or steps is None or int(np.ravel(limit)[0]) == steps:
                return signal
    raise _Unknown("the loop does not end where the sequence does")


def _start(flow: Flow, operation: Operation, k: int) -> NDArray[Any]:
    value = flow.input(operation, k)
    if not isinstance(value, np.ndarray) or not value.size:
        raise _Unknown("it starts from a state that is computed")
    rows = value.reshape(-1, value.shape[-1])
    if (rows != rows[:1]).any():
        raise _Unknown("it starts from another state in each row")
    return rows[0]


class _Body:
    """The body's operations as expressions."""

    def __init__(self, flow: Flow, body: Dataflow) -> None:
        self.flow, self.body = flow, body
        self.found: dict[str, Any] = {name: Argument(k) for k, name in enumerate(body.inputs)}

    def outputs(self) -> list[Any]:
        for operation in self.body.operations:
            values = [self._value(name) for name in operation.inputs]
            results = self._made(operation, values)
            for k, name in enumerate(operation.outputs):
                self.found[name] = results[k] if isinstance(results, list) else results
        return [self.found.get(name) for name in self.body.outputs]

    def _value(self, name: str) -> Any:
        if not name or name in self.found:
            return self.found.get(name)
        return self.flow.value(name)

    def _made(self, operation: Operation, values: list[Any]) -> Any:
        op, fused = operation.op, operation.attrs.get("fused", "NONE")
        result: Any = None
        if op in ACTIVATIONS:
            result = Active(ACTIVATIONS[op], values[0])
        elif op == "FULLY_CONNECTED" and isinstance(values[1], np.ndarray):
            result = Sum(((values[0], values[1]),), values[2] if len(values) > 2 else None)
        elif op == "GATHER" and all(isinstance(v, Argument) for v in values) and not operation.attrs["axis"]:
            result = Element(values[0].number, values[1].number)
        elif op == "ADD":
            result = self._sum(*values)
        elif op == "MUL":
            result = Product(tuple(values))
        elif op == "SPLIT" and isinstance(values[1], Sum):
            count = len(operation.outputs)
            return [Gate(values[1], k, count) for k in range(count)]
        elif op == "RESHAPE":
            result = values[0]
        elif op == "SLICE" and isinstance(values[0], Argument):
            result = _Piece(values[0].number)
        elif op == "CONCATENATION":
            pieces = [v for v in values if isinstance(v, _Piece)]
            if len(values) == 3 and len(pieces) == 2 and pieces[0] == pieces[1] and not isinstance(values[1], _Piece):
                result = Written(pieces[0].argument, values[1])
        if fused != "NONE":
            raise _Unknown(f"{op} with the fused activation {fused}")
        return result

    @staticmethod
    def _sum(first: Any, second: Any) -> Any:
        if isinstance(first, np.ndarray):
            first, second = second, first
        if isinstance(second, np.ndarray):
            if (
                isinstance(first, Argument)
                and second.size == 1
                and second.dtype.kind in "iu"
                and int(second.ravel()[0]) == 1
            ):
                return Next(first.number)
            if isinstance(first, Sum):
                return Sum(first.products, second if first.bias is None else first.bias + second)
            if isinstance(first, Gate) and second.size == 1:
                return replace(first, extra=first.extra + float(second.ravel()[0]))
            return None
        if isinstance(first, Sum) and isinstance(second, Sum):
            biases = [b for b in (first.bias, second.bias) if b is not None]
            return Sum((*first.products, *second.products), sum(biases) if biases else None)
        return Total((first, second))
