"""Run trained TensorFlow LSTMs one step at a time, from Python, at the speed of the hardware, without TensorFlow.

    model = fastlstm.load("model.ckpt")            # a TensorFlow 1 checkpoint or a Keras file
    ys, state = model.run(xs)                      # a known sequence
    ys, state = model.generate(1000, prime=xs)     # its own output fed back, in one compiled call
    stream = model.stream(); y = stream.step(x)    # one live sequence, in place

Shapes are written with these letters everywhere: B batch, T steps, D input size, H hidden units, P projected size,
L LSTM layers, V outputs (or vocabulary). Arrays are batch-major; a missing batch axis is accepted and given back
missing.
"""

from typing import TYPE_CHECKING, Any

from fastlstm.errors import (
    ArgumentError,
    DeviceError,
    FastLSTMError,
    FormatError,
    MissingFileError,
    RecognitionError,
    ShapeError,
    VerificationError,
    WeightError,
    WriteError,
)
from fastlstm.layers import (
    GRU,
    LSTM,
    Bidirectional,
    Dense,
    Embedding,
    Highway,
    LayerNorm,
    Masking,
    OneHot,
    Reverse,
)
from fastlstm.loading import extract, inspect, load, read, save
from fastlstm.model import Model
from fastlstm.sampling import Sampler
from fastlstm.state import State
from fastlstm.stream import Stream

if TYPE_CHECKING:
    from fastlstm.verification import Verification, verify

__version__ = "0.4.0"

__all__ = [
    "GRU",
    "LSTM",
    "ArgumentError",
    "Bidirectional",
    "Dense",
    "DeviceError",
    "Embedding",
    "FastLSTMError",
    "FormatError",
    "Highway",
    "LayerNorm",
    "Masking",
    "MissingFileError",
    "Model",
    "OneHot",
    "RecognitionError",
    "Reverse",
    "Sampler",
    "ShapeError",
    "State",
    "Stream",
    "Verification",
    "VerificationError",
    "WeightError",
    "WriteError",
    "__version__",
    "extract",
    "inspect",
    "load",
    "read",
    "save",
    "verify",
]


def __getattr__(name: str) -> Any:
    """What few processes use, imported when it is asked for."""
    if name not in ("Verification", "verify"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fastlstm import verification

    return getattr(verification, name)
