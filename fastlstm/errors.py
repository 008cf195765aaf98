"""Every error that fastlstm raises on purpose.

Each message says what is wrong, what was got, what was expected, where, and what to do next. All derive from
`FastLSTMError`; where Python has a class for the same situation (`ValueError`, `FileNotFoundError` ...) they derive
from that as well, so that code which knows nothing of fastlstm still catches them.
"""

__all__ = [
    "ArgumentError",
    "DeviceError",
    "FastLSTMError",
    "FormatError",
    "MissingFileError",
    "RecognitionError",
    "ShapeError",
    "VerificationError",
    "WeightError",
    "WriteError",
]


class FastLSTMError(Exception):
    """The root of all of them."""


class FormatError(FastLSTMError):
    """A file is damaged, truncated, or not of a format that fastlstm reads."""


class MissingFileError(FormatError, FileNotFoundError):
    """A file, or one of the files that belong to it, is not there."""


class RecognitionError(FastLSTMError):
    """The file was read, but which LSTM it holds, or how that is computed, cannot be told."""


class ArgumentError(FastLSTMError, ValueError):
    """An argument has a value that cannot be used."""


class ShapeError(ArgumentError):
    """An array has the wrong shape or the wrong kind of elements."""


class WeightError(FastLSTMError, ValueError):
    """A weight has the wrong shape, or holds NaN or infinity."""


class DeviceError(FastLSTMError, RuntimeError):
    """The device that was asked for is not there or cannot be used."""


class WriteError(FastLSTMError, OSError):
    """An output cannot be written."""


class VerificationError(FastLSTMError):
    """The original could not be run, so nothing was compared."""
