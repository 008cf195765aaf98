"""TensorFlow, the ways in which people drive an LSTM with it: NumPy in, NumPy out, the state carried."""

import os
from functools import cache

import numpy as np


@cache
def tf():
    """TensorFlow on one thread, with Keras 2, so that TensorFlow 1's cells are there."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    tensorflow.get_logger().setLevel("ERROR")
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


def equations(problem):
    """(x, c, h) -> (c', h'), the cell as TensorFlow operations, its weights constants."""
    nn, math = tf().nn, tf().math
    kernel, bias = tf().constant(problem.kernel), tf().constant(problem.bias)

    def step(x, c, h):
        i, j, f, o = tf().split(nn.bias_add(tf().concat([x, h], 1) @ kernel, bias), 4, 1)
        c = c * math.sigmoid(f + problem.forget_bias) + math.sigmoid(i) * math.tanh(j)
        return c, math.tanh(c) * math.sigmoid(o)

    return step


def function_step(problem, **options):
    """A tf.function, traced once; the state stays a pair of tensors."""
    step = tf().function(equations(problem), **options)
    state = []

    def call(x):
        state[:] = step(tf().constant(x), *state)
        return state[1].numpy()

    def reset():
        state[:] = [tf().zeros([1, problem.hidden]) for _ in range(2)]

    return call, reset, (1, problem.inputs)


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
    step = equations(problem)
    head_kernel, head_bias = tf().constant(problem.head_kernel), tf().constant(problem.head_bias)

    def run(first):
        def body(t, x, c, h, ys):
            c, h = step(x, c, h)
            y = h @ head_kernel + head_bias
            return t + 1, y, c, h, ys.write(t, y)

        zero, ys = tf().zeros([1, problem.hidden]), tf().TensorArray("float32", steps, element_shape=first.shape)
        start = tf().constant(0), first, zero, zero, ys
        return tf().while_loop(lambda t, *_: t < steps, body, start, maximum_iterations=steps)[-1].stack()

    compiled = tf().function(run, **options)
    return lambda first: compiled(tf().constant(first)).numpy()


def xla_loop(problem, steps):
    return while_loop(problem, steps, jit_compile=True)
