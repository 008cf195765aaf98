"""ONNX Runtime on the CPU: graphs of its LSTM operator. Its gates are in the order i o f c, its arrays time-major."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np


class _Graph:
    """An ONNX graph in the making: its nodes, and its weights by name."""

    def __init__(self, problem):
        from onnx import helper

        self.problem, self.helper, self.nodes, self.weights = problem, helper, [], {}

    def node(self, kind, inputs, outputs, **attributes):
        self.nodes.append(self.helper.make_node(kind, inputs, outputs, **attributes))

    def cells(self, x, y, *, head):
        """Nodes from x (T, B, D) to y (T, B, H or D); the states' names (h and c a layer) before and after."""
        p, before, after = self.problem, [], []
        self.weights["direction"] = np.array([1])  # the axis that the operator's outputs have and its inputs have not
        for k, (kernel, recurrent, bias) in enumerate(p.parts((0, 3, 2, 1))):
            weights = {f"W{k}": kernel.T[None], f"R{k}": recurrent.T[None], f"B{k}": np.append(bias, 0 * bias)[None]}
            before, after = [*before, f"h{k}", f"c{k}"], [*after, f"h{k}_after", f"c{k}_after"]
            self.node("LSTM", [x, *weights, "", *before[-2:]], [f"Y{k}", *after[-2:]], hidden_size=p.hidden)
            x = y if k + 1 == p.layers and not head else f"y{k}"
            self.node("Squeeze", [f"Y{k}", "direction"], [x])
            self.weights |= weights
        if head:
            self.weights |= {"head_kernel": p.head_kernel, "head_bias": p.head_bias}
            self.node("MatMul", [x, "head_kernel"], ["product"])
            self.node("Add", ["product", "head_bias"], [y])
        return before, after

    def inner(self, inputs, outputs):
        """The nodes as the body of a loop; names -> types and shapes."""
        infos = [
            [self.helper.make_tensor_value_info(name, self.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
             for name, (dtype, shape) in some.items()]
            for some in (inputs, outputs)
        ]  # fmt: skip
        made, self.nodes = self.helper.make_graph(self.nodes, "lstm", *infos), []
        return made

    def bytes(self, inputs, outputs):
        from onnx import numpy_helper

        made = self.inner(inputs, outputs)
        for name, value in self.weights.items():
            made.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        opset = self.helper.make_opsetid("", 17)
        return self.helper.make_model(made, opset_imports=[opset], ir_version=8).SerializeToString()

    def states(self, names):
        return {name: ("f4", [1, self.problem.batch, self.problem.hidden]) for name in names}


def step_model(problem, times=1):
    """x (T, B, D) and the states h, c of each layer -> y (T, B, H) and the new states."""
    graph, p = _Graph(problem), problem
    before, after = graph.cells("x", "y", head=False)
    x, y = ("f4", [times, p.batch, p.inputs]), ("f4", [times, p.batch, p.hidden])
    return graph.bytes({"x": x, **graph.states(before)}, {"y": y, **graph.states(after)})


def loop_model(problem, steps, *, greedy=False):
    """x (1, B, D) -> ys (steps, 1, B, D), each the next x; greedy: ids (steps, 1, 1), each the next x as one-hot."""
    graph, p = _Graph(problem), problem
    before, after = graph.cells("x", "y", head=True)
    vector, flag = ("f4", [1, p.batch, p.inputs]), ("?", [])
    if greedy:
        graph.weights["one_hot"] = np.eye(p.inputs, dtype=np.float32)
        graph.node("ArgMax", ["y"], ["out"], axis=2, keepdims=0)
        graph.node("Gather", ["one_hot", "out"], ["next"])
        out = {"out": ("i8", [1, 1])}
    else:
        graph.node("Identity", ["y"], ["next"])
        graph.node("Identity", ["y"], ["out"])
        out = {"out": vector}
    graph.node("Identity", ["go"], ["go_on"])
    body = graph.inner(
        {"t": ("i8", []), "go": flag, "x": vector, **graph.states(before)},
        {"go_on": flag, "next": vector, **graph.states(after), **out},
    )
    zero = np.zeros((1, p.batch, p.hidden), np.float32)
    graph.weights |= {"steps": np.array(steps), "zero": zero}
    last = [f"{name}_last" for name in ("x", *before)]
    graph.node("Loop", ["steps", "", "first", *["zero"] * len(before)], [*last, "ys"], body=body)
    dtype, shape = out["out"]
    return graph.bytes({"first": vector}, {"ys": (dtype, [steps, *shape])})


def quantised(model):
    """The model with its LSTMs' weights in int8, one scale a row; activations are quantised as they come.

    Weights of 7 bits, as ONNX Runtime advises for CPUs without VNNI: with 8 their products overflow there.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory() as folder:
        before, after = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        before.write_bytes(model)
        options = {"weight_type": QuantType.QInt8, "per_channel": True, "reduce_range": True}
        quantize_dynamic(before, after, op_types_to_quantize=["LSTM"], **options)
        return after.read_bytes()


def session(model, threads=1):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def bound_step(problem, threads=1, change=lambda model: model):
    """Inputs and outputs bound once; the states change places from step to step."""
    made, p = session(change(step_model(problem)), threads), problem
    x, y = np.zeros((1, p.batch, p.inputs), np.float32), np.zeros((1, p.batch, p.hidden), np.float32)
    states = np.zeros((2, 2 * p.layers, 1, p.batch, p.hidden), np.float32)
    inputs, outputs = ([value.name for value in some] for some in (made.get_inputs(), made.get_outputs()))
    bindings = []
    for before, after in (states, states[::-1]):
        binding = made.io_binding()
        for name, a in zip(inputs, (x, *before), strict=True):
            binding.bind_input(name, "cpu", 0, a.dtype, a.shape, a.ctypes.data)
        for name, a in zip(outputs, (y, *after), strict=True):
            binding.bind_output(name, "cpu", 0, a.dtype, a.shape, a.ctypes.data)
        bindings.append(binding)
    turn = 0

    def call(value):
        nonlocal turn
        x[0] = value
        made.run_with_iobinding(bindings[turn])
        turn = 1 - turn
        return y

    def reset():
        states[:] = 0

    call.keep = states  # its memory is bound, not held
    return call, reset, (p.batch, p.inputs)


def quantised_step(problem):
    return bound_step(problem, change=quantised)


def run_step(problem):
    """session.run: what one writes first."""
    made, p = session(step_model(problem)), problem
    names, state = [value.name for value in made.get_inputs()[1:]], []

    def call(x):
        y, *state[:] = made.run(None, {"x": x, **dict(zip(names, state, strict=True))})
        return y

    def reset():
        state[:] = [np.zeros((1, p.batch, p.hidden), np.float32)] * len(names)

    return call, reset, (1, p.batch, p.inputs)


def loop(problem, steps):
    made = session(loop_model(problem, steps))
    return lambda first: made.run(None, {"first": first[None]})[0]


def characters(problem, steps):
    made = session(loop_model(problem, steps, greedy=True))
    one_hot = np.eye(problem.inputs, dtype=np.float32)
    return lambda first: made.run(None, {"first": one_hot[first][None, None]})[0]


def sequence(problem):
    """The operator over all of the steps."""
    xs, p = problem.xs, problem
    made = session(step_model(problem, len(xs)))
    zeros = {v.name: np.zeros((1, p.batch, p.hidden), np.float32) for v in made.get_inputs()[1:]}
    return lambda x: made.run(["y"], {"x": x, **zeros})[0], xs
