"""Fixtures in TensorFlow Lite's format: by hand for what converters rarely write, and by the converters of two Keras.

`make` writes models with the operators' Python classes of ai-edge-litert and runs its interpreter; `make_keras`
converts a Keras model (and with Keras 2 writes it as .keras and, through tf2onnx, as .onnx beside).
"""

import os

import numpy as np
from fixtures_common import fresh_folder, rng_for

T = 100


def draw(rng, *shape, scale=0.4):
    return rng.normal(0, scale, shape).astype(np.float32)


class Builder:
    """A model of one subgraph, by the classes of schema_py_generated."""

    def __init__(self):
        from ai_edge_litert import schema_py_generated as schema

        self.schema, self.tensors, self.operators, self.codes = schema, [], [], []
        self.buffers = [schema.BufferT()]

    def tensor(self, shape, data=None, dtype=None, variable=False, scale=None, name=None):
        schema = self.schema
        made = schema.TensorT()
        made.shape, made.name = list(shape), name or f"t{len(self.tensors)}"
        codes = {"float32": 0, "float16": 1, "int32": 2, "int8": 9}
        made.type = codes[np.asarray(data).dtype.name if data is not None else dtype or "float32"]
        made.isVariable = variable
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.buffers.append(buffer)
            made.buffer = len(self.buffers) - 1
        if scale is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [0]
        self.tensors.append(made)
        return len(self.tensors) - 1

    def constant(self, data):
        return self.tensor(data.shape, data)

    def operator(self, code, inputs, outputs, options=None, **settings):
        schema = self.schema
        kind = schema.OperatorCodeT()
        kind.builtinCode, kind.deprecatedBuiltinCode, kind.version = code, min(code, 127), 1
        self.codes.append(kind)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(self.codes) - 1, inputs, outputs
        if options:
            made.builtinOptions = getattr(schema, f"{options}T")()
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            for key, value in settings.items():
                setattr(made.builtinOptions, key, value)
        self.operators.append(made)

    def write(self, path, inputs, outputs):
        import flatbuffers

        schema = self.schema
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operators, inputs, outputs
        model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], self.buffers, self.codes
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        with open(path, "wb") as file:
            file.write(builder.Output())


def interpreter(path):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf

        Interpreter = tf.lite.Interpreter
    made = Interpreter(path)
    made.allocate_tensors()
    return made


def run(path, x):
    """The model's output for x; rows of a batch one after the other, the state set back between them."""
    made = interpreter(path)
    entry, out = made.get_input_details()[0], made.get_output_details()[0]
    made.reset_all_variables()
    made.set_tensor(entry["index"], x)
    made.invoke()
    return made.get_tensor(out["index"]).copy()


FULL = {  # gates, options of the operator, what else
    "peephole_projection_clip": (4, dict(cellClip=0.5, projClip=0.3), {"peepholes", "projection"}),
    "coupled": (3, {}, set()),
    "coupled_peephole_time_major": (3, dict(timeMajor=True), {"peepholes"}),
    "relu6_float16": (4, dict(fusedActivationFunction=3), {"half"}),
    "int8_weights": (4, {}, {"int8"}),
}


def make(finish):
    for name in FULL:
        full(name, finish)
    basic(finish)
    bidirectional(finish)


def bidirectional(finish):
    """The operator that holds both directions. LiteRT mixes up the states of several rows where outputs are merged."""
    folder, rng, b = fresh_folder("tflite", "bidirectional"), rng_for("tflite bidirectional"), Builder()
    D, H, batch = 4, 6, 1
    x, out = b.tensor((batch, T, D), name="x"), b.tensor((batch, T, 2 * H))
    inputs = [x]
    for _ in range(2):
        inputs += [b.constant(draw(rng, *size)) for size in [(H, D)] * 4 + [(H, H)] * 4]
        inputs += [-1, -1, -1, *(b.constant(draw(rng, H)) for _ in range(4)), -1, -1]
    inputs += [b.tensor((batch, H), variable=True) for _ in range(4)] + [-1] * 9
    options = dict(fusedActivationFunction=4, mergeOutputs=True, timeMajor=False)
    b.operator(52, inputs, [out], "BidirectionalSequenceLSTMOptions", **options)
    path = os.path.join(folder, "model.tflite")
    b.write(path, [x], [out])
    data = draw(rng, batch, T, D, scale=1)
    finish(folder, {"x": data, "y": run(path, data)}, ["model.tflite"], "LiteRT", ["TFLite LSTM, bidirectional"])


def full(name, finish):
    gates, options, extra = FULL[name]
    folder, rng, b = fresh_folder("tflite", name), rng_for("tflite " + name), Builder()
    D, H, P, batch = 4, 8, 5 if "projection" in extra else 8, 2
    time_major = options.get("timeMajor", False)
    shape = (T, batch, D) if time_major else (batch, T, D)

    def weights(*size):
        data = draw(rng, *size, scale=0.25 if "half" in extra else 0.4)
        if "int8" in extra and len(size) == 2:
            scale = float(np.abs(data).max() / 127)
            return b.tensor(size, np.round(data / scale).astype(np.int8), scale=scale)
        if "half" in extra and len(size) == 2:
            half, whole = b.tensor(size, data.astype(np.float16)), b.tensor(size)
            b.operator(6, [half], [whole])
            return whole
        return b.constant(data)

    def gate_weights(*size):
        return [-1] * (4 - gates) + [weights(*size) for _ in range(gates)]

    x, hidden = b.tensor(shape, name="x"), b.tensor((*shape[:2], P))
    inputs = [x, *gate_weights(H, D), *gate_weights(H, P)]
    peepholes = [b.constant(draw(rng, H)) for _ in range(gates - 1)] if "peepholes" in extra else [-1] * 3
    inputs += [-1] * (3 - len(peepholes)) + peepholes
    inputs += gate_weights(H)
    inputs += [weights(P, H) if "projection" in extra else -1, -1]
    inputs += [b.tensor((batch, P), variable=True), b.tensor((batch, H), variable=True), -1, -1, -1, -1]
    options = dict({"fusedActivationFunction": 4}, **options)
    b.operator(44, inputs, [hidden], "UnidirectionalSequenceLSTMOptions", **options)
    y = b.tensor((*shape[:2], 3))
    b.operator(9, [hidden, weights(3, P), b.constant(draw(rng, 3))], [y], "FullyConnectedOptions", keepNumDims=True)
    path = os.path.join(folder, "model.tflite")
    b.write(path, [x], [y])
    data = draw(rng, *shape, scale=1)
    out = run(path, data)
    if time_major:
        data, out = data.transpose(1, 0, 2), out.transpose(1, 0, 2)
    cells = {3: "TFLite LSTM, coupled gates"}.get(gates, "TFLite LSTM")
    finish(folder, {"x": data, "y": out}, ["model.tflite"], "LiteRT", [cells])


def basic(finish):
    """The operator LSTM of the basic kernel: one step a run, the state passed in and out."""
    folder, rng, b = fresh_folder("tflite", "basic_kernel"), rng_for("tflite basic_kernel"), Builder()
    D, H = 4, 8
    x, h, c = b.tensor((1, D), name="x"), b.tensor((1, H), name="h"), b.tensor((1, H), name="c")
    out = [b.tensor((1, H)), b.tensor((1, H)), b.tensor((1, D + H)), b.tensor((1, 4 * H))]
    inputs = [x, h, b.constant(draw(rng, 4 * H, D + H)), b.constant(draw(rng, 4 * H)), c]
    b.operator(16, inputs, out, "LSTMOptions", fusedActivationFunction=4, kernelType=1)
    y = b.tensor((1, 3))
    b.operator(9, [out[0], b.constant(draw(rng, 3, H)), b.constant(draw(rng, 3))], [y], "FullyConnectedOptions")
    path = os.path.join(folder, "model.tflite")
    b.write(path, [x, h, c], [y, out[0], out[1]])
    made = interpreter(path)
    data, ys, state = draw(rng, 1, T, D, scale=1), [], [np.zeros((1, H), np.float32)] * 2
    entries, ends = [d["index"] for d in made.get_input_details()], [d["index"] for d in made.get_output_details()]
    for step in data[0]:
        for index, value in zip(entries, [step[None], *state], strict=True):
            made.set_tensor(index, value)
        made.invoke()
        got, *state = [made.get_tensor(index).copy() for index in ends]
        ys.append(got)
    golden = {"x": data, "y": np.stack(ys, 1), "h_0": state[0], "c_0": state[1]}
    finish(folder, golden, ["model.tflite"], "LiteRT", ["TFLite LSTM, basic kernel"])


def make_keras(era, finish):
    import tensorflow as tf

    keras = tf.keras if era == "keras2" else __import__("keras")
    L = keras.layers
    cases = {
        "stacked": (
            [L.LSTM(8, return_sequences=True), L.LSTM(6, return_sequences=True), L.Dense(3, activation="tanh")],
            (T, 4),
        ),
        "last_step": ([L.Embedding(11, 5), L.LSTM(8), L.Dense(11, activation="softmax")], (T,)),
        "relu_loop": ([L.LSTM(8, activation="relu", return_sequences=True), L.Dense(3)], (T, 4)),
        "bidirectional": ([L.Bidirectional(L.LSTM(6, return_sequences=True)), L.Dense(3)], (T, 4)),
    }
    if era == "keras3":
        del cases["bidirectional"]  # a loop backwards
    for name, (layers, shape) in cases.items():
        folder, rng = fresh_folder("tflite", f"{era}_{name}"), rng_for("tflite keras " + name)
        ids = len(shape) == 1
        entry = keras.Input(shape, batch_size=1, dtype="int32" if ids else "float32", name="x")
        model = keras.Sequential([entry, *layers])
        model.set_weights([draw(rng, *w.shape, scale=0.2 if "relu" in name else 0.4) for w in model.get_weights()])
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        path = os.path.join(folder, "model.tflite")
        with open(path, "wb") as file:
            file.write(converter.convert())
        x = rng.randint(11, size=(1, T)).astype(np.int32) if ids else draw(rng, 1, T, 4, scale=1)
        y = run(path, x)
        finish(
            folder, {"x": x, "y" if y.ndim == 3 else "y_last": y.reshape(1, -1, y.shape[-1])}, ["model.tflite"],
            tf.__version__, ["TFLite LSTM" if era == "keras2" and "loop" not in name else "TFLite LSTM in a loop"],
        )  # fmt: skip
        if era == "keras2":
            with_onnx(keras, layers, name, finish)


def with_onnx(keras, layers, name, finish):
    """The same layers as .keras and through tf2onnx, in one folder."""
    import tensorflow as tf
    import tf2onnx

    folder, rng = fresh_folder("onnx", f"keras_{name}"), rng_for("onnx keras " + name)
    ids = isinstance(layers[0], keras.layers.Embedding)
    shape = (None,) if ids else (None, 4)
    model = keras.Sequential([type(layer).from_config(layer.get_config()) for layer in layers])
    dtype = tf.int32 if ids else tf.float32
    entry = keras.Input(shape, dtype=dtype)
    model(entry)
    model.set_weights([draw(rng, *w.shape, scale=0.2 if "relu" in name else 0.4) for w in model.get_weights()])
    functional = keras.Model(entry, model(entry))
    path = os.path.join(folder, "model.onnx")
    tf2onnx.convert.from_keras(functional, (tf.TensorSpec((None, *shape), dtype, name="x"),), output_path=path)
    models = ["model.onnx"]
    if name != "bidirectional":  # Keras 2 says there what masked steps give, ONNX has no masks
        models.append("model.keras")
        model.save(os.path.join(folder, "model.keras"))
    x = rng.randint(11, size=(2, T)).astype(np.int32) if ids else draw(rng, 2, T, 4, scale=1)
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    y = session.run(None, {session.get_inputs()[0].name: x})[0]
    golden = {"x": x, "y" if y.ndim == 3 else "y_last": y.reshape(2, -1, y.shape[-1])}
    finish(folder, golden, models, f"tf2onnx, {tf.__version__}", ["ONNX LSTM"])
