"""The one table of tolerances: largest absolute difference from TensorFlow. The README quotes it."""

import numpy as np

TOLERANCES = {
    "float32": 2e-6,  # random models, 100 steps, outputs and final states
    "float64": 1e-13,
    "layer norm": 1e-5,  # float32; a small variance magnifies what a product was rounded by
    "sine loop": 1e-10,  # 1000 free-running steps, float64
}


def assert_close(ours, theirs, tolerance):
    """Raise AssertionError unless every element of `ours` is within `tolerance` of TensorFlow's."""
    assert np.shape(ours) == np.shape(theirs)
    difference = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
    assert difference.size == 0 or difference.max() <= tolerance, f"{difference.max():.3g} > {tolerance:.3g}"


# Worst errors over all finite numbers: absolute; relative, of sigmoid where it is not below SMALLEST.
ERRORS = {
    ("tanh", "float32"): (2e-7, 4e-7),
    ("sigmoid", "float32"): (1.2e-7, 6e-6),
    ("tanh", "float64"): (3e-16, 5e-16),
    ("sigmoid", "float64"): (2e-16, 5e-16),
}
SMALLEST = {"float32": 1.7e-38, "float64": 3.4e-308}  # what sigmoid comes down to, at -87 and -708, and stays
