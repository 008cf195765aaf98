"""GraphDef and TensorProto, from hand-written bytes and from genuine `.meta` files."""

import struct

import numpy as np
import pytest
from bundle_writer import message, number, shape_proto

from fastlstm.errors import FormatError
from fastlstm.formats import Output, open_artefact, proto
from fastlstm.formats.dtypes import dtype_name, tensor_from_proto
from fastlstm.formats.graphdef import read_graph, read_meta_graph


def tensor(dtype, shape, fields=b""):
    return number(1, dtype) + message(2, shape_proto(shape)) + fields


def floats(field, *values):
    return message(field, struct.pack(f"<{len(values)}f", *values))


def decoded(data):
    return tensor_from_proto(proto.parse("TensorProto", data, "test"), "test")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tensor(1, (), floats(5, 1.5)), np.array(1.5, "f4")),
        (tensor(1, (), b"\x2d" + struct.pack("<f", 1.5)), np.array(1.5, "f4")),  # not packed
        (tensor(1, (2, 2), message(4, struct.pack("<4f", 1, 2, 3, 4))), np.array([[1, 2], [3, 4]], "f4")),
        (tensor(1, (2, 3), floats(5, 7)), np.full((2, 3), 7, "f4")),
        (tensor(1, (4,), floats(5, 7, 8)), np.array([7, 8, 8, 8], "f4")),
        (tensor(1, (2,)), np.zeros(2, "f4")),
        (tensor(1, ()), np.zeros((), "f4")),
        (tensor(1, (0, 3)), np.zeros((0, 3), "f4")),
        (tensor(2, (1,), message(6, struct.pack("<d", 0.1))), np.array([0.1])),
        (tensor(3, (2,), number(7, -5) + number(7, 6)), np.array([-5, 6], "i4")),
        (tensor(9, (), number(10, -(2**40))), np.array(-(2**40), "i8")),
        (tensor(10, (3,), number(11, 1)), np.array([True] * 3)),
        (tensor(19, (2,), number(13, 0x3C00)), np.array([1, 1], "f2")),
        (tensor(14, (), number(13, 0xC000)), np.array(-2, "f4")),
        (tensor(14, (2,), message(4, b"\x80\x3f\x00\xc0")), np.array([1, -2], "f4")),
        (tensor(8, (), floats(9, 1, -2)), np.array(1 - 2j, "c8")),
        (tensor(22, (), number(16, 2**32 - 1)), np.array(2**32 - 1, "u4")),
        (tensor(23, (), number(17, 2**64 - 1)), np.array(2**64 - 1, "u8")),
        (tensor(6, (2,), message(4, b"\xff\x01")), np.array([-1, 1], "i1")),
        (tensor(29, (2,), message(4, b"\x0f\x07")), np.array([-1, 7], "i1")),
        (tensor(30, (2,), message(4, b"\xff\x07")), np.array([15, 7], "u1")),
    ],
)
def test_tensor_proto(data, expected):
    got = decoded(data)
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    assert got.tobytes() == expected.tobytes()


def test_string_tensors():
    assert decoded(tensor(7, (2,), message(8, b"a\xff") + message(8, b""))).tolist() == [b"a\xff", b""]
    assert decoded(tensor(7, (2,))).tolist() == [b"", b""]
    assert decoded(tensor(7, (), message(8, b"x"))).item() == b"x"


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (tensor(1, (1,), floats(5, 1, 2)), "2 values"),
        (tensor(1, (2**40,), floats(5, 1, 2)), "too many to repeat"),
        (tensor(1, (2**62,), floats(5, 1)), "no array"),
        (tensor(1, (2,), message(4, b"1234")), "4 bytes, expected 8"),
        (tensor(1, (-1,), floats(5, 1)), "not fully known"),
        (tensor(1, (1,) * 40), "40 dimensions"),
        (tensor(4, (1,), number(7, 256)), "does not fit uint8"),
        (tensor(8, (), floats(9, 1)), "expected pairs"),
        (tensor(20, ()), "type resource"),
        (tensor(77, ()), "unknown type 77"),
        (tensor(24, (1,), message(4, b"1")), "float8_e5m2"),
    ],
)
def test_tensor_proto_refused(data, match):
    with pytest.raises(FormatError, match=match):
        decoded(data)


def test_a_huge_splat_takes_no_memory():
    got = decoded(tensor(1, (2**30, 2**10), floats(5, 3)))
    assert got.shape == (2**30, 2**10)
    assert got.strides == (0, 0)
    assert got[5, 7] == 3


def test_dtype_names():
    assert [dtype_name(code) for code in (1, 19, 14, 101, 99)] == [
        "float32",
        "float16",
        "bfloat16",
        "float32_ref",
        "unknown type 99",
    ]


def attribute(name, data):
    return message(5, message(1, name) + message(2, data))


def node(name, op, *inputs, attributes=b""):
    return message(1, message(1, name) + message(2, op) + b"".join(message(3, each) for each in inputs) + attributes)


def test_nodes():
    attributes = b"".join(
        attribute(name, data)
        for name, data in {
            b"s": message(2, b"\xff"),
            b"i": number(3, -3),
            b"zero": b"\x18\0",
            b"f": b"\x25" + struct.pack("<f", 0.5),
            b"b": number(5, 1),
            b"type": number(6, 1),
            b"shape": message(7, message(2, number(1, -1)) + message(2, number(1, 3)) + message(2, b"")),
            b"rank": message(7, number(3, 1)),
            b"tensor": message(8, tensor(1, (2,), floats(5, 4))),
            b"list": message(1, message(2, b"a") + message(2, b"b")),
            b"types": message(1, message(6, b"\1\2")),
            b"empty": message(1, b""),
            b"func": message(10, message(1, b"body")),
            b"nothing": b"",
        }.items()
    )
    data = node(b"x", b"Placeholder") + node(b"y", b"Op", b"x", b"x:12", b"^x", b"a:b", attributes=attributes)
    graph = read_graph(data, "g.pb")
    y = graph.nodes["y"]
    assert list(graph.nodes) == ["x", "y"]
    assert y.inputs == (Output("x", 0), Output("x", 12), Output("a:b", 0))
    attrs = dict(y.attrs)
    assert attrs.pop("tensor").tolist() == [4, 4]
    assert attrs == {
        "s": b"\xff",
        "i": -3,
        "zero": 0,
        "f": 0.5,
        "b": True,
        "type": "float32",
        "shape": (-1, 3, 0),
        "rank": None,
        "list": (b"a", b"b"),
        "types": ("float32", "float64"),
        "empty": (),
        "func": "body",
        "nothing": None,
    }
    assert graph.uses[Output("x", 12)][0].input == 1


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (node(b"\xff", b"Op"), "UTF-8"),
        (node(b"a", b"\xff"), "UTF-8"),
        (node(b"a", b"Op", b"\xff"), "UTF-8"),
        (node(b"a", b"Op") * 2, "'a' is there twice"),
        (b"\x0a\xff", "not a GraphDef"),
    ],
)
def test_nodes_refused(data, match):
    with pytest.raises(FormatError, match=rf"g\.pb.*{match}"):
        read_graph(data, "g.pb")


def test_bad_attribute_is_named():
    graph = read_graph(node(b"a", b"Const", attributes=attribute(b"value", message(8, tensor(1, (-1,))))), "g.pb")
    with pytest.raises(FormatError, match=r"g\.pb: node 'a': attribute 'value': shape"):
        graph.nodes["a"].attrs  # noqa: B018


def test_meta_graph():
    variables = message(2, message(1, message(1, b"v:0")) + message(1, message(1, b"net/w:0")))
    meta = (
        message(1, message(5, b"1.4.0"))
        + message(2, node(b"v", b"VariableV2"))
        + message(4, message(1, b"losses") + message(2, b""))
        + message(4, message(1, b"variables") + message(2, variables))
        + message(99, b"from the future")
    )
    graph = read_meta_graph(meta, "m.meta")
    assert (graph.variables, graph.tensorflow_version, graph.source) == (("v", "net/w"), "1.4.0", "m.meta")
    with pytest.raises(FormatError, match=r"m\.meta: a MetaGraphDef without nodes"):
        read_meta_graph(b"", "m.meta")


def test_genuine_graphs(fixture_file):
    for name, version, matrix in (("tf1.0", "1.0.1", "weights"), ("tf1.15", "1.15.5", "kernel")):
        artefact = open_artefact(fixture_file(f"{name}/basic_forget_bias"))
        graph = artefact.graph
        assert graph.tensorflow_version == version
        assert set(graph.variables) == set(artefact.tensors)
        variable = graph.nodes[f"rnn/basic_lstm_cell/{matrix}"]
        assert variable.attrs["shape"] == artefact.tensors.specs[variable.name].shape
        assert variable.attrs["dtype"] == "float32"
        constants = [each.attrs["value"] for each in graph.nodes.values() if each.op == "Const"]
        assert any(value.shape == () and value == np.float32(0.3) for value in constants if value.dtype == "f4")
