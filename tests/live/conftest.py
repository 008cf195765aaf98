"""TensorFlow, live: skipped where it is not installed. Its TF1 cells need tf_keras (Keras 2) beside it."""

import os

import pytest

# Both have to be set before TensorFlow is imported.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def tf():
    """The module `tensorflow`, with the cells of TensorFlow 1 in `tf.compat.v1.nn.rnn_cell`."""
    pytest.importorskip("tf_keras", reason="a live comparison needs tf_keras: pip install 'fastlstm[test]'")
    tensorflow = pytest.importorskip("tensorflow", reason="a live comparison needs TensorFlow")
    tensorflow.get_logger().setLevel("ERROR")
    try:
        cells = tensorflow.compat.v1.nn.rnn_cell
        assert cells.BasicLSTMCell
    except (AttributeError, ImportError, AssertionError) as error:
        pytest.skip(f"no TensorFlow 1 cells: TensorFlow was imported before TF_USE_LEGACY_KERAS=1 was set ({error})")
    return tensorflow


@pytest.fixture(scope="session")
def tf_keras(tf):
    """Keras 2, as it goes with TensorFlow 2.16 and later."""
    import tf_keras as module

    return module


@pytest.fixture(scope="session")
def keras3():
    """Keras 3, which lives beside tf_keras in one process."""
    module = pytest.importorskip("keras", reason="a live comparison with Keras 3 needs it")
    if not module.__version__.startswith("3"):
        pytest.skip(f"keras is {module.__version__}; expected 3")
    return module
