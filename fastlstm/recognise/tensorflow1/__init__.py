"""TensorFlow 1 checkpoints: variables by their names and shapes, and with a `.meta` file by the graph's dataflow."""

from __future__ import annotations

from fastlstm.recognise.tensorflow1.recognition import recognise_tensorflow1

__all__ = ["recognise_tensorflow1"]
