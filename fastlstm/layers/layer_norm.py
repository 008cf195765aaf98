"""Layer normalisation inside an LSTM's cell."""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from fastlstm.errors import ArgumentError
from fastlstm.layers.weights import weight


class LayerNorm:
    """What normalises an LSTM's gates and its new cell state, each over its own H elements.

    gamma        (4H,)  scale of the gates, in the gate order of the LSTM that it is given to
    state_gamma  (H,)   scale of the new cell state
    state_beta   (H,)   what is added to it
    epsilon      added to each variance

    norm(v) = (v - mean(v)) / sqrt(variance(v) + epsilon). A gate's x kernel + h recurrent_kernel becomes
    gamma norm(...), to which the LSTM's bias (the gates' beta, and the forget bias) and then the peepholes are added;
    the new cell state becomes state_gamma norm(c') + state_beta, is then clipped, and is the one that is kept.
    Raises WeightError, ArgumentError.  Source: tf.contrib.rnn.LayerNormBasicLSTMCell, LayerNormLSTMCell,
    CoupledInputForgetGateLSTMCell with layer_norm=True; 1e-12 is what tf.contrib.layers.layer_norm adds.
    """

    def __init__(self, gamma: ArrayLike, state_gamma: ArrayLike, state_beta: ArrayLike, epsilon: float = 1e-12) -> None:
        self.gamma = weight(gamma, (None,), name="layer_norm: gamma", layout="(4H,)")
        hidden = self.gamma.size // 4
        self.state_gamma = weight(state_gamma, (hidden,), name="layer_norm: state_gamma", layout="(H,)")
        self.state_beta = weight(state_beta, (hidden,), name="layer_norm: state_beta", layout="(H,)")
        if not isinstance(epsilon, Real) or not np.isfinite(float(epsilon)) or epsilon < 0:
            raise ArgumentError(f"layer_norm: epsilon is {epsilon!r}; expected a number of at least 0, e.g. 1e-12")
        self.epsilon = float(epsilon)

    def __repr__(self) -> str:
        return f"LayerNorm({self.state_gamma.size}, epsilon={self.epsilon})"
