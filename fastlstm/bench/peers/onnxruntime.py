"""ONNX Runtime: its LSTM and GRU operators on a sequence of one step, with inputs and outputs bound in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.bench.peers.common import CannotExpress, Step, check_plain, found, zero_states
from fastlstm.formats import proto
from fastlstm.layers import GRU, LSTM, Dense, Embedding, OneHot
from fastlstm.layers.gates import reordered

if TYPE_CHECKING:
    from fastlstm.model import Model

#: Activations by the operators' names, which are those that an LSTM's attribute has too.
_OPERATORS = {
    "tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "hard_sigmoid": "HardSigmoid", "elu": "Elu",
    "softsign": "Softsign", "softplus": "Softplus",
}  # fmt: skip
_OF_DENSE = _OPERATORS | {"linear": "Identity", "softmax": "Softmax", "selu": "Selu"}
_FLOAT, _INT64 = 1, 7  # TensorProto.DataType
_KINDS = {int: (2, "i"), bytes: (3, "s"), list: (8, "strings")}  # AttributeProto.AttributeType, and the field


def build(model: Model, threads: int) -> Step:
    check_plain(model.layers)
    if model.dtype != np.float32:
        raise CannotExpress(f"its LSTM computes in float32, and the model in {model.dtype}")
    graph = _graph(model)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
    shape = (1, 1) if model.takes_ids else (1, 1, model.input_size)
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    given = value(np.zeros(shape, np.int64 if model.takes_ids else np.float32))
    y = value(np.zeros((1, 1, model.output_size), np.float32))
    states = [[value(a[None]) for a in zero_states(model.layers, model.dtype)] for _ in range(2)]
    bindings = []
    for before, after in (states, states[::-1]):  # each step's states are the next one's
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", given)
        binding.bind_ortvalue_output("y", y)
        for k, (old, new) in enumerate(zip(before, after, strict=True)):
            binding.bind_ortvalue_input(f"s{k}", old)
            binding.bind_ortvalue_output(f"t{k}", new)
        bindings.append(binding)

    def call(x: Any) -> Any:
        given.update_inplace(x)
        session.run_with_iobinding(bindings[0])
        bindings.reverse()
        return y.numpy()

    return Step(call, shape)


class _Graph:
    """An ONNX model, built node by node."""

    def __init__(self) -> None:
        self.message = proto.new("OnnxModel")
        self.message.ir_version = 8
        self.message.opset_import.add().version = 17
        self.graph = self.message.graph
        self.graph.Clear()

    def constant(self, array: NDArray[Any]) -> str:
        """(...) -> the name of an initializer."""
        kind = _INT64 if array.dtype == np.int64 else _FLOAT
        a = np.ascontiguousarray(array, np.int64 if kind == _INT64 else np.float32)
        name = f"w{len(self.graph.initializer)}"
        self.graph.initializer.add(dims=a.shape, data_type=kind, name=name.encode(), raw_data=a.tobytes())
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: int | bytes | list[bytes]) -> None:
        names = [[name.encode() for name in names] for names in (inputs, outputs)]
        node = self.graph.node.add(input=names[0], output=names[1], op_type=kind.encode())
        for name, value in attributes.items():
            number, field = _KINDS[type(value)]
            node.attribute.add(name=name.encode(), type=number, **{field: value})

    def value(self, where: Any, name: str, shape: tuple[int, ...], kind: int = _FLOAT) -> None:
        """An input or an output of the graph."""
        info = where.add(name=name.encode())
        info.type.tensor_type.elem_type = kind
        for size in shape:
            info.type.tensor_type.shape.dim.add(dim_value=size)


def _graph(model: Model) -> bytes:
    """Inputs x and states s0, s1 ..., outputs y and t0, t1 ...: (1, 1, size) each, an id (1, 1)."""
    g, x, count = _Graph(), "x", 0
    shape = (1, 1) if model.takes_ids else (1, 1, model.input_size)
    g.value(g.graph.input, "x", shape, _INT64 if model.takes_ids else _FLOAT)
    for k, layer in enumerate(model.layers):
        y = f"y{k}"
        if isinstance(layer, Embedding):
            g.node("Gather", [g.constant(layer.table), x], [y])
        elif isinstance(layer, OneHot):
            depth, values = np.array([layer.vocabulary_size]), np.array([0, 1], np.float32)
            g.node("OneHot", [x, g.constant(depth), g.constant(values)], [y])
        elif isinstance(layer, Dense):
            g.node("MatMul", [x, g.constant(layer.kernel)], [f"{y}_product"])
            g.node("Add", [f"{y}_product", g.constant(layer.bias)], [f"{y}_sum"])
            g.node(found(_OF_DENSE, layer), [f"{y}_sum"], [y])
        elif isinstance(layer, LSTM | GRU):
            states = range(count, count + (2 if isinstance(layer, LSTM) else 1))
            for n in states:
                for where, name in ((g.graph.input, f"s{n}"), (g.graph.output, f"t{n}")):
                    g.value(where, name, (1, 1, layer.hidden_size))
            count = states.stop
            _recurrent(g, layer, x, states)
            y = f"t{states.stop - 1}"
        x = y
    g.node("Identity", [x], ["y"])
    g.value(g.graph.output, "y", (1, 1, model.output_size))
    return g.message.SerializeToString()


def _recurrent(g: _Graph, layer: LSTM | GRU, x: str, states: range) -> None:
    """An LSTM's gates are i o f c, a GRU's z r h; each row of W is a unit of a gate.  Source: ONNX operators 14."""
    is_lstm = isinstance(layer, LSTM)
    order = (0, 3, 1, 2) if is_lstm else (0, 1, 2)
    own = layer.recurrent_bias if isinstance(layer, GRU) and layer.recurrent_bias is not None else 0 * layer.bias
    bias = np.concatenate([reordered(layer.bias, order), reordered(own, order)])
    weights = [reordered(layer.kernel, order).T, reordered(layer.recurrent_kernel, order).T, bias]
    phi, sigma = (found(_OPERATORS, layer, f"{prefix}activation").encode() for prefix in ("", "recurrent_"))
    before, after = [f"s{n}" for n in states], [f"t{n}" for n in states]  # c h, or h
    inputs = [x, *(g.constant(a[None]) for a in weights), "", *before[::-1]]
    attributes: dict[str, Any] = {"hidden_size": layer.hidden_size}
    if is_lstm:
        attributes["activations"] = [sigma, phi, phi]
    else:
        attributes |= {"activations": [sigma, phi], "linear_before_reset": int(layer.reset_after)}
    g.node("LSTM" if is_lstm else "GRU", inputs, ["", *after[::-1]], **attributes)
