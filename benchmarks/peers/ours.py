"""fastlstm, as its users call it."""

import numpy as np

import fastlstm


def model(problem, *, head=False, before=(), **options):
    layers = [
        fastlstm.LSTM(
            kernel[: -problem.hidden],
            kernel[-problem.hidden :],
            bias,
            gate_order="tensorflow1",
            forget_bias=problem.forget_bias,
        )
        for kernel, bias in problem.cells
    ]
    dense = [fastlstm.Dense(problem.head_kernel, problem.head_bias)] if head else []
    return fastlstm.Model([*before, *layers, *dense], **options)


def stream_step(problem, **options):
    stream = model(problem, **options).stream()
    return stream.step, stream.reset, (problem.inputs,)


def model_step(problem, **options):
    m = model(problem, **options)
    state = m.zero_state(problem.batch)

    def step(x):
        nonlocal state
        y, state = m.step(x, state)
        return y

    def reset():
        nonlocal state
        state = m.zero_state(problem.batch)

    return step, reset, (problem.batch, problem.inputs)


def generate(problem, steps, **options):
    m = model(problem, head=True, **options)
    return lambda first: m.generate(steps, prime=first[:, None])[0].swapaxes(0, 1)


def characters(problem, steps, **options):
    m = model(problem, head=True, before=[fastlstm.OneHot(problem.symbols)], **options)
    return lambda first: m.generate(steps, prime=[first])[0]


def sequence(problem, **options):
    """The whole of the sequence in one call; batch-major, as TensorFlow's."""
    m, xs = model(problem, **options), np.ascontiguousarray(problem.xs.swapaxes(0, 1))
    return lambda xs: m.run(xs)[0].swapaxes(0, 1), xs
