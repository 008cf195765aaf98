"""OpenVINO on the CPU, in float32: the graphs that ONNX Runtime gets; the states change places from step to step."""

import os

import numpy as np

from benchmarks.peers import onnxruntime


def _compiled(model, threads):
    os.environ.setdefault("CI", "true")  # otherwise it forks a process that reports that it is used
    import openvino

    options = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    core = openvino.Core()
    return openvino, core.compile_model(core.read_model(model), "CPU", options)


def step(problem, threads=1):
    openvino, compiled = _compiled(onnxruntime.step_model(problem), threads)
    p = problem
    x, y = np.zeros((1, p.batch, p.inputs), np.float32), np.zeros((1, p.batch, p.hidden), np.float32)
    states = np.zeros((2, 2 * p.layers, 1, p.batch, p.hidden), np.float32)
    requests = []
    for before, after in (states, states[::-1]):
        request = compiled.create_infer_request()
        for k, a in enumerate((x, *before)):
            request.set_input_tensor(k, openvino.Tensor(a, shared_memory=True))
        for k, a in enumerate((y, *after)):
            request.set_output_tensor(k, openvino.Tensor(a, shared_memory=True))
        requests.append(request)
    turn = 0

    def call(value):
        nonlocal turn
        x[0] = value
        requests[turn].infer()
        turn = 1 - turn
        return y

    def reset():
        nonlocal turn
        turn = 0
        states[:] = 0

    call.keep = states  # its memory is bound, not held
    return call, reset, (p.batch, p.inputs)


def sequence(problem):
    _, compiled = _compiled(onnxruntime.step_model(problem, len(problem.xs)), 1)
    zeros = [np.zeros((1, problem.batch, problem.hidden), np.float32)] * 2
    return lambda xs: compiled([xs, *zeros], share_inputs=True)[0], problem.xs
