"""Load time: a checkpoint of two layers of 512 (13 MB), from a fresh process that has no TensorFlow."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.peers.tensorflow import tf

INPUTS, UNITS = 64, 512

#: The child's program: TensorFlow cannot be imported, as where it is not installed.
_CHILD = """
import json, sys
from time import perf_counter
sys.modules["tensorflow"] = None
begin = perf_counter()
import fastlstm
imported = perf_counter()
model = fastlstm.load(sys.argv[1])
loaded = perf_counter()
model.stream().step([0.0] * model.input_size)
stepped = perf_counter()
print(json.dumps({"import": imported - begin, "load": loaded - imported, "first step": stepped - loaded}))
"""


def write_checkpoint(folder: Path) -> str:
    """A MultiRNNCell of two LSTMCell(512) under dynamic_rnn, as tf.train.Saver writes it; gives back the prefix."""
    v1 = tf().compat.v1
    functional = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()  # loops as TensorFlow 1 wrote them
    try:
        with tf().Graph().as_default(), v1.Session() as session:
            cell = v1.nn.rnn_cell.MultiRNNCell([v1.nn.rnn_cell.LSTMCell(UNITS) for _ in range(2)])
            v1.nn.dynamic_rnn(cell, v1.placeholder("float32", [None, None, INPUTS]), dtype="float32")
            session.run(v1.global_variables_initializer())
            return v1.train.Saver().save(session, str(folder / "model"))
    finally:
        if functional:
            v1.enable_control_flow_v2()


def load_times(prefix: str, *, rounds: int = 7) -> dict[str, float]:
    """Seconds of importing, loading and the first step, each in the median of fresh processes.

    One process more goes first, so that Numba's disk cache holds the compiled step.
    """
    runs = []
    for _ in range(rounds + 1):
        command = [sys.executable, "-c", _CHILD, prefix]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
    return {key: float(np.median([run[key] for run in runs[1:]])) for key in runs[0]}
