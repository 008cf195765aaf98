"""Frozen graphs: constants as weights, in binary and as text, and what is no frozen graph."""

import tracemalloc

import numpy as np
import pytest
from bundle_writer import message, number, shape_proto

from fastlstm.errors import FormatError
from fastlstm.formats import open_artefact

W = np.arange(6, dtype="f4").reshape(2, 3)


def tensor(code, shape, values=b""):
    return number(1, code) + message(2, shape_proto(shape)) + values


def node(name, op, *attributes):
    attrs = b"".join(message(5, message(1, key) + message(2, value)) for key, value in attributes)
    return message(1, message(1, name) + message(2, op) + attrs)


def const(name, proto):
    return node(name, b"Const", (b"dtype", number(6, 1)), (b"value", message(8, proto)))


FULL = const(b"net/kernel", tensor(1, (2, 3), message(4, W.tobytes())))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "frozen.pb"


def test_constants(path, same):
    """Rank and type decide: numbers such as a forget bias, shapes and axes are no weights."""
    half = message(13, b"\x80\x78")  # 1.0 as the varint of its bits
    path.write_bytes(
        FULL
        + const(b"listed", tensor(2, (2, 1), message(6, np.array([1.5, -2.0]).tobytes())))
        + const(b"short", tensor(1, (2, 3), message(5, W.tobytes()[:8])))  # the last value is repeated
        + const(b"zeros", tensor(1, (3,)))
        + const(b"half", tensor(19, (2, 2), half))
        + const(b"forget_bias", tensor(1, (), message(5, W.tobytes()[:4])))
        + const(b"axis", tensor(3, (2,), message(7, b"\1\2")))
        + node(b"net/kernel/read", b"Identity")
    )
    artefact = open_artefact(path)
    expected = {
        "net/kernel": W,
        "listed": np.array([[1.5], [-2.0]]),
        "short": np.array([[0, 1, 1], [1, 1, 1]], "f4"),
        "zeros": np.zeros(3, "f4"),
        "half": np.full((2, 2), 15360, "u2").view("f2"),
    }
    assert (artefact.format, artefact.path, artefact.notes) == ("frozen-graph", path, ())
    assert artefact.graph.nodes["net/kernel/read"].op == "Identity"
    assert same(artefact.tensors, expected)
    assert artefact.tensors["zeros"].flags.writeable


@pytest.mark.parametrize("name", ["basic/frozen.pb", "basic/optimized.pb"])
def test_genuine(fixture_file, name):
    folder = fixture_file("tf0.12/basic")
    frozen, saved = open_artefact(folder / name.rpartition("/")[2]), open_artefact(folder / "model")
    for key, array in saved.tensors.items():
        assert frozen.tensors[key].tobytes() == array.tobytes()


def test_text(fixture_file, tmp_path, same):
    binary = open_artefact(fixture_file("tf1.0/every_format") / "frozen.pb")
    text = open_artefact(fixture_file("tf1.0/every_format") / "frozen.pbtxt")
    assert same(text.tensors, dict(binary.tensors))
    assert {n: dict(v.attrs).keys() for n, v in text.graph.nodes.items()} == {
        n: dict(v.attrs).keys() for n, v in binary.graph.nodes.items()
    }
    path = tmp_path / "g.pbtxt"
    for content in (b"node {", b"\xff\xfe", b"{" * 3000, b"x { " * 3000, b"node { name: 3 }", b"dtype: DT_NO"):
        path.write_bytes(content)
        with pytest.raises(FormatError):
            open_artefact(path)


def test_elements_in_text(tmp_path, same):
    """Quotes, backslashes and bytes beyond ASCII in the elements; they are not protobuf's to read."""
    raw = bytes([34, 92, 92, 34, 255, 0, 10, 39, 110, 92, 34, 34]) * 2
    quoted = "".join(f"\\{byte:03o}" if byte not in (34, 92) else "\\" + chr(byte) for byte in raw)
    value = f'dtype: DT_FLOAT\n tensor_shape {{ dim {{ size: 6 }} dim {{ size: 1 }} }} tensor_content: "{quoted}"'
    text = f'node {{ name: "w" op: "Const" attr {{ key: "value" value {{ tensor {{\n {value} }} }} }} }}'
    path = tmp_path / "g.pbtxt"
    path.write_text(text)
    assert same(open_artefact(path).tensors, {"w": np.frombuffer(raw, "f4").reshape(6, 1)})
    for damage in (text[: text.index("\\377")], text.replace("\\377", "\\xzz"), text.replace("size: 6", "size: 5")):
        path.write_text(damage)
        with pytest.raises(FormatError):
            open_artefact(path).tensors["w"]
    path.write_text("node {}\n" * (1 << 20) + "#" * 100)
    with pytest.raises(FormatError, match=r"bytes of text without the elements .* save the graph in binary form"):
        open_artefact(path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "without nodes"),
        (b"\x08\x01\x12\x00", "without nodes.*SavedModel, pass the folder"),
        (b"hello world", "not a GraphDef|without nodes"),
        (node(b"w", b"VariableV2"), "no weights among its constants, and 1 variables such as 'w': it was not frozen"),
        (const(b"axis", tensor(3, (2,), message(7, b"\1\2"))), "no weights among its constants: it was not frozen"),
        (const(b"bias", tensor(1, (3,))), "no weights among its constants"),
        (FULL + FULL, "there twice"),
        (const(b"w", tensor(1, (-1, 3))), "not fully known"),
    ],
)
def test_refused(path, content, match):
    path.write_bytes(content)
    with pytest.raises(FormatError, match=match):
        open_artefact(path)


@pytest.mark.parametrize(
    ("proto", "match"),
    [
        (tensor(1, (2**31, 2**31)), "no array can have|one value for the shape"),
        (tensor(1, (2**20, 2**20)), "one value for the shape"),
        (tensor(1, (2**20, 2**20), message(5, W.tobytes()[:4])), "one value for the shape"),
        (tensor(1, (2**20, 2**20), message(5, W.tobytes())), "too many to repeat"),
        (tensor(1, (2, 2), message(5, W.tobytes())), "6 values for the shape"),
        (tensor(1, (2, 2), message(4, W.tobytes())), "24 bytes, expected 16"),
    ],
)
def test_constants_refused(path, proto, match):
    path.write_bytes(FULL + const(b"w", proto))
    artefact = open_artefact(path)
    tracemalloc.start()
    with pytest.raises(FormatError, match=match):
        artefact.tensors["w"]
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_partly_frozen(path):
    path.write_bytes(FULL + node(b"state", b"VariableV2"))
    assert open_artefact(path).notes == ("1 variables of the graph are not frozen ('state'...)",)


def test_every_length(path, outcome):
    """No checksum protects a frozen graph, but none of its nodes ends early."""
    content = FULL + const(b"short", tensor(1, (2, 3), message(5, W.tobytes()[:8])))
    for length in range(len(content)):
        path.write_bytes(content[:length])
        got = outcome(path)
        assert (list(got) == ["net/kernel"]) if length == len(FULL) else isinstance(got, FormatError), length


def test_a_saved_models_own_file_is_not_taken_for_one(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(FULL)
    with pytest.raises(FormatError):
        open_artefact(tmp_path / "saved_model.pb")
