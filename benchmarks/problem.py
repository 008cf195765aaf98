"""What is timed: LSTMs with random weights in TensorFlow 1's layout, a head, and the right answers in float64."""

from functools import cached_property

import numpy as np

SIZES = [(1, 8), (1, 32), (16, 64), (64, 128), (128, 256), (256, 512), (512, 1024)]
#: Largest absolute difference from the answers in float64 with which a peer, in float32, is timed.
TOLERANCE = 1e-5


class Problem:
    """Layers of LSTM of H units on D inputs (columns in the order i j f o, forget_bias 1), and a dense head back to D.

    cells [(kernel (D or H + H, 4H), bias (4H,))] a layer, head_kernel (H, D), head_bias (D,), xs (T, B, D): float32
    """

    forget_bias = 1.0

    def __init__(self, inputs: int, hidden: int, *, layers: int = 1, batch: int = 1, steps: int = 64) -> None:
        self.inputs, self.hidden, self.layers, self.batch = inputs, hidden, layers, batch
        rng = np.random.default_rng([inputs, hidden])

        def draw(*shape, scale=1.0):
            return rng.normal(0, scale, shape).astype(np.float32)

        sizes = [inputs] + [hidden] * (layers - 1)
        self.cells = [
            (draw(size + hidden, 4 * hidden, scale=(size + hidden) ** -0.5), draw(4 * hidden, scale=0.1))
            for size in sizes
        ]
        self.kernel, self.bias = self.cells[0]
        self.head_kernel, self.head_bias = draw(hidden, inputs, scale=hidden**-0.5), draw(inputs, scale=0.1)
        self.xs = draw(steps, batch, inputs)
        self._known: dict[object, np.ndarray] = {}  # answers: the same for every peer

    @property
    def keras_weights(self) -> list[np.ndarray]:
        """The first layer's kernel (D, 4H), recurrent_kernel (H, 4H), bias (4H,), gates in Keras's order i f c o."""
        return self.parts((0, 2, 1, 3))[0]

    def parts(self, order: tuple[int, ...]) -> list[list[np.ndarray]]:
        """Per layer kernel (D, 4H), recurrent_kernel (H, 4H) and bias (4H,), the forget bias inside, the gates in
        `order`, numbers into i j f o."""
        units = self.hidden
        columns = np.concatenate([np.arange(units) + units * k for k in order])
        extra = np.repeat(np.float32([0, 0, self.forget_bias, 0]), units)
        return [
            [kernel[:-units, columns], kernel[-units:, columns], (bias + extra)[columns]] for kernel, bias in self.cells
        ]

    def weight_bytes(self, *, head: bool) -> int:
        """What one step has to read."""
        arrays = [a for cell in self.cells for a in cell] + [self.head_kernel, self.head_bias] * head
        return sum(a.nbytes for a in arrays)

    def operations(self) -> int:
        """Additions and multiplications in the products of one step of the batch, without the head."""
        return sum(2 * self.batch * kernel.size for kernel, _ in self.cells)

    def step_answers(self) -> np.ndarray:
        """h (T, B, H) of the last layer after each of the inputs."""
        if "steps" not in self._known:
            state, answers = self._zeros(), []
            for x in self.xs:
                x, state = self._step(x, state)
                answers.append(x)
            self._known["steps"] = np.array(answers)
        return self._known["steps"]

    def loop_answers(self, steps: int) -> np.ndarray:
        """y (steps, B, D): the first input, then each output fed back."""
        if steps not in self._known:
            x, state, answers = self.xs[0], self._zeros(), []
            for _ in range(steps):
                x, state = self._step(x, state)
                x = self._head(x)
                answers.append(x)
            self._known[steps] = np.array(answers)
        return self._known[steps]

    def _zeros(self):
        return [np.zeros((2, self.batch, self.hidden)) for _ in self.cells]

    @cached_property
    def _exact(self):
        return [(kernel.astype(float), bias.astype(float)) for kernel, bias in self.cells]

    @cached_property
    def _exact_head(self):
        return self.head_kernel.astype(float)

    def _head(self, h):
        return h @ self._exact_head + self.head_bias

    def _step(self, x, state):
        after = []
        for (kernel, bias), (c, h) in zip(self._exact, state, strict=True):
            i, j, f, o = np.split(np.concatenate([x, h], 1) @ kernel + bias, 4, 1)
            c = c / (1 + np.exp(-f - self.forget_bias)) + np.tanh(j) / (1 + np.exp(-i))
            x = np.tanh(c) / (1 + np.exp(-o))
            after.append((c, x))
        return x, after


class Characters(Problem):
    """A character model: symbols as one-hot vectors, two layers, logits; the most probable symbol is the next input."""

    symbols = 65
    first = 0

    def __init__(self, hidden: int = 512, layers: int = 2) -> None:
        super().__init__(self.symbols, hidden, layers=layers, steps=1)
        # Weights that make lively sequences, and choices so clear that no float32 makes another one.
        self.kernel[: self.symbols] *= 25
        for part in (self.kernel[self.symbols :], *(kernel for kernel, _ in self.cells[1:])):
            part *= 1.5
        self.head_kernel *= 4

    def weight_bytes(self, *, head: bool = True) -> int:
        """Of the first layer's rows for the symbols a step needs one."""
        return super().weight_bytes(head=head) - self.kernel[1 : self.symbols].nbytes

    def greedy(self, steps: int) -> tuple[np.ndarray, float]:
        """ids (steps,) int, and by how much the nearest of the choices was made."""
        state, symbol, ids, margin = self._zeros(), self.first, [], np.inf
        for _ in range(steps):
            x, state = self._step(np.eye(self.symbols)[[symbol]], state)
            logits = self._head(x)[0]
            symbol = int(logits.argmax())
            second, first = np.partition(logits, -2)[-2:]
            ids, margin = [*ids, symbol], min(margin, first - second)
        return np.array(ids), margin


class WrongAnswer(Exception):
    """A peer that does not compute what it is to be timed for."""


def fetched(answers):
    """NumPy's own array of a peer's; what lies on a GPU, as PyTorch's or Numba's, is copied from there."""
    for fetch in ("cpu", "copy_to_host"):
        if hasattr(answers, fetch):
            answers = getattr(answers, fetch)()
    return np.array(answers)


def check(name: str, answers: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> float:
    """The peer's largest error.  Raises WrongAnswer."""
    answers = np.reshape(fetched(answers), expected.shape)
    error = float(np.abs(answers - expected).max())
    if not error <= tolerance:
        raise WrongAnswer(f"{name}: {error:.1e} from the answer in float64; expected at most {tolerance:.0e}")
    return error
