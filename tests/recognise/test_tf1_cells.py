"""Every TensorFlow 1 cell and wrapper, from genuine 0.12, 1.0 and 1.15: what is found, with the graph and without."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tf1_graphs import Builder, artefact, found, recognise

import fastlstm
from fastlstm.errors import ArgumentError, RecognitionError
from fastlstm.formats import open_artefact
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.tensors import Tensors, TensorSpec
from fastlstm.layers import GRU, LSTM, Bidirectional, Dense, Embedding
from tests.test_golden import without_padding
from tests.tolerances import TOLERANCES, assert_close

DATA = Path(__file__).parents[1] / "data"
CASES = sorted(path.parent for path in DATA.glob("cells_tf*/*/expect.json"))

#: What names and TensorFlow's defaults cannot say: the overrides that say it.
SAID = {
    "layer_norm": {"forget_bias": 0.7},
    "layer_norm_relu": {"activation": "relu"},
    "layer_norm_lstm": {"forget_bias": 0.4, "cell_clip": 0.7, "proj_clip": 0.5},
    "coupled_full": {"forget_bias": 0.3, "proj_clip": 0.4, "activation": "softsign"},
    "block_fused_clip": {"cell_clip": 0.5},
    "cells_tf1.0/block_cell": {"forget_bias": 0.8, "cell": "LSTMBlockCell"},
    "cells_tf0.12/block_cell": {"forget_bias": 0.8},
    "cells_tf1.15/block_cell": {"forget_bias": -0.4},
    "cells_tf1.0/projections": {"cell": "LSTMCell"},
    "cells_tf1.0/state_not_tuple": {"cell": "LSTMCell"},
    "cells_tf1.0/bidirectional_concat": {"cell": "LSTMCell", "head_activation": "tanh"},
    "bidirectional_concat": {"head_activation": "tanh"},
    "bidirectional_sum": {"merge_mode": "sum"},
    "cudnn_opaque": {"num_units": 8, "num_layers": 2},
}
#: What they cannot say at all: a GRU with relu under an LSTM with tanh, residuals, heads by names of one's own, two
#: stacks without a common scope.
NEEDS_GRAPH = {"gru_and_lstm", "device_residual", "time_major", "bidirectional_stack"}


def name(case):
    return f"{case.parent.name}/{case.name}"


def described(layer):
    """A layer in the words of expect.json."""
    match layer:
        case Embedding():
            return {"type": "Embedding", "vocab": layer.vocabulary_size, "dim": layer.output_size}
        case Dense():
            return {"type": "Dense", "out": layer.output_size, "activation": layer.activation.label}
        case Bidirectional():
            ways = {way: [described(part) for part in getattr(layer, way)] for way in ("forward", "backward")}
            return {"type": "Bidirectional", **ways, "merge_mode": layer.merge_mode}
    words = {"type": type(layer).__name__, "hidden": layer.hidden_size, "residual": layer.residual}
    words |= {"activation": layer.activation.label, "highway": None}
    if layer.highway is not None:
        words["highway"] = "coupled" if layer.highway.transform_kernel is None else "uncoupled"
    if isinstance(layer, LSTM):
        words |= {"layer_norm": layer.layer_norm is not None, "peepholes": layer.peepholes is not None}
        words |= {"cell_clip": layer.cell_clip, "proj_clip": layer.proj_clip}
        words |= {"projection": None if layer.projection is None else layer.output_size}
    return words


def expected(words):
    """The words of expect.json with what they leave out; numbers as a float32 graph holds them."""
    if words["type"] == "Bidirectional":
        return words | {way: [expected(part) for part in words[way]] for way in ("forward", "backward")}
    if words["type"] not in ("LSTM", "GRU"):
        return words
    full = {"residual": False, "activation": "tanh", "highway": None}
    if words["type"] == "LSTM":
        full |= dict.fromkeys(("layer_norm", "peepholes"), False)
        full |= dict.fromkeys(("cell_clip", "proj_clip", "projection"))
    full |= {key: value for key, value in words.items() if key != "forget_bias"}
    return {k: float(np.float32(v)) if k.endswith("_clip") and v else v for k, v in full.items()}


def flat(words):
    for word in words:
        yield from flat([*word["forward"], *word["backward"]]) if word["type"] == "Bidirectional" else [word]


@pytest.mark.parametrize("case", [c for c in CASES if (c / "model.meta").exists() and "cudnn" not in c.name], ids=name)
def test_the_graph_says_it_all(case):
    expect = json.loads((case / "expect.json").read_text())
    recognised = recognise(open_artefact(case / "model"), scope=expect["scope"])
    assert [described(layer) for layer in recognised.layers] == [expected(words) for words in expect["layers"]]
    lstms = [words for words in flat(expect["layers"]) if words["type"] == "LSTM"]
    wanted = [float(np.float32(words.get("forget_bias", 1.0))) for words in lstms]
    assert [f.value for f in recognised.findings if f.what == "forget_bias"] == wanted
    assumed = [f.what for f in recognised.findings if f.how == "assumed"]
    assert assumed == (["merge_mode"] if case.name == "bidirectional_apart" else [])
    for what in ("activation", "epsilon", "layer_norm", "highway", "coupled_gates", "reset_after"):
        assert all("model.meta" in f.source or "the graph" in f.source for f in recognised.findings if f.what == what)


@pytest.mark.parametrize("case", [case for case in CASES if case.name not in NEEDS_GRAPH], ids=name)
def test_names_and_what_the_caller_says_give_the_same_outputs(case, tmp_path):
    """The file without its .meta."""
    expect, golden = json.loads((case / "expect.json").read_text()), np.load(case / "golden.npz")
    for file in case.glob("model.[id]*"):
        (tmp_path / file.name).symlink_to(file)
    said = SAID.get(name(case), SAID.get(case.name, {}))
    model = fastlstm.load(tmp_path / "model", scope=expect["scope"], device="numpy", **said)
    tolerance = TOLERANCES["layer norm" if expect.get("layer_norm") else "float32"]
    ys, state = model.run(golden["x"], None, golden.get("lengths"))
    assert_close(without_padding(ys, golden), golden["y"], tolerance)
    for k, layer in enumerate(state):
        assert_close(layer.h, golden[f"h_{k}"], tolerance)
    assert any(f.how == "assumed" for f in model.report)


def test_the_silent_clip_bites():
    """So that the fixtures of old block cells would show it if it were lost."""
    for case in (c for c in CASES if c.name in ("block_cell", "block_fused") and c.parent.name != "cells_tf1.15"):
        golden = np.load(case / "golden.npz")
        ys, _ = fastlstm.load(case / "model", cell_clip=None, device="numpy").run(golden["x"])
        assert np.abs(ys - golden["y"])[0].max() > 1e-2, case


@pytest.mark.parametrize("case", ["block_cell", "state_not_tuple"])
def test_block_cell_or_not_is_asked_for(case):
    """TF 1.0 and 1.1 gave LSTMCell and LSTMBlockCell, which clips, the same names."""
    without = dataclasses.replace(open_artefact(DATA / "cells_tf1.0" / case / "model"), graph=None)
    with pytest.raises(RecognitionError, match=r"cell='LSTMCell' or cell='LSTMBlockCell' \(or cell_clip=None"):
        recognise(without)
    assert found(recognise(without, cell="LSTMBlockCell"), "cell_clip", recognise_last(without)).value == 3.0
    assert found(recognise(without, cell_clip=None), "cell_clip", recognise_last(without)).value is None


def recognise_last(what):
    return recognise(what, cell="LSTMCell").layers[-1].name


def test_overrides_that_no_layer_has_are_refused():
    path = DATA / "cells_tf1.15" / "gru_cell" / "model"
    for wrong in ({"merge_mode": "sum"}, {"cell": "LSTMCell"}, {"num_units": 3}):
        with pytest.raises(ArgumentError, match="no layer"):
            fastlstm.load(path, **wrong)


def test_both_directions_can_be_joined_otherwise_or_taken_alone():
    path = DATA / "cells_tf1.15" / "bidirectional_apart" / "model"
    assert fastlstm.load(path).layers[0].merge_mode == "concat"
    assert fastlstm.load(path, merge_mode="ave").layers[0].merge_mode == "ave"
    alone = fastlstm.load(path, scope="bidirectional_rnn/bw")
    assert [type(layer) for layer in alone.layers] == [LSTM]
    assert any("from the sequence's end" in note for note in alone.report.notes)


def test_dropout_is_told():
    notes = recognise(open_artefact(DATA / "cells_tf1.15" / "dropout" / "model")).notes
    assert any("dropout" in note and "left out" in note for note in notes)


def opaque(variables, units):
    """The buffer that cuDNN would have of CudnnCompatibleLSTMCells' variables, in the order of its layers."""
    weights, biases = [], []
    for kernel, bias in variables:
        gates = [np.split(kernel, 4, axis=1)[k] for k in (0, 2, 1, 3)]  # i j f o -> i f c o
        weights += [gate[: len(kernel) - units].T for gate in gates] + [gate[len(kernel) - units :].T for gate in gates]
        ordered = np.split(bias, 4)[0], np.split(bias, 4)[2], np.split(bias, 4)[1], np.split(bias, 4)[3]
        biases += [0.25 * part for part in ordered] + [0.75 * part for part in ordered]
    return np.concatenate([a.ravel() for a in (*weights, *biases)]).astype(np.float32)


@pytest.mark.parametrize(
    ("case", "units", "said"), [("cudnn_lstm", 8, {}), ("cudnn_lstm_bidirectional", 6, {"direction": "bidirectional"})]
)
def test_a_cudnn_buffer_is_taken_apart(case, units, said):
    """Against what TensorFlow computed with the same weights as the variables of CudnnCompatibleLSTMCell."""
    folder = DATA / "cells_tf1.15" / case
    tensors, golden = fastlstm.read(folder / "model"), np.load(folder / "golden.npz")
    kernels = sorted(name for name in tensors if name.endswith("/kernel"))
    kernels.sort(key=lambda name: (name.split("cell_")[1][0], "/bw/" in name))
    buffer = opaque([(tensors[name], tensors[name[:-6] + "bias"]) for name in kernels], units)
    what = with_arrays({"cudnn_lstm/opaque_kernel": buffer})
    with pytest.raises(RecognitionError, match=r"cuDNN buffer of \d+ numbers.*pass num_units="):
        recognise(what)
    with pytest.raises(ArgumentError, match=r"which are not 2 .*layers of 7 units"):
        recognise(what, num_units=7, num_layers=2, **said)
    recognised = recognise(what, num_units=units, num_layers=2, **said)
    assert any("is a cuDNN buffer: 2 layers" in note for note in recognised.notes)
    ys, state = fastlstm.Model(list(recognised.layers), device="numpy").run(golden["x"])
    assert_close(ys, golden["y"], TOLERANCES["float32"])
    for k, layer in enumerate(state):
        assert_close(layer.c, golden[f"c_{k}"], TOLERANCES["float32"])


def test_a_cudnn_graph_says_how_its_buffer_is_laid_out():
    model = fastlstm.load(DATA / "cells_tf1.15" / "cudnn_opaque" / "model")
    assert [layer.hidden_size for layer in model.layers] == [8, 8]
    (units,) = model.report["num_units"]
    assert (units.value, units.how) == (8, "read")
    assert {f.value for f in model.report["forget_bias"]} == {0.0}


def with_arrays(arrays):
    specs = {key: TensorSpec(array.shape, str(array.dtype)) for key, array in arrays.items()}
    return Artefact(Path("folder/model"), "checkpoint", Tensors(specs, arrays.__getitem__), None)


#: Variables of cells that are not run, as TensorFlow 1.15 shapes them for 3 inputs and 8 units, and what is said.
STRANGERS = {
    "PhasedLSTMCell": {
        "rnn/phased_lstm_cell/mask_gates/kernel": (19, 16),
        "rnn/phased_lstm_cell/mask_gates/bias": (16,),
    },
    "NASCell": {"rnn/nas_cell/kernel": (40, 64), "rnn/nas_cell/bias": (64,)},
    "UGRNNCell": {"rnn/ugrnn_cell/kernel": (11, 16), "rnn/ugrnn_cell/bias": (16,)},
    "IndyLSTMCell": {"rnn/indy_lstm_cell/kernel_w": (3, 32), "rnn/indy_lstm_cell/kernel_u": (1, 32)},
    "GLSTMCell": {"rnn/glstm_cell/group0/kernel": (6, 16), "rnn/glstm_cell/bias_i": (8,)},
    "WeightNormLSTMCell": {"rnn/wn_lstm_cell/kernel": (11, 32), "rnn/wn_lstm_cell/bias": (32,)},
    "ConvLSTMCell": {"rnn/conv_lstm_cell/kernel": (3, 3, 5, 16), "rnn/conv_lstm_cell/biases": (16,)},
    "TimeFreqLSTMCell": {"rnn/time_freq_lstm_cell/W_0": (18, 32), "rnn/time_freq_lstm_cell/B": (32,)},
    "BasicRNNCell": {"rnn/basic_rnn_cell/kernel": (11, 8), "rnn/basic_rnn_cell/bias": (8,)},
    "AttentionCellWrapper": {
        "rnn/attention_cell_wrapper/lstm_cell/kernel": (11, 32),
        "rnn/attention_cell_wrapper/lstm_cell/bias": (32,),
        "rnn/attention_cell_wrapper/attention/attn_v": (8,),
    },
    "AttentionWrapper": {
        "decoder/attention_wrapper/lstm_cell/kernel": (19, 32),
        "decoder/attention_wrapper/lstm_cell/bias": (32,),
    },
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_cells_that_are_not_run_are_named(kind):
    with pytest.raises(RecognitionError, match=rf"(?s)no LSTM.*is an? {kind}, which \w+") as error:
        recognise(artefact(STRANGERS[kind]))
    assert str(error.value).count(f" {kind}, which") == 1


def test_a_gru_beside_an_lstm_of_one_stack():
    variables = {"rnn/multi_rnn_cell/cell_0/gru_cell/gates/kernel": (3 + 5, 10)}
    variables |= {"rnn/multi_rnn_cell/cell_0/gru_cell/gates/bias": (10,)}
    variables |= {"rnn/multi_rnn_cell/cell_0/gru_cell/candidate/kernel": (8, 5)}
    variables |= {"rnn/multi_rnn_cell/cell_0/gru_cell/candidate/bias": (5,)}
    variables |= {"rnn/multi_rnn_cell/cell_1/lstm_cell/kernel": (5 + 4, 16)}
    variables |= {"rnn/multi_rnn_cell/cell_1/lstm_cell/bias": (16,)}
    assert [type(layer) for layer in recognise(artefact(variables)).layers] == [GRU, LSTM]


def test_a_grus_gradient_is_no_use_of_it():
    """The gradient of a Split is a Concat of two, multiplied with the turned kernel: no forward use."""
    build = Builder()
    out = build.gru("gru_cell", build.placeholder(), build.add("Fill", "zeros"), (3, 5), candidate=True)
    both = build.add("ConcatV2", "gradients/concat", out, out, build.const(1))
    build.add("MatMul", "gradients/MatMul_grad", both, "gru_cell/gates/kernel/read", transpose_b=True)
    (gru,) = recognise(build.artefact()).layers
    assert (gru.input_size, gru.hidden_size) == (3, 5)
