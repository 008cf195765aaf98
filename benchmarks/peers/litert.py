"""LiteRT (TensorFlow Lite) with XNNPACK: a graph of constant weights, made by TensorFlow's converter.

The state goes in and comes out as arrays: a converted Keras LSTM would silently begin each call at zeros. The arrays
are written where the interpreter holds them: half the time of `set_tensor`, `invoke` and `get_tensor` at small sizes.
"""

import numpy as np

from benchmarks.peers import tensorflow


def interpreter(function, shapes, *, threads=1, quantised=False):
    """A concrete tf.function of these shapes, in LiteRT, and views of its input and output tensors in its order."""
    from ai_edge_litert.interpreter import Interpreter

    tf = tensorflow.tf()
    specs = [tf.TensorSpec(shape, dtype, name) for name, shape, dtype in shapes]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([tf.function(function).get_concrete_function(*specs)])
    if quantised:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]  # int8 weights, float activations: hybrid
    made = Interpreter(model_content=converter.convert(), num_threads=threads)
    made.allocate_tensors()
    ends = made.get_input_details(), made.get_output_details()
    return made, *([made.tensor(one["index"])() for one in details] for details in ends)


def _states(problem):
    shape = [problem.batch, problem.hidden]
    return [(f"{name}{k}", shape, "float32") for k in range(problem.layers) for name in "ch"]


def step(problem, threads=1, quantised=False, head=False):
    """x -> y; the head, where it is asked for, in the graph."""
    cells = tensorflow.equations(problem, head=head)
    shapes = [("x", [problem.batch, problem.inputs], "float32"), *_states(problem)]

    def function(x, *state):
        return cells(x, state)

    made, inputs, outputs = interpreter(function, shapes, threads=threads, quantised=quantised)
    invoke = made._interpreter.Invoke  # `invoke` refuses to run while there are views
    x, *before = inputs
    y, *after = outputs
    pairs = list(zip(before, after, strict=True))

    def call(value):
        x[:] = value
        invoke()
        for old, new in pairs:
            old[:] = new
        return y

    def reset():
        for old in before:
            old[:] = 0

    call.keep = made  # the views are of its memory
    return call, reset, (problem.batch, problem.inputs)


def loop(problem, steps):
    call, reset, _ = step(problem, head=True)

    def follow(first):
        reset()
        ys, y = np.empty((steps, *first.shape), np.float32), first
        for t in range(steps):
            y = call(y)
            ys[t] = y
        return ys

    return follow


def characters(problem, steps):
    """The choice and the symbol's row of the first kernel are in the graph; a step is driven from Python."""
    made, inputs, outputs = interpreter(tensorflow.greedy_step(problem), [("symbol", [1], "int32"), *_states(problem)])
    invoke, (symbol, *before), (choice, *_) = made._interpreter.Invoke, inputs, outputs
    pairs = list(zip(inputs, outputs, strict=True))

    def follow(first):
        ids = np.empty(steps, np.int64)
        symbol[:] = first
        for old in before:
            old[:] = 0
        for t in range(steps):
            invoke()
            for old, new in pairs:
                old[:] = new
            ids[t] = choice[0]
        return ids

    follow.keep = made
    return follow
