"""Keras' own GRU, masks, Bidirectional and go_backwards: `run` of layers with the same weights gives what they give."""

import numpy as np
import pytest

import fastlstm
from tests.live.networks import difference
from tests.tolerances import TOLERANCES

BATCH, STEPS, INPUTS, UNITS = 3, 25, 5, 6


def layer_of(keras_layer, **options):
    """Our layer with the weights of a Keras LSTM or GRU."""
    kernel, recurrent_kernel, bias = keras_layer.get_weights()
    config = keras_layer.get_config()
    options |= {"activation": config["activation"], "recurrent_activation": config["recurrent_activation"]}
    if type(keras_layer).__name__ == "LSTM":
        return fastlstm.LSTM(kernel, recurrent_kernel, bias, gate_order="keras", **options)
    biases = bias if config["reset_after"] else [bias]
    return fastlstm.GRU(kernel, recurrent_kernel, *biases, reset_after=config["reset_after"], **options)


def drawn(keras_layer, inputs):
    """The layer built, every weight drawn anew, biases too."""
    keras_layer.build((None, None, inputs))
    rng = np.random.default_rng(5)
    keras_layer.set_weights([rng.normal(0, 0.4, w.shape) for w in keras_layer.get_weights()])
    return keras_layer


def sequences(masked):
    """(B, T, D); `masked`: "interior" steps at random, the first and the last too, or a "padded" end, are zero."""
    rng = np.random.default_rng(6)
    xs = rng.normal(size=(BATCH, STEPS, INPUTS))
    if masked == "interior":
        keep = rng.random((BATCH, STEPS)) < 0.7
        keep[0, :2] = keep[1, -2:] = False
    else:
        keep = np.arange(STEPS) < np.array([STEPS, 14, 3])[:, None]
    return np.where(keep[..., None], xs, 0.0).astype("float32")


def cell(k, kind, **options):
    options = {"return_sequences": True, "dtype": "float64"} | options
    if kind == "LSTM":
        return k.layers.LSTM(UNITS, **options)
    return k.layers.GRU(UNITS, reset_after=kind == "GRU after", **options)


KINDS = ["LSTM", "GRU", "GRU after"]


def compare(expected, layers, xs, **given):
    model = fastlstm.Model(layers, dtype="float64")
    plain = fastlstm.Model(layers, dtype="float64", device="numpy")
    for ours in (model, plain):
        assert difference(np.asarray(expected), ours.run(xs, **given)[0]) <= TOLERANCES["float64"]


@pytest.fixture(params=["tf_keras", "keras3"])
def k(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("kind", ["GRU", "GRU after"])
def test_gru(k, kind, activation):
    theirs = drawn(cell(k, kind, activation=activation, recurrent_activation="sigmoid"), INPUTS)
    xs = sequences("interior")
    compare(theirs(xs.astype("float64")), [layer_of(theirs)], xs)


@pytest.mark.parametrize("masked", ["interior", "padded"])
@pytest.mark.parametrize("zero", [False, True], ids=["repeat", "zeros"])
@pytest.mark.parametrize("kind", KINDS)
def test_masks(k, kind, zero, masked):
    """Through two layers, the second of which is told what the first was."""
    one = drawn(cell(k, kind, zero_output_for_mask=zero), INPUTS)
    two = drawn(cell(k, "GRU", zero_output_for_mask=zero), UNITS)
    masking = k.layers.Masking(dtype="float64")
    x = k.Input((None, INPUTS), dtype="float64")
    theirs = k.Model(x, two(one(masking(x))))
    xs = sequences(masked)
    layers = [layer_of(layer, zero_output_for_mask=zero) for layer in (one, two)]
    compare(theirs(xs.astype("float64")), [fastlstm.Masking(INPUTS), *layers], xs)


@pytest.mark.parametrize("kind", KINDS)
def test_mask_zero(k, kind):
    embedding = k.layers.Embedding(9, INPUTS, mask_zero=True, dtype="float64")
    embedding.build((None, None))
    embedding.set_weights([np.random.default_rng(1).normal(size=(9, INPUTS))])
    one = drawn(cell(k, kind), INPUTS)
    x = k.Input((None,), dtype="int32")
    ids = np.random.default_rng(2).integers(0, 4, (BATCH, STEPS))
    layers = [fastlstm.Embedding(embedding.get_weights()[0], mask_zero=True), layer_of(one)]
    compare(k.Model(x, one(embedding(x)))(ids), layers, ids)


@pytest.mark.parametrize("masked", ["interior", "padded", None])
@pytest.mark.parametrize("kind", KINDS)
def test_go_backwards(k, kind, masked):
    theirs = drawn(cell(k, kind, go_backwards=True), INPUTS)
    xs = sequences(masked or "padded")
    x = k.Input((None, INPUTS), dtype="float64")
    seen = x if masked is None else k.layers.Masking(dtype="float64")(x)
    masking = [] if masked is None else [fastlstm.Masking(INPUTS)]
    layers = [*masking, fastlstm.Reverse(INPUTS), layer_of(theirs)]
    compare(k.Model(x, theirs(seen))(xs.astype("float64")), layers, xs)


@pytest.mark.parametrize("masked", ["interior", "padded", None])
@pytest.mark.parametrize(
    ("kind", "mode"),
    [("LSTM", "concat"), ("GRU", "sum"), ("GRU after", "mul"), ("LSTM", "ave"), ("GRU after", None)],
)
def test_bidirectional(k, kind, mode, masked):
    """With a mask Keras makes both directions put out zeros where the step is masked."""
    theirs = k.layers.Bidirectional(cell(k, kind), merge_mode=mode, dtype="float64")
    x = k.Input((None, INPUTS), dtype="float64")
    seen = x if masked is None else k.layers.Masking(dtype="float64")(x)
    out = theirs(seen)
    model = k.Model(x, out)
    rng = np.random.default_rng(8)
    model.set_weights([rng.normal(0, 0.4, w.shape) for w in model.get_weights()])
    xs = sequences(masked or "padded")
    expected = model(xs.astype("float64"))
    if mode is None:
        expected = np.concatenate([np.asarray(part) for part in expected], axis=-1)
    stacks = [[layer_of(layer, zero_output_for_mask=True)] for layer in (theirs.forward_layer, theirs.backward_layer)]
    masking = [] if masked is None else [fastlstm.Masking(INPUTS)]
    compare(expected, [*masking, fastlstm.Bidirectional(*stacks, mode)], xs)


def test_lengths_are_those_of_dynamic_rnn(tf):
    """bidirectional_dynamic_rnn with sequence_length: outputs, and the final state of each direction."""
    v1 = tf.compat.v1
    graph = tf.Graph()
    xs, lengths = np.random.default_rng(3).normal(size=(BATCH, STEPS, INPUTS)), [STEPS, 9, 0]
    with graph.as_default(), v1.Session(graph=graph) as session:
        cells = [v1.nn.rnn_cell.LSTMCell(UNITS, dtype=tf.float64), v1.nn.rnn_cell.GRUCell(UNITS, dtype=tf.float64)]
        outputs, states = v1.nn.bidirectional_dynamic_rnn(*cells, xs, lengths, dtype=tf.float64)
        rng = np.random.default_rng(4)
        for variable in v1.global_variables():
            variable.load(rng.normal(0, 0.4, variable.shape.as_list()), session)
        (one, other), (end, reverse_end) = session.run([outputs, states])
        kernel, bias = session.run(cells[0].weights)
        gates, gates_bias, candidate, candidate_bias = session.run(cells[1].weights)
    kernels = np.hstack([gates, candidate])
    layers = fastlstm.Bidirectional(
        [fastlstm.LSTM(kernel[:INPUTS], kernel[INPUTS:], bias, gate_order="ijfo", forget_bias=1.0)],
        [fastlstm.GRU(kernels[:INPUTS], kernels[INPUTS:], np.hstack([gates_bias, candidate_bias]), gate_order="ruc")],
    )
    ys, state = fastlstm.Model([layers]).run(xs, lengths=lengths)
    assert difference(np.concatenate([one, other], axis=-1), ys) <= TOLERANCES["float64"]
    assert difference([end.c, end.h, reverse_end], [state[0].c, state[0].h, state[1].h]) <= TOLERANCES["float64"]
