"""Golden fixtures of TensorFlow 2's formats: object checkpoints, tf-format weights, SavedModels, frozen functions.

    python tools/make_fixtures_objects.py keras2             # under TensorFlow 1.15.5
    python tools/make_fixtures_objects.py tf2.15             # under TensorFlow 2.15.1
    python tools/make_fixtures_objects.py tf_keras           # under TensorFlow 2.21, TF_USE_LEGACY_KERAS=1
    python tools/make_fixtures_objects.py keras3             # under TensorFlow 2.21
    python tools/make_fixtures_objects.py tf1.15             # under TensorFlow 1.15.5: SavedModels of TensorFlow 1
    python tools/make_fixtures_objects.py keras3 gru_graph   # one case of an era

All files of a folder hold the same weights, drawn as in make_fixtures_keras.py. Files that hold weights only are loaded
with the overrides that expect.json has as `load`; the others agree with them.
"""

import os
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from fixtures_common import B, T, dense, fresh_folder, lstm, rng_for, write_expect, write_golden
from make_fixtures_keras import expected, final_states

LSTM = ["Keras LSTM"]
HARD = {"recurrent_activation": "hard_sigmoid"}
SOFT = {"recurrent_activation": "sigmoid"}


def load_keras(era):
    import tensorflow as tf

    if era in ("keras2", "tf2.15"):
        return tf.keras, tf.__version__
    import keras
    import tf_keras

    return (keras if era == "keras3" else tf_keras), tf.__version__


# Models. Each takes a keras and gives a model that has been built.


def objects(keras):
    """Two LSTM layers and a dense one, with the era's own recurrent_activation."""
    L = keras.layers
    first = dict(return_sequences=True, input_shape=(None, 3))
    return keras.Sequential([L.LSTM(6, **first), L.LSTM(5, return_sequences=True), L.Dense(3, activation="tanh")])


def one_layer(keras):
    """Small, for SavedModels with all their functions."""
    L = keras.layers
    return keras.Sequential([L.LSTM(5, return_sequences=True, input_shape=(None, 3)), L.Dense(2)])


def no_bias_hard(keras):
    """What only a graph or a configuration tells: both activations, and that there is no bias."""
    L = keras.layers
    more = dict(use_bias=False, recurrent_activation="hard_sigmoid", activation="softsign", return_sequences=True)
    return keras.Sequential([L.LSTM(5, input_shape=(None, 4), **more), L.Dense(2, activation="sigmoid")])


def ids(keras):
    """Ids through an embedding; only the last step is returned."""
    L = keras.layers
    return keras.Sequential([L.Embedding(9, 4), L.LSTM(6), L.Dense(9)])


def subclass(keras):
    """Attributes whose names and order say nothing of the order in which they run."""

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.answer = keras.layers.Dense(2)
            self.upper = keras.layers.LSTM(4, return_sequences=True)
            self.below = keras.layers.LSTM(6, return_sequences=True)

        def call(self, x):
            return self.answer(self.upper(self.below(x)))

    return Net()


def nested(keras):
    """A model in a model, with a frozen layer, whose weights Keras lists last."""
    L = keras.layers
    inner = keras.Sequential([L.LSTM(5, return_sequences=True, input_shape=(None, 3)), L.Dense(4)], name="inner")
    inner.layers[0].trainable = False
    x = keras.Input((None, 3))
    y = L.LSTM(3, return_sequences=True, name="last")(inner(x))
    return keras.Model(x, L.Dense(2)(y))


def stacked(keras):
    """RNN over a list of cells."""
    L = keras.layers
    x = keras.Input((None, 3))
    return keras.Model(x, L.Dense(2)(L.RNN([L.LSTMCell(4), L.LSTMCell(5)], return_sequences=True)(x)))


def two_ways(keras):
    """A Bidirectional, whose halves are objects of their own."""
    L = keras.layers
    x = keras.Input((None, 3))
    y = L.Bidirectional(L.LSTM(4, return_sequences=True), merge_mode="concat")(x)
    return keras.Model(x, L.Dense(2)(L.LSTM(5, return_sequences=True)(y)))


def two_ways_exported(keras):
    """A graph in which one half reads the sequence from its end."""
    L = keras.layers
    x = keras.Input((None, 3))
    return keras.Model(x, L.Dense(2)(L.Bidirectional(L.LSTM(4, return_sequences=True), merge_mode="sum")(x)))


def gru_graph(keras):
    """Both reset_after; what only a graph or a configuration tells."""
    L = keras.layers
    hard = dict(reset_after=False, recurrent_activation="hard_sigmoid", return_sequences=True)
    soft = dict(reset_after=True, recurrent_activation="sigmoid", return_sequences=True)
    return keras.Sequential([L.GRU(5, input_shape=(None, 3), **soft), L.GRU(4, **hard), L.Dense(2)])


def gru_one_by_one(keras):
    """implementation=1, no bias in one, activations of its own in the other."""
    L = keras.layers
    first = dict(implementation=1, use_bias=False, return_sequences=True, input_shape=(None, 3))
    more = dict(implementation=1, activation="swish", recurrent_activation="hard_sigmoid", return_sequences=True)
    return keras.Sequential([L.GRU(5, **first), L.GRU(4, reset_after=True, **more), L.Dense(2)])


def gru_two_ways(keras):
    L = keras.layers
    x = keras.Input((None, 3))
    return keras.Model(x, L.Dense(2)(L.Bidirectional(L.GRU(4, return_sequences=True))(x)))


def backwards(keras):
    """go_backwards, and silu, which a graph spells out."""
    L = keras.layers
    more = dict(go_backwards=True, activation="silu", return_sequences=True, input_shape=(None, 3))
    return keras.Sequential([L.LSTM(5, **more), L.Dense(2)])


def masked_graph(keras):
    L = keras.layers
    x = keras.Input((None, 3))
    return keras.Model(x, L.Dense(2)(L.LSTM(4, return_sequences=True)(L.Masking()(x))))


# How each file is written: name -> what to do with a model and a path.


def checkpoint(keras, model, path):
    import tensorflow as tf

    tf.train.Checkpoint(model=model).write(path)


def root_checkpoint(keras, model, path):
    """The model itself as the root, after a training step, so that the optimizer's slots are in the file."""
    import tensorflow as tf

    tf.train.Checkpoint(model, step=tf.Variable(7, dtype=tf.int64)).write(path)


def tf_weights(keras, model, path):
    model.save_weights(path, save_format="tf")


def saved_model(keras, model, path):
    model.save(path, save_format="tf")


def saved_model_without_traces(keras, model, path):
    model.save(path, save_format="tf", save_traces=False)


def saved_model_without_metadata(keras, model, path):
    model.save(path, save_format="tf")
    os.remove(os.path.join(path, "keras_metadata.pb"))


def frozen(keras, model, path, lowered=True):
    """The weights as constants, and loops as TensorFlow 1 has them, or as functions."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)
    function = tf.function(lambda x: model(x)).get_concrete_function(spec)
    graph = convert_variables_to_constants_v2(function, lower_control_flow=lowered).graph.as_graph_def()
    with open(path, "wb") as file:
        file.write(graph.SerializeToString())


def frozen_with_functions(keras, model, path):
    frozen(keras, model, path, lowered=False)


def export(keras, model, path):
    model.export(path, verbose=False)


def session(keras, model, path):
    """TensorFlow 1: what a Saver makes of Keras' session, variables by their names and a `.meta`."""
    import tensorflow as tf

    saver = tf.compat.v1.train.Saver(model.weights)
    saver.save(keras.backend.get_session(), path, write_state=False)


def whole(keras, model, path):
    model.save(path)


def weights_only(keras, model, path):
    model.save_weights(path)


WRITERS = {
    "model.h5": whole,
    "model.keras": whole,
    "model.weights.h5": weights_only,
    "weights": tf_weights,
    "checkpoint-1": checkpoint,
    "root": root_checkpoint,
    "saved_model": saved_model,
    "without_traces": saved_model_without_traces,
    "without_metadata": saved_model_without_metadata,
    "exported": export,
    "frozen.pb": frozen,
    "frozen_functions.pb": frozen_with_functions,
    "session": session,
}
TF2 = ["model.h5", "model.keras", "weights", "checkpoint-1", "without_traces"]
CASES = {  # build, shape of the input, {era: (files, overrides)}
    "objects": (
        objects,
        (B, T, 3),
        {
            "keras2": (["model.h5", "weights"], dict(HARD, head_activation="tanh")),
            "tf2.15": (TF2, dict(head_activation="tanh")),
            "tf_keras": (TF2, dict(head_activation="tanh")),
            "keras3": (
                ["model.h5", "model.keras", "model.weights.h5", "checkpoint-1"],
                dict(SOFT, head_activation="tanh"),
            ),
        },
    ),
    "one_layer": (
        one_layer,
        (1, T, 3),
        {
            "keras2": (["model.h5", "saved_model"], {}),
            "tf2.15": (["model.h5", "saved_model", "frozen.pb", "frozen_functions.pb"], {}),
            "keras3": (["model.keras", "checkpoint-1", "exported"], {}),
        },
    ),
    "no_bias_hard": (
        no_bias_hard,
        (1, T, 4),
        {
            "keras2": (["model.h5", "session"], {}),
            "tf2.15": (["model.keras", "without_traces"], {}),
            "keras3": (["model.keras", "exported"], {}),
        },
    ),
    "ids": (
        ids,
        (B, T),
        {
            "keras2": (["model.h5", "weights"], HARD),
            "tf2.15": (["model.keras", "weights", "without_traces"], {}),
            "keras3": (["model.keras", "checkpoint-1", "exported"], {}),
        },
    ),
    "subclass": (
        subclass,
        (1, T, 3),
        {
            "keras2": (["weights"], HARD),
            "tf2.15": (["weights", "root", "checkpoint-1", "without_traces"], {}),
            "keras3": (["root", "checkpoint-1", "exported"], {}),
        },
    ),
    "nested": (
        nested,
        (1, T, 3),
        {"tf2.15": (["model.h5", "weights", "without_traces"], {}), "keras3": (["model.keras", "checkpoint-1"], {})},
    ),
    "two_ways": (
        two_ways,
        (1, T, 3),
        {
            "keras2": (["weights"], HARD),
            "tf2.15": (["model.keras", "without_traces"], {}),  # weights do not tell zero_output_for_mask, here true
            "keras3": (["model.keras", "checkpoint-1"], {}),
        },
    ),
    "two_ways_exported": (two_ways_exported, (1, T, 3), {"keras3": (["exported"], {})}),
    "stacked": (
        stacked,
        (1, T, 3),
        {
            "keras2": (["weights"], HARD),
            "tf2.15": (["model.h5", "weights", "without_traces"], {}),
            "keras3": (["model.h5", "exported", "checkpoint-1"], {}),
        },
    ),
    "gru_graph": (
        gru_graph,
        (1, T, 3),
        {
            "keras2": (["model.h5", "session"], {}),
            "tf2.15": (["model.keras", "without_metadata", "frozen.pb", "frozen_functions.pb"], {}),
            "keras3": (["model.keras", "exported"], {}),
        },
    ),
    "gru_one_by_one": (gru_one_by_one, (1, T, 3), {"tf2.15": (["model.keras", "frozen_functions.pb"], {})}),
    "gru_two_ways": (
        gru_two_ways,
        (1, T, 3),
        {"tf2.15": (["frozen_functions.pb"], {}), "keras3": (["exported"], {})},  # see two_ways
    ),
    "backwards": (
        backwards,
        (1, T, 3),
        {
            "tf2.15": (["model.keras", "frozen_functions.pb"], {}),
            "keras3": (["model.keras", "exported"], {}),
        },
    ),
    "masked_graph": (masked_graph, (1, T, 3), {"keras3": (["model.keras", "exported"], {})}),
}
NOT_LOADED = {  # for the errors
    ("keras3", "stacked"): ["checkpoint-1"],  # Keras 3 leaves its weights out
    ("keras3", "masked_graph"): ["exported"],
}
SCALE = 0.4


def write(keras, version, era, name):
    build, shape, eras = CASES[name]
    files, load = eras[era]
    folder, rng = fresh_folder(era, name), rng_for("objects " + name)
    keras.backend.clear_session()
    model = build(keras)
    x = rng.randint(9, size=shape).astype(np.int32) if len(shape) == 2 else rng.normal(size=shape).astype("float32")
    model.predict(x, verbose=0)  # creates the weights
    model.set_weights([rng.normal(0, SCALE, w.shape).astype(w.dtype) for w in model.get_weights()])
    y = model.predict(x, verbose=0)
    golden = {"x": x, "y" if y.ndim == 3 else "y_last": y.reshape(y.shape[0], -1, y.shape[-1])}
    if build in (objects, one_layer, no_bias_hard, ids):
        golden.update(final_states(keras, model, x))
    layers = expected(model) if build in (objects, one_layer, no_bias_hard, ids) else []
    for file in files:
        WRITERS[file](keras, model, os.path.join(folder, file))
    tidy(folder)
    write_golden(folder, golden)
    models = [f for f in files if f not in NOT_LOADED.get((era, name), ())]
    cells = {
        "stacked": ["Keras RNN(LSTMCell)"],
        "two_ways": ["Keras Bidirectional"],
        "two_ways_exported": ["Keras Bidirectional"],
        "gru_graph": ["Keras GRU", "Keras GRU (reset_after)"],
        "gru_one_by_one": ["Keras GRU (reset_after)"],
        "gru_two_ways": ["Keras Bidirectional", "Keras GRU (reset_after)"],
        "backwards": ["Keras LSTM", "Keras go_backwards"],
        "masked_graph": ["Keras LSTM", "Keras Masking"],
    }.get(name, LSTM)
    write_expect(folder, layers, "float32", version, models=models, load=load, cells=cells, keras=version)
    return folder, size_of(folder)


def tidy(folder):
    """Without what only makes a fixture large."""
    for path, _, found in list(os.walk(folder)):
        for file in found:
            whole = os.path.join(path, file)
            if file == "fingerprint.pb" or (file == "checkpoint" and path == folder):
                os.remove(whole)
            elif file == "saved_model.pb" or file.endswith(".meta"):
                slim(whole)
        if os.path.basename(path) == "assets":
            shutil.rmtree(path)


def slim(path):
    """Without shapes that nothing needs, and without the functions that no signature and no saver calls.

    What is left is as save_traces=False would have it, and TensorFlow loads it.
    """
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(".meta"):
        whole = meta = meta_graph_pb2.MetaGraphDef.FromString(data)
    else:
        whole = saved_model_pb2.SavedModel.FromString(data)
        meta = whole.meta_graphs[0]
    functions = {f.signature.name: f for f in meta.graph_def.library.function}
    objects = meta.object_graph_def
    pending = [n for n in meta.graph_def.node]
    kept = {n.bare_concrete_function.concrete_function_name for n in objects.nodes} - {""}
    kept = {name for name in kept if "signature_wrapper" in name} or {
        name for node in objects.nodes for name in node.function.concrete_functions
    }
    pending += [n for name in kept for n in functions[name].node_def]
    while pending:
        node = pending.pop()
        for key in [k for k in node.attr if k in ("_output_shapes", "_class", "_gradient_op_type")]:
            del node.attr[key]
        for name in {a.func.name for a in node.attr.values()} & set(functions) - kept:
            kept.add(name)
            pending += functions[name].node_def
    del meta.graph_def.library.function[:]
    del meta.graph_def.library.registered_gradients[:]
    for name, function in functions.items():
        if name in kept:
            for arg in getattr(function, "arg_attr", {}).values():
                if "_output_shapes" in arg.attr:
                    del arg.attr["_output_shapes"]
            meta.graph_def.library.function.add().CopyFrom(function)
    for name in set(objects.concrete_functions) - kept:
        del objects.concrete_functions[name]
    for node in objects.nodes:
        if node.function.concrete_functions:
            left = [name for name in node.function.concrete_functions if name in kept]
            del node.function.concrete_functions[:]
            node.function.concrete_functions.extend(left)
        elif node.bare_concrete_function.concrete_function_name not in kept | {""}:
            node.ClearField("bare_concrete_function")
            plain_object(node)
    with open(path, "wb") as file:
        file.write(whole.SerializeToString())


def plain_object(node):
    """In the place of a function that is left out."""
    node.user_object.identifier = "_generic_user_object"
    node.user_object.version.producer = node.user_object.version.min_consumer = 1


def size_of(folder):
    return sum(os.path.getsize(os.path.join(path, file)) for path, _, files in os.walk(folder) for file in files)


def tensorflow1():
    """A SavedModel of TensorFlow 1: MultiRNNCell and fully_connected, and a checkpoint of the same session."""
    import tensorflow as tf

    tf.compat.v1.reset_default_graph()
    folder, rng = fresh_folder("tf1.15", "saved_model"), rng_for("objects saved_model")
    zeros = tf.compat.v1.zeros_initializer()
    with tf.compat.v1.variable_scope("net", initializer=zeros):
        x = tf.compat.v1.placeholder(tf.float32, [None, None, 3], "x")
        cells = [tf.compat.v1.nn.rnn_cell.LSTMCell(size, forget_bias=0.5) for size in (6, 5)]
        y, state = tf.compat.v1.nn.dynamic_rnn(tf.compat.v1.nn.rnn_cell.MultiRNNCell(cells), x, dtype=tf.float32)
        y = tf.contrib.layers.fully_connected(y, 2, tf.tanh, weights_initializer=zeros)
    with tf.compat.v1.Session() as session:
        for variable in tf.compat.v1.global_variables():
            variable.load(rng.normal(0, SCALE, variable.shape).astype("float32"), session)
        value = rng.normal(size=(B, T, 3)).astype("float32")
        ys, states = session.run([y, state], {x: value})
        tf.compat.v1.saved_model.simple_save(session, os.path.join(folder, "saved_model"), {"x": x}, {"y": y})
        tf.compat.v1.train.Saver().save(
            session, os.path.join(folder, "model"), write_state=False, write_meta_graph=True
        )
    tidy(folder)
    golden = {"x": value, "y": ys}
    golden.update({f"{role}_{k}": getattr(s, role) for k, s in enumerate(states) for role in "ch"})
    write_golden(folder, golden)
    scopes = [f"net/rnn/multi_rnn_cell/cell_{k}/lstm_cell" for k in range(2)]
    layers = [
        dict(
            lstm(scopes[0], 3, 6, forget_bias=0.5),
            variables={"kernel": f"{scopes[0]}/kernel", "bias": f"{scopes[0]}/bias"},
        ),
        dict(
            lstm(scopes[1], 6, 5, forget_bias=0.5),
            variables={"kernel": f"{scopes[1]}/kernel", "bias": f"{scopes[1]}/bias"},
        ),
        dict(
            dense("net/fully_connected", 5, 2, "tanh"),
            variables={"kernel": "net/fully_connected/weights", "bias": "net/fully_connected/biases"},
        ),
    ]
    write_expect(
        folder, layers, "float32", tf.__version__, models=["saved_model", "model.index"],
        cells=["LSTMCell", "MultiRNNCell"],
    )  # fmt: skip
    return folder, size_of(folder)


def modules():
    """tf.Module: a cell of TensorFlow 1 in TensorFlow 2's functions, and a loop written by hand."""
    import tensorflow as tf

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.cell = tf.compat.v1.nn.rnn_cell.LSTMCell(5, forget_bias=0.3, cell_clip=1.5)
            self.w, self.b = tf.Variable(tf.zeros([5, 2])), tf.Variable(tf.zeros([2]))

        @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.float32)])
        def __call__(self, x):
            y, _ = tf.compat.v1.nn.dynamic_rnn(self.cell, x, dtype=tf.float32)
            return tf.tanh(tf.tensordot(y, self.w, 1) + self.b)

    class ByHand(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernel, self.bias = tf.Variable(tf.zeros([8, 20]), name="k"), tf.Variable(tf.zeros([20]), name="b")

        @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.float32)])
        def __call__(self, x):
            steps = tf.transpose(x, [1, 0, 2])
            outputs = tf.TensorArray(tf.float32, size=tf.shape(steps)[0])
            h = c = tf.zeros([tf.shape(x)[0], 5])
            for k in tf.range(tf.shape(steps)[0]):
                z = tf.concat([steps[k], h], 1) @ self.kernel + self.bias
                i, j, f, o = tf.split(z, 4, 1)
                c = tf.sigmoid(f + 0.5) * c + tf.sigmoid(i) * tf.tanh(j)
                h = tf.sigmoid(o) * tf.tanh(c)
                outputs = outputs.write(k, h)
            return tf.transpose(outputs.stack(), [1, 0, 2])

    for name, kind, cells in (("module", Module, ["LSTMCell"]), ("by_hand", ByHand, [])):
        folder, rng = fresh_folder("tf2.15", name), rng_for("objects " + name)
        module = kind()
        x = rng.normal(size=(B, T, 3)).astype("float32")
        module(x)
        for variable in module.variables:
            variable.assign(rng.normal(0, SCALE, variable.shape))
        tf.saved_model.save(module, os.path.join(folder, "saved_model"), signatures=module.__call__)
        tf.saved_model.save(module, os.path.join(folder, "without_signature"))
        tf.train.Checkpoint(module).write(os.path.join(folder, "checkpoint-1"))
        tidy(folder)
        write_golden(folder, {"x": x, "y": module(x).numpy()})
        more = (
            {"forget_bias": 0.3, "cell_clip": 1.5, "head_activation": "tanh"}
            if kind is Module
            else {"forget_bias": 0.5}
        )
        models = ["saved_model", "without_signature", "checkpoint-1"]
        write_expect(folder, [], "float32", tf.__version__, models=models, load=more, cells=cells)
        print(folder, size_of(folder), flush=True)


def main(eras):
    wanted = [name for name in eras if name in CASES]
    if wanted:
        (era,) = set(eras) - set(wanted)
        keras, version = load_keras(era)
        for name in wanted:
            print(*write(keras, version, era, name), flush=True)
        return
    for era in eras:
        if era == "tf1.15":
            print(*tensorflow1())
            continue
        if era == "tf2.15":
            modules()
        keras, version = load_keras(era)
        for name in CASES:
            if era in CASES[name][2]:
                print(*write(keras, version, era, name), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
