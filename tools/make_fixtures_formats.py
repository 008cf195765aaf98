"""The same weights in every format of an era: a V2 bundle, a V1 file and a frozen graph in one folder.

    python tools/make_fixtures_formats.py [case ...]        # under TensorFlow 0.12.1, 1.0.1 or 1.15.5

Writes tests/data/tf0.12/*, and `every_format` of tf1.0 and tf1.15.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf
from fixtures_common import B, T, dense, embedding, fresh_folder, lstm, masked, rng_for, write_expect, write_golden

VERSION = tuple(map(int, tf.__version__.split(".")[:2]))
ERA = {(0, 12): "tf0.12", (1, 0): "tf1.0"}.get(VERSION, "tf1.15")
OLD = ERA == "tf0.12"
cells = tf.nn.rnn_cell if OLD else tf.contrib.rnn
CASES = {}


def case(*eras, **options):
    def register(build):
        if ERA in eras:
            CASES[build.__name__] = (build, options)
        return build

    return register


def real_input(rng, size, batch=B):
    return tf.placeholder(tf.float32, [None, None, size], "x"), rng.normal(size=(batch, T, size)).astype(np.float32)


def ids_to_logits(rng, cell, dim, size, vocab=11):
    """Embedding, the cell over sequences of lengths 100, 0 and 37, and a head: (feed, y, state, layers around)."""
    ids = tf.placeholder(tf.int32, [None, None], "x"), rng.randint(vocab, size=(B, T)).astype(np.int32)
    lengths = tf.placeholder(tf.int32, [None], "lengths"), np.array([T, 0, 37])
    vectors = tf.nn.embedding_lookup(tf.get_variable("embedding", [vocab, dim]), ids[0])
    y, state = tf.nn.dynamic_rnn(cell, vectors, lengths[0], dtype=tf.float32)
    w, b = tf.get_variable("softmax_w", [size, vocab]), tf.get_variable("softmax_b", [vocab])
    flat = tf.nn.xw_plus_b(tf.reshape(y, [-1, size]), w, b, name="logits")
    y = tf.reshape(flat, tf.pack([B, T, vocab]) if OLD else [B, T, vocab], name="y")
    before = [embedding("embedding", vocab, dim, variables=["embedding"])]
    after = [dense(None, size, vocab, variables=["softmax_w", "softmax_b"])]
    return {"x": ids, "lengths": lengths}, y, state, before, after


def states(pairs):
    """[(c, h)] or LSTMStateTuples -> fetches by golden key."""
    return {f"{key}_{k}": pair[at] for k, pair in enumerate(pairs) for at, key in enumerate("ch")}


@case("tf0.12", cells=["BasicLSTMCell"])
def basic(rng):
    feed, y, state, before, after = ids_to_logits(rng, cells.BasicLSTMCell(10, forget_bias=0.7), 6, 10)
    layers = [*before, lstm("RNN/BasicLSTMCell", 6, 10, forget_bias=0.7), *after]
    return feed, dict(states([state]), y=y), layers


@case("tf0.12", cells=["BasicLSTMCell", "MultiRNNCell", "state_is_tuple=False"])
def multi_flat_state(rng):
    """The state of each cell, and of both, in one tensor: [c_0 | h_0 | c_1 | h_1]."""
    both = cells.MultiRNNCell([cells.BasicLSTMCell(n, state_is_tuple=False) for n in (9, 12)], state_is_tuple=False)
    feed, y, state, before, after = ids_to_logits(rng, both, 6, 12)
    parts = [tf.slice(state, [0, at], [-1, n]) for at, n in ((0, 9), (9, 9), (18, 12), (30, 12))]
    names = [f"RNN/MultiRNNCell/Cell{k}/BasicLSTMCell" for k in range(2)]
    layers = [*before, lstm(names[0], 6, 9), lstm(names[1], 9, 12), *after]
    return feed, dict(states([parts[:2], parts[2:]]), y=y), layers


@case("tf0.12", cells=["LSTMCell"])
def lstm_peephole_proj_clip(rng):
    x = real_input(rng, 5)
    cell = cells.LSTMCell(13, use_peepholes=True, num_proj=7, cell_clip=0.6, proj_clip=0.4, state_is_tuple=True)
    y, state = tf.nn.dynamic_rnn(cell, x[0], dtype=tf.float32)
    layers = [lstm("RNN/LSTMCell", 5, 13, 7, cell_clip=0.6, proj_clip=0.4, peepholes=True)]
    return {"x": x}, dict(states([state]), y=tf.identity(y, "y")), layers


@case("tf0.12", cells=["LSTMCell", "MultiRNNCell"])
def lstm_row_shards(rng):
    """num_unit_shards and num_proj_shards: kernels in W_0, W_1 and projections in W_P_0 ... W_P_2, joined by rows."""
    stack = [cells.LSTMCell(11, num_proj=6, num_unit_shards=2, num_proj_shards=3, state_is_tuple=True) for _ in "ab"]
    feed, y, state, before, after = ids_to_logits(rng, cells.MultiRNNCell(stack, state_is_tuple=True), 5, 6)
    names = [f"RNN/MultiRNNCell/Cell{k}/LSTMCell" for k in range(2)]
    return feed, dict(states(state), y=y), [*before, lstm(names[0], 5, 11, 6), lstm(names[1], 6, 11, 6), *after]


@case("tf0.12", cells=["BasicLSTMCell", "MultiRNNCell"], sharded=True)
def two_shards(rng):
    """Variables on two devices, the kernels in slices on both."""
    turn = {}

    def device(op):
        return f"/cpu:{turn.setdefault(op.name, len(turn)) % 2 if op.type.startswith('Variable') else 0}"

    with tf.device(device), tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(2)):
        stack = cells.MultiRNNCell([cells.BasicLSTMCell(n, state_is_tuple=True) for n in (8, 10)], state_is_tuple=True)
        x = real_input(rng, 4)
        y, state = tf.nn.dynamic_rnn(stack, x[0], dtype=tf.float32)
    names = [f"net/RNN/MultiRNNCell/Cell{k}/BasicLSTMCell" for k in range(2)]
    return {"x": x}, dict(states(state), y=tf.identity(y, "y")), [lstm(names[0], 4, 8), lstm(names[1], 8, 10)]


@case("tf1.0", "tf1.15", cells=["LSTMCell", "MultiRNNCell"])
def every_format(rng):
    stack = [
        cells.LSTMCell(12, use_peepholes=True, num_proj=7, cell_clip=0.8, forget_bias=0.6),
        cells.LSTMCell(9, activation=tf.nn.relu),
    ]
    feed, y, state, before, after = ids_to_logits(rng, cells.MultiRNNCell(stack), 5, 9)
    names = [f"rnn/multi_rnn_cell/cell_{k}/lstm_cell" for k in range(2)]
    first = lstm(names[0], 5, 12, 7, peepholes=True, cell_clip=0.8, forget_bias=0.6)
    return feed, dict(states(state), y=y), [*before, first, lstm(names[1], 7, 9, activation="relu"), *after]


def write(name):
    build, options = CASES[name]
    folder = fresh_folder(ERA, name)
    tf.reset_default_graph()
    tf.set_random_seed(1)
    tf.get_variable_scope().set_initializer(tf.constant_initializer(0.0))  # makes the .meta small
    rng = rng_for(f"{name} of every format")
    feed, fetch, layers = build(rng)
    sharded = options.get("sharded", False)
    savers = {
        version: tf.train.Saver(sharded=version == 1 or sharded, write_version=version, max_to_keep=None)
        for version in (tf.train.SaverDef.V1, tf.train.SaverDef.V2)
    }
    with tf.Session(config=tf.ConfigProto(device_count={"CPU": 2})) as sess:
        for variable in sorted(tf.trainable_variables(), key=lambda v: v.name):
            shape = variable.get_shape().as_list()
            sess.run(tf.assign(variable, rng.normal(0, 0.4, shape).astype(np.float32)))
        golden = sess.run(fetch, dict(feed.values()))
        golden.update({key: value for key, (_, value) in feed.items()})
        if "lengths" in golden:
            golden["lengths"] = golden["lengths"].astype(np.int64)
            golden["y"] = masked(golden["y"], golden["lengths"])
        prefix = os.path.join(folder, "model")
        savers[tf.train.SaverDef.V1].save(sess, prefix, write_meta_graph=False)
        savers[tf.train.SaverDef.V2].save(sess, prefix, write_meta_graph=False)
        names = [tensor.op.name for tensor in fetch.values()]
        graph = tf.graph_util.convert_variables_to_constants(sess, sess.graph.as_graph_def(), names)
        forward = tf.graph_util.extract_sub_graph(sess.graph.as_graph_def(), names)  # without the Savers' large parts
        tf.train.export_meta_graph(prefix + ".meta", graph_def=forward)
    models = ["model.index", f"model-00000-of-0000{2 if sharded else 1}", "frozen.pb"]
    with open(os.path.join(folder, "frozen.pb"), "wb") as file:
        file.write(graph.SerializeToString())
    if name in ("every_format", "basic"):
        from google.protobuf import text_format
        from tensorflow.python.tools.optimize_for_inference_lib import optimize_for_inference

        optimized = optimize_for_inference(graph, ["x"], names, tf.int32.as_datatype_enum)
        with open(os.path.join(folder, "optimized.pb"), "wb") as file:
            file.write(optimized.SerializeToString())
        models.append("optimized.pb")
        if ERA == "tf1.0":
            with open(os.path.join(folder, "frozen.pbtxt"), "w") as file:
                file.write(text_format.MessageToString(graph))
            models.append("frozen.pbtxt")
    os.remove(os.path.join(folder, "checkpoint"))  # names the last of the two
    write_golden(folder, golden)
    write_expect(folder, layers, "float32", tf.__version__, models=models, cells=options["cells"])
    return {file: os.path.getsize(os.path.join(folder, file)) for file in sorted(os.listdir(folder))}


if __name__ == "__main__":
    for name in sys.argv[1:] or list(CASES):
        print(name, write(name), flush=True)
