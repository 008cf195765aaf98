"""Golden fixtures from genuine TensorFlow 1.x: the checkpoint as written, inputs, outputs, and what to find in it.

    python tools/make_fixtures_tf1.py [case ...]            # under TensorFlow 1.0.1 or 1.15.5
    python tools/make_fixtures_tf1.py --check [case ...]    # runs each .meta + checkpoint again: golden.npz?

Every trainable variable, biases too, is drawn from normal(0, scale) by a generator seeded with the case's name.
A case is a function of that generator which builds the inference graph and returns a Case; @case says where it runs.
"""

import json
import os
import sys
from types import SimpleNamespace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf
from fixtures_common import (
    DATA,
    B,
    T,
    dense,
    embedding,
    fresh_folder,
    lstm,
    masked,
    onehot,
    rng_for,
    write_expect,
    write_golden,
)

OLD = tf.__version__.startswith("1.0")
ERA = "tf1.0" if OLD else "tf1.15"
rnn = tf.contrib.rnn
BasicLSTM, FullLSTM, Multi = rnn.BasicLSTMCell, rnn.LSTMCell, rnn.MultiRNNCell
CASES = {}


class Case:
    """feed: golden key -> (placeholder, array); fetch: golden key -> tensor."""

    def __init__(
        self,
        feed,
        fetch,
        layers,
        dtype="float32",
        scope=None,
        scale=0.4,
        time_major=False,
        saver=None,
        write_meta=True,
        run=None,
        before_save=None,
        after_save=None,
        models=None,
    ):
        self.__dict__.update(locals())


def case(*, old=True, new=True, differs=()):
    """differs: keyword arguments that must each change y, to prove that the fixture exercises them."""

    def register(build):
        if old if OLD else new:
            CASES[build.__name__] = SimpleNamespace(build=build, differs=differs)
        return build

    return register


def real_input(rng, size, dtype=tf.float32, shape=None, batch=1, steps=T):
    x = tf.placeholder(dtype, shape or [None, None, size], "x")
    return x, rng.normal(size=(batch, steps, size)).astype(dtype.as_numpy_dtype)


def id_input(rng, vocab, batch=1):
    return tf.placeholder(tf.int32, [None, None], "x"), rng.randint(vocab, size=(batch, T)).astype(np.int32)


def length_input(*lengths):
    return tf.placeholder(tf.int32, [None], "lengths"), np.array(lengths)


def states(state, c="c_", h="h_"):
    """{'c_0': ..., 'h_0': ...} of one LSTMStateTuple or of a tuple of them."""
    layers = [state] if isinstance(state, rnn.LSTMStateTuple) else state
    return {f"{key}{k}": part for k, s in enumerate(layers) for key, part in ((c, s.c), (h, s.h))}


def matmul_head(y, inputs, outputs):
    """The head of the PTB tutorial: flat matmul plus bias, variables at the root of the graph."""
    w = tf.get_variable("softmax_w", [inputs, outputs])
    b = tf.get_variable("softmax_b", [outputs])
    flat = tf.nn.xw_plus_b(tf.reshape(y, [-1, inputs]), w, b, name="logits")
    return tf.reshape(flat, tf.concat([tf.shape(y)[:2], [outputs]], 0))


@case()
def basic(rng):
    x = real_input(rng, 4, batch=B)
    y, state = tf.nn.dynamic_rnn(BasicLSTM(12), x[0], dtype=tf.float32)
    return Case({"x": x}, dict(states(state), y=y), [lstm("rnn/basic_lstm_cell", 4, 12)])


@case()
def basic_f64_tanh_head(rng):
    x = real_input(rng, 1, tf.float64)
    y, state = tf.nn.dynamic_rnn(BasicLSTM(16), x[0], dtype=tf.float64)
    y = tf.contrib.layers.fully_connected(y, 1, activation_fn=tf.tanh)
    layers = [lstm("rnn/basic_lstm_cell", 1, 16), dense("fully_connected", 16, 1, "tanh")]
    return Case({"x": x}, dict(states(state), y=y), layers, dtype="float64")


@case(differs=[dict(forget_bias=1.0), dict(activation=tf.tanh)])
def basic_forget_bias(rng, forget_bias=0.3, activation=tf.nn.relu):
    x = real_input(rng, 3)
    y, state = tf.nn.dynamic_rnn(BasicLSTM(9, forget_bias, activation=activation), x[0], dtype=tf.float32)
    layers = [lstm("rnn/basic_lstm_cell", 3, 9, forget_bias=0.3, activation="relu")]
    return Case({"x": x}, dict(states(state), y=y), layers, scale=0.2)


@case(differs=[dict(cell_clip=None), dict(proj_clip=None), dict(cell_clip=None, proj_clip=None)])
def lstm_peephole_proj_clip(rng, cell_clip=0.6, proj_clip=0.4):
    x = real_input(rng, 5, batch=B)
    cell = FullLSTM(13, use_peepholes=True, num_proj=7, cell_clip=cell_clip, proj_clip=proj_clip)
    y, state = tf.nn.dynamic_rnn(cell, x[0], dtype=tf.float32)
    layers = [lstm("rnn/lstm_cell", 5, 13, 7, cell_clip=0.6, proj_clip=0.4, peepholes=True), dense("dense", 7, 4)]
    return Case({"x": x}, dict(states(state), y=tf.layers.dense(y, 4)), layers, scale=0.7)


@case(differs=[dict(forget_bias=1.0)])
def lstm_forget0(rng, forget_bias=0.0):
    x = real_input(rng, 6, tf.float64)
    y, state = tf.nn.dynamic_rnn(FullLSTM(8, forget_bias=forget_bias), x[0], dtype=tf.float64)
    return Case({"x": x}, dict(states(state), y=y), [lstm("rnn/lstm_cell", 6, 8, forget_bias=0.0)], dtype="float64")


def multi_model(rng, sizes=(20, 12, 16), vocab=11, dim=8):
    x, lengths = id_input(rng, vocab, B), length_input(T, 0, 37)
    vectors = tf.nn.embedding_lookup(tf.get_variable("embedding", [vocab, dim]), x[0])
    y, state = tf.nn.dynamic_rnn(Multi([BasicLSTM(n) for n in sizes]), vectors, lengths[0], dtype=tf.float32)
    names = [f"rnn/multi_rnn_cell/cell_{k}/basic_lstm_cell" for k in range(len(sizes))]
    layers = [embedding("embedding", vocab, dim)]
    layers += [lstm(*layer) for layer in zip(names, (dim, *sizes), sizes)]
    layers += [dense(None, sizes[-1], vocab, variables=["softmax_w", "softmax_b"])]
    return Case({"x": x, "lengths": lengths}, dict(states(state), y=matmul_head(y, sizes[-1], vocab)), layers)


@case()
def multi(rng):
    return multi_model(rng)


@case()
def multi_v1(rng):
    model = multi_model(rng_for("multi"))
    model.saver = dict(write_version=tf.train.SaverDef.V1)
    model.write_meta = OLD
    model.models = ["model", "../multi/model.index"]
    return model


@case()
def onehot_softmax(rng):
    x = id_input(rng, 9)
    y, state = tf.nn.dynamic_rnn(Multi([FullLSTM(14), FullLSTM(10)]), tf.one_hot(x[0], 9), dtype=tf.float32)
    logits = tf.layers.dense(y, 9)
    names = [f"rnn/multi_rnn_cell/cell_{k}/lstm_cell" for k in range(2)]
    layers = [onehot(9), lstm(names[0], 9, 14), lstm(names[1], 14, 10), dense("dense", 10, 9)]
    return Case({"x": x}, dict(states(state), y=logits, probabilities=tf.nn.softmax(logits)), layers)


@case(old=False)  # TensorFlow 1.0 has no ResidualWrapper
def residual_dropout(rng):
    x, keep = real_input(rng, 10), tf.placeholder_with_default(1.0, [], "keep_prob")

    def cell():
        return rnn.DropoutWrapper(rnn.ResidualWrapper(BasicLSTM(10)), output_keep_prob=keep)

    y, state = tf.nn.dynamic_rnn(Multi([cell(), cell()]), x[0], dtype=tf.float32)
    layers = [lstm(f"rnn/multi_rnn_cell/cell_{k}/basic_lstm_cell", 10, 10, residual=True) for k in range(2)]
    return Case({"x": x}, dict(states(state), y=y), layers)


@case()
def user_scope(rng):
    x = real_input(rng, 4, batch=2)
    with tf.variable_scope("my/net"):
        y, state = tf.nn.dynamic_rnn(BasicLSTM(11), x[0], dtype=tf.float32, time_major=True, scope="decode")
        y = tf.layers.dense(y, 3)
    layers = [lstm("my/net/decode/basic_lstm_cell", 4, 11), dense("my/net/dense", 11, 3)]
    return Case({"x": x}, dict(states(state), y=y), layers, time_major=True)


@case()
def same_cell_twice(rng):
    """[cell] * 2: two layers with their own weights in TensorFlow 1.0, one set of weights in 1.15."""
    x = real_input(rng, 12)
    y, state = tf.nn.dynamic_rnn(Multi([BasicLSTM(12)] * 2), x[0], dtype=tf.float32)
    layers = [lstm(f"rnn/multi_rnn_cell/cell_{k if OLD else 0}/basic_lstm_cell", 12, 12) for k in range(2)]
    return Case({"x": x}, dict(states(state), y=y), layers)


@case()
def reused_scope(rng):
    """Two stacked dynamic_rnn calls under one scope with reuse: two layers, one set of weights."""
    x, y, found = real_input(rng, 12), None, []
    with tf.variable_scope("stack") as scope:
        for _ in range(2):
            y, state = tf.nn.dynamic_rnn(BasicLSTM(12), x[0] if y is None else y, dtype=tf.float32)
            found.append(state)
            scope.reuse_variables()
    return Case({"x": x}, dict(states(found), y=y), [lstm("stack/rnn/basic_lstm_cell", 12, 12)] * 2)


def write(name):
    """Build, initialise, run and save one case; returns its golden arrays."""
    entry, folder = CASES[name], fresh_folder(ERA, name)
    tf.reset_default_graph()
    tf.set_random_seed(1)
    if name not in ("basic", "multi", "training"):  # the default initializers would be a tenth of each .meta
        tf.get_variable_scope().set_initializer(tf.zeros_initializer())
    made = entry.build(rng_for(name))
    saver = tf.train.Saver(**(made.saver or {}))
    with tf.Session(config=tf.ConfigProto(device_count={"CPU": 2})) as sess:
        initialise(sess, made, name)
        if made.before_save:
            made.before_save(sess)
        golden = made.run(sess) if made.run else run(sess, made)
        saver.save(sess, os.path.join(folder, "model"), write_meta_graph=made.write_meta)
        if made.after_save:
            golden.update(made.after_save(sess, golden))
    write_golden(folder, golden)
    graph = None
    if made.write_meta and not made.run:
        graph = {
            "feed": {key: placeholder.name for key, (placeholder, _) in made.feed.items()},
            "fetch": {key: tensor.name for key, tensor in made.fetch.items()},
            "time_major": made.time_major,
        }
    write_expect(
        folder,
        [with_variables(layer) for layer in made.layers],
        made.dtype,
        tf.__version__,
        scope=made.scope,
        graph=graph,
        **({"models": made.models} if made.models else {}),
    )
    for changed in entry.differs:
        must_differ(entry, name, changed, golden["y"])
    return golden


def initialise(sess, made, name):
    """Random trainable variables, then the initializers of the others (slots, averages, counters)."""
    rng, trained = rng_for(name.replace("_v1", "") + " weights"), tf.trainable_variables()
    for v in sorted(trained, key=lambda v: v.name):
        value = v.initializer.inputs[1]
        shape = value.get_shape().as_list()
        sess.run(v.initializer, {value: rng.normal(0, made.scale, shape).astype(value.dtype.as_numpy_dtype)})
    sess.run(tf.variables_initializer([v for v in tf.global_variables() if v not in trained]))


def run(sess, made):
    """One run over whole sequences: the arrays of golden.npz."""
    turn = (lambda a: a.swapaxes(0, 1)) if made.time_major else (lambda a: a)
    feed = {placeholder: turn(value) if key == "x" else value for key, (placeholder, value) in made.feed.items()}
    golden = {
        key: turn(value) if key in ("y", "probabilities") else value
        for key, value in sess.run(made.fetch, feed).items()
    }
    golden.update({key: value for key, (_, value) in made.feed.items()})
    if "lengths" in golden:
        golden["lengths"] = golden["lengths"].astype(np.int64)
        golden["y"] = masked(golden["y"], golden["lengths"])
    return golden


def with_variables(layer):
    """The layer with the checkpoint keys of its variables (slices joined)."""
    if not layer.get("name"):
        return layer
    keys = [v.op.name.split("/part_")[0] for v in tf.trainable_variables()]
    mine = [key for key in dict.fromkeys(keys) if key == layer["name"] or key.startswith(layer["name"] + "/")]
    assert mine, layer
    return dict(layer, variables=mine)


def must_differ(entry, name, changed, y):
    tf.reset_default_graph()
    made = entry.build(rng_for(name), **changed)
    with tf.Session() as sess:
        initialise(sess, made, name)
        difference = np.abs(run(sess, made)["y"] - y).max()
    assert difference > 1e-2, (name, changed, difference)


def check(name):
    """Restore from the files alone and compare with golden.npz."""
    folder = os.path.join(DATA, ERA, name)
    with open(os.path.join(folder, "expect.json")) as f:
        graph = json.load(f)["graph"]
    if not graph:
        return "no graph run"
    golden = dict(np.load(os.path.join(folder, "golden.npz")))
    tf.reset_default_graph()
    with tf.Session(config=tf.ConfigProto(device_count={"CPU": 2})) as sess:
        saver = tf.train.import_meta_graph(os.path.join(folder, "model.meta"))
        saver.restore(sess, os.path.join(folder, "model"))
        made = Case(
            {key: (tensor, golden[key]) for key, tensor in graph["feed"].items()},
            graph["fetch"],
            [],
            time_major=graph["time_major"],
        )
        again = run(sess, made)
    assert set(again) <= set(golden)
    largest = max(np.abs(again[key] - golden[key]).max() for key in graph["fetch"])
    return f"largest difference {largest:g}"


def main(arguments):
    import make_fixtures_tf1_more  # noqa: F401  registers the rest

    checking = "--check" in arguments
    for name in [a for a in arguments if a != "--check"] or list(CASES):
        print(f"{name:24}", (check if checking else lambda n: sorted(write(n)))(name), flush=True)


if __name__ == "__main__":
    sys.modules["make_fixtures_tf1"] = sys.modules["__main__"]
    main(sys.argv[1:])
