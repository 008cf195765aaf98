"""What is timed: one LSTM with random weights in TensorFlow 1's layout, a head, and the right answers in float64."""

import numpy as np

SIZES = [(1, 8), (1, 32), (16, 64), (64, 128), (128, 256), (256, 512)]
#: Largest absolute difference from the answers in float64 with which a peer, in float32, is timed.
TOLERANCE = 1e-5


class Problem:
    """An LSTM of H units on D inputs (columns in the order i j f o, forget_bias 1), and a dense head back to D.

    kernel (D + H, 4H), bias (4H,), head_kernel (H, D), head_bias (D,), xs (T, 1, D): float32
    """

    forget_bias = 1.0

    def __init__(self, inputs: int, hidden: int, steps: int = 64) -> None:
        self.inputs, self.hidden = inputs, hidden
        rng = np.random.default_rng([inputs, hidden])

        def draw(*shape, scale=1.0):
            return rng.normal(0, scale, shape).astype(np.float32)

        self.kernel = draw(inputs + hidden, 4 * hidden, scale=(inputs + hidden) ** -0.5)
        self.bias = draw(4 * hidden, scale=0.1)
        self.head_kernel, self.head_bias = draw(hidden, inputs, scale=hidden**-0.5), draw(inputs, scale=0.1)
        self.xs = draw(steps, 1, inputs)

    @property
    def keras_weights(self) -> list[np.ndarray]:
        """kernel (D, 4H), recurrent_kernel (H, 4H), bias (4H,) with gates i f c o and the forget bias inside."""
        units = self.hidden
        order = np.concatenate([np.arange(units) + units * k for k in (0, 2, 1, 3)])
        bias = self.bias[order]
        bias[units : 2 * units] += self.forget_bias
        return [self.kernel[: self.inputs, order], self.kernel[self.inputs :, order], bias]

    def weight_bytes(self, *, head: bool) -> int:
        """What one step has to read."""
        arrays = [self.kernel, self.bias, *([self.head_kernel, self.head_bias] if head else [])]
        return sum(a.nbytes for a in arrays)

    def step_answers(self) -> np.ndarray:
        """h (T, H) after each of the inputs."""
        c = h = np.zeros(self.hidden)
        answers = []
        for x in self.xs[:, 0]:
            c, h = self._step(x, c, h)
            answers.append(h)
        return np.array(answers)

    def loop_answers(self, steps: int) -> np.ndarray:
        """y (steps, D): the first input, then each output fed back."""
        c = h = np.zeros(self.hidden)
        x, answers = self.xs[0, 0], []
        for _ in range(steps):
            c, h = self._step(x, c, h)
            x = h @ self.head_kernel.astype(float) + self.head_bias
            answers.append(x)
        return np.array(answers)

    def _step(self, x, c, h):
        z = np.concatenate([x, h]) @ self.kernel.astype(float) + self.bias
        i, j, f, o = np.split(z, 4)
        c = c / (1 + np.exp(-f - self.forget_bias)) + np.tanh(j) / (1 + np.exp(-i))
        return c, np.tanh(c) / (1 + np.exp(-o))


class WrongAnswer(Exception):
    """A peer that does not compute what it is to be timed for."""


def check(name: str, answers: np.ndarray, expected: np.ndarray) -> float:
    """The peer's largest error.  Raises WrongAnswer."""
    answers = np.reshape(answers, expected.shape)
    error = float(np.abs(answers - expected).max())
    if not error <= TOLERANCE:
        raise WrongAnswer(f"{name}: {error:.1e} from the answer in float64; expected at most {TOLERANCE:.0e}")
    return error
