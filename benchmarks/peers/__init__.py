"""Who is timed, at what. What a peer needs is imported when it is needed; where that is not installed it is left out.

A step     problem -> call: x -> y as NumPy arrays, the state carried; reset: the state to zero; the shape it wants x in
A loop     problem, steps -> call: the first x (1, D) -> each y (steps, 1, D), fed back
Characters problem, steps -> call: the first id -> each next id (steps,), fed back
A sequence problem -> call: xs -> ys (T, B, H) from the zero state; xs as it wants them
"""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

from benchmarks.peers import jax, litert, naive, onnxruntime, openvino, ours, pytorch, tensorflow, tuned_numpy
from benchmarks.problem import TOLERANCE, Characters, Problem, check, fetched


class Peer(NamedTuple):
    """make       of the problem, what to call
    needs      modules, found without importing them
    sizes      (input, hidden) at which it is timed: for slow ones whose story one size tells; () is all
    tolerance  with which its answers are right: wider for weights of fewer bits
    """

    make: Callable[..., Any]
    needs: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    tolerance: float = TOLERANCE

    @property
    def missing(self) -> str:
        """What is not installed; empty where all is."""
        return ", ".join(name for name in self.needs if find_spec(name) is None)


_TF, _ORT, _OV = ("tensorflow", "tf_keras"), ("onnxruntime", "onnx"), ("openvino", "onnx")
_LITERT = ("ai_edge_litert", *_TF)
_FEW = ((1, 32), (128, 256), (512, 1024))
#: Answers lie within -1 and 1. bfloat16 keeps 8 bits, int8 as many at best, and states carry the errors on.
BFLOAT16, INT8 = 0.01, 0.05

STEPS = {
    "fastlstm Stream.step": Peer(ours.stream_step),
    "fastlstm Model.step": Peer(ours.model_step),
    "fastlstm Stream.step, numpy": Peer(partial(ours.stream_step, device="numpy")),
    "naive @njit step": Peer(naive.step),
    "LiteRT": Peer(litert.step, _LITERT),
    "NumPy, tuned": Peer(tuned_numpy.step),
    "ONNX Runtime, IOBinding": Peer(onnxruntime.bound_step, _ORT),
    "ONNX Runtime, session.run": Peer(onnxruntime.run_step, _ORT),
    "OpenVINO": Peer(openvino.step, _OV),
    "JAX jit": Peer(jax.step, ("jax",)),
    "PyTorch LSTMCell": Peer(pytorch.step, ("torch",)),
    "TF1 session.run": Peer(tensorflow.session_step, _TF),
    "tf.function": Peer(tensorflow.function_step, _TF),
    "tf.function, XLA": Peer(tensorflow.xla_step, _TF, _FEW),
    "Keras model(x)": Peer(tensorflow.keras_call_step, _TF, ((1, 32),)),
    "Keras predict_on_batch": Peer(tensorflow.keras_predict_step, _TF, ((1, 32),)),
}

LOOPS = {
    "fastlstm generate": Peer(ours.generate),
    "naive @njit loop": Peer(naive.loop),
    "JAX lax.scan": Peer(jax.loop, ("jax",)),
    "TF while_loop, XLA": Peer(tensorflow.xla_loop, _TF),
    "LiteRT, Python loop": Peer(litert.loop, _LITERT),
    "ONNX Runtime Loop": Peer(onnxruntime.loop, _ORT),
    "PyTorch TorchScript loop": Peer(pytorch.loop, ("torch",)),
    "TF while_loop": Peer(tensorflow.while_loop, _TF, _FEW),
}

CHARACTERS = {
    "fastlstm generate": Peer(ours.characters),
    "LiteRT, Python loop": Peer(litert.characters, _LITERT),
    "JAX lax.scan": Peer(jax.characters, ("jax",)),
    "TF while_loop, XLA": Peer(tensorflow.xla_characters, _TF),
    "ONNX Runtime Loop": Peer(onnxruntime.characters, _ORT),
    "NumPy, tuned": Peer(tuned_numpy.characters),
}

BATCHES = {
    name: STEPS[name]
    for name in (
        *("fastlstm Model.step", "ONNX Runtime, IOBinding", "LiteRT", "NumPy, tuned"),
        *("OpenVINO", "JAX jit", "PyTorch LSTMCell"),
    )
}

SEQUENCES = {
    "fastlstm run": Peer(ours.sequence),
    "ONNX Runtime": Peer(onnxruntime.sequence, _ORT),
    "PyTorch nn.LSTM": Peer(pytorch.sequence, ("torch",)),
    "JAX lax.scan": Peer(jax.sequence, ("jax",)),
    "OpenVINO": Peer(openvino.sequence, _OV),
    "NumPy, tuned": Peer(tuned_numpy.sequence),
}

THREADS = {
    f"{name}, {threads} thread{'s'[: threads - 1]}": Peer(partial(make, threads=threads), needs)
    for name, make, needs in (
        ("fastlstm Stream.step", ours.stream_step, ()),
        ("LiteRT", litert.step, _LITERT),
        ("ONNX Runtime", onnxruntime.bound_step, _ORT),
        ("OpenVINO", openvino.step, _OV),
    )
    for threads in (1, 2)
}

THREADS_LOOP = {
    f"fastlstm generate, {threads} thread{'s'[: threads - 1]}": Peer(partial(ours.generate, threads=threads))
    for threads in (1, 2)
}

NARROW = {
    "fastlstm Stream.step, float32": Peer(ours.stream_step),
    "fastlstm Stream.step, bfloat16": Peer(partial(ours.stream_step, weights="bfloat16"), tolerance=BFLOAT16),
    "fastlstm Stream.step, int8": Peer(partial(ours.stream_step, weights="int8"), tolerance=INT8),
    "LiteRT, float32": STEPS["LiteRT"],
    "LiteRT, int8 weights (hybrid)": Peer(partial(litert.step, quantised=True), _LITERT, tolerance=INT8),
    "ONNX Runtime, float32": STEPS["ONNX Runtime, IOBinding"],
    "ONNX Runtime, int8 weights (dynamic)": Peer(onnxruntime.quantised_step, _ORT, tolerance=INT8),
}


class Ready(NamedTuple):
    """A peer that has given the right answers: what to call with what, and its largest error."""

    call: Callable[[Any], Any]
    argument: Any
    error: float


def checked_step(name: str, peer: Peer, problem: Problem) -> Ready:
    """The peer's step and an input for it.  Raises WrongAnswer."""
    call, reset, shape = peer.make(problem)
    reset()
    answers = [fetched(call(x.reshape(shape))).reshape(problem.batch, -1) for x in problem.xs]
    return Ready(call, problem.xs[0].reshape(shape), check(name, answers, problem.step_answers(), peer.tolerance))


def checked_loop(name: str, peer: Peer, problem: Problem, steps: int) -> Ready:
    """The peer's loop and its first input.  Raises WrongAnswer."""
    call, first = peer.make(problem, steps), problem.xs[0]
    return Ready(call, first, check(name, call(first), problem.loop_answers(steps), peer.tolerance))


def checked_characters(name: str, peer: Peer, problem: Characters, steps: int) -> Ready:
    """The peer's loop and the first id; every id has to be right.  Raises WrongAnswer."""
    call = peer.make(problem, steps)
    return Ready(call, problem.first, check(name, call(problem.first), problem.greedy(steps)[0], tolerance=0))


def checked_sequence(name: str, peer: Peer, problem: Problem) -> Ready:
    """The peer's call and its sequence.  Raises WrongAnswer."""
    call, xs = peer.make(problem)
    return Ready(call, xs, check(name, call(xs), problem.step_answers(), peer.tolerance))
