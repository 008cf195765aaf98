"""Graphs whose state, time order or ids are not what the model alone would make of them: told or refused."""

import numpy as np
import pytest
from tf1_graphs import Builder, recognise

from fastlstm.errors import RecognitionError
from fastlstm.layers import LSTM, Bidirectional, Dense, Embedding, OneHot
from fastlstm.recognise.tensorflow1.graph import Walker

CELL = "rnn/basic_lstm_cell"
STEPS = 4


def zeros(build, name="zeros"):
    return build.add("Fill", name, build.const([2, 5], f"{name}/dims"), build.const(np.float32(0), f"{name}/Const"))


def unrolled(spoil=None, order=None, state=None, x=None):
    """A cell unrolled by hand.  spoil: (build, states so far) -> the next step's (h, c); order: of the input's steps"""
    build = Builder()
    steps = build.add("Unpack", "unstack", x(build) if x else build.placeholder(), axis=1)
    states = [(state or zeros)(build)]
    states = [(states[0], states[0])]
    for t in order or range(STEPS):
        before = spoil(build, states) if spoil and len(states) > 1 else states[-1]
        states.append(build.cell(CELL, f"{steps}:{t}", *before, (3, 5), at=f"step_{len(states)}"))
    build.dense("logits", build.add("Pack", "stack", *(h for h, _ in states[1:]), axis=1), (5, 3))
    return build


def scaled(build, value):
    return build.add("Mul", "scaled", value, build.const(np.float32(0.9)))


def zoneout(build, states):
    return tuple(
        build.add("AddV2", "zoneout", scaled(build, new), scaled(build, old))
        for new, old in zip(*states[:-3:-1], strict=True)
    )


def shapes_of(recognised):
    return [type(layer) for layer in recognised.layers]


def test_an_unrolled_cell_is_read():
    recognised = recognise(unrolled().artefact())
    assert shapes_of(recognised) == [LSTM, Dense]
    assert not recognised.notes


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (zoneout, "the h of the next step is computed by AddV2 'zoneout'"),
        (lambda b, s: (scaled(b, s[-1][0]), scaled(b, s[-1][1])), "computed by Mul 'scaled'"),
        (lambda b, s: (b.add("ZerosLike", "no_h", s[-1][0]), b.add("ZerosLike", "no_c", s[-1][1])), "an initial state"),
        (lambda b, s: s[0], "both go on with an initial state, and read two steps of one input"),
        (lambda b, s: s[-2], "both go on with"),
        (lambda b, s: (s[-1][0], s[-2][1]), "are not the h and c of one step"),
    ],
    ids=["zoneout", "scaled", "detached", "reset", "dilated", "older c"],
)
def test_a_changed_state_is_refused_in_an_unrolled_loop(spoil, says):
    with pytest.raises(RecognitionError, match=says):
        recognise(unrolled(spoil).artefact())


def test_two_steps_on_one_input_are_refused():
    with pytest.raises(RecognitionError, match="reads the same input as the step before"):
        recognise(unrolled(order=[0, 0, 1, 1]).artefact())


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [0, 2, 4]])
def test_steps_of_the_input_in_another_order_are_told(order):
    (note,) = recognise(unrolled(order=order).artefact()).notes
    assert "the steps of Placeholder 'x' in another order" in note


def test_copies_of_an_unrolled_loop_are_one_layer():
    """One to train, one to evaluate, and a single step to sample with."""
    build = unrolled()
    h = c = zeros(build, "more_zeros")
    for t in range(STEPS):
        h, c = build.cell(CELL, f"unstack:{t}", h, c, (3, 5), at=f"again_{t}")
    state = build.placeholder("state")
    build.cell(CELL, build.placeholder("one"), f"{build.add('Unpack', 'pair', state)}:1", "pair:0", (3, 5), at="sample")
    recognised = recognise(build.artefact())
    assert shapes_of(recognised) == [LSTM, Dense]
    assert not recognised.notes


@pytest.mark.parametrize("order", [[2, 1, 0], [2, 2, 2]])
def test_a_layer_that_reads_another_in_another_order_is_refused(order):
    build = Builder()
    steps = build.add("Unpack", "unstack", build.placeholder(), axis=1)
    h = c = zeros(build)
    outputs = []
    for t in range(3):
        h, c = build.cell("a/basic_lstm_cell", f"{steps}:{t}", h, c, (3, 5), at=f"a_{t}")
        outputs.append(h)
    h = c = zeros(build)
    for t in order:
        h, c = build.cell("b/basic_lstm_cell", outputs[t], h, c, (5, 5), at=f"b_{t}")
    with pytest.raises(RecognitionError, match=r"in another order|the same input as the step before"):
        recognise(build.artefact())


def test_an_input_shifted_in_time_is_told():
    def shifted(build):
        x = build.placeholder()
        first = build.add("ZerosLike", "first", x)
        return build.add("ConcatV2", "shift", first, cut(build, x, [0, 0, 0], [0, -1, 0], 7, 5), build.const(1))

    (note,) = recognise(unrolled(x=shifted).artefact()).notes
    assert note == "the graph shifts its input or fills it up (ConcatV2 'shift'), which the model does not"


# The state a graph begins with


@pytest.mark.parametrize(
    ("state", "names"),
    [
        (lambda b: b.add("Fill", "ones", b.const([2, 5]), b.const(np.float32(1))), "Fill 'ones'"),
        (lambda b: b.const(np.full((2, 5), 0.5, np.float32), "half"), "Const 'half'"),
        (lambda b: b.add("Neg", "negated", b.placeholder("fed")), "Neg 'negated'"),
    ],
)
def test_an_initial_state_that_is_not_zero_is_told(state, names):
    (note,) = recognise(unrolled(state=state).artefact()).notes
    assert note == f"the graph begins with a state that is not zero ({names}); pass it as state="


@pytest.mark.parametrize(
    "state",
    [
        lambda b: b.const(np.zeros((2, 5), np.float32)),
        lambda b: b.add("ZerosLike", "like", b.placeholder("x")),
        lambda b: b.add("Tile", "tile", zeros(b), b.const([2, 1])),
        lambda b: b.placeholder("fed"),
    ],
)
def test_zeros_and_a_fed_state_are_not_worth_a_word(state):
    assert not recognise(unrolled(state=state).artefact()).notes


def test_a_head_on_the_last_state_of_a_loop_that_begins_with_a_fed_state():
    """The loop's Merge joins what is fed with h; a head on it reads h."""
    build = Builder()
    _, last = build.dynamic_rnn(CELL, build.placeholder(), (3, 5), state="Placeholder")
    build.dense("logits", build.add("Exit", "exit_h", last), (5, 3))
    recognised = recognise(build.artefact())
    assert shapes_of(recognised) == [LSTM, Dense]
    assert not recognised.notes


def test_a_residual_of_the_step_before_is_no_residual():
    build = Builder()
    x = build.placeholder()
    out, _ = build.dynamic_rnn(CELL, x, (5, 5))
    begin, end, strides = (build.const(at) for at in ([0, 0], [0, -1], [1, 1]))
    before = build.add("StridedSlice", "before", x, begin, end, strides, begin_mask=3, end_mask=1)
    first = build.add("Fill", "first", build.const([2, 1, 5]), build.const(np.float32(0)))
    shifted = build.add("ConcatV2", "shifted", first, before, build.const(1))
    build.dense("logits", build.add("AddV2", "sum", out, shifted), (5, 3))
    with pytest.raises(RecognitionError, match="goes on in a way that fastlstm does not run"):
        recognise(build.artefact())


def test_static_bidirectional_rnn_with_lengths():
    """ReverseSequence of the steps packed, and of the outputs packed, which are put together step by step."""
    build = Builder()
    steps = build.add("Unpack", "unstack", build.placeholder(), axis=1)

    def turned(name, values):
        whole = build.add("Pack", f"{name}/pack", *values, axis=0)
        back = build.add("ReverseSequence", f"{name}/back", whole, build.placeholder(f"{name}/n"), seq_dim=0)
        return [f"{build.add('Unpack', f'{name}/unpack', back, axis=0)}:{t}" for t in range(STEPS)]

    def run(scope, values):
        states = [(zeros(build, f"{scope}/zeros"),) * 2]
        for t, value in enumerate(values):
            states.append(build.cell(scope, value, *states[-1], (3, 5), at=f"{scope}/step_{t}"))
        return [h for h, _ in states[1:]]

    forward = [f"{steps}:{t}" for t in range(STEPS)]
    pairs = zip(run("fw/cell", forward), turned("out", run("bw/cell", turned("in", forward))), strict=True)
    joined = [build.add("ConcatV2", f"join_{t}", *pair, build.const(1)) for t, pair in enumerate(pairs)]
    build.dense("logits", build.add("Pack", "stack", *joined, axis=1), (10, 3))
    assert shapes_of(recognise(build.artefact())) == [Bidirectional, Dense]


def test_static_bidirectional_rnn_over_a_residual():
    build = Builder()
    steps = build.add("Unpack", "unstack", build.placeholder(), axis=1)

    def run(scope, values, size, residual=False):
        state, outs = (zeros(build, f"{scope}/zeros"),) * 2, []
        for t, value in enumerate(values):
            state = build.cell(scope, value, *state, (size, 5), at=f"{scope}/step_{t}")
            outs.append(build.add("AddV2", f"{scope}/residual_{t}", state[0], value) if residual else state[0])
        return outs

    forward = [f"{steps}:{t}" for t in range(STEPS)]
    below = run("bw/cell_0", forward[::-1], 5, residual=True)
    pairs = zip(run("fw/cell", forward, 5), run("bw/cell_1", below, 5)[::-1], strict=True)
    joined = [build.add("ConcatV2", f"join_{t}", *pair, build.const(1)) for t, pair in enumerate(pairs)]
    build.dense("logits", build.add("Pack", "stack", *joined, axis=1), (10, 3))
    assert shapes_of(recognise(build.artefact())) == [Bidirectional, Dense]


# What is done to the ids


def of_ids(ids, *, hot=False):
    build = Builder()
    ids = ids(build, build.placeholder("ids"))
    if hot:
        x = build.add("OneHot", "one_hot", ids, build.const(3), build.const(1.0), build.const(0.0))
    else:
        x = build.add("GatherV2", "lookup", build.variable("embedding", 11, 3), ids, build.const(0))
    outputs, _ = build.dynamic_rnn(CELL, x, (3, 5))
    build.dense("logits", outputs, (5, 11))
    return recognise(build.artefact())


@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize(
    ("ids", "name"),
    [
        (lambda b, i: b.add("Add", "add", i, b.const(1)), "Add 'add'"),
        (lambda b, i: b.add("Cast", "cast", b.add("FloorMod", "mod", i, b.const(5))), "FloorMod 'mod'"),
        (lambda b, i: b.add("ReverseV2", "reverse", i, b.const([1])), "ReverseV2 'reverse'"),
        (lambda b, i: b.add("ConcatV2", "shift", b.add("OnesLike", "go", i), i, b.const(1)), "ConcatV2 'shift'"),
    ],
)
def test_ids_that_the_graph_computes_are_told(ids, name, hot):
    recognised = of_ids(ids, hot=hot)
    assert shapes_of(recognised) == [OneHot if hot else Embedding, LSTM, Dense]
    (note,) = recognised.notes
    assert note.startswith(f"the graph computes the ids first ({name}), the model takes them as ")


@pytest.mark.parametrize(
    "ids",
    [
        lambda b, i: b.add("Transpose", "transpose", b.add("Cast", "cast", i), b.const([1, 0])),
        lambda b, i: b.add("ArgMax", "argmax", b.placeholder("logits_before"), b.const(1)),
    ],
)
def test_ids_that_are_moved_or_chosen_are_not_worth_a_word(ids):
    assert not of_ids(ids).notes


# Elements that change places


def after_cell(change):
    build = Builder()
    outputs, _ = build.dynamic_rnn(CELL, build.placeholder(), (3, 5))
    build.dense("logits", change(build, outputs), (5, 3))
    return build.artefact()


def select(b, o, dtype, op="Greater"):
    condition = b.add(op, "compare", b.placeholder("lengths") if dtype == "int32" else o, b.const(0), T=dtype)
    return b.add("Select", "select", condition, o, b.add("ZerosLike", "zeros_like", o))


def cut(b, o, begin, end, begin_mask, end_mask, step=1):
    strides = b.const([1, step, 1] if step != 1 else [1, 1, 1])
    return b.add("StridedSlice", "cut", o, b.const(begin), b.const(end), strides,
                 begin_mask=begin_mask, end_mask=end_mask, shrink_axis_mask=0)  # fmt: skip


CHANGES = {
    "where": lambda b, o: select(b, o, "float32"),
    "gather": lambda b, o: b.add("GatherV2", "pick", o, b.const([4, 3, 2, 1, 0]), b.const(2)),
    "steps": lambda b, o: b.add("GatherV2", "pick", o, b.const([2, 1, 0]), b.const(1)),
    "halves": lambda b, o: b.add(
        "ConcatV2", "swap", cut(b, o, [0, 0, 2], [0, 0, 0], 3, 7), cut(b, o, [0, 0, 0], [0, 0, 2], 7, 3), b.const(2)
    ),
    "split": lambda b, o: b.add("ConcatV2", "swap", f"{b.add('Split', 'two', b.const(2), o)}:1", "two", b.const(2)),
    "stack": lambda b, o: b.add("Pack", "swap", f"{b.add('Unpack', 'two', o, axis=1)}:1", "two", axis=1),
    "transpose": lambda b, o: b.add("Transpose", "turn", o, b.const([0, 2, 1])),
    "subsample": lambda b, o: cut(b, o, [0, 0, 0], [0, 0, 0], 7, 7, step=2),
    "cast": lambda b, o: b.add("Cast", "whole", o, SrcT="float32", DstT="int32"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_head_on_elements_or_steps_in_other_places_is_refused(change):
    with pytest.raises(RecognitionError, match="the graph goes on in a way that fastlstm does not run"):
        recognise(after_cell(change))


def spoilt(role):
    build = Builder()

    def spoil(h, c):
        h = build.add("GatherV2", "pick", h, build.const([4, 3, 2, 1, 0]), build.const(1)) if role == "gather" else h
        return (select(build, h, "float32") if role == "where" else h), c

    build.dynamic_rnn(CELL, build.placeholder(), (3, 5), spoil=spoil)
    return build.artefact()


@pytest.mark.parametrize(("role", "says"), [("gather", "GatherV2 'pick'"), ("where", "Select 'select'")])
def test_a_state_in_other_places_is_refused(role, says):
    with pytest.raises(RecognitionError, match=f"the h of the next step is computed by {says}"):
        recognise(spoilt(role))


@pytest.mark.parametrize(
    "change",
    [
        lambda b, o: select(b, o, "int32", "GreaterEqual"),
        lambda b, o: b.add("Select", "select", b.placeholder("mask"), o, b.add("ZerosLike", "zeros_like", o)),
        lambda b, o: b.add("GatherV2", "last", o, b.const(3), b.const(1)),
        lambda b, o: b.add("ConcatV2", "same", f"{b.add('Split', 'two', b.const(2), o)}:0", "two:1", b.const(2)),
        lambda b, o: b.add("Transpose", "turn", o, b.const([1, 0, 2])),
        lambda b, o: b.add("Cast", "wide", o, SrcT="float32", DstT="float64"),
    ],
)
def test_masks_moves_in_time_and_batch_and_rejoined_pieces_are_no_change(change):
    recognised = recognise(after_cell(change))
    assert shapes_of(recognised) == [LSTM, Dense]
    assert not recognised.notes


def unrolled_with_lengths(steps):
    """static_rnn(sequence_length=...): past its end a row keeps its state, which so comes from all steps."""
    net = Builder()
    xs = net.add("Unpack", "xs", net.placeholder())
    lengths = net.add("Placeholder", "lengths")
    state = [zeros(net, "zeros_h"), zeros(net, "zeros_c")]
    for t in range(steps):
        new = net.cell("rnn/lstm_cell", f"{xs}:{t}", *state, (3, 4), at=f"step_{t}")
        past = net.add("GreaterEqual", f"past_{t}", net.const(t), lengths)
        state = [
            net.add("Identity", f"state_{t}_{k}", net.add("Select", f"select_{t}_{k}", past, old, now))
            for k, (old, now) in enumerate(zip(state, new, strict=True))
        ]
    return net.artefact()


def test_the_work_grows_with_the_steps_and_not_with_their_square(monkeypatch):
    work = 0
    carried = Walker.carried

    def counted(self, *args):
        nonlocal work
        work += 1
        return carried(self, *args)

    monkeypatch.setattr(Walker, "carried", counted)
    counts = []
    for steps in (80, 160):  # some walks go 32 nodes back, wherever they begin
        work = 0
        recognised = recognise(unrolled_with_lengths(steps))
        assert [type(layer) for layer in recognised.layers] == [LSTM]
        counts.append(work / steps)
    assert counts[1] < 1.1 * counts[0], counts
