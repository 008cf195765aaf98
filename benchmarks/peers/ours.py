"""fastlstm, as its users call it."""

import fastlstm


def model(problem, *, head, device="cpu"):
    d = problem.inputs
    lstm = fastlstm.LSTM(
        problem.kernel[:d], problem.kernel[d:], problem.bias, gate_order="tensorflow1", forget_bias=problem.forget_bias
    )
    dense = [fastlstm.Dense(problem.head_kernel, problem.head_bias)] if head else []
    return fastlstm.Model([lstm, *dense], device=device)


def stream_step(problem, device="cpu"):
    stream = model(problem, head=False, device=device).stream()
    return stream.step, stream.reset, (problem.inputs,)


def numpy_step(problem):
    return stream_step(problem, device="numpy")


def model_step(problem):
    m = model(problem, head=False)
    state = m.zero_state()

    def step(x):
        nonlocal state
        y, state = m.step(x, state)
        return y

    def reset():
        nonlocal state
        state = m.zero_state()

    return step, reset, (1, problem.inputs)


def generate(problem, steps):
    m = model(problem, head=True)
    return lambda first: m.generate(steps, prime=first)[0]
