"""Who is timed: for each peer a function of the problem that gives what to call. TensorFlow is imported when needed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers import naive, ours, tensorflow
from benchmarks.problem import Problem, check


class Step(NamedTuple):
    """call   x -> y as NumPy arrays, the state carried
    reset  the state to zero
    shape  that the peer wants x in
    """

    call: Callable[[Any], Any]
    reset: Callable[[], None]
    shape: tuple[int, ...]


STEPS: dict[str, Callable[[Problem], tuple]] = {
    "fastlstm Stream.step": ours.stream_step,
    "fastlstm Model.step": ours.model_step,
    "fastlstm Stream.step, numpy": ours.numpy_step,
    "naive @njit step": naive.step,
    "TF1 session.run": tensorflow.session_step,
    "tf.function": tensorflow.function_step,
    "tf.function, XLA": tensorflow.xla_step,
    "Keras model(x)": tensorflow.keras_call_step,
    "Keras predict_on_batch": tensorflow.keras_predict_step,
}
#: These are so slow that one size says it all.
AT_ONE_SIZE = {"Keras model(x)": (1, 32), "Keras predict_on_batch": (1, 32)}

LOOPS: dict[str, Callable[[Problem, int], Callable[[np.ndarray], Any]]] = {
    "fastlstm generate": ours.generate,
    "naive @njit loop": naive.loop,
    "TF while_loop, XLA": tensorflow.xla_loop,
    "TF while_loop": tensorflow.while_loop,
}


def checked_step(name: str, problem: Problem) -> tuple[Callable[[Any], Any], np.ndarray]:
    """The peer's step and an input for it, once it has given the right answers.  Raises WrongAnswer."""
    peer = Step(*STEPS[name](problem))
    peer.reset()
    answers = [np.array(peer.call(x.reshape(peer.shape))).ravel() for x in problem.xs]
    check(name, np.array(answers), problem.step_answers())
    return peer.call, problem.xs[0].reshape(peer.shape)


def checked_loop(name: str, problem: Problem, steps: int) -> tuple[Callable[[Any], Any], np.ndarray]:
    """The peer's loop and its first input (1, D), once it has given the right answers.  Raises WrongAnswer."""
    call, first = LOOPS[name](problem, steps), problem.xs[0]
    check(name, np.asarray(call(first)), problem.loop_answers(steps))
    return call, first
