"""Train the character model of `fastlstm demo` with TensorFlow 1.15 and save it as TensorFlow saves it.

    apt-get install bible-kjv
    bible -f 'Ge1:1-Rev22:21' > kjv.txt
    python tools/train_characters.py kjv.txt fastlstm/demo/data/characters --minutes 50

The text is the King James Bible (1611, public domain) as Debian packages it; the mark before each verse ("Ge1:1 ") is
dropped, so that a line is a verse.  Any other text file will do: a line with no such mark is left as it is.

OUTDIR gets what `tf.train.Saver` writes (model.index, model.data-00000-of-00001, model.meta, checkpoint) for the graph
of `inference` alone, and

    vocab.json  the characters, in the order of their ids
    golden.npz  prime   (N,)      the ids of PRIME
                greedy  (500,)    what TensorFlow answers: each the arg max after the ids before it
                logits  (100, V)  float32, the rows that greedy[:100] are the arg max of

How far the training gets depends on the machine: another run gives another model.
"""

import argparse
import json
import os
import re
import tempfile
import time

import numpy as np
import tensorflow as tf

UNITS, LAYERS, EMBEDDED = 224, 2, 64
BATCH, STEPS = 64, 80
PRIME = "And God said"


def inference(vocabulary: int) -> dict:
    """The graph a user of the model has: ids (B, T) in; logits, probabilities (B, T, V) and the states out.

    The initial state is zero; feed `initial` to go on from an earlier `final`.
    """
    ids = tf.placeholder(tf.int32, [None, None], name="ids")
    scattered = tf.random_normal_initializer(stddev=0.1)
    embedding = tf.get_variable("embedding", [vocabulary, EMBEDDED], initializer=scattered)
    cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.BasicLSTMCell(UNITS) for _ in range(LAYERS)])
    initial = cell.zero_state(tf.shape(ids)[0], tf.float32)
    inputs = tf.nn.embedding_lookup(embedding, ids)
    outputs, final = tf.nn.dynamic_rnn(cell, inputs, initial_state=initial, scope="rnnlm")
    with tf.variable_scope("rnnlm"):
        w = tf.get_variable("softmax_w", [UNITS, vocabulary])
        b = tf.get_variable("softmax_b", [vocabulary], initializer=tf.zeros_initializer())
    flat = tf.matmul(tf.reshape(outputs, [-1, UNITS]), w) + b
    logits = tf.reshape(flat, [tf.shape(ids)[0], tf.shape(ids)[1], vocabulary], name="logits")
    probabilities = tf.nn.softmax(logits, name="probabilities")
    return {"ids": ids, "initial": initial, "final": final, "logits": logits, "probabilities": probabilities}


def session() -> tf.Session:
    """A session on one thread, so that a run leaves the rest of the machine alone."""
    return tf.Session(config=tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1))


def rows(ids: np.ndarray) -> np.ndarray:
    """Cut one long text into BATCH parallel ones: (N,) -> (BATCH, N // BATCH)."""
    return ids[: len(ids) // BATCH * BATCH].reshape(BATCH, -1)


def windows(text: np.ndarray):
    """Inputs and targets (BATCH, STEPS), each window beginning where the last one ended."""
    for at in range(0, text.shape[1] - STEPS, STEPS):
        yield text[:, at : at + STEPS], text[:, at + 1 : at + STEPS + 1]


def train(ids: np.ndarray, vocabulary: int, minutes: float, best: str) -> None:
    """Train for so many minutes; leave the variables that did best on the held-out text in `best`.

    Two pieces from inside the text, a hundredth of it each, are held out.  The learning rate falls to nothing over the
    time given.
    """
    pieces = np.array_split(ids, 100)
    held_out = rows(np.concatenate(pieces[24::50]))
    text = rows(np.concatenate([piece for at, piece in enumerate(pieces) if at % 50 != 24]))
    net = inference(vocabulary)
    targets, rate = tf.placeholder(tf.int32, [None, None]), tf.placeholder(tf.float32, [])
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=net["logits"]))
    saver = tf.train.Saver(tf.trainable_variables())
    update = tf.contrib.estimator.clip_gradients_by_norm(tf.train.AdamOptimizer(rate), 1.0).minimize(loss)
    with session() as sess:
        sess.run(tf.global_variables_initializer())
        zero = sess.run(net["initial"], {net["ids"]: np.zeros((BATCH, 1))})

        def bits() -> float:
            """Bits per character of the held-out text."""
            state, losses = zero, []
            for x, y in windows(held_out):
                feed = {net["ids"]: x, targets: y, net["initial"]: state}
                value, state = sess.run([loss, net["final"]], feed)
                losses.append(value)
            return np.mean(losses) / np.log(2)

        begin, step, done, check, lowest = time.time(), 0, 0.0, 0.0, np.inf
        while done < 1:
            state = zero
            for x, y in windows(np.roll(text, -np.random.randint(STEPS), axis=1)):
                done = min(1.0, (time.time() - begin) / (60 * minutes))
                if done >= check:
                    found, check = bits(), min(1.0, check + 0.05)
                    print(f"{done:4.0%} step {step}: {found:.4f} bits a character, held out", flush=True)
                    if found < lowest:
                        lowest = found
                        saver.save(sess, best, write_meta_graph=False)
                if done >= 1:
                    break
                speed = 3e-3 * min(1, step / 100) * (1 - done) + 1e-5
                feed = {net["ids"]: x, targets: y, net["initial"]: state, rate: speed}
                state, _ = sess.run([net["final"], update], feed)
                step += 1


def follow(sess: tf.Session, net: dict, prime: np.ndarray, steps: int) -> np.ndarray:
    """Feed the prime, then each arg max back: the logits (steps, V)."""
    logits, state = sess.run([net["logits"], net["final"]], {net["ids"]: prime[None]})
    answers = [logits[0, -1]]
    while len(answers) < steps:
        feed = {net["ids"]: [[answers[-1].argmax()]], net["initial"]: state}
        logits, state = sess.run([net["logits"], net["final"]], feed)
        answers.append(logits[0, -1])
    return np.array(answers)


def export(best: str, vocab: list, outdir: str) -> None:
    """Load `best` into the graph of `inference` alone, save that, and write down what TensorFlow answers."""
    os.makedirs(outdir, exist_ok=True)
    with tf.Graph().as_default(), session() as sess:
        net = inference(len(vocab))
        saver = tf.train.Saver(save_relative_paths=True)
        saver.restore(sess, best)
        saver.save(sess, os.path.join(outdir, "model"))
        prime = np.array([vocab.index(char) for char in PRIME], np.int32)
        logits = follow(sess, net, prime, 500)
    greedy = logits.argmax(axis=1).astype(np.int32)
    print(PRIME + "".join(vocab[i] for i in greedy))
    np.savez(os.path.join(outdir, "golden.npz"), prime=prime, greedy=greedy, logits=logits[:100])
    with open(os.path.join(outdir, "vocab.json"), "w") as file:
        json.dump(vocab, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("outdir")
    parser.add_argument("--minutes", type=float, default=50, help="0: export what --best holds")
    parser.add_argument("--best", help="prefix of the variables that did best so far (default: in a temporary folder)")
    args = parser.parse_args()
    with open(args.text) as file:
        text = re.sub(r"(?m)^\d?[A-Z][A-Za-z]*\d+:\d+ ", "", file.read())
    vocab = sorted(set(text))
    np.random.seed(0)
    tf.set_random_seed(0)
    best = args.best or os.path.join(tempfile.mkdtemp(), "best")
    if args.minutes > 0:
        train(np.array([vocab.index(char) for char in text], np.int32), len(vocab), args.minutes, best)
    export(best, vocab, args.outdir)


if __name__ == "__main__":
    main()
