"""Graphs built by hand: what is read from the dataflow, and what is refused."""

import numpy as np
import pytest
from tf1_graphs import Builder, artefact, found, recognise

from fastlstm.errors import RecognitionError
from fastlstm.formats.graph import Node, Output
from fastlstm.layers import LSTM, Dense, Embedding, OneHot

CELL = "rnn/basic_lstm_cell"


def one_cell(**options):
    build = Builder()
    build.dynamic_rnn(CELL, build.placeholder(), (3, 5), **options)
    return build.artefact()


def test_forget_bias_is_the_constant_exactly():
    recognised = recognise(one_cell(forget_bias=np.float32(0.3)))
    forget_bias = found(recognised, "forget_bias")
    assert forget_bias.value == float(np.float32(0.3)) != 0.3
    assert (forget_bias.how, forget_bias.source) == ("read", f"node 'loop/{CELL}/{CELL}/Const_2' of model.meta")


@pytest.mark.parametrize("order", ["ijfo", "ifjo", "ofji"])
def test_gates_are_told_by_what_becomes_of_them(order):
    what = one_cell(order=order)
    (layer,) = recognise(what).layers
    assert found(recognise(what), "gate_order").value == order
    kernel = what.tensors[f"{CELL}/kernel"]
    candidate = kernel[:3, 5 * order.index("j") :][:, :5]
    np.testing.assert_array_equal(layer.kernel[:, 10:15], candidate)  # canonical order i f g o


@pytest.mark.parametrize(
    ("phi", "label"), [("Relu", "relu"), ("Softsign", "softsign"), ("Sigmoid", "sigmoid"), ("Identity", "linear")]
)
def test_activation_is_read(phi, label):
    (layer,) = recognise(one_cell(phi=phi)).layers
    assert (layer.activation.label, layer.recurrent_activation.label) == (label, "sigmoid")


def test_unknown_activation_is_named():
    with pytest.raises(RecognitionError, match=r"activation is Atan \(node '.*Phi' of model.meta\).*activation= takes"):
        recognise(one_cell(phi="Atan"))
    assert recognise(one_cell(phi="Atan"), activation="tanh").layers[0].activation.label == "tanh"


def test_leaky_relu_of_another_slope_is_another_activation():
    assert recognise(one_cell(phi="LeakyRelu", alpha=float(np.float32(0.2)))).layers[0].activation.label == "leaky_relu"
    with pytest.raises(RecognitionError, match=r"LeakyRelu\(alpha=0.3\)"):
        recognise(one_cell(phi="LeakyRelu", alpha=0.3))


def test_swish_is_spelled_out_in_the_graph():
    """tf.nn.swish: x * sigmoid(x), in TensorFlow 1.15 behind an IdentityN for its own gradient."""
    build = Builder()
    build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    for name in ("Phi", "Phi_1"):
        old = build.nodes.pop(f"loop/{CELL}/{CELL}/{name}")
        (of,) = (f"{o.node}:{o.index}" for o in old.inputs)
        product = build.add("Mul", f"{name}/mul", of, build.add("Sigmoid", f"{name}/Sigmoid", of))
        build.add("IdentityN", old.name, product, of)
    assert recognise(build.artefact()).layers[0].activation.label == "silu"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"swapped": True}, "are not the h and c of one step"),
        ({"before": [("i", np.float32(1))]}, "1.0 is added to a gate other than f"),
        ({"before": [("j", np.float32(-2))]}, "-2.0 is added to a gate other than f"),
    ],
)
def test_a_modified_cell_is_refused(options, says):
    with pytest.raises(RecognitionError, match=says):
        recognise(one_cell(**options))


def test_gates_that_differ_are_refused():
    build = Builder()
    build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    split = next(name for name, node in build.nodes.items() if node.op == "Split")
    old = build.nodes.pop(f"loop/{CELL}/{CELL}/Sigmoid_2")
    build.add("Relu", old.name, f"{split}:3")
    with pytest.raises(RecognitionError, match="its gates i, f, o go through Sigmoid, Sigmoid, Relu"):
        recognise(build.artefact())


def test_a_gate_used_twice_is_refused():
    build = Builder()
    build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    split = next(name for name, node in build.nodes.items() if node.op == "Split")
    build.add("Exp", "more", f"{split}:1")
    with pytest.raises(RecognitionError, match=r"is read by .*, where an LSTM's goes to one nonlinearity"):
        recognise(build.artefact())


def test_gradients_are_no_uses():
    """What tf.gradients adds: the kernel transposed, products of the cell's values, Relu of nothing forward."""
    build = Builder()
    build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    at, ones = f"loop/{CELL}/{CELL}", build.const(1.0, "gradients/grad")
    joined = build.add("ConcatV2", "gradients/concat", ones, ones, ones, ones, build.const(1))
    build.add("MatMul", "gradients/MatMul", joined, f"{CELL}/kernel/read", transpose_b=True)
    build.add("MatMul", "gradients/MatMul_1", f"{at}/concat", joined, transpose_a=True)
    for name in ("Sigmoid", "Sigmoid_1", "Sigmoid_2", "Phi", "Phi_1", "Mul", "Mul_1"):
        build.add("Mul", f"gradients/of_{name}", ones, f"{at}/{name}")
        build.add("SigmoidGrad", f"gradients/through_{name}", f"{at}/{name}", ones)
    build.add("Shape", "gradients/Shape", f"{at}/split:2")
    build.add("Cos", "gradients/Cos", f"{at}/split:1")
    build.add("ApplyAdam", "Adam/update", f"{CELL}/kernel", ones)
    assert [type(layer) for layer in recognise(build.artefact()).layers] == [LSTM]


def test_a_wrapper_that_changes_the_state_is_refused():
    build = Builder()

    def zoneout(h, c):
        return build.add("Add", "mix", build.add("Mul", "part", h, build.const(0.9)), build.const(0.1)), c

    build.dynamic_rnn(CELL, build.placeholder(), (3, 5), spoil=zoneout)
    with pytest.raises(RecognitionError, match="the h of the next step is computed by Add 'mix'"):
        recognise(build.artefact())


def test_swapped_states_are_refused():
    build = Builder()
    build.dynamic_rnn(CELL, build.placeholder(), (3, 5), spoil=lambda h, c: (c, h))
    with pytest.raises(RecognitionError, match="are not the h and c of one step"):
        recognise(build.artefact())


def test_one_gate_for_two_is_refused():
    """The cell state is kept by the input gate, and nobody reads the forget gate."""
    build = Builder()
    build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    (kept,) = (node for name, node in build.nodes.items() if name.endswith("/Mul"))
    gate = next(name for name in build.nodes if name.endswith("/Sigmoid_1"))
    build.nodes[kept.name] = Node(kept.name, "Mul", (kept.inputs[0], Output(gate, 0)), dict)
    with pytest.raises(RecognitionError, match="both input and forget gate"):
        recognise(build.artefact())


def test_a_gru_is_no_lstm():
    build = Builder()
    build.gru("rnn/gru_cell", build.placeholder(), build.placeholder("h"), (4, 8))
    with pytest.raises(RecognitionError, match=r"(?s)no LSTM.*not split in four gates; it goes to Sigmoid.*GRU cells"):
        recognise(build.artefact())


def test_a_dense_layer_of_fitting_shape_is_no_lstm():
    build = Builder()
    build.dense("dense", build.placeholder(), (16, 8))
    with pytest.raises(RecognitionError, match=r"(?s)no LSTM.*'dense/kernel' is no cell's kernel"):
        recognise(build.artefact())


def test_layers_in_separate_loops_are_one_stack():
    build = Builder()
    first, _ = build.dynamic_rnn("a/lstm_cell", build.placeholder(), (3, 5))
    build.dynamic_rnn("b/lstm_cell", first, (5, 7))
    assert [layer.name for layer in recognise(build.artefact()).layers] == ["a/lstm_cell", "b/lstm_cell"]


def test_two_stacks_have_to_be_chosen_from():
    build = Builder()
    build.dynamic_rnn("enc/rnn/lstm_cell", build.placeholder(), (3, 5))
    build.dynamic_rnn("encoder/rnn/lstm_cell", build.placeholder("z"), (4, 6))
    what = build.artefact()
    with pytest.raises(RecognitionError) as error:
        recognise(what)
    assert "scope='enc/rnn': 1 layer (3 -> 5)" in str(error.value)
    assert "scope='encoder/rnn': 1 layer (4 -> 6)" in str(error.value)
    assert recognise(what, scope="enc").layers[0].hidden_size == 5  # whole parts: not "encoder" too
    assert recognise(what, scope="encoder/rnn/").layers[0].hidden_size == 6
    with pytest.raises(RecognitionError, match=r"no variable lies below scope 'en'; LSTM cells in the file: 'enc/rnn"):
        recognise(what, scope="en")


def test_bidirectional_is_refused_but_one_direction_can_be_chosen():
    build = Builder()
    for way in ("fw", "bw"):
        build.dynamic_rnn(f"bidirectional_rnn/{way}/lstm_cell", build.placeholder(f"x_{way}"), (3, 5))
    with pytest.raises(RecognitionError, match="this LSTM is bidirectional"):
        recognise(build.artefact())
    assert len(recognise(build.artefact(), scope="bidirectional_rnn/fw").layers) == 1


def test_unrolled_steps_are_one_layer_and_must_agree():
    build = Builder()
    h = c = build.add("Fill", "zeros")
    for t, bias in enumerate((1, 1, 0)):
        x = build.placeholder(f"x_{t}")
        h, c = build.cell(CELL, x, h, c, (3, 5), forget_bias=np.float32(bias), at=f"step_{t}")
    with pytest.raises(
        RecognitionError, match=r"contradict each other: forget_bias is 1.0 .*; 0.0 .*forget_bias=1.0\)"
    ):
        recognise(build.artefact())
    assert len(recognise(build.artefact(), forget_bias=0.5).layers) == 1


def test_copies_for_training_and_evaluation_are_one_model():
    build = Builder()
    for copy in ("train", "eval"):
        y, _ = build.dynamic_rnn(CELL, build.placeholder(copy), (3, 5), name=copy)
        build.dense("dense", y, (5, 2))
    assert [type(layer) for layer in recognise(build.artefact()).layers] == [LSTM, Dense]


def test_one_cell_in_two_layers_is_two_layers():
    build = Builder()
    below, _ = build.dynamic_rnn(CELL, build.placeholder(), (5, 5), name="loop_0")
    build.dynamic_rnn(CELL, below, (5, 5), name="loop_1")
    first, second = recognise(build.artefact()).layers
    np.testing.assert_array_equal(first.kernel, second.kernel)


def test_feedback_of_the_output_is_no_layer():
    """A generating net, unrolled: the head's output is the next step's input."""
    build = Builder()
    h = c = build.add("Fill", "zeros")
    x = build.placeholder()
    for t in range(4):
        h, c = build.cell(CELL, x, h, c, (2, 5), at=f"step_{t}")
        x = build.dense("dense", h, (5, 2))
    assert [type(layer) for layer in recognise(build.artefact()).layers] == [LSTM, Dense]


def lookup(build, *, op="Gather"):
    axis = [build.const(0)] if op == "GatherV2" else []
    return build.add(op, "lookup", build.variable("table", 11, 3), build.placeholder("ids"), *axis)


@pytest.mark.parametrize("op", ["Gather", "GatherV2", "ResourceGather"])
def test_embedding_is_read_whatever_its_name(op):
    build = Builder()
    build.dynamic_rnn(CELL, lookup(build, op=op), (3, 5))
    recognised = recognise(build.artefact())
    assert isinstance(recognised.layers[0], Embedding) and recognised.layers[0].vocabulary_size == 11
    assert found(recognised, "embedding").value == "table"


def test_an_embedding_in_shards_is_refused():
    build = Builder()
    parts = [
        build.add("Gather", f"part_{k}", build.variable(f"table/part_{k}", 5, 3), build.placeholder()) for k in "01"
    ]
    build.dynamic_rnn(CELL, build.add("ParallelDynamicStitch", "lookup", *parts), (3, 5))
    with pytest.raises(RecognitionError, match=r"kept in several shards .*pass embedding=None and feed vectors of 3"):
        recognise(build.artefact())
    assert len(recognise(build.artefact(), embedding=None).layers) == 1


def test_two_lookups_side_by_side_are_vectors_and_told():
    build = Builder()
    other = build.add("Gather", "other", build.variable("other_table", 11, 2), build.placeholder("ids_2"))
    build.dynamic_rnn(CELL, build.add("ConcatV2", "both", lookup(build), other, build.const(2)), (5, 5))
    recognised = recognise(build.artefact())
    assert [type(layer) for layer in recognised.layers] == [LSTM]
    assert any("computes the first layer's input with ConcatV2 'both'" in note for note in recognised.notes)
    assert "variables that no layer uses: other_table, table" in recognised.notes


def test_one_hot_depth_is_the_vocabulary():
    build = Builder()
    rows = build.add("OneHot", "one_hot", build.placeholder(), build.const(9), build.const(1.0), build.const(0.0))
    build.dynamic_rnn(CELL, rows, (9, 5))
    assert isinstance(recognise(build.artefact()).layers[0], OneHot)
    assert [type(layer) for layer in recognise(build.artefact(), one_hot=False).layers] == [LSTM]


def test_dense_layers_before_between_and_after():
    build = Builder()
    x = build.dense("before", build.placeholder(), (4, 3), "Relu")
    y, _ = build.dynamic_rnn("a/lstm_cell", x, (3, 5))
    y = build.dense("between", build.add("Reshape", "flat", y, build.const([-1, 5])), (5, 6), "Elu")
    y, h = build.dynamic_rnn("b/lstm_cell", y, (6, 7))
    y = build.dense("after", h, (7, 8), "Tanh")
    logits = build.dense("logits", y, (8, 2))
    build.add("Softmax", "probabilities", logits)
    build.add("SparseSoftmaxCrossEntropyWithLogits", "loss", logits, build.placeholder("labels"))
    build.add("Exp", "exp_of_a_part", build.add("Split", "halves", build.const(1), logits))
    layers = recognise(build.artefact()).layers
    assert [(layer.name, layer.activation.label) for layer in layers] == [
        ("before", "relu"),
        ("a/lstm_cell", "tanh"),
        ("between", "elu"),
        ("b/lstm_cell", "tanh"),
        ("after", "tanh"),
        ("logits", "linear"),
    ]


def test_a_head_of_hand_named_variables_without_bias():
    build = Builder()
    y, _ = build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    build.add("MatMul", "out", y, build.variable("Variable", 5, 2))
    head = recognise(build.artefact()).layers[-1]
    assert (head.name, head.output_size, head.bias.any()) == ("Variable", 2, False)


@pytest.mark.parametrize("headed", [True, False])
def test_arithmetic_behind_the_model_is_told(headed):
    build = Builder()
    y, _ = build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    if headed:
        y = build.dense("out", y, (5, 2), "Tanh")
    assert not recognise(build.artefact()).notes
    build.add("Mul", "twice", build.const(np.float32(2)), y)
    (note,) = recognise(build.artefact()).notes
    assert note == "the graph goes on with the model's output in ways that are not run: Mul 'twice'"


def test_an_embedding_table_as_head_is_transposed():
    build = Builder()
    y, _ = build.dynamic_rnn(CELL, lookup(build), (3, 3))
    build.add("MatMul", "out", y, "table/read", transpose_b=True)
    embedding, _, head = recognise(build.artefact()).layers
    np.testing.assert_array_equal(head.kernel, embedding.table.T)


def two_heads():
    build = Builder()
    y, _ = build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    build.dense("policy", y, (5, 2), "Tanh")
    build.dense("value", y, (5, 1))
    return build.artefact()


def test_two_heads_have_to_be_chosen_from():
    with pytest.raises(RecognitionError, match=r"(?s)2 heads follow.*head=\('policy/kernel', 'policy/bias'\)"):
        recognise(two_heads())
    assert recognise(two_heads(), head=("policy/kernel", "policy/bias")).layers[-1].activation.label == "tanh"
    assert recognise(two_heads(), head="value/kernel").layers[-1].name == "value"
    assert len(recognise(two_heads(), head=None).layers) == 1


@pytest.mark.parametrize("between", ["Relu", "Mul", "ReverseV2"])
def test_a_head_behind_something_unknown_is_not_silently_left_out(between):
    build = Builder()
    y, _ = build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    build.dense("dense", build.add(between, "between", *[y, build.const(2.0)][: 1 + (between == "Mul")]), (5, 2))
    with pytest.raises(RecognitionError, match=r"goes on in a way that fastlstm does not run.*dense/kernel"):
        recognise(build.artefact())
    assert len(recognise(build.artefact(), head=None).layers) == 1
    assert len(recognise(build.artefact(), head=("dense/kernel", "dense/bias")).layers) == 2


def test_a_head_that_goes_on_beyond_something_unknown_is_not_silently_cut():
    build = Builder()
    y, _ = build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    y = build.dense("first", y, (5, 4))
    build.dense("second", build.add("Mul", "scaled", y, build.variable("scale", 4)), (4, 2))
    with pytest.raises(
        RecognitionError, match=r"after 'first/kernel' the graph goes on .*scale.*head=\('first/kernel'"
    ):
        recognise(build.artefact())
    assert len(recognise(build.artefact(), head=("first/kernel", "first/bias")).layers) == 2


def test_another_net_beside_it_is_none_of_our_business():
    build = Builder()
    y, _ = build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    value = build.dense("value", build.placeholder("z"), (4, 2))
    build.add("Sub", "loss", build.dense("dense", y, (5, 2)), value)
    recognised = recognise(build.artefact())
    assert [layer.name for layer in recognised.layers] == [CELL, "dense"]
    assert "variables that no layer uses: value/bias, value/kernel" in recognised.notes


def test_another_recurrent_cell_below_is_not_silently_left_out():
    build = Builder()
    build.add("Merge", "h", build.placeholder("zeros"), "next")
    below = build.gru("rnn/gru_cell", build.placeholder(), "h", (4, 3))
    build.add("NextIteration", "next", below)
    build.dynamic_rnn(CELL, below, (3, 5))
    with pytest.raises(RecognitionError, match=r"depends on its own steps before, through rnn/gru_cell/gates/kernel"):
        recognise(build.artefact())
    assert [layer.name for layer in recognise(build.artefact(), embedding=None).layers] == [CELL]
    assert [layer.name for layer in recognise(build.artefact(), scope=CELL).layers] == [CELL]


def test_an_initial_state_of_its_own_is_told():
    build = Builder()
    build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    for role in "hc":
        old = build.nodes.pop(f"loop/{CELL}/zeros_{role}")
        build.add("Identity", old.name, build.variable(f"learned_{role}", 5))
    notes = recognise(build.artefact()).notes
    assert "the graph computes its initial state with learned_h, learned_c; zero_state is zeros" in notes


def test_a_residual_around_the_loop_is_read():
    build = Builder()
    x = build.placeholder()
    y, _ = build.dynamic_rnn("a/lstm_cell", x, (5, 5))
    y = build.add("AddV2", "residual", x, y)
    y, _ = build.dynamic_rnn("b/lstm_cell", y, (5, 5))
    build.dense("dense", y, (5, 2))
    recognised = recognise(build.artefact())
    assert [layer.residual for layer in recognised.layers[:2]] == [True, False]
    assert found(recognised, "residual", "a/lstm_cell").source == "node 'residual' of model.meta"


def test_an_output_read_with_and_without_its_input_is_a_contradiction():
    build = Builder()
    x = build.placeholder()
    y, _ = build.dynamic_rnn(CELL, x, (5, 5))
    build.dense("plain", y, (5, 2))
    build.dense("added", build.add("AddV2", "residual", x, y), (5, 2))
    with pytest.raises(RecognitionError, match="both with and without its input added"):
        recognise(build.artefact())
    assert recognise(build.artefact(), head="added/kernel").layers[0].residual
    assert not recognise(build.artefact(), head="plain/kernel").layers[0].residual


@pytest.mark.parametrize("mask", [("Floor", "Add"), ("Cast", "GreaterEqual"), ("SelectV2", "GreaterEqual")])
def test_dropout_does_nothing(mask):
    build = Builder()
    cut = build.add(mask[1], "cut", build.add("RandomUniform", "random", build.const([2])), build.const(0.5))
    scaled = build.add("RealDiv", "scaled", build.placeholder(), build.const(0.5))
    if mask[0] == "SelectV2":
        dropped = build.add("SelectV2", "dropped", cut, scaled, build.const(0.0))
    else:
        dropped = build.add("Mul", "dropped", scaled, build.add(mask[0], "mask", cut))
    build.dynamic_rnn(CELL, dropped, (3, 5))
    recognised = recognise(build.artefact())
    (note,) = recognised.notes
    assert note == "dropout is left out, as it does nothing at inference: dropped"
    assert "Placeholder 'x'" in found(recognised, "embedding").source


def block(op="LSTMBlockCell", **attrs):
    build = Builder()
    weights = [build.variable(f"{CELL}/{n}", *s) for n, s in (("kernel", (8, 20)), ("bias", (20,)))]
    diagonals = [build.variable(f"{CELL}/w_{gate}_diag", 5) for gate in "ifo"]
    zeros = build.add("Fill", "zeros")
    length = [] if op == "LSTMBlockCell" else [build.const(4)]
    build.add(op, "block", *length, build.placeholder(), zeros, zeros, weights[0], *diagonals, weights[1], **attrs)
    return build.artefact()


def test_a_block_cell_says_it_in_its_attributes():
    what = block(forget_bias=float(np.float32(0.1)), cell_clip=-1.0, use_peephole=True)
    (layer,) = recognise(what).layers
    assert (layer.cell_clip, layer.peepholes is not None) == (None, True)
    assert found(recognise(what), "forget_bias").source == "attribute forget_bias of node 'block' of model.meta"


@pytest.mark.parametrize(
    ("op", "clip", "forget_bias", "order"),
    [("LSTMBlockCell", 3.0, 1.0, "ijfo"), ("BlockLSTM", 3.0, 1.0, "ijfo"), ("BlockLSTMV2", None, 0.0, "ifjo")],
)
def test_stripped_attributes_are_the_operations_defaults(op, clip, forget_bias, order):
    recognised = recognise(block(op))
    (layer,) = recognised.layers
    assert (layer.cell_clip, layer.peepholes) == (clip, None)
    assert [found(recognised, what).value for what in ("forget_bias", "gate_order")] == [forget_bias, order]


def test_a_graph_of_another_model_is_not_used():
    build = Builder()
    build.placeholder()
    recognised = recognise(artefact({f"{CELL}/kernel": (8, 20), f"{CELL}/bias": (20,)}, build.graph()))
    assert found(recognised, "forget_bias").how == "assumed"
    assert any("it is not used" in note for note in recognised.notes)


def test_a_loop_in_a_function_is_assumed_and_told():
    """TensorFlow 2 writes a dynamic_rnn as one While operation, its body elsewhere."""
    build = Builder()
    weights = [build.variable(f"{CELL}/{name}", *shape) for name, shape in (("kernel", (8, 20)), ("bias", (20,)))]
    build.add("While", "rnn/while", build.placeholder(), *weights)
    recognised = recognise(build.artefact())
    assert found(recognised, "forget_bias").how == "assumed"
    assert any("is used in a function, by While 'rnn/while'" in note for note in recognised.notes)


def test_a_missing_node_is_no_crash():
    build = Builder()
    build.dynamic_rnn(CELL, "gone", (3, 5))
    assert any("(missing) 'gone'" in note for note in recognise(build.artefact()).notes)


def test_thousands_of_additions_in_a_row_are_no_crash():
    build = Builder()
    total = build.placeholder()
    for k in range(3000):
        total = build.add("AddV2", f"sum_{k}", total, build.placeholder(f"x_{k}"))
    build.dynamic_rnn(CELL, total, (3, 5))
    assert any("AddV2 'sum_2999'" in note for note in recognise(build.artefact()).notes)


def test_an_operation_without_its_inputs_is_refused():
    build = Builder()
    build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    build.add("Mul", "half", "x")
    with pytest.raises(RecognitionError, match="Mul 'half' has 1 inputs, expected 2; the graph is damaged"):
        recognise(build.artefact())


def test_a_recurrent_layer_before_the_cell_that_takes_its_kernel_gate_by_gate():
    """A Keras GRU, whose products are with slices of its recurrent kernel, is no mere input either."""
    build = Builder()
    recurrent = build.variable("gru/recurrent_kernel", 4, 12)
    h = build.placeholder("h")
    for gate in range(2):
        ends = [build.const([0, 4 * k]) for k in (gate, gate + 1)]
        piece = build.add("StridedSlice", "gru/slice", recurrent, *ends, build.const([1, 1]))
        h = build.add("Sigmoid", "gru/gate", build.add("MatMul", "gru/product", h, piece))
    build.dynamic_rnn(CELL, h, (4, 5))
    with pytest.raises(RecognitionError, match="depends on its own steps before, through gru/recurrent_kernel"):
        recognise(build.artefact())
