"""The sine model in TensorFlow, as one would run it there: `session.run` a step at a time, the state fed back.

    python -m fastlstm.demo.session_run fastlstm/demo/data/sine

Prints JSON: TensorFlow's version, the seconds a step, and the largest difference from the stored outputs.  The only
file of the package that imports TensorFlow; `fastlstm demo` runs it in a process of its own.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import numpy as np

_STEPS, _REPEATS = 200, 5


def measure(data: str) -> dict:
    import tensorflow.compat.v1 as tf

    tf.disable_eager_execution()
    with np.load(f"{data}/feedback.npz") as stored:
        prime, expected = stored["prime"], stored["outputs"]
    saver = tf.train.import_meta_graph(f"{data}/model.meta")
    one_thread = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    with tf.Session(config=one_thread) as session:  # on a model of this size the fastest
        saver.restore(session, f"{data}/model")
        graph = session.graph.get_tensor_by_name
        inputs, c0, h0 = graph("inputs:0"), graph("initial_c:0"), graph("initial_h:0")
        fetched = graph("outputs:0"), graph("rnn/while/Exit_3:0"), graph("rnn/while/Exit_4:0")

        def follow(x: np.ndarray, c: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, ...]:
            ys = np.empty((_STEPS, 1))
            for k in range(_STEPS):
                x, c, h = session.run(fetched, {inputs: x, c0: c, h0: h})
                x = x[:, -1:]
                ys[k] = x[0, 0]
            return ys, x, c, h

        zero = np.zeros((1, c0.shape[1]))
        ys, *state = follow(prime[None], zero, zero)  # also the warm-up
        seconds = []
        for _ in range(_REPEATS):
            begin = time.perf_counter()
            _, *state = follow(*state)
            seconds.append((time.perf_counter() - begin) / _STEPS)
    difference = float(np.abs(ys - expected[:_STEPS]).max())
    return {"version": tf.__version__, "seconds": statistics.median(seconds), "difference": difference}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
