"""Golden fixtures of every TensorFlow 1 cell and wrapper, by genuine TensorFlow 0.12.1, 1.0.1 and 1.15.5.

    python tools/make_fixtures_tf1_cells.py [case ...]      # writes tests/data/cells_tf<version>/<case>

A case is a function of a seeded generator which builds the inference graph; @case says since which version it can.
Every trainable variable is drawn from normal(0, scale) by a generator seeded with the case's name, the gains of layer
norms from normal(1, 0.3).  The graph's own initializers are zeros: it only makes the `.meta` smaller.
"""

import importlib
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf
from fixtures_common import B, T, fresh_folder, masked, rng_for, write_expect, write_golden

VERSION = tuple(int(part) for part in tf.__version__.split(".")[:2])
ERA = "cells_tf%d.%d" % VERSION
contrib = tf.contrib.rnn
cells = tf.nn.rnn_cell if VERSION < (1, 0) else contrib
Basic, Full, Gru, Multi, Tuple = (
    cells.BasicLSTMCell,
    cells.LSTMCell,
    cells.GRUCell,
    cells.MultiRNNCell,
    cells.LSTMStateTuple,
)
CASES = {}
EVERY_FORMAT = {"layer_norm", "coupled_full", "gru_cell", "bidirectional_static"}  # one a kind of cell and of wrapper
if VERSION >= (1, 15):
    EVERY_FORMAT |= {"layer_norm_lstm", "layer_norm_off", "coupled", "coupled_layer_norm", "block_cell", "block_fused"}
    EVERY_FORMAT |= {"gru_and_lstm", "gru_block", "cudnn_compatible", "projections", "projection_between", "dropout"}
    EVERY_FORMAT |= {"embedding_wrapper", "highway", "highway_uncoupled", "device_residual", "state_not_tuple"}
    EVERY_FORMAT |= {"bidirectional_concat", "bidirectional_apart"}
SERVED = {"layer_norm", "gru_cell", "highway", "bidirectional_concat"} if VERSION >= (1, 15) else set()


def concat(parts, axis):
    return tf.concat(axis, parts) if VERSION < (1, 0) else tf.concat(parts, axis)


class Case:
    """x: (placeholder, array).  fetch: golden key -> tensor.  layers: words of expect.json."""

    def __init__(self, x, fetch, layers, cells, **more):
        self.x, self.fetch, self.layers, self.cells = x, fetch, layers, cells
        self.lengths, self.scope, self.load = more.get("lengths"), more.get("scope"), more.get("load")
        self.time_major, self.scale = more.get("time_major"), more.get("scale", 0.4)
        self.golden, self.meta = more.get("golden", lambda a: a), more.get("meta", True)
        self.save, self.variables = None, None


def case(since=(0, 12), until=(9, 9)):
    def register(build):
        if since <= VERSION <= until:
            CASES[build.__name__] = build
        return build

    return register


def real_input(rng, size, batch=B, steps=T, dtype=tf.float32, name="x"):
    x = tf.placeholder(dtype, [None, None, size], name)
    return x, rng.normal(size=(batch, steps, size)).astype(dtype.as_numpy_dtype)


def lengths_of(*lengths):
    return tf.placeholder(tf.int32, [None], "lengths"), np.array(lengths, np.int32)


def states(state):
    """{'c_0': ..., 'h_0': ...} of the states of a stack: LSTMStateTuples, pairs, and plain h of a GRU."""
    layers = [state] if isinstance(state, Tuple) or not isinstance(state, (tuple, list)) else state
    found = {}
    for k, s in enumerate(layers):
        if isinstance(s, (tuple, list)):
            found["c_%d" % k], found["h_%d" % k] = s[0], s[1]
        else:
            found["h_%d" % k] = s
    return found


def run_rnn(cell, x, **more):
    return tf.nn.dynamic_rnn(cell, x[0], dtype=x[0].dtype, **more)


def lstm(units, **more):
    return dict({"type": "LSTM", "hidden": units}, **more)


def gru(units, **more):
    return dict({"type": "GRU", "hidden": units}, **more)


def dense(outputs, activation="linear"):
    return {"type": "Dense", "out": outputs, "activation": activation}


def bidirectional(forward, backward, merge_mode="concat"):
    return {"type": "Bidirectional", "forward": forward, "backward": backward, "merge_mode": merge_mode}


def one(cell, words, names, size=5, **more):
    """A Case of one cell in a dynamic_rnn."""

    def build(rng):
        x = real_input(rng, size)
        y, state = run_rnn(cell(), x)
        state = Tuple(*state) if isinstance(state, (tuple, list)) else state
        return Case(x, dict(states(state), y=y), [words], names, **more)

    return build


# Layer norm


@case()
def layer_norm(rng):
    cell = contrib.LayerNormBasicLSTMCell(12, forget_bias=0.7)
    return one(lambda: cell, lstm(12, layer_norm=True, forget_bias=0.7), ["LayerNormBasicLSTMCell"])(rng)


@case()
def layer_norm_relu(rng):
    cell = contrib.LayerNormBasicLSTMCell(9, activation=tf.nn.relu, norm_gain=0.8, norm_shift=0.1)
    return one(lambda: cell, lstm(9, layer_norm=True, activation="relu"), ["LayerNormBasicLSTMCell"])(rng)


@case()
def layer_norm_off(rng):
    cell = contrib.LayerNormBasicLSTMCell(12, layer_norm=False)
    return one(lambda: cell, lstm(12, layer_norm=False), ["LayerNormBasicLSTMCell"])(rng)


@case()
def layer_norm_stack(rng):
    """Two layers, recurrent dropout by a placeholder, lengths, a head."""
    x, lengths = real_input(rng, 4), lengths_of(40, 0, 17)
    x = x[0], x[1][:, :40]
    keep = tf.placeholder_with_default(1.0, [], "keep")

    def cell():
        return contrib.LayerNormBasicLSTMCell(8, dropout_keep_prob=keep)

    y, state = run_rnn(Multi([cell(), cell()]), x, sequence_length=lengths[0])
    y = tf.contrib.layers.fully_connected(y, 3, activation_fn=None)
    words = [lstm(8, layer_norm=True)] * 2 + [dense(3)]
    names = ["LayerNormBasicLSTMCell", "MultiRNNCell"]
    return Case(x, dict(states(state), y=y), words, names, lengths=lengths)


@case(since=(1, 15))
def layer_norm_lstm(rng):
    """contrib.rnn.LayerNormLSTMCell has everything."""
    from tensorflow.contrib.rnn.python.ops.rnn_cell import LayerNormLSTMCell

    cell = LayerNormLSTMCell(
        11, use_peepholes=True, cell_clip=0.7, num_proj=6, proj_clip=0.5, forget_bias=0.4, layer_norm=True
    )
    words = lstm(11, layer_norm=True, projection=6, peepholes=True, cell_clip=0.7, proj_clip=0.5, forget_bias=0.4)
    return one(lambda: cell, words, ["LayerNormLSTMCell"])(rng)


@case(since=(1, 15))
def layer_norm_lstm_off(rng):
    from tensorflow.contrib.rnn.python.ops.rnn_cell import LayerNormLSTMCell

    cell = LayerNormLSTMCell(10, num_proj=7, layer_norm=False)
    return one(lambda: cell, lstm(10, projection=7, layer_norm=False), ["LayerNormLSTMCell"])(rng)


# Coupled gates

CIFG = ["CoupledInputForgetGateLSTMCell"]


@case()
def coupled(rng):
    return one(lambda: contrib.CoupledInputForgetGateLSTMCell(12, state_is_tuple=True), lstm(12), CIFG)(rng)


@case()
def coupled_full(rng):
    """Peepholes, a projection and its clip, forget_bias, activation."""
    cell = contrib.CoupledInputForgetGateLSTMCell(
        11,
        use_peepholes=True,
        num_proj=6,
        proj_clip=0.4,
        forget_bias=0.3,
        state_is_tuple=True,
        activation=tf.nn.softsign,
    )
    words = lstm(11, peepholes=True, projection=6, proj_clip=0.4, forget_bias=0.3, activation="softsign")
    return one(lambda: cell, words, CIFG)(rng)


@case(since=(1, 15))
def coupled_layer_norm(rng):
    cell = contrib.CoupledInputForgetGateLSTMCell(
        9, use_peepholes=True, layer_norm=True, norm_gain=0.9, norm_shift=0.2, state_is_tuple=True
    )
    return one(lambda: cell, lstm(9, peepholes=True, layer_norm=True), CIFG)(rng)


# Fused

SCALE = 0.6 if VERSION < (1, 2) else 0.3  # the clip at 3 bites; without one the cell would go where float32 is coarse


@case()
def block_cell(rng):
    """Clips the cell at 3 up to TensorFlow 1.1, whose names are LSTMCell's."""
    remembered = 0.8 if VERSION < (1, 2) else -0.4
    words = lstm(12, peepholes=True, cell_clip=3.0 if VERSION < (1, 2) else None, forget_bias=remembered)
    cell = contrib.LSTMBlockCell(12, forget_bias=remembered, use_peephole=True)
    return one(lambda: cell, words, ["LSTMBlockCell"], scale=SCALE)(rng)


@case()
def block_fused(rng):
    words = lstm(12, peepholes=True, cell_clip=3.0 if VERSION < (1, 2) else None)
    return fused(rng, contrib.LSTMBlockFusedCell(12, use_peephole=True), words)


@case()
def block_fused_clip(rng):
    return fused(rng, contrib.LSTMBlockFusedCell(10, cell_clip=0.5), lstm(10, cell_clip=0.5))


def fused(rng, cell, words):
    x, lengths = real_input(rng, 4), lengths_of(T, 0, 37)
    y, state = cell(tf.transpose(x[0], [1, 0, 2]), dtype=tf.float32, sequence_length=lengths[0])
    fetch = dict(states(Tuple(*state)), y=tf.transpose(y, [1, 0, 2]))
    return Case(x, fetch, [words], ["LSTMBlockFusedCell"], lengths=lengths, scale=SCALE)


# GRU


@case()
def gru_cell(rng):
    return one(lambda: Gru(12), gru(12), ["GRUCell"])(rng)


@case()
def gru_and_lstm(rng):
    x, lengths = real_input(rng, 4), lengths_of(T, 0, 37)
    y, state = run_rnn(Multi([Gru(9, activation=tf.nn.relu), Full(7), Gru(5)]), x, sequence_length=lengths[0])
    y = tf.contrib.layers.fully_connected(y, 3, activation_fn=tf.tanh)
    words = [gru(9, activation="relu"), lstm(7), gru(5), dense(3, "tanh")]
    return Case(x, dict(states(state), y=y), words, ["GRUCell", "LSTMCell", "MultiRNNCell"], lengths=lengths, scale=0.3)


@case()
def gru_block(rng):
    if VERSION < (1, 2):
        return one(lambda: contrib.GRUBlockCell(12), gru(12), ["GRUBlockCell"])(rng)
    return one(lambda: contrib.GRUBlockCellV2(12), gru(12), ["GRUBlockCell"])(rng)


# cuDNN


@case(since=(1, 15))
def cudnn_compatible(rng):
    x = real_input(rng, 5)
    cell = tf.contrib.cudnn_rnn.CudnnCompatibleLSTMCell
    y, state = run_rnn(Multi([cell(8), cell(8)]), x)
    words = [lstm(8, forget_bias=0.0)] * 2
    return Case(x, dict(states(state), y=y), words, ["CudnnCompatibleLSTMCell", "MultiRNNCell"])


@case(since=(1, 15))
def cudnn_lstm(rng):
    """What CudnnLSTM's saver writes, written by the cell that TensorFlow has for reading it without a GPU."""
    x = real_input(rng, 5)
    cell = tf.contrib.cudnn_rnn.CudnnCompatibleLSTMCell
    with tf.variable_scope("cudnn_lstm"):
        y, state = run_rnn(Multi([cell(8), cell(8)]), x)
    words = [lstm(8, forget_bias=0.0)] * 2
    return Case(x, dict(states(state), y=y), words, ["CudnnLSTM"], meta=False)


@case(since=(1, 15))
def cudnn_lstm_bidirectional(rng):
    """The same in both directions, two layers."""
    x, cell = real_input(rng, 5), tf.contrib.cudnn_rnn.CudnnCompatibleLSTMCell
    with tf.variable_scope("cudnn_lstm"):
        y, fw, bw = tf.contrib.rnn.stack_bidirectional_dynamic_rnn(
            [cell(6), cell(6)], [cell(6), cell(6)], x[0], dtype=tf.float32
        )
    words = [bidirectional([lstm(6, forget_bias=0.0)], [lstm(6, forget_bias=0.0)])] * 2
    return Case(x, dict(states([fw[0], bw[0], fw[1], bw[1]]), y=y), words, ["CudnnLSTM"], meta=False)


@case(since=(1, 15))
def cudnn_opaque(rng):
    """CudnnLSTM's own graph with its one buffer saved as it is, by a Saver of plain variables."""
    made = cudnn_lstm(rng)

    def save(sess, prefix):
        values = {v.op.name: sess.run(v) for v in tf.trainable_variables()}
        pruned = tf.ConfigProto(graph_options=tf.GraphOptions(place_pruned_graph=True))  # no kernels without a GPU
        with tf.Graph().as_default(), tf.Session(config=pruned) as cudnn:
            x = tf.placeholder(tf.float32, [None, None, 5], "x")
            tf.contrib.cudnn_rnn.CudnnLSTM(2, 8, name="cudnn_lstm")(x)
            (buffer,) = tf.global_variables()
            whole = tf.placeholder(tf.float32, [None])
            cudnn.run(tf.assign(buffer, whole, validate_shape=False), {whole: cudnn_buffer(values, 2, 8)})
            saver = tf.train.Saver([buffer])
            saver.save(cudnn, prefix, write_meta_graph=False)
            write_meta(saver, prefix)

    made.save, made.variables = save, ["cudnn_lstm/opaque_kernel"]
    return made


def cudnn_buffer(values, layers, units):
    """W_i W_f W_c W_o R_i R_f R_c R_o of each layer, each (units, in), then the biases of both; ours are i c f o."""
    weights, biases = [], []
    for k in range(layers):
        cell = "cudnn_lstm/rnn/multi_rnn_cell/cell_%d/cudnn_compatible_lstm_cell/" % k
        kernel, bias = values[cell + "kernel"], values[cell + "bias"]
        for rows in (slice(None, -units), slice(-units, None)):
            weights += [kernel[rows, g * units : (g + 1) * units].T.ravel() for g in (0, 2, 1, 3)]
        whole = np.concatenate([bias[g * units : (g + 1) * units] for g in (0, 2, 1, 3)])
        biases += [whole / 4, whole - whole / 4]
    return np.concatenate(weights + biases)


# Wrappers


@case()
def projections(rng):
    """InputProjectionWrapper and OutputProjectionWrapper inside each step."""
    x = real_input(rng, 4)
    cell = cells.OutputProjectionWrapper(cells.InputProjectionWrapper(Full(9), 6), 3)
    y, state = run_rnn(cell, x)
    names = ["InputProjectionWrapper", "OutputProjectionWrapper", "LSTMCell"]
    return Case(x, dict(states(state), y=y), [dense(6), lstm(9), dense(3)], names, scale=0.3)


@case()
def projection_between(rng):
    """An OutputProjectionWrapper below another layer."""
    x = real_input(rng, 4)
    y, state = run_rnn(Multi([cells.OutputProjectionWrapper(Basic(9), 5), Basic(7)]), x)
    names = ["OutputProjectionWrapper", "BasicLSTMCell", "MultiRNNCell"]
    return Case(x, dict(states(state), y=y), [lstm(9), dense(5), lstm(7)], names)


@case()
def embedding_wrapper(rng):
    ids = rng.randint(11, size=(B, T)).astype(np.int32)
    x = tf.placeholder(tf.int32, [None, None, 1], "x"), ids[:, :, None]
    y, state = tf.nn.dynamic_rnn(cells.EmbeddingWrapper(Basic(8), 11, 6), x[0], dtype=tf.float32)
    words = [{"type": "Embedding", "vocab": 11, "dim": 6}, lstm(8)]
    names = ["EmbeddingWrapper", "BasicLSTMCell"]
    return Case(x, dict(states(state), y=y), words, names, golden=lambda a: a[:, :, 0])


@case()
def dropout(rng):
    x, keep = real_input(rng, 6), tf.placeholder_with_default(1.0, [], "keep")

    def cell():
        return cells.DropoutWrapper(Basic(7), input_keep_prob=keep, output_keep_prob=keep)

    y, state = run_rnn(Multi([cell(), cell()]), x)
    names = ["DropoutWrapper", "BasicLSTMCell", "MultiRNNCell"]
    return Case(x, dict(states(state), y=y), [lstm(7), lstm(7)], names)


@case(since=(1, 15))
def highway(rng):
    x = real_input(rng, 8)
    cell = Multi([contrib.HighwayWrapper(Full(8)), contrib.HighwayWrapper(Gru(8), carry_bias_init=0.5)])
    y, state = run_rnn(cell, x)
    y = tf.layers.dense(y, 3)
    words = [lstm(8, highway="coupled"), gru(8, highway="coupled"), dense(3)]
    names = ["HighwayWrapper", "LSTMCell", "GRUCell", "MultiRNNCell"]
    return Case(x, dict(states(state), y=y), words, names)


@case(since=(1, 15))
def highway_uncoupled(rng):
    cell = contrib.HighwayWrapper(Basic(8), couple_carry_transform_gates=False)
    return one(lambda: cell, lstm(8, highway="uncoupled"), ["HighwayWrapper", "BasicLSTMCell"], size=8)(rng)


@case(since=(1, 15))
def device_residual(rng):
    x = real_input(rng, 8)
    cell = Multi([Basic(8), contrib.DeviceWrapper(contrib.ResidualWrapper(Gru(8)), "/cpu:0")])
    y, state = run_rnn(cell, x)
    names = ["DeviceWrapper", "ResidualWrapper", "GRUCell", "BasicLSTMCell", "MultiRNNCell"]
    return Case(x, dict(states(state), y=y), [lstm(8), gru(8, residual=True)], names)


@case()
def state_not_tuple(rng):
    """The state as one tensor [c | h] a layer, and all layers in one."""
    x = real_input(rng, 5)
    cell = Multi([Basic(8, state_is_tuple=False), Full(6, state_is_tuple=False)], state_is_tuple=False)
    y, state = run_rnn(cell, x)
    parts = {"c_0": state[:, :8], "h_0": state[:, 8:16], "c_1": state[:, 16:22], "h_1": state[:, 22:]}
    names = ["state_is_tuple=False", "BasicLSTMCell", "LSTMCell", "MultiRNNCell"]
    return Case(x, dict(parts, y=y), [lstm(8), lstm(6)], names)


@case()
def time_major(rng):
    """Layer norm and GRU under time_major, hand-made dense layers before and after."""
    x = tf.placeholder(tf.float32, [None, None, 4], "x"), rng.normal(size=(B, 40, 4)).astype(np.float32)
    w_in, b_in = tf.get_variable("w_in", [4, 6]), tf.get_variable("b_in", [6])
    w_out, b_out = tf.get_variable("w_out", [7, 3]), tf.get_variable("b_out", [3])
    flat = tf.tanh(tf.matmul(tf.reshape(x[0], [-1, 4]), w_in) + b_in)
    inner = tf.reshape(flat, concat([tf.shape(x[0])[:2], [6]], 0))
    inner.set_shape([None, None, 6])
    cell = Multi([Gru(8), contrib.LayerNormBasicLSTMCell(7)])
    y, state = tf.nn.dynamic_rnn(cell, inner, dtype=tf.float32, time_major=True)
    y = tf.reshape(tf.matmul(tf.reshape(y, [-1, 7]), w_out) + b_out, concat([tf.shape(x[0])[:2], [3]], 0))
    words = [dense(6, "tanh"), gru(8), lstm(7, layer_norm=True), dense(3)]
    names = ["LayerNormBasicLSTMCell", "GRUCell", "MultiRNNCell"]
    return Case(x, dict(states(state), y=y), words, names, time_major=True)


@case()
def encoder_decoder(rng):
    """A bidirectional encoder beside a decoder of coupled gates; the golden run is the decoder's."""
    x, seen = real_input(rng, 5), tf.placeholder(tf.float32, [None, None, 3], "x_encoder")
    with tf.variable_scope("encoder"):
        both_ways(Basic(6), Basic(6), (seen, None))
    with tf.variable_scope("decoder"):
        y, state = run_rnn(contrib.CoupledInputForgetGateLSTMCell(8, state_is_tuple=True), x)
        y = tf.contrib.layers.fully_connected(y, 3, activation_fn=None)
    return Case(x, dict(states(state), y=y), [lstm(8), dense(3)], CIFG, scope="decoder")


# Both directions

BIDIRECTIONAL = ["bidirectional_dynamic_rnn"]


def both_ways(forward, backward, x, **more):
    if VERSION < (1, 2) and "sequence_length" not in more:  # it was required
        shape, major = tf.shape(x[0]), bool(more.get("time_major"))
        more["sequence_length"] = tf.fill(shape[int(major) : 1 + int(major)], shape[1 - int(major)])
    outputs, ends = tf.nn.bidirectional_dynamic_rnn(forward, backward, x[0], dtype=tf.float32, **more)
    flat = []
    for end in ends:
        flat += [end] if isinstance(end, Tuple) or not isinstance(end, (tuple, list)) else list(end)
    return outputs, states(flat)


@case()
def bidirectional_concat(rng):
    x, lengths = real_input(rng, 5), lengths_of(T, 0, 37)
    outputs, ends = both_ways(Basic(8), Full(6, use_peepholes=True), x, sequence_length=lengths[0])
    y = tf.contrib.layers.fully_connected(concat(outputs, 2), 4, activation_fn=tf.tanh)
    words = [bidirectional([lstm(8)], [lstm(6, peepholes=True)]), dense(4, "tanh")]
    return Case(x, dict(ends, y=y), words, [*BIDIRECTIONAL, "BasicLSTMCell", "LSTMCell"], lengths=lengths, scale=0.3)


@case()
def bidirectional_sum(rng):
    x = real_input(rng, 5)
    outputs, ends = both_ways(Multi([Basic(8), Gru(6)]), Multi([Gru(7), Basic(6)]), x, time_major=True)
    words = [bidirectional([lstm(8), gru(6)], [gru(7), lstm(6)], "sum")]
    names = [*BIDIRECTIONAL, "BasicLSTMCell", "GRUCell", "MultiRNNCell"]
    return Case(x, dict(ends, y=outputs[0] + outputs[1]), words, names, time_major=True)


@case()
def bidirectional_apart(rng):
    """Nothing in the graph says how the two are put together; the golden run puts them side by side."""
    x = real_input(rng, 5)
    outputs, ends = both_ways(Basic(8), Basic(8), x)
    words = [bidirectional([lstm(8)], [lstm(8)])]
    found = dict(ends, fw=outputs[0], bw=outputs[1])
    return Case(x, found, words, [*BIDIRECTIONAL, "BasicLSTMCell"], scale=0.3)


@case()
def bidirectional_backward(rng):
    """One direction alone, by its scope: the golden input and output are in the order in which it reads them."""
    x = real_input(rng, 5)
    outputs, ends = both_ways(Basic(8), Basic(8), x)
    fetch = {"c_0": ends["c_1"], "h_0": ends["h_1"], "y": tf.reverse(outputs[1], [False, True, False])
             if VERSION < (1, 0) else tf.reverse(outputs[1], [1])}  # fmt: skip
    scope = "BiRNN/BW" if VERSION < (1, 0) else "bidirectional_rnn/bw"
    names = [*BIDIRECTIONAL, "BasicLSTMCell"]
    return Case(x, fetch, [lstm(8)], names, scope=scope, golden=lambda a: a[:, ::-1])


@case()
def bidirectional_stack(rng):
    """stack_bidirectional_dynamic_rnn between an embedding and one more layer, which reads it."""
    ids = rng.randint(9, size=(B, 60)).astype(np.int32)
    x, lengths = (tf.placeholder(tf.int32, [None, None], "x"), ids), lengths_of(60, 1, 37)
    vectors = tf.nn.embedding_lookup(tf.get_variable("embedding", [9, 5]), x[0])
    stacked = importlib.import_module("tensorflow.contrib.rnn.python.ops.rnn").stack_bidirectional_dynamic_rnn
    sizes = (6, 4)
    y, fw, bw = stacked(
        [Basic(n) for n in sizes],
        [Gru(n) for n in sizes],
        vectors,
        dtype=tf.float32,
        sequence_length=lengths[0],
        scope=None,
    )
    with tf.variable_scope("above"):
        y, state = tf.nn.dynamic_rnn(Full(7), y, dtype=tf.float32, sequence_length=lengths[0])
    ends = states([fw[0], bw[0], fw[1], bw[1], state])
    words = [{"type": "Embedding", "vocab": 9, "dim": 5}]
    words += [bidirectional([lstm(n)], [gru(n)]) for n in sizes] + [lstm(7)]
    names = [*BIDIRECTIONAL, "stack_bidirectional_dynamic_rnn", "BasicLSTMCell", "GRUCell", "LSTMCell"]
    return Case(x, dict(ends, y=y), words, names, lengths=lengths, scale=0.3)


@case()
def bidirectional_static(rng):
    x = tf.placeholder(tf.float32, [None, 7, 5], "x"), rng.normal(size=(B, 7, 5)).astype(np.float32)
    steps = tf.unstack(x[0], axis=1)
    static = tf.nn.bidirectional_rnn if VERSION < (1, 0) else contrib.static_bidirectional_rnn
    ys, fw, bw = static(Basic(6), Basic(4), steps, dtype=tf.float32)
    y = tf.stack(ys, axis=1)
    words = [bidirectional([lstm(6)], [lstm(4)])]
    names = [*BIDIRECTIONAL, "static_bidirectional_rnn", "BasicLSTMCell"]
    return Case(x, dict(states([fw, bw]), y=y), words, names)


def trainable_scale(name, scale):
    return (1.0, 0.3) if name.split("/")[-1] == "gamma" else (0.0, scale)


def write(name):
    folder = fresh_folder(ERA, name)
    tf.reset_default_graph()
    zeros = tf.zeros_initializer if VERSION < (1, 0) else tf.zeros_initializer()
    tf.get_variable_scope().set_initializer(zeros)
    made = CASES[name](rng_for(name))
    rng = rng_for(name + " weights")
    with tf.Session(config=tf.ConfigProto(device_count={"CPU": 1})) as sess:
        for v in sorted(tf.trainable_variables(), key=lambda v: v.name):
            mean, scale = trainable_scale(v.op.name, made.scale)
            value = rng.normal(mean, scale, v.get_shape().as_list()).astype(v.dtype.as_numpy_dtype)
            sess.run(v.initializer, {v.initializer.inputs[1]: value})
        golden = run(sess, made)
        options = {} if VERSION >= (1, 0) else {"write_version": tf.train.SaverDef.V2}
        prefix = os.path.join(folder, "model")
        if made.save:
            made.save(sess, prefix)
        else:
            saver = tf.train.Saver(**options)
            saver.save(sess, prefix, write_meta_graph=False)
            if made.meta:
                write_meta(saver, prefix)
        models = ["model.index"]
        if name in EVERY_FORMAT:
            models += write_v1(sess, prefix) + write_frozen(sess, made, folder)
        if name in SERVED:
            models.append(write_saved_model(sess, made, folder))
    write_golden(folder, golden)
    variables = made.variables or sorted(v.op.name for v in tf.trainable_variables())
    more = {"cells": made.cells, "variables": variables}
    if made.load:
        more["load"] = made.load
    if len(models) > 1:
        more["models"] = models
    if any("layer_norm" in word and word["layer_norm"] for word in made.layers):
        more["layer_norm"] = True
    write_expect(folder, made.layers, made.x[0].dtype.name.replace("int32", "float32"), tf.__version__, **dict(
        more, scope=made.scope))  # fmt: skip
    return golden


def write_meta(saver, prefix):
    """What `Saver.save` writes, without the shapes of every node and the loops' protocol, which nobody reads."""
    meta = saver.export_meta_graph()
    slim(meta)
    with open(prefix + ".meta", "wb") as f:
        f.write(meta.SerializeToString())


def slim(meta):
    meta.collection_def.pop("while_context", None)
    without_shapes(meta.graph_def)


def without_shapes(graph):
    for node in graph.node:
        node.attr.pop("_output_shapes", None)


def write_v1(sess, prefix):
    saver = tf.train.Saver(write_version=tf.train.SaverDef.V1, sharded=True)
    saver.save(sess, prefix, write_meta_graph=False, write_state=False)
    return sorted(f for f in os.listdir(os.path.dirname(prefix)) if f.startswith("model-00000-of"))


def write_frozen(sess, made, folder):
    names = sorted({tensor.op.name for tensor in made.fetch.values()})
    graph = tf.graph_util.convert_variables_to_constants(sess, sess.graph.as_graph_def(), names)
    without_shapes(graph)
    with open(os.path.join(folder, "frozen.pb"), "wb") as f:
        f.write(graph.SerializeToString())
    return ["frozen.pb"]


def write_saved_model(sess, made, folder):
    from tensorflow.core.protobuf import saved_model_pb2

    whole = os.path.join(folder, "saved_model")
    inputs = {"x": made.x[0]}
    if made.lengths:
        inputs["lengths"] = made.lengths[0]
    tf.saved_model.simple_save(sess, whole, inputs, dict(made.fetch))
    path = os.path.join(whole, "saved_model.pb")
    with open(path, "rb") as f:
        model = saved_model_pb2.SavedModel.FromString(f.read())
    slim(model.meta_graphs[0])
    with open(path, "wb") as f:
        f.write(model.SerializeToString())
    return "saved_model"


def run(sess, made):
    turn = (lambda a: a.swapaxes(0, 1)) if made.time_major else (lambda a: a)
    feed = {made.x[0]: turn(made.x[1])}
    if made.lengths:
        feed[made.lengths[0]] = made.lengths[1]
    golden = sess.run(made.fetch, feed)
    if "fw" in golden:
        golden["y"] = np.concatenate([golden.pop("fw"), golden.pop("bw")], axis=2)
    golden["y"] = turn(golden["y"])
    golden["x"] = made.golden(made.x[1])
    if made.lengths:
        golden["lengths"] = made.lengths[1].astype(np.int64)
        golden["y"] = masked(golden["y"], golden["lengths"])
    assert max(abs(golden["y"]).max(), 0) > 1e-2
    return golden


def main(names):
    for name in names or list(CASES):
        golden = write(name)
        print("%-24s" % name, {k: v.shape for k, v in sorted(golden.items())}, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
