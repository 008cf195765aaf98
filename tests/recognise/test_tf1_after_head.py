"""What a graph makes of the model's output: told where it changes the numbers; losses and the like are not."""

import pytest
from tf1_graphs import Builder, recognise

from fastlstm.errors import RecognitionError
from fastlstm.layers import LSTM, Dense

GOES_ON = "the graph goes on with the model's output in ways that are not run: "


class Model:
    """x (3) -> LSTM (5) -> dense (2); `after` adds what follows."""

    def __init__(self, head="dense", activation=None):
        self.b = Builder()
        self.x = self.b.placeholder("x")
        self.outputs, _ = self.b.dynamic_rnn("cell", self.x, (3, 5))
        self.y = self.b.dense("out", self.outputs, (5, 2), activation) if head else self.outputs

    def add(self, op, *inputs, name=None, **attrs):
        return self.b.add(op, name or op.lower(), *inputs, **attrs)

    def variable(self, name, *shape):
        """A variable as TensorFlow has it in the graph; without a shape one that is left aside."""
        if shape:
            return self.b.variable(name, *shape)
        return self.add("Identity", self.add("VariableV2", name=name), name=f"{name}/read")

    def recognise(self, **overrides):
        return recognise(self.b.artefact(), **overrides)

    def notes(self, **overrides):
        return [note for note in self.recognise(**overrides).notes if note.startswith(GOES_ON)]


def one(op):
    return lambda m: m.add(op, m.y)


def two(op, what):
    return lambda m: m.add(op, m.y, what(m))


def constant(m):
    return m.b.const(2.0, "two")


CHANGES = {
    **{op: one(op) for op in ("Neg", "Abs", "Square", "Sqrt", "Rsqrt", "Exp", "Tanh")},
    **{op: two(op, constant) for op in ("Add", "Sub", "Mul", "RealDiv", "Pow", "Minimum", "Maximum", "Cumsum")},
    "ClipByValue": lambda m: m.add("ClipByValue", m.y, m.b.const(0.0), m.b.const(1.0)),
    **{f"{op} x": two(op, lambda m: m.x) for op in ("AddV2", "Sub", "Mul")},
}


@pytest.mark.parametrize("head", [None, "dense"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_output_is_told(change, head):
    if change in (("Exp", "Tanh") if head else ("AddV2 x",)):
        pytest.skip("part of the model: the head's activation, a residual")
    m = Model(head)
    CHANGES[change](m)
    op = change.split()[0]
    assert m.notes() == [f"{GOES_ON}{op} '{op.lower()}'"]


def test_a_second_activation_is_told():
    m = Model(activation="Relu")
    m.add("Tanh", m.y)
    assert m.notes() == [f"{GOES_ON}Tanh 'tanh'"]


def test_it_is_told_where_a_loss_or_a_softmax_reads_it():
    m = Model()
    changed = m.add("AddV2", m.y, m.x)
    m.add("Softmax", changed)
    m.add("Mean", m.add("Square", m.add("Sub", changed, m.b.placeholder("labels"))), m.b.const(0))
    assert m.notes() == [f"{GOES_ON}AddV2 'addv2'"]


def squared(m):
    m.add("Mean", m.add("Square", m.add("Sub", m.y, m.b.placeholder("labels"))), m.b.const(0))


def own_inputs_as_labels(m):
    m.add("Sum", m.add("Abs", m.add("Sub", m.y, m.x)), m.b.const(0))


def sigmoid_cross_entropy(m):
    """tf.nn.sigmoid_cross_entropy_with_logits."""
    zeros, labels = m.add("ZerosLike", m.y), m.b.placeholder("labels")
    positive = m.add("GreaterEqual", m.y, zeros)
    kept = m.add("Select", positive, m.y, zeros)
    negative = m.add("Select", positive, m.add("Neg", m.y), m.y, name="select_1")
    difference = m.add("Sub", kept, m.add("Mul", m.y, labels))
    m.add("Mean", m.add("Add", difference, m.add("Log1p", m.add("Exp", negative))), m.b.const(0))


def hinge(m):
    """tf.losses.hinge_loss."""
    labels = m.b.placeholder("labels")
    margin = m.add("Sub", m.add("OnesLike", labels), m.add("Mul", labels, m.y))
    m.add("Sum", m.add("Relu", margin), m.b.const(0))


def cross_entropy(m):
    m.add("SparseSoftmaxCrossEntropyWithLogits", m.y, m.b.placeholder("labels"))


def sampled(m):
    m.add("Multinomial", m.add("RealDiv", m.y, m.b.placeholder("temperature")), m.b.const(1))


def noisy(m):
    m.add("AddV2", m.y, m.add("RandomStandardNormal", m.b.const(0)))


def weights_regularised(m):
    loss = m.add("Mean", m.add("SparseSoftmaxCrossEntropyWithLogits", m.y, m.b.placeholder("labels")), m.b.const(0))
    m.add("Add", loss, m.add("Mul", m.b.const(0.1), m.add("L2Loss", m.variable("out/kernel", 5, 2))))
    m.add("Mul", loss, m.variable("scale"))


def accuracy(m):
    m.add("Mean", m.add("Equal", m.add("Round", m.y), m.b.placeholder("labels")), m.b.const(0))


def trained(m):
    m.add("Mul", m.y, m.y, name="gradients/mul_grad/Mul")
    m.add("Mul", m.y, m.variable("rate"), name="mine/tanh_grad/Mul")


def watched(m):
    m.add("HistogramSummary", m.b.const(0), m.y)


def moved(m):
    m.add("Transpose", m.add("Reshape", m.y, m.b.const([-1, 7, 2])), m.b.const([1, 0, 2]))


def repeated(m):
    """tf.distributions.Categorical.log_prob."""
    ones = m.add("OnesLike", m.b.placeholder("actions"))
    m.add("SparseSoftmaxCrossEntropyWithLogits", m.add("Mul", m.y, ones), "actions")


HARMLESS = [squared, own_inputs_as_labels, sigmoid_cross_entropy, hinge, cross_entropy, sampled, noisy, repeated,
            weights_regularised, accuracy, trained, watched, moved]  # fmt: skip


@pytest.mark.parametrize("after", HARMLESS)
def test_losses_metrics_and_sampling_are_not_spoken_of(after):
    m = Model()
    after(m)
    assert m.notes() == []
    assert [type(layer) for layer in m.recognise().layers] == [LSTM, Dense]


def batch_norm(m):
    """tf.layers.batch_normalization: the variables meet before the output does."""
    scale = m.add("Mul", m.add("Rsqrt", m.variable("bn/variance", 2)), m.variable("bn/gamma", 2))
    offset = m.add("Sub", m.variable("bn/beta", 2), m.add("Mul", m.variable("bn/mean", 2), scale))
    m.add("AddV2", m.add("Mul", m.y, scale), offset)


def skip(m):
    m.add("AddV2", m.y, m.add("MatMul", m.x, m.variable("skip/kernel", 3, 2)))


def scalar(m):
    m.add("Mul", m.y, m.variable("gain"))


@pytest.mark.parametrize(
    ("after", "names"),
    [(batch_norm, "bn/gamma, bn/variance, bn/beta, bn/mean"), (skip, "skip/kernel"), (scalar, "gain")],
)
def test_variables_after_the_head_are_refused(after, names):
    m = Model()
    after(m)
    with pytest.raises(RecognitionError, match=r"with the variables .*pass head=\('out/kernel', 'out/bias'\)") as error:
        m.recognise()
    assert all(name in str(error.value) for name in names.split(", "))
    (note,) = m.notes(head=("out/kernel", "out/bias"))
    assert "with the variables" in note
    assert m.notes(head=None) == []


def test_a_scalar_after_the_last_cell_is_refused():
    m = Model(head=None)
    m.add("Mul", m.y, m.variable("gain"))
    with pytest.raises(RecognitionError, match="with the variables gain; pass head=None"):
        m.recognise()
    assert [type(layer) for layer in m.recognise(head=None).layers] == [LSTM]


def test_what_lies_before_a_head_of_the_callers_is_told():
    m = Model(head=None)
    m.b.dense("out", m.add("Relu", m.outputs), (5, 2))
    assert "what lies between 'cell' and 'out/kernel' is not run: Relu 'relu'" in m.recognise(head="out/kernel").notes


def test_a_dense_layer_on_the_state_c_is_told():
    m = Model(head=None)
    m.b.dense("out", m.add("Exit", "loop/cell/switch_c", name="last_c"), (5, 2))
    note = "what lies between 'cell' and 'out/kernel' is not run: it reads c, not h"
    assert note in m.recognise(head=("out/kernel", "out/bias")).notes


def test_a_decoder_that_starts_from_the_last_state_is_another_model():
    m = Model(head=None)
    start = m.add("Exit", "loop/cell/switch_h", name="last_h")
    state = m.add("Merge", m.add("Enter", start), "next")
    m.add("Mul", state, m.variable("gain"))
    assert m.notes() == []
