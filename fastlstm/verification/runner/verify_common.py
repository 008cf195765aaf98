"""What the parts of the runner share."""

import os


class CannotRun(Exception):
    """The original cannot be run here; the text says why."""


class Refused(Exception):
    """A part of the comparison does not apply; the text says why."""


def quiet():
    """What has to be said before TensorFlow is imported: no logging, and the CPU's numbers on every machine."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def first_line(error):
    text = str(error).strip() or repr(error)
    return text.splitlines()[0][:400]


def size_of(dimension):
    """An int or None: up to TensorFlow 1.15 dimensions are objects."""
    return getattr(dimension, "value", dimension)


class Parts:
    """A model as parts over a whole sequence, each a stack of layers that `step` runs, or two of them.

    ("stack", stack)   ("reverse",)   ("both", forward, backward, mode, last)
    stack.step(x, state) -> y, state;  stack.zero_state(batch)
    """

    def __init__(self, parts, np):
        self.parts, self.np = parts, np

    def run(self, xs):
        """xs (T, B, ...) -> ys (T, B, V), states [(c (T, B, H), h (T, B, H)) ...] as they were computed."""
        states = []
        for part in self.parts:
            if part[0] == "reverse":
                xs = xs[::-1]
            elif part[0] == "stack":
                xs = self._over(part[1], xs, states)
            else:
                forward, backward, mode, last = part[1:]
                one = self._over(forward, xs, states)
                other = self._over(backward, xs[::-1], states)[::-1]
                other = self.np.repeat(other[:1], len(other), axis=0) if last else other
                xs = self._merged(one, other, mode)
        return xs, states

    def _over(self, stack, xs, states):
        state, ys, after = stack.zero_state(xs.shape[1]), [], []
        for x in xs:
            y, state = stack.step(x, state)
            ys.append(y)
            after.append(state)
        for k in range(len(state)):
            states.append(tuple(self.np.stack([pairs[k][n] for pairs in after]) for n in (0, 1)))
        return self.np.stack(ys)

    def _merged(self, one, other, mode):
        if mode == "concat":
            return self.np.concatenate([one, other], axis=-1)
        return {"sum": one + other, "mul": one * other, "ave": (one + other) / 2}[mode]
