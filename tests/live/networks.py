"""TensorFlow 1 networks with random weights, run by session.run, and the same as fastlstm layers."""

from contextlib import contextmanager

import numpy as np

import fastlstm


@contextmanager
def control_flow(tf, *, functional):
    """Loops as TensorFlow 1 writes them (Enter, Merge, Switch ...), or `functional`: one While with its body aside."""
    v1 = tf.compat.v1
    before = v1.control_flow_v2_enabled()
    (v1.enable_control_flow_v2 if functional else v1.disable_control_flow_v2)()
    try:
        yield
    finally:
        (v1.enable_control_flow_v2 if before else v1.disable_control_flow_v2)()


class Network:
    """A graph and a session: cells (more than one in a MultiRNNCell), maybe an embedding below and a head above.

    inputs      D, the elements of an input vector; with `vocabulary` the width of the embedding
    one_step    the cell is called once, on x (B, D), as in a program that holds the state itself; else by dynamic_rnn
    functional  see `control_flow`
    """

    def __init__(
        self,
        tf,
        cells,
        inputs,
        dtype,
        *,
        head=None,
        vocabulary=None,
        one_step=False,
        functional=False,
        scale=0.2,
        seed=0,
    ):
        self.cells, self.head, self.vocabulary = cells, head, vocabulary
        v1 = tf.compat.v1
        self._saver_type = v1.train.Saver
        with tf.Graph().as_default() as graph, control_flow(tf, functional=functional):
            axes = [None] if one_step else [None, None]
            x = self.x = v1.placeholder("int32", axes) if vocabulary else v1.placeholder(dtype, [*axes, inputs])
            if vocabulary:
                x = tf.nn.embedding_lookup(v1.get_variable("embedding", [vocabulary, inputs], dtype), x)
            built = [cell.build(tf, dtype) for cell in cells]
            cell = built[0] if len(cells) == 1 else v1.nn.rnn_cell.MultiRNNCell(built)
            sizes = [(c.units, c.num_proj or c.units) for c in cells]
            self.initial = [tuple(v1.placeholder(dtype, [None, size]) for size in pair) for pair in sizes]
            state = tuple(v1.nn.rnn_cell.LSTMStateTuple(*pair) for pair in self.initial)
            state = state if len(cells) > 1 else state[0]
            self.lengths = v1.placeholder("int32", [None])
            if one_step:
                y, final = cell(x, state)
            else:
                y, final = v1.nn.dynamic_rnn(cell, x, self.lengths, state)
            self.hidden, self.final = y, final if len(cells) > 1 else (final,)
            self.outputs = y if head is None else self._head(tf, y, dtype)
            self._variables = {v.op.name: v for v in v1.trainable_variables()}
        config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        self.session = v1.Session(graph=graph, config=config)
        rng = np.random.default_rng(seed)
        self.assign({name: rng.normal(0, scale, v.shape.as_list()) for name, v in self._variables.items()})

    def _head(self, tf, y, dtype):
        w = tf.compat.v1.get_variable(self.head.names[0], [y.shape[-1], self.head.outputs], dtype)
        b = tf.compat.v1.get_variable(self.head.names[1], [self.head.outputs], dtype)
        z = tf.nn.bias_add(tf.tensordot(y, w, 1), b)
        return z if self.head.activation is None else getattr(tf.nn, self.head.activation)(z)

    def assign(self, values):
        """Set variables by name."""
        initializers = [self._variables[name].initializer for name in values]
        feed = {op.inputs[1]: value for op, value in zip(initializers, values.values(), strict=True)}
        self.session.run(initializers, feed)

    def zero_state(self, batch):
        return [(np.zeros((batch, c.units)), np.zeros((batch, c.num_proj or c.units))) for c in self.cells]

    def run(self, xs, state=None, lengths=None, *, hidden=False):
        """One session.run: outputs (or with `hidden` what the head is given), and the final (c, h) pairs."""
        feed = {self.x: xs}
        for placeholders, pair in zip(self.initial, state or self.zero_state(len(xs)), strict=True):
            feed |= dict(zip(placeholders, pair, strict=True))
        if self.hidden.shape.rank == 3:
            feed[self.lengths] = np.full(len(xs), np.shape(xs)[1]) if lengths is None else lengths
        return self.session.run([self.hidden if hidden else self.outputs, self.final], feed)

    def layers(self):
        """The same network as layers of fastlstm."""
        values = self.session.run(self._variables)
        layers = [fastlstm.Embedding(values["embedding"])] if self.vocabulary else []
        for k, cell in enumerate(self.cells):
            own = {n: a for n, a in values.items() if len(self.cells) == 1 or f"/cell_{k}/" in f"/{n}"}
            layers.append(cell.layer({n.partition("lstm_cell/")[2]: a for n, a in own.items()}))
        if self.head:
            layers.append(fastlstm.Dense(*(values[name] for name in self.head.names), activation=self.head.activation))
        return layers

    def save(self, folder):
        """A checkpoint with its graph; gives back the prefix."""
        with self.session.graph.as_default():
            return self._saver_type().save(self.session, str(folder / "model"))


def difference(expected, got):
    """The largest absolute difference between arrays, or between lists or tuples of them."""
    if isinstance(expected, (list, tuple)):
        return max(difference(a, b) for a, b in zip(expected, got, strict=True))
    assert np.shape(expected) == np.shape(got)
    return float(np.max(np.abs(np.float64(expected) - np.float64(got)), initial=0))
