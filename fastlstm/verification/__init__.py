"""Comparing a loaded model with its original, run by TensorFlow or Keras: `fastlstm.verify`.

The folder `runner` runs the original, in a process and, if need be, a Python of its own; the rest stays here.
"""

from fastlstm.verification.compare import verify
from fastlstm.verification.outcome import Difference, Verification

__all__ = ["Difference", "Verification", "verify"]
