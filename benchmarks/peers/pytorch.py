"""PyTorch without gradients: LSTMCell from Python, a TorchScript loop, nn.LSTM over a sequence."""

from functools import cache

import numpy as np


@cache
def pytorch():
    """PyTorch on one thread."""
    import torch

    torch.set_num_threads(1)
    return torch


def parameters(problem):
    """Per layer weights (4H, D) and (4H, H) and the two biases, gates in PyTorch's order i f g o."""
    for kernel, recurrent, bias in problem.parts((0, 2, 1, 3)):
        arrays = np.ascontiguousarray(kernel.T), np.ascontiguousarray(recurrent.T), bias, 0 * bias
        yield [pytorch().from_numpy(a) for a in arrays]


def filled(module, problem):
    with pytorch().no_grad():
        for parameter, values in zip(module.all_weights, parameters(problem), strict=True):
            for one, value in zip(parameter, values, strict=True):
                one.copy_(value)
    return module


def step(problem):
    torch = pytorch()
    cell = torch.nn.LSTMCell(problem.inputs, problem.hidden)
    cell.all_weights = [[cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]]
    filled(cell, problem)
    state = []

    @torch.inference_mode()
    def call(x):
        state[:] = cell(torch.from_numpy(x), state)
        return state[0].numpy()

    def reset():
        state[:] = [torch.zeros(problem.batch, problem.hidden)] * 2

    return call, reset, (problem.batch, problem.inputs)


def loop(problem, steps):
    torch = pytorch()

    def follow(first, zero, w, r, b, b2, head_kernel, head_bias, steps: int):
        ys = torch.empty([steps, first.size(0), first.size(1)])
        x, h, c = first, zero, zero
        for t in range(steps):
            h, c = torch.lstm_cell(x, (h, c), w, r, b, b2)
            x = torch.addmm(head_bias, h, head_kernel)
            ys[t] = x
        return ys

    compiled, (weights,) = torch.jit.script(follow), parameters(problem)
    head = torch.from_numpy(problem.head_kernel), torch.from_numpy(problem.head_bias)
    zero = torch.zeros(problem.batch, problem.hidden)

    @torch.inference_mode()
    def call(first):
        return compiled(torch.from_numpy(first), zero, *weights, *head, steps).numpy()

    return call


def sequence(problem):
    torch = pytorch()
    lstm = filled(torch.nn.LSTM(problem.inputs, problem.hidden, problem.layers), problem)

    @torch.inference_mode()
    def call(xs):
        return lstm(torch.from_numpy(xs))[0].numpy()

    return call, problem.xs
