"""TensorFlow 2 object checkpoints and SavedModels: layers and weights by the graph of objects."""

from __future__ import annotations

from fastlstm.recognise.objects.recognition import recognise_objects

__all__ = ["recognise_objects"]
