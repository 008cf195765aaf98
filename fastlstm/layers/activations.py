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
    SOFTMAX = 14  # exp(x) / sum(exp(x)), over a gate's H elements or a Dense layer's V
    GELU = 15  # x * Phi(x), Phi the normal distribution's: by erf, Keras' default, not by tanh
    MISH = 16  # x * tanh(softplus(x))
    HARD_SHRINK = 17  # x if |x| > 0.5 else 0
    HARD_SILU = 18  # x * relu6(x + 3) / 6
    HARD_TANH = 19  # clip(x, -1, 1)
    LOG_SIGMOID = 20  # log(sigmoid(x))
    LOG_SOFTMAX = 21  # log(softmax(x))
    SOFT_SHRINK = 22  # x - 0.5 if x > 0.5, x + 0.5 if x < -0.5, else 0
    SPARSE_PLUS = 23  # 0 below -1, x above 1, (x + 1)^2 / 4 between
    SPARSE_SIGMOID = 24  # clip((x + 1) / 2, 0, 1)
    SQUAREPLUS = 25  # (x + sqrt(x^2 + 4)) / 2
    TANH_SHRINK = 26  # x - tanh(x)

    @property
    def label(self) -> str:
        return self.name.lower()


_ALIASES = {
    "none": "linear", "identity": "linear", "logistic": "sigmoid", "swish": "silu", "hard_swish": "hard_silu",
    "celu": "elu",  # with alpha = 1, which a name alone means, the same function
}  # fmt: skip
_REFUSED = {
    "glu": " (it gives half as many elements as it takes)",
    "sparsemax": " (Keras sums up what it should look up, so that its outputs are not those of sparsemax)",
    "threshold": " (it needs two numbers, which a name does not hold)",
}


def activation_named(name: str | Activation | None, *, where: str) -> Activation:
    """The activation called `name`; None is linear.

    where  what it is the activation of, for the error
    Raises ArgumentError for an unknown name, with the names that are known.
    """
    if isinstance(name, Activation):
        return name
    text = "linear" if name is None else str(name).lower()
    found = Activation.__members__.get(_ALIASES.get(text, text).upper())
    if found is None:
        known = ", ".join(a.label for a in Activation)
        raise ArgumentError(
            f"{where}: activation {name!r} is not one that fastlstm can run{_REFUSED.get(text, '')}; "
            f"it can run: {known}. Pass one of these, e.g. activation='tanh', to override what the file says."
        )
    return found
