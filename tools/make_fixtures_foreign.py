"""Golden fixtures from outside TensorFlow's own files, with outputs by the frameworks that run them.

    python tools/make_fixtures_foreign.py torch audio onnx   # with torch, onnx, onnxruntime, safetensors
    python tools/make_fixtures_foreign.py tflite             # with ai-edge-litert
    python tools/make_fixtures_foreign.py keras2             # under TensorFlow 2.15, with tf2onnx and onnxruntime
    python tools/make_fixtures_foreign.py keras3             # under TensorFlow 2.21

Every weight, biases too, is drawn from normal(0, scale) by a generator seeded with the case's name. RTNeural, NAM and
GuitarML have no Python package: their outputs are float64 loops over the documented equations, written out here.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from fixtures_common import fresh_folder, rng_for, write_expect, write_golden

B, T = 2, 100


def finish(folder, golden, models, version, cells, **more):
    write_golden(folder, golden)
    write_expect(folder, [], "float32", version, models=models, cells=cells, **more)
    print(folder, {key: value.shape for key, value in golden.items()}, flush=True)


def draw(rng, *shape, scale=0.4):
    return rng.normal(0, scale, shape).astype(np.float32)


# PyTorch: state_dicts as .pt and .safetensors, and the same model through torch.onnx.export.


def torch_cases():
    import torch
    from torch import nn

    class Chain(nn.Module):
        """embedding?, recurrent, linear; `last` takes the last step."""

        def __init__(self, rnn, width, outputs, ids=0, last=False, softmax=False):
            super().__init__()
            if ids:
                self.embedding = nn.Embedding(ids, rnn.input_size)
            self.rnn, self.head, self.last, self.softmax = rnn, nn.Linear(width, outputs), last, softmax

        def forward(self, x):
            x = self.embedding(x) if hasattr(self, "embedding") else x
            y, self.state = self.rnn(x)
            y = self.head(y[:, -1] if self.last else y)
            return torch.softmax(y, -1) if self.softmax else torch.tanh(y)

    def first(**options):
        return dict({"batch_first": True}, **options)

    return {
        "lstm": (Chain(nn.LSTM(4, 9, 2, **first()), 9, 3), "float", ["nn.LSTM"], True),
        "embedding": (Chain(nn.LSTM(5, 8, **first()), 8, 11, ids=11, softmax=True), "ids", ["nn.LSTM"], True),
        "bidirectional": (
            Chain(nn.LSTM(4, 6, 2, **first(bidirectional=True)), 12, 3),
            "float",
            ["nn.LSTM bidirectional"],
            True,
        ),
        "gru": (Chain(nn.GRU(4, 9, 2, **first()), 9, 3), "float", ["nn.GRU"], True),
        "projection": (Chain(nn.LSTM(4, 9, 2, **first(proj_size=5)), 5, 3), "float", ["nn.LSTM proj_size"], False),
        "no_bias_time_major": (Chain(nn.LSTM(4, 7, bias=False), 7, 3), "time major", ["nn.LSTM"], True),
        "last_step": (Chain(nn.LSTM(3, 8, **first()), 8, 2, last=True), "float", ["nn.LSTM"], True),
    }


def make_torch():
    import torch
    from safetensors.torch import save_file

    for name, (model, kind, cells, exported) in torch_cases().items():
        folder, rng = fresh_folder("pytorch", name), rng_for("pytorch " + name)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.from_numpy(draw(rng, *parameter.shape)))
        model.eval()
        if kind == "ids":
            x = rng.randint(11, size=(B, T)).astype(np.int64)
        else:
            x = draw(rng, B, T, model.rnn.input_size, scale=1)
        fed = torch.from_numpy(x.transpose(1, 0, 2).copy() if kind == "time major" else x)
        with torch.no_grad():
            y = model(fed).numpy()
        y = y.transpose(1, 0, 2) if kind == "time major" else y
        golden = {"x": x, "y" if y.ndim == 3 else "y_last": y.reshape(B, -1, y.shape[-1])}
        golden.update(torch_states(model.state))
        torch.save(model.state_dict(), os.path.join(folder, "model.pt"))
        save_file(model.state_dict(), os.path.join(folder, "model.safetensors"))
        activation = "softmax" if model.softmax else "tanh"
        load = {"head_activation": activation}
        finish(folder, golden, ["model.pt", "model.safetensors"], f"torch {torch.__version__}", cells, load=load)
        if exported:
            folder = fresh_folder("onnx", f"torch_{name}")
            path = os.path.join(folder, "model.onnx")
            axes = {"x": {0: "b", 1: "t"}}
            torch.onnx.export(model, (fed,), path, input_names=["x"], dynamic_axes=axes, dynamo=False)
            models = ["model.onnx"]
            if name in ("lstm", "bidirectional", "last_step"):
                torch.onnx.export(
                    model,
                    (fed,),
                    os.path.join(folder, "dynamo.onnx"),
                    input_names=["x"],
                    dynamo=True,
                    external_data=False,
                )
                models.append("dynamo.onnx")
            del golden["y" if "y" in golden else "y_last"]
            y = run_onnx(path, fed.numpy())
            y = y.transpose(1, 0, 2) if kind == "time major" else y
            golden["y" if y.ndim == 3 else "y_last"] = y.reshape(B, -1, y.shape[-1])
            finish(folder, golden, models, "torch.onnx, onnxruntime", [cells[0].replace("nn.", "ONNX ")])


def torch_states(state):
    h, c = state if isinstance(state, tuple) else (state, None)
    h, c = np.array(h), None if c is None else np.array(c)
    golden = {f"h_{k}": row for k, row in enumerate(h)}
    golden.update({f"c_{k}": row for k, row in enumerate(c)} if c is not None else {})
    return golden


def run_onnx(path, x, output=0):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[output]


# ONNX by hand: what the exporters do not write.


def make_onnx():
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    H, D = 7, 4
    cases = {  # operator, directions, attributes, extra inputs
        "peepholes": ("LSTM", 1, {}, ["P"]),
        "input_forget": ("LSTM", 1, {"input_forget": 1}, []),
        "activations": ("LSTM", 1, {"activations": ["HardSigmoid", "Softsign", "Softsign"]}, []),
        "reverse": ("LSTM", 1, {"direction": "reverse"}, []),
        "bidirectional": ("LSTM", 2, {"direction": "bidirectional"}, []),
        "initial_state": ("LSTM", 1, {}, ["h", "c"]),
        "gru_reset_before": ("GRU", 1, {"linear_before_reset": 0}, []),
        "gru_reset_after": ("GRU", 1, {"linear_before_reset": 1}, []),
        "external": ("LSTM", 1, {}, []),
    }
    for name, (op, dirs, attrs, extra) in cases.items():
        folder, rng = fresh_folder("onnx", name), rng_for("onnx " + name)
        gates = 4 if op == "LSTM" else 3
        arrays = {
            "W": draw(rng, dirs, gates * H, D),
            "R": draw(rng, dirs, gates * H, H),
            "B": draw(rng, dirs, 2 * gates * H),
            "V": draw(rng, dirs * H, 3),
            "b": draw(rng, 3),
        }
        inputs = ["x_t", "W", "R", "B", "", "", "", ""]
        if "P" in extra:
            arrays["P"], inputs[7] = draw(rng, dirs, 3 * H), "P"
        if "h" in extra:
            h0, c0 = draw(rng, dirs, 1, H), draw(rng, dirs, 1, H)
            arrays.update(h0=np.repeat(h0, B, 1), c0=np.repeat(c0, B, 1))
            inputs[5], inputs[6] = "h0", "c0"
        inputs = inputs[: 6 if op == "GRU" else 8]
        while not inputs[-1]:
            inputs.pop()
        nodes = [
            helper.make_node("Transpose", ["x"], ["x_t"], perm=[1, 0, 2]),
            helper.make_node(
                op, inputs, ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2], "cell", hidden_size=H, **attrs
            ),
            helper.make_node("Transpose", ["Y"], ["Y_b"], perm=[2, 0, 1, 3]),
            helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([0, 0, dirs * H]))),
            helper.make_node("Reshape", ["Y_b", "shape"], ["Y_r"]),
            helper.make_node("MatMul", ["Y_r", "V"], ["product"]),
            helper.make_node("Add", ["product", "b"], ["y"]),
        ]
        ends = [
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", "time", size])]
            for n, size in (("x", D), ("y", 3))
        ]
        tensors = [numpy_helper.from_array(array, key) for key, array in arrays.items()]
        graph = helper.make_graph(nodes, "hand", *ends, initializer=tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        path = os.path.join(folder, "model.onnx")
        if name == "external":
            onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
        else:
            onnx.save(model, path)
        x = draw(rng, B, T, D, scale=1)
        golden = {"x": x, "y": run_onnx(path, x)}
        if "h" in extra:
            golden.update(c0_0=arrays["c0"][0], h0_0=arrays["h0"][0])
        finish(folder, golden, ["model.onnx"], "onnxruntime", [f"ONNX {op}"])


# Audio software, by its equations.


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def lstm_loop(x, kernel, recurrent, bias, h, c, order):
    """x (T, D); kernel (D, 4H) ... -> (T, H), h, c, all float64."""
    at = {gate: order.index(gate) for gate in "ifgo"}
    H, ys = len(h), []
    for step in x:
        z = step @ kernel + h @ recurrent + bias
        i, f, g, o = (z[at[gate] * H : (at[gate] + 1) * H] for gate in "ifgo")
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        ys.append(h)
    return np.array(ys), h, c


def gru_loop(x, kernel, recurrent, bias, second, h, order):
    at = {gate: order.index(gate) for gate in "zrh"}
    H, ys = len(h), []
    for step in x:
        a, b = step @ kernel + bias, h @ recurrent + second
        z, r, n = (slice(at[gate] * H, (at[gate] + 1) * H) for gate in "zrh")
        update = sigmoid(a[z] + b[z])
        h = update * h + (1 - update) * np.tanh(a[n] + sigmoid(a[r] + b[r]) * b[n])
        ys.append(h)
    return np.array(ys), h


def plain(array):
    """Nested lists of numbers whose text is short and gives the float32 back."""
    if isinstance(array, np.ndarray) and array.ndim:
        return [plain(row) for row in array]
    return float(str(np.float32(array)))


def make_audio():
    for case in (nam, guitarml_lstm, guitarml_gru, rtneural_lstm, rtneural_gru):
        case()


def dump(folder, name, content):
    with open(os.path.join(folder, name), "w") as file:
        json.dump(content, file)
        file.write("\n")


def nam():
    folder, rng = fresh_folder("nam", "lstm"), rng_for("nam lstm")
    H, layers, flat, x = 6, 2, [], draw(rng, 1, T, 1, scale=1)
    y, golden = x[0].astype(np.float64), {}
    for k in range(layers):
        D = H if k else 1
        w, b, h0, c0 = draw(rng, 4 * H, D + H), draw(rng, 4 * H), draw(rng, H), draw(rng, H)
        flat += [w.ravel(), b, h0, c0]
        y, h, c = lstm_loop(y, w[:, :D].T, w[:, D:].T, b, h0, c0, "ifgo")
        golden.update({f"h0_{k}": h0[None], f"c0_{k}": c0[None], f"h_{k}": h[None], f"c_{k}": c[None]})
    head, bias = draw(rng, 1, H), draw(rng, 1)
    flat += [head.ravel(), bias]
    config = {"num_layers": layers, "input_size": 1, "hidden_size": H}
    weights = [plain(number) for number in np.concatenate(flat)]
    model = {"version": "0.5.4", "architecture": "LSTM", "config": config, "weights": weights, "sample_rate": 48000}
    dump(folder, "model.nam", model)
    finish(folder, dict(golden, x=x, y=(y @ head.T + bias)[None]), ["model.nam"], "float64 loop", ["NAM LSTM"])


def guitarml(kind, gates):
    folder, rng = fresh_folder("guitarml", kind.lower()), rng_for("guitarml " + kind)
    H = 8
    arrays = {
        "rec.weight_ih_l0": draw(rng, gates * H, 1),
        "rec.weight_hh_l0": draw(rng, gates * H, H),
        "rec.bias_ih_l0": draw(rng, gates * H),
        "rec.bias_hh_l0": draw(rng, gates * H),
        "lin.weight": draw(rng, 1, H),
        "lin.bias": draw(rng, 1),
    }
    data = {"model": "SimpleRNN", "input_size": 1, "skip": 1, "output_size": 1, "unit_type": kind, "num_layers": 1}
    data.update(hidden_size=H, bias_fl=True)
    dump(folder, "model.json", {"model_data": data, "state_dict": {k: plain(a) for k, a in arrays.items()}})
    x = draw(rng, 1, T, 1, scale=1)
    w, r, b, s, head, bias = (a.astype(np.float64) for a in arrays.values())
    if kind == "LSTM":
        y, _, _ = lstm_loop(x[0], w.T, r.T, b + s, np.zeros(H), np.zeros(H), "ifgo")
    else:
        y, _ = gru_loop(x[0], w.T, r.T, b, s, np.zeros(H), "rzh")
    golden = {"x": x, "y": (y @ head.T + bias + x[0])[None]}
    finish(folder, golden, ["model.json"], "float64 loop", [f"GuitarML {kind}"])


def guitarml_lstm():
    guitarml("LSTM", 4)


def guitarml_gru():
    guitarml("GRU", 3)


def rtneural(kind, gates):
    folder, rng = fresh_folder("rtneural", kind), rng_for("rtneural " + kind)
    H, D = 7, 2
    first = [draw(rng, D, 5), draw(rng, 5)]
    cell = [draw(rng, 5, gates * H), draw(rng, H, gates * H), draw(rng, *((4 * H,) if gates == 4 else (2, 3 * H)))]
    last = [draw(rng, H, 1), draw(rng, 1)]
    layers = [
        {
            "type": "time-distributed-dense",
            "activation": "tanh",
            "shape": [None, None, 5],
            "weights": list(map(plain, first)),
        },
        {"type": kind, "activation": "", "shape": [None, None, H], "weights": list(map(plain, cell))},
        {"type": "dense", "activation": "", "shape": [None, None, 1], "weights": list(map(plain, last))},
    ]
    dump(folder, "model.json", {"in_shape": [None, None, D], "layers": layers})
    x = draw(rng, 1, T, D, scale=1)
    y = np.tanh(x[0].astype(np.float64) @ first[0] + first[1])
    if kind == "lstm":
        y, h, c = lstm_loop(y, *cell, np.zeros(H), np.zeros(H), "ifgo")
        states = {"h_0": h[None], "c_0": c[None]}
    else:
        y, h = gru_loop(y, cell[0], cell[1], *cell[2], np.zeros(H), "zrh")
        states = {"h_0": h[None]}
    golden = dict(states, x=x, y=(y @ last[0] + last[1])[None])
    finish(folder, golden, ["model.json"], "float64 loop", [f"RTNeural {kind}"])


def rtneural_lstm():
    rtneural("lstm", 4)


def rtneural_gru():
    rtneural("gru", 3)


MAKERS = {"torch": make_torch, "onnx": make_onnx, "audio": make_audio}


def make_tflite():
    from fixtures_tflite import make

    make(finish)


def make_keras2():
    from fixtures_tflite import make_keras

    make_keras("keras2", finish)


def make_keras3():
    from fixtures_tflite import make_keras

    make_keras("keras3", finish)


if __name__ == "__main__":
    makers = dict(MAKERS, tflite=make_tflite, keras2=make_keras2, keras3=make_keras3)
    for which in sys.argv[1:]:
        makers[which]()
