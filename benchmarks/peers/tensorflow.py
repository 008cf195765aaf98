"""TensorFlow, the ways in which people drive an LSTM with it: NumPy in, NumPy out, the state carried."""

import logging
import os
from functools import cache

import numpy as np


@cache
def tf():
    """TensorFlow on one thread, with Keras 2, so that TensorFlow 1's cells are there."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel("ERROR")
    return tensorflow


def session_step(problem):
    """A graph of one BasicLSTMCell; the state goes in and comes out as arrays."""
    v1 = tf().compat.v1
    with tf().Graph().as_default() as graph:
        x = v1.placeholder("float32", [1, problem.inputs])
        c, h = (v1.placeholder("float32", [1, problem.hidden]) for _ in range(2))
        cell = v1.nn.rnn_cell.BasicLSTMCell(problem.hidden, forget_bias=problem.forget_bias)
        y, after = cell(x, v1.nn.rnn_cell.LSTMStateTuple(c, h))
        session = v1.Session(graph=graph)
        for variable, value in zip(cell.weights, (problem.kernel, problem.bias), strict=True):
            session.run(variable.initializer, {variable.initializer.inputs[1]: value})
    state = []

    def call(value):
        output, state[:] = session.run([y, after], {x: value, c: state[0], h: state[1]})
        return output

    def reset():
        state[:] = [np.zeros((1, problem.hidden), np.float32) for _ in range(2)]

    return call, reset, (1, problem.inputs)


def equations(problem, *, head=False):
    """(x, [c, h of each layer]) -> (y, c', h', ...): the layers as TensorFlow operations, their weights constants."""
    layers = [(tf().constant(kernel), tf().constant(bias)) for kernel, bias in problem.cells]
    head_kernel, head_bias = tf().constant(problem.head_kernel), tf().constant(problem.head_bias)

    def step(x, state):
        after = []
        for (kernel, bias), c, h in zip(layers, state[::2], state[1::2], strict=True):
            c, x = _gates(tf().nn.bias_add(tf().concat([x, h], 1) @ kernel, bias), c, problem.forget_bias)
            after += [c, x]
        return (x @ head_kernel + head_bias if head else x), *after

    return step


def _gates(z, c, forget_bias):
    math = tf().math
    i, j, f, o = tf().split(z, 4, 1)
    c = c * math.sigmoid(f + forget_bias) + math.sigmoid(i) * math.tanh(j)
    return c, math.tanh(c) * math.sigmoid(o)


def greedy_step(problem):
    """(symbol (1,), c, h, ...) -> (its successor (1,), c', h', ...), two layers.

    The one-hot vector takes a row out of the first layer's kernel: the product is a gather.
    """
    (first, bias), second = problem.cells
    symbols = problem.symbols
    rows, recurrent, (kernel, bias2) = tf().constant(first[:symbols] + bias), tf().constant(first[symbols:]), second

    def step(symbol, c1, h1, c2, h2):
        c1, h1 = _gates(tf().gather(rows, symbol) + h1 @ recurrent, c1, problem.forget_bias)
        c2, h2 = _gates(tf().nn.bias_add(tf().concat([h1, h2], 1) @ kernel, bias2), c2, problem.forget_bias)
        logits = h2 @ problem.head_kernel + problem.head_bias
        return tf().argmax(logits, 1, output_type="int32"), c1, h1, c2, h2

    return step


def function_step(problem, **options):
    """A tf.function, traced once; the state stays tensors."""
    cells = equations(problem)
    step, state = tf().function(lambda x, *before: cells(x, before), **options), []

    def call(x):
        y, *state[:] = step(tf().constant(x), *state)
        return y.numpy()

    def reset():
        state[:] = _zeros(problem)

    return call, reset, (problem.batch, problem.inputs)


def _zeros(problem):
    return [tf().zeros([problem.batch, problem.hidden])] * (2 * problem.layers)


def xla_step(problem):
    return function_step(problem, jit_compile=True)


def keras_model(problem):
    import tf_keras

    lstm = tf_keras.layers.LSTM(problem.hidden, stateful=True)
    model = tf_keras.Sequential([tf_keras.Input((1, problem.inputs), batch_size=1), lstm])
    lstm.set_weights(problem.keras_weights)
    return model, (1, 1, problem.inputs)


def keras_call_step(problem):
    model, shape = keras_model(problem)
    return lambda x: model(x).numpy(), model.reset_states, shape


def keras_predict_step(problem):
    model, shape = keras_model(problem)
    return model.predict_on_batch, model.reset_states, shape


def while_loop(problem, steps, **options):
    """The whole loop in one tf.function."""
    cells = equations(problem, head=True)

    def body(t, ys, x, *state):
        y, *state = cells(x, state)
        return t + 1, ys.write(t, y), y, *state

    def run(first):
        return _repeat(body, steps, first, _zeros(problem))

    compiled = tf().function(run, **options)
    return lambda first: compiled(tf().constant(first)).numpy()


def _repeat(body, steps, first, state):
    ys = tf().TensorArray(first.dtype, steps, element_shape=first.shape)
    start = tf().constant(0), ys, first, *state
    return tf().while_loop(lambda t, *_: t < steps, body, start, maximum_iterations=steps)[1].stack()


def xla_loop(problem, steps):
    return while_loop(problem, steps, jit_compile=True)


def xla_characters(problem, steps):
    step = greedy_step(problem)

    def body(t, ids, symbol, *state):
        symbol, *state = step(symbol, *state)
        return t + 1, ids.write(t, symbol), symbol, *state

    compiled = tf().function(lambda first: _repeat(body, steps, first, _zeros(problem)), jit_compile=True)
    return lambda first: compiled(tf().constant([first])).numpy()
