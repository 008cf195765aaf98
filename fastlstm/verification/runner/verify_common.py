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
