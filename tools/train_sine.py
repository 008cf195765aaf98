"""Train the sine model of `fastlstm demo` with TensorFlow 1.15 and save it as TensorFlow saves it.

    python tools/train_sine.py fastlstm/demo/data/sine

The model answers the next value of a sine wave, and runs on by itself when each answer is fed back as the next input.
One that has only ever seen true values drifts off the wave then, so the training lets it run on its own outputs for
longer and longer.

OUTDIR gets what `tf.train.Saver` writes (model.index, model.data-00000-of-00001, model.meta, checkpoint) for the graph
of `inference` alone, and

    feedback.npz  prime             (N, 1)     true values of the wave
                  outputs           (1000, 1)  TensorFlow's answers: [0] after the prime, [k] after outputs[k - 1]
                  final_c, final_h  (H,)       the state after outputs[998] was fed; outputs[999] is not
                  period            ()         of the wave, in steps

All of it is float64.  How far the training gets depends on the machine: another run gives another model.
"""

import argparse
import os
import tempfile
import time

import numpy as np
import tensorflow as tf

UNITS, PERIOD, AMPLITUDE = 32, 40.0, 0.8
BATCH, PRIMED, FREE = 16, 80, 1000


def head(outputs: tf.Tensor) -> tf.Tensor:
    """Hidden outputs (..., H) to values (..., 1)."""
    dense = tf.contrib.layers.fully_connected
    return dense(outputs, 1, activation_fn=tf.nn.tanh, scope="fully_connected", reuse=tf.AUTO_REUSE)


def inference(cell: tf.nn.rnn_cell.BasicLSTMCell) -> dict:
    """The graph a user of the model has: inputs (B, T, 1) and a state in, outputs (B, T, 1) and the new state out."""
    inputs = tf.placeholder(tf.float64, [None, None, 1], name="inputs")
    c = tf.placeholder(tf.float64, [None, UNITS], name="initial_c")
    h = tf.placeholder(tf.float64, [None, UNITS], name="initial_h")
    hidden, final = tf.nn.dynamic_rnn(cell, inputs, initial_state=tf.nn.rnn_cell.LSTMStateTuple(c, h))
    outputs = tf.identity(head(hidden), name="outputs")
    return {"inputs": inputs, "initial": (c, h), "outputs": outputs, "final": final}


def session() -> tf.Session:
    """A session on one thread, so that a run leaves the rest of the machine alone."""
    return tf.Session(config=tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1))


def wave(start, steps: int) -> np.ndarray:
    """Values (B, steps, 1) of the wave from each of B starts, in steps."""
    at = np.asarray(start)[:, None, None] + np.arange(steps)[:, None]
    return AMPLITUDE * np.sin(2 * np.pi / PERIOD * at)


def unrolled(cell: tf.nn.rnn_cell.BasicLSTMCell, inputs: tf.Tensor, given: tf.Tensor) -> tf.Tensor:
    """Outputs (T, B, 1) for inputs (T, B, 1), of which the first `given` are fed and then the cell's own outputs."""

    def step(before, now):
        c, h, y = before
        at, x = now
        with tf.variable_scope("rnn", reuse=True):
            h, state = cell(tf.where(at < given, x, y), tf.nn.rnn_cell.LSTMStateTuple(c, h))
        return state.c, state.h, head(h)

    zero = tf.zeros([BATCH, UNITS], tf.float64)
    return tf.scan(step, (tf.range(tf.shape(inputs)[0]), inputs), (zero, zero, zero[:, :1]))[2]


def train(minutes: float, best: str) -> None:
    """Train for so many minutes; leave the variables that ran on best by themselves in `best`."""
    cell = tf.nn.rnn_cell.BasicLSTMCell(UNITS, dtype=tf.float64)
    inference(cell)
    inputs, targets = (tf.placeholder(tf.float64, [None, BATCH, 1]) for _ in range(2))
    given, rate = tf.placeholder(tf.int32, []), tf.placeholder(tf.float64, [])
    outputs = unrolled(cell, inputs, given)
    loss = tf.reduce_mean(tf.square(outputs - targets))
    saver = tf.train.Saver(tf.trainable_variables())
    update = tf.contrib.estimator.clip_gradients_by_norm(tf.train.AdamOptimizer(rate), 0.1).minimize(loss)
    with session() as sess:
        sess.run(tf.global_variables_initializer())
        begin, step, done, check, lowest = time.time(), 0, 0.0, 0.1, np.inf
        while done < 1:
            done = min(1.0, (time.time() - begin) / (60 * minutes))
            if done >= check:
                check = min(1.0, check + 0.05)
                true = wave(np.linspace(0, PERIOD, BATCH, endpoint=False), PRIMED + FREE).transpose(1, 0, 2)
                answers = sess.run(outputs, {inputs: true[:-1], given: PRIMED})
                error = np.sqrt(np.mean((answers - true[1:])[PRIMED - 1 :] ** 2))
                print(f"{done:4.0%} step {step}: RMS error {error:.5f} over {FREE} steps by itself", flush=True)
                if error < lowest:
                    lowest = error
                    saver.save(sess, best, write_meta_graph=False)
            free = int(400 * min(1, max(0, done - 0.1) / 0.5))  # none, then more and more, then 400 steps by itself
            true = wave(np.random.uniform(0, PERIOD, BATCH), PRIMED + free + 1).transpose(1, 0, 2)
            noisy = true + np.random.normal(0, 0.02 * np.random.rand() * (1 - done), true.shape)
            speed = 5e-3 * (1 - done) ** 2 + 1e-6
            sess.run(update, {inputs: noisy[:-1], targets: true[1:], given: PRIMED, rate: speed})
            step += 1


def follow(sess: tf.Session, net: dict, prime: np.ndarray, steps: int):
    """Feed the prime (P, 1), then each output back: outputs (steps, 1) and the last state."""
    c, h = net["initial"]
    state = np.zeros((1, UNITS)), np.zeros((1, UNITS))
    fed, answers = prime[None], []
    while len(answers) < steps:
        outputs, state = sess.run([net["outputs"], net["final"]], {net["inputs"]: fed, c: state[0], h: state[1]})
        fed = outputs[:, -1:]
        answers.append(fed[0, 0])
    return np.array(answers), state


def export(best: str, outdir: str) -> None:
    """Load `best` into the graph of `inference` alone, save that, and write down what TensorFlow answers."""
    os.makedirs(outdir, exist_ok=True)
    with tf.Graph().as_default(), session() as sess:
        net = inference(tf.nn.rnn_cell.BasicLSTMCell(UNITS, dtype=tf.float64))
        saver = tf.train.Saver(save_relative_paths=True)
        saver.restore(sess, best)
        saver.save(sess, os.path.join(outdir, "model"))
        true = wave([0.0], PRIMED + FREE)[0]
        outputs, (c, h) = follow(sess, net, true[:PRIMED], FREE)
    print(f"RMS error over {FREE} steps {np.sqrt(np.mean((outputs - true[PRIMED:]) ** 2)):.5f}")
    arrays = {"prime": true[:PRIMED], "outputs": outputs, "final_c": c[0], "final_h": h[0], "period": PERIOD}
    np.savez(os.path.join(outdir, "feedback.npz"), **arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outdir")
    parser.add_argument("--minutes", type=float, default=8, help="0: export what --best holds")
    parser.add_argument("--best", help="prefix of the variables that did best so far (default: in a temporary folder)")
    args = parser.parse_args()
    np.random.seed(0)
    tf.set_random_seed(0)
    best = args.best or os.path.join(tempfile.mkdtemp(), "best")
    if args.minutes > 0:
        train(args.minutes, best)
    export(best, args.outdir)


if __name__ == "__main__":
    main()
