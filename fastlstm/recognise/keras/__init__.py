"""Keras files: the configuration where there is one, and the weights by its layers."""

from __future__ import annotations

from fastlstm.recognise.keras.config import recognise_keras

__all__ = ["recognise_keras"]
