"""The activation functions: their names, the names that other people give them, and their integer codes.

The codes are what a plan carries; the functions themselves stand in `backends/scalar.py` (compiled) and
`backends/reference.py` (NumPy). Sources: `tf.nn.*`, `keras.activations.*`.
"""

from __future__ import annotations

from enum import IntEnum

from fastlstm.errors import ArgumentError


class Activation(IntEnum):
    """Code of an activation; its lower-case name is the canonical name."""

    LINEAR = 0  # x
    TANH = 1
    SIGMOID = 2  # 1 / (1 + exp(-x))
    RELU = 3  # max(x, 0)
    RELU6 = 4  # min(max(x, 0), 6)
    ELU = 5  # x if x > 0 else exp(x) - 1
    SELU = 6  # 1.0507... * (x if x > 0 else 1.6733... * (exp(x) - 1))
    SOFTPLUS = 7  # log(1 + exp(x))
    SOFTSIGN = 8  # x / (1 + |x|)
    SILU = 9  # x * sigmoid(x)
    EXPONENTIAL = 10  # exp(x)
    HARD_SIGMOID = 11  # Keras 1 and 2, tf.keras: clip(0.2 x + 0.5, 0, 1)
    HARD_SIGMOID_KERAS3 = 12  # Keras 3: relu6(x + 3) / 6
    LEAKY_RELU = 13  # x if x > 0 else 0.2 x, the slope of tf.nn.leaky_relu
    SOFTMAX = 14  # over the last axis; a Dense layer's only

    @property
    def label(self) -> str:
        return self.name.lower()


_ALIASES = {"none": "linear", "identity": "linear", "swish": "silu", "logistic": "sigmoid"}


def activation_named(name: str | Activation | None, *, where: str, softmax: bool = False) -> Activation:
    """The activation called `name`; None is linear.

    where    what it is the activation of, for the error
    softmax  whether softmax, which is no elementwise function, may be used there
    Raises ArgumentError for an unknown name, with the names that are known.
    """
    if isinstance(name, Activation):
        found: Activation | None = name
    else:
        text = "linear" if name is None else str(name).lower()
        found = Activation.__members__.get(_ALIASES.get(text, text).upper())
    if found is None or (found is Activation.SOFTMAX and not softmax):
        known = ", ".join(a.label for a in Activation if softmax or a is not Activation.SOFTMAX)
        raise ArgumentError(
            f"{where}: activation {name!r} is not one that fastlstm can run; it can run: {known}. "
            f"Pass one of these, e.g. activation='tanh', to override what the file says."
        )
    return found
