"""SavedModels: which path is one, what is read of it, and what damaged ones give."""

import random
import shutil
from pathlib import Path

import pytest

from fastlstm.errors import FastLSTMError, FormatError, MissingFileError
from fastlstm.formats import open_artefact, proto

DATA = Path(__file__).parents[1] / "data"
KERAS = DATA / "tf2.15" / "no_bias_hard" / "without_traces"
EXPORTED = DATA / "keras3" / "one_layer" / "exported"
TF1 = DATA / "tf1.15" / "saved_model" / "saved_model"


@pytest.fixture
def copy(tmp_path):
    def make(folder):
        shutil.copytree(folder, tmp_path / "model")
        return tmp_path / "model"

    return make


@pytest.mark.parametrize(
    "below", ["", "saved_model.pb", "variables", "variables/variables", "variables/variables.index"]
)
def test_any_path_of_a_saved_model(below):
    artefact = open_artefact(KERAS / below)
    assert (artefact.path, artefact.format) == (KERAS, "saved-model")
    assert artefact.objects is not None and artefact.objects.recent


def test_other_folders_are_none(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    (tmp_path / "assets").mkdir()
    with pytest.raises(FormatError, match="a folder without a checkpoint"):
        open_artefact(tmp_path / "assets")


def test_tensorflow_1_gives_its_graph_and_what_the_signature_gives():
    artefact = open_artefact(TF1)
    assert artefact.objects is None and artefact.program is None
    assert [output.node for output in artefact.graph.outputs] == ["net/fully_connected/Tanh"]
    assert "net/rnn/multi_rnn_cell/cell_0/lstm_cell/kernel" in artefact.tensors


def test_tensorflow_2_gives_functions_bound_to_objects():
    artefact = open_artefact(EXPORTED)
    assert list(artefact.program.signatures) == ["serving_default", "serve"]
    names = {k: node.full_name for k, node in enumerate(artefact.objects.nodes) if node.full_name}
    graph = artefact.program.graph(artefact.program.signatures["serve"], names)
    handles = [node.name for node in graph.nodes.values() if node.op == "VarHandleOp"]
    assert handles == [f"sequential/{leaf}" for leaf in (
        "lstm/lstm_cell/kernel", "lstm/lstm_cell/recurrent_kernel", "lstm/lstm_cell/bias", "dense/kernel", "dense/bias"
    )]  # fmt: skip
    assert {"While", "StatefulPartitionedCall"} & {node.op for node in graph.nodes.values()} == set()
    assert all(source.node in graph.nodes for node in graph.nodes.values() for source in node.inputs)


def test_the_graph_to_serve_is_taken(copy):
    folder = copy(TF1)
    model = proto.parse("SavedModel", (TF1 / "saved_model.pb").read_bytes(), "model")
    other = proto.new("SavedModel").meta_graphs.add()
    other.graph_def.node.add(name=b"training", op=b"NoOp")
    (folder / "saved_model.pb").write_bytes(
        b"\x12" + bytes([len(other.SerializeToString())]) + other.SerializeToString() + model.SerializeToString()
    )
    assert "training" not in open_artefact(folder).graph.nodes
    both = proto.parse("SavedModel", (folder / "saved_model.pb").read_bytes(), "model")
    assert len(both.meta_graphs) == 2


@pytest.mark.parametrize(
    ("spoil", "error", "match"),
    [
        (lambda f: (f / "saved_model.pb").write_bytes(b""), FormatError, "a SavedModel without graphs"),
        (lambda f: (f / "saved_model.pb").write_bytes(b"\x0a\xff"), FormatError, "are not a SavedModel"),
        (lambda f: (f / "variables" / "variables.index").unlink(), MissingFileError, r"variables\.index: no such file"),
        (
            lambda f: (f / "saved_model.pb").rename(f / "saved_model.pbtxt"),
            FormatError,
            "a SavedModel as text, which fastlstm does not read; load it with TensorFlow",
        ),
        (
            lambda f: (f / "keras_metadata.pb").write_bytes(b"\x0a\x03\x10\xe7\x07"),
            FormatError,
            "keras_metadata.pb: speaks of node 999, expected one of",
        ),
        (
            lambda f: (f / "keras_metadata.pb").write_bytes(b"\x0a\x06\x10\x00\x2a\x02\xff\xfe"),
            FormatError,
            "is not UTF-8",
        ),
    ],
)
def test_damaged(copy, spoil, error, match):
    folder = copy(KERAS)
    spoil(folder)
    with pytest.raises(error, match=match):
        open_artefact(folder)


def test_a_model_without_variables_is_read(copy):
    folder = copy(KERAS)
    shutil.rmtree(folder / "variables")
    assert len(open_artefact(folder).tensors) == 0


def all_of(folder):
    """Whatever a SavedModel gives; only a FastLSTMError may come instead."""
    try:
        artefact = open_artefact(folder)
        graphs = [artefact.graph] if artefact.graph else []
        if artefact.program is not None:
            names = {k: node.full_name for k, node in enumerate(artefact.objects.nodes) if node.full_name}
            graphs += [artefact.program.graph(name, names) for name in artefact.program.signatures.values()]
        return sum(len(node.attrs) >= 0 for graph in graphs for node in graph.nodes.values())
    except FastLSTMError as error:
        assert str(error)
        return -1


@pytest.mark.parametrize("source", [EXPORTED, TF1], ids=["exported", "tf1"])
def test_truncations_and_flips(copy, source):
    folder = copy(source)
    data = (source / "saved_model.pb").read_bytes()
    assert all_of(folder) > 50
    rng = random.Random(3)
    outcomes = []
    for k in range(120):
        damaged = bytearray(data[: rng.randrange(len(data))] if k % 2 else data)
        if not k % 2:
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (folder / "saved_model.pb").write_bytes(damaged)
        outcomes.append(all_of(folder))
    assert -1 in outcomes and max(outcomes) > 50
