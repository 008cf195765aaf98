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
