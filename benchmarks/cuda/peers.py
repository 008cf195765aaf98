"""Who is timed on the GPU: fastlstm, and PyTorch's steps and cuDNN's sequences, which stay on the device."""

from functools import partial

import numpy as np

from benchmarks.peers import BFLOAT16, Peer, ours
from benchmarks.peers.pytorch import filled, parameters, pytorch

DEVICE = "cuda"  # PyTorch's name of it


def _lstm(problem):
    """cuDNN's, on the GPU."""
    torch = pytorch()
    return filled(torch.nn.LSTM(problem.inputs, problem.hidden, problem.layers), problem).to(DEVICE)


def _stepper(problem, cell):
    """(x, h, c) -> (y, h, c), on the GPU; cell: PyTorch's own kernels, else cuDNN's for a sequence of one."""
    torch = pytorch()
    if not cell:
        lstm = _lstm(problem)

        def step(x, h, c):
            y, (h, c) = lstm(x[None], (h[None], c[None]))
            return y[0], h[0], c[0]

        return step
    (weights,) = ([w.to(DEVICE) for w in layer] for layer in parameters(problem))

    def step(x, h, c):
        h, c = torch.lstm_cell(x, (h, c), *weights)
        return h, h, c

    return step


def _zeros(problem, width):
    return pytorch().zeros(problem.batch, width, device=DEVICE)


def _captured(work):
    """`work()` as a CUDA graph, once it has run outside of one, which makes the libraries' buffers."""
    torch = pytorch()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


def exact():
    """Products in float32, not in the matrix units' own format."""
    backends = pytorch().backends
    backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = False


def graph_loop(problem, steps, cell=False, together=1):
    """A step and the head, fed back, replayed; together: steps in one graph. Only the first call keeps its outputs."""
    torch = pytorch()
    exact()
    with torch.no_grad():
        step, kernel, bias = _stepper(problem, cell), *map(_on_gpu, (problem.head_kernel, problem.head_bias))
        x, h, c = (_zeros(problem, width) for width in (problem.inputs, problem.hidden, problem.hidden))
        ys = torch.empty(together, problem.batch, problem.inputs, device=DEVICE)

        def work():
            for t in range(together):
                y, after, cell_after = step(x, h, c)
                x.copy_(torch.addmm(bias, y, kernel))
                h.copy_(after)
                c.copy_(cell_after)
                if together > 1:
                    ys[t].copy_(x)

        graph, kept = _captured(work), []

    @torch.no_grad()
    def call(first):
        x.copy_(torch.from_numpy(first))
        h.zero_()
        c.zero_()
        keep = not kept
        for _ in range(steps // together):
            graph.replay()
            if keep:
                kept.append((ys if together > 1 else x[None]).clone())
        return torch.cat(kept).cpu() if keep else None

    return call


def graph_step(problem, cell=False):
    """x -> y, both on the host, the step a CUDA graph."""
    torch = pytorch()
    exact()
    with torch.no_grad():
        step = _stepper(problem, cell)
        x, h, c = (_zeros(problem, width) for width in (problem.inputs, problem.hidden, problem.hidden))

        def work():
            _, after, cell_after = step(x, h, c)
            h.copy_(after)
            c.copy_(cell_after)

        graph = _captured(work)

    @torch.no_grad()
    def call(given):
        x.copy_(torch.from_numpy(given))
        graph.replay()
        return h.cpu()

    def reset():
        h.zero_()
        c.zero_()

    return call, reset, (problem.batch, problem.inputs)


def plain_step(problem, cell=False):
    """x -> y, both on the host; each kernel launched from Python."""
    torch = pytorch()
    exact()
    step, state = _stepper(problem, cell), []

    @torch.no_grad()
    def call(given):
        y, *state[:] = step(torch.from_numpy(given).to(DEVICE), *state)
        return y.cpu()

    def reset():
        state[:] = [_zeros(problem, problem.hidden) for _ in range(2)]

    return call, reset, (problem.batch, problem.inputs)


def sequence(problem, tf32=False):
    """cuDNN over a known sequence that is on the GPU."""
    torch = pytorch()
    lstm = _lstm(problem)

    @torch.no_grad()
    def call(xs):
        torch.backends.cudnn.allow_tf32 = tf32
        return lstm(xs)[0]

    return call, _on_gpu(problem.xs)


def device_sequence(problem, **options):
    """fastlstm's `run` of a sequence that is on the GPU."""
    from numba import cuda

    call, xs = ours.sequence(problem, device="cuda", **options)
    return call, cuda.to_device(np.ascontiguousarray(xs))


def barrier_loop(problem, steps, **options):
    """fastlstm's loop, its blocks waiting for all at a barrier instead of for each result."""
    from fastlstm.backends.cuda import rooms, settings

    loop = ours.generate(problem, steps, device="cuda", **options)

    def call(first):
        usual, rooms.MEETING = rooms.MEETING, settings.BARRIER
        try:
            return loop(first)
        finally:
            rooms.MEETING = usual

    return call


def _on_gpu(array):
    return pytorch().from_numpy(array).to(DEVICE)


_TORCH = ("torch",)
_NARROW = {"device": "cuda", "weights": "bfloat16"}

LOOPS = {
    "fastlstm generate": Peer(partial(ours.generate, device="cuda")),
    "fastlstm generate, bfloat16": Peer(partial(ours.generate, **_NARROW), tolerance=BFLOAT16),
    "fastlstm generate, by a barrier": Peer(barrier_loop),
    "PyTorch nn.LSTM (cuDNN) step, CUDA graph": Peer(graph_loop, _TORCH),
    "PyTorch LSTMCell step, CUDA graph": Peer(partial(graph_loop, cell=True), _TORCH),
    "PyTorch LSTMCell, 50 steps a CUDA graph": Peer(partial(graph_loop, cell=True, together=50), _TORCH),
}
CHARACTERS = {
    "fastlstm generate": Peer(partial(ours.characters, device="cuda")),
    "fastlstm generate, bfloat16": Peer(partial(ours.characters, **_NARROW)),
}
STEPS = {
    "fastlstm Stream.step": Peer(partial(ours.stream_step, device="cuda")),
    "fastlstm Model.step": Peer(partial(ours.model_step, device="cuda")),
    "PyTorch nn.LSTM (cuDNN) step, CUDA graph": Peer(graph_step, _TORCH),
    "PyTorch LSTMCell step, CUDA graph": Peer(partial(graph_step, cell=True), _TORCH),
    "PyTorch nn.LSTM (cuDNN)": Peer(plain_step, _TORCH),
    "PyTorch LSTMCell": Peer(partial(plain_step, cell=True), _TORCH),
}
SEQUENCES = {
    "fastlstm run": Peer(partial(ours.sequence, device="cuda")),
    "fastlstm run, arrays on the GPU": Peer(device_sequence),
    "fastlstm run, bfloat16": Peer(partial(ours.sequence, **_NARROW), tolerance=BFLOAT16),
    "PyTorch nn.LSTM (cuDNN)": Peer(sequence, _TORCH),
    "PyTorch nn.LSTM (cuDNN, TF32)": Peer(partial(sequence, tf32=True), _TORCH, tolerance=BFLOAT16),
}
