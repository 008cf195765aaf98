"""More cases of make_fixtures_tf1.py: training graph, fused cell, slices and shards, two stacks, fed states, dtypes."""

import itertools

import numpy as np
import tensorflow as tf
from fixtures_common import dense, lstm
from make_fixtures_tf1 import OLD, BasicLSTM, Case, FullLSTM, Multi, case, multi_model, real_input, rnn, run, states


@case()
def training(rng):
    """Adam and averaged weights, saved by the default Saver after three steps: slots, shadows and gradient nodes."""
    model = multi_model(rng, sizes=(12,))
    model.write_meta = not OLD  # a quarter of a megabyte less
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(
            logits=model.fetch["y"][:, :-1], labels=model.feed["x"][0][:, 1:]
        )
    )
    average = tf.train.ExponentialMovingAverage(0.5)
    count = tf.Variable(0, trainable=False, name="global_step")
    with tf.control_dependencies([tf.train.AdamOptimizer(0.02).minimize(loss, count)]):
        step = average.apply(tf.trainable_variables())

    def train(sess):
        for _ in range(3):
            sess.run(step, dict(model.feed.values()))

    def run_averages(sess, golden):
        for v in tf.trainable_variables():
            sess.run(v.initializer, {v.initializer.inputs[1]: sess.run(average.average(v))})
        y = run(sess, model)["y"]
        assert np.abs(y - golden["y"]).max() > 1e-2
        return {"y_ema": y}

    model.before_save, model.after_save = train, run_averages
    return model


@case()
def static(rng):
    x = real_input(rng, 5, shape=[None, 7, 5], steps=7)
    ys, state = rnn.static_rnn(BasicLSTM(10), tf.unstack(x[0], axis=1), dtype=tf.float32)
    y = tf.layers.dense(tf.stack(ys, axis=1), 2)
    return Case({"x": x}, dict(states(state), y=y), [lstm("rnn/basic_lstm_cell", 5, 10), dense("dense", 10, 2)])


@case()
def block(rng):
    """LSTMBlockCell: a fused kernel under LSTMCell's names; TensorFlow 1.0 clips its cell at 3, 1.15 does not."""
    x = real_input(rng, 5)
    y, state = tf.nn.dynamic_rnn(rnn.LSTMBlockCell(12, use_peephole=True), x[0], dtype=tf.float32)
    layers = [lstm("rnn/lstm_cell", 5, 12, cell_clip=3.0 if OLD else None, peepholes=True)]
    return Case({"x": x}, dict(states(rnn.LSTMStateTuple(*state)), y=y), layers, scale=1.0)


@case(old=False)
def partitioned(rng):
    """Every variable in three slices, spread over two devices: two shards of data, each with some of the slices."""
    x, turn = real_input(rng, 5), itertools.count()

    def device(op):
        return f"/cpu:{next(turn) % 2 if op.type == 'VariableV2' else 0}"

    with tf.device(device), tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(3)):
        y, state = tf.nn.dynamic_rnn(FullLSTM(12, use_peepholes=True), x[0], dtype=tf.float32)
        y = tf.layers.dense(y, 4)
    layers = [lstm("net/rnn/lstm_cell", 5, 12, peepholes=True), dense("net/dense", 12, 4)]
    return Case({"x": x}, dict(states(state), y=y), layers, saver=dict(sharded=True))


@case(old=False)
def two_stacks(rng):
    """An encoder whose final state starts a decoder; the golden run is the decoder's."""
    seen = tf.placeholder(tf.float32, [None, None, 3], "x_encoder"), rng.normal(size=(3, 7, 3)).astype(np.float32)
    x = real_input(rng, 5, batch=3)
    _, start = tf.nn.dynamic_rnn(BasicLSTM(10), seen[0], dtype=tf.float32, scope="encoder")
    y, state = tf.nn.dynamic_rnn(BasicLSTM(10), x[0], initial_state=start, scope="decoder")
    with tf.variable_scope("decoder"):
        y = tf.layers.dense(y, 4)
    layers = [lstm("decoder/basic_lstm_cell", 5, 10), dense("decoder/dense", 10, 4)]
    fetch = dict(states(start, "c0_", "h0_"), y=y, **states(state))
    return Case({"x": x, "x_encoder": seen}, fetch, layers, scope="decoder")


def fed_state(rng, cells, placeholders, pack):
    """One call a step, the state fed back by hand.  pack: list of (c, h) arrays -> what the placeholders take."""
    batch, steps = 2, 40
    x = real_input(rng, 6, batch=batch, steps=steps)
    given = tuple(rnn.LSTMStateTuple(c, h) for c, h in placeholders[1])
    y, state = tf.nn.dynamic_rnn(Multi(cells), x[0], initial_state=given)
    start = [tuple(rng.normal(size=(batch, size)).astype(np.float32) for size in cell.state_size) for cell in cells]

    def run_steps(sess):
        now, ys = start, []
        for t in range(steps):
            feed = dict(zip(placeholders[0], pack(now)))
            feed[x[0]] = x[1][:, t : t + 1]
            out, now = sess.run([y, state], feed)
            ys.append(out)
        golden = {"x": x[1], "y": np.concatenate(ys, axis=1)}
        for k, ((c0, h0), (c, h)) in enumerate(zip(start, now)):
            golden.update({f"c0_{k}": c0, f"h0_{k}": h0, f"c_{k}": c, f"h_{k}": h})
        if len(placeholders[0]) == 1:
            golden.update(state0=np.array(start), state=np.array(now))
        return golden

    projections = [cell.output_size if cell.output_size < 24 else None for cell in cells]
    layers = [
        lstm(f"rnn/multi_rnn_cell/cell_{k}/lstm_cell", size, 24, projection)
        for k, (size, projection) in enumerate(zip((6, cells[0].output_size), projections))
    ]
    # scale: at 0.4 two layers of 24 magnify float32 rounding until TensorFlow itself is 2.6e-6 off a float64 run
    return Case({"x": x}, {}, layers, run=run_steps, scale=0.25)


@case(old=False)
def state_array(rng):
    """The state as one array [layers, 2, batch, size], as StackOverflow has it ("remember state for next batch")."""
    array = tf.placeholder(tf.float32, [2, 2, None, 24], "init_state")
    pairs = [(layer[0], layer[1]) for layer in tf.unstack(array, axis=0)]
    return fed_state(rng, [FullLSTM(24), FullLSTM(24)], ([array], pairs), lambda state: [np.array(state)])


@case(old=False)
def state_list(rng):
    """The same with projections: c and h differ in size, so the state is a list of (c, h)."""
    flat = [tf.placeholder(tf.float32, [None, size]) for size in (24, 10, 24, 10)]
    cells = [FullLSTM(24, num_proj=10), FullLSTM(24, num_proj=10)]
    return fed_state(rng, cells, (flat, [flat[:2], flat[2:]]), lambda state: [part for pair in state for part in pair])


@case(old=False)
def named_cell(rng):
    x = real_input(rng, 4)
    y, state = tf.nn.dynamic_rnn(BasicLSTM(10, name="my_cell"), x[0], dtype=tf.float32)
    return Case({"x": x}, dict(states(state), y=y), [lstm("rnn/my_cell", 4, 10)])


@case(old=False)
def dense_around(rng):
    x = real_input(rng, 4)
    y, state = tf.nn.dynamic_rnn(FullLSTM(10), tf.layers.dense(x[0], 6, tf.nn.relu), dtype=tf.float32)
    y = tf.layers.dense(tf.layers.dense(y, 8, tf.nn.relu), 3)
    layers = [
        dense("dense", 4, 6, "relu"),
        lstm("rnn/lstm_cell", 6, 10),
        dense("dense_1", 10, 8, "relu"),
        dense("dense_2", 8, 3),
    ]
    return Case({"x": x}, dict(states(state), y=y), layers)


@case(old=False)
def half(rng):
    x = real_input(rng, 4, tf.float16, steps=7)
    y, state = tf.nn.dynamic_rnn(BasicLSTM(8), x[0], dtype=tf.float16)
    model = Case({"x": x}, dict(states(state), y=y), [lstm("rnn/basic_lstm_cell", 4, 8)], dtype="float16")
    model.run = lambda sess: dict(run(sess, model), **variables(sess))
    return model


@case(old=False)
def dtypes(rng):
    """A Saver's checkpoint of many dtypes and shapes, no network."""
    normal = rng.normal(size=(3, 4))
    values = {
        "half": np.float16(normal),
        "single": np.float32(normal),
        "double": normal,
        "int8": np.int8([-128, 0, 127]),
        "uint8": np.uint8([0, 255]),
        "int16": np.int16([[-32768], [32767]]),
        "int32": np.int32([-(2**31), 7, 2**31 - 1]),
        "int64": np.int64([-(2**63), 2**63 - 1]),
        "bool": np.array([True, False, True]),
        "complex64": np.complex64([1 + 2j, -3.5j]),
        "scalar": np.float32(-1.25),
        "scalar_int64": np.int64(1 << 40),
        "empty": np.zeros((0, 3), np.float32),
        "scalar_string": b"caf\xc3\xa9",
        "strings": np.array([[b"a", b""], [b"long " * 40, b"\x00\xff."]]),
    }
    for name, value in values.items():
        tf.get_variable("many/" + name, initializer=tf.constant(value), trainable=False)
    tf.get_variable("many/brain", initializer=tf.cast(tf.constant(normal, tf.float32), tf.bfloat16), trainable=False)

    def save_v1(sess, golden):
        """The same beside it as a V1 file, which cannot hold bfloat16."""
        kept = [v for v in tf.global_variables() if v.dtype.base_dtype != tf.bfloat16]
        saver = tf.train.Saver(kept, write_version=tf.train.SaverDef.V1)
        saver.save(sess, "tf1.15/dtypes/model_v1", write_meta_graph=False, write_state=False)
        return {}

    return Case({}, {}, [], dtype="", run=variables, write_meta=False, after_save=save_v1)


def variables(sess):
    """Each variable as var/<name>; bfloat16 as bits/<name>, its uint16 pattern; strings as an array of bytes."""
    found = {}
    for v in tf.global_variables():
        value = np.asarray(sess.run(v))
        if v.dtype.base_dtype == tf.bfloat16:
            found["bits/" + v.op.name] = value.view(np.uint16)
        else:
            found["var/" + v.op.name] = value.astype("S") if value.dtype.kind in "OS" else value
    return found


@case(old=False)
def gru(rng):
    """For the error that says a GRU is no LSTM."""
    x = real_input(rng, 4, steps=7)
    y, _ = tf.nn.dynamic_rnn(rnn.GRUCell(8), x[0], dtype=tf.float32)
    return Case({"x": x}, {"y": y}, [])


@case(old=False)
def cnn(rng):
    """For the error that finds no LSTM at all."""
    x = tf.placeholder(tf.float32, [None, 6, 6, 1], "x"), rng.normal(size=(1, 6, 6, 1)).astype(np.float32)
    y = tf.layers.conv2d(x[0], 4, 3, activation=tf.nn.relu)
    return Case({"x": x}, {"y": tf.layers.dense(tf.reshape(y, [-1, 64]), 3)}, [])
