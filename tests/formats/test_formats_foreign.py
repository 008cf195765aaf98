"""TensorFlow Lite, ONNX, PyTorch and JSON models: literal bytes, and files that were made to do harm."""

import json
import pickle
import struct
import zipfile

import numpy as np
import pytest

from fastlstm.errors import FormatError
from fastlstm.formats import open_artefact, proto
from fastlstm.formats.flatbuffer import FlatBuffer
from fastlstm.formats.tflite import OPERATORS, OPTIONS
from fastlstm.formats.torch_pickle import Opaque, TensorView, interpret


def written(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def refused(path, match):
    with pytest.raises(FormatError, match=match):
        dict(open_artefact(path).tensors)


# TensorFlow Lite. A table: its vtable (size, the size of the table, offsets of fields), its offset to that, its fields.


def u16(*numbers):
    return struct.pack(f"<{len(numbers)}H", *numbers)


def u32(*numbers):
    return struct.pack(f"<{len(numbers)}I", *numbers)


@pytest.mark.parametrize("offset", [0, 1, 64, 1 << 31, 0xFFFFFFF0, 0xFFFFFFFF])
def test_flatbuffer_offsets(tmp_path, offset):
    """They lead forward only: backwards would be nearly 4 GB, as the format has no negative ones."""
    data = u32(20) + b"TFL3" + u16(10, 16, 4, 8, 0, 0) + struct.pack("<i", 12) + u32(3, offset, 1)
    refused(written(tmp_path, "m.tflite", data), "damaged")


@pytest.mark.parametrize("root", [0, 1, 4, 7, 8, 0x7FFFFFFF, 0xFFFFFFFF])
def test_flatbuffer_root(tmp_path, root):
    refused(written(tmp_path, "m.tflite", u32(root) + b"TFL3" + bytes(64)), "damaged")


@pytest.mark.parametrize("back", [0, 1, -1, 1 << 30, -(1 << 31), (1 << 31) - 1])
def test_flatbuffer_vtable(tmp_path, back):
    """The table's offset to its vtable, signed, leads anywhere."""
    data = u32(16) + b"TFL3" + u16(6, 8, 4, 0) + struct.pack("<i", back) + u32(3)
    refused(written(tmp_path, "m.tflite", data), "damaged")


@pytest.mark.parametrize("sizes", [(0, 0), (4, 3), (2, 8), (0xFFFF, 8), (6, 0xFFFF), (6, 4)])
def test_flatbuffer_sizes_of_tables(tmp_path, sizes):
    data = u32(16) + b"TFL3" + u16(*sizes, 4, 0) + struct.pack("<i", 8) + u32(3)
    refused(written(tmp_path, "m.tflite", data), "damaged")


@pytest.mark.parametrize("count", [1, 1 << 20, 1 << 31, 0xFFFFFFFF])
def test_flatbuffer_vectors(tmp_path, count):
    """Field 1, the operators' codes, is a vector of that many tables."""
    vtable = u16(10, 16, 4, 8, 0, 0)
    table = struct.pack("<i", 12) + u32(3, 4, count)
    data = u32(20) + b"TFL3" + vtable + table
    refused(written(tmp_path, "m.tflite", data), "damaged")


def test_flatbuffer_parts_that_are_shared():
    """Many references to one vector are read so often, and no more, that it stays in proportion to the file."""
    size = 1 << 20
    buffer = FlatBuffer(u32(4, size) + bytes(size), "m")
    with pytest.raises(FormatError, match="again and again"):
        for _ in range(20):
            assert buffer.vector(0, 1, "a vector") == (8, size)


def test_tflite_field_numbers_are_the_schemas():
    """What stands in formats/tflite.py against the converter's own schema, where it is installed."""
    schema = pytest.importorskip("tensorflow.lite.python.schema_py_generated")
    builtin = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    assert [builtin[code] for code in range(len(OPERATORS))] == OPERATORS
    unions = {value: name for name, value in vars(schema.BuiltinOptions).items() if isinstance(value, int)}
    for op, (code, fields) in OPTIONS.items():
        table = getattr(schema, unions[code])
        assert unions[code].removesuffix("Options").replace("SequenceLSTM", "").upper()[:3] == op.replace("_", "")[:3]
        assert max(fields) < sum(name.startswith(f"{unions[code]}Add") for name in vars(schema)), table


def test_tflite_of_another_schema(tmp_path, fixture_file):
    data = bytearray(fixture_file("tflite/coupled/model.tflite").read_bytes())
    root = int.from_bytes(data[:4], "little")
    vtable = root - struct.unpack_from("<i", data, root)[0]
    data[root + struct.unpack_from("<H", data, vtable + 4)[0]] = 2
    refused(written(tmp_path, "m.tflite", bytes(data)), "schema 2, expected 3")


# ONNX.


def message(number, data):
    """A length-delimited field."""
    size, out = len(data), bytearray([number << 3 | 2])
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size]) + data


def onnx_model(tensor, node=b"\x22\x03Add"):
    return b"\x08\x08" + message(2, b"hand") + message(7, message(1, node) + message(5, tensor))


def test_onnx_bytes(tmp_path):
    """Each way to write the same two floats."""
    floats = np.array([1.5, -2], "<f4").tobytes()
    for body in (message(9, floats), message(4, floats), b"\x25" + floats[:4] + b"\x25" + floats[4:]):
        tensor = b"\x08\x02\x10\x01" + message(8, b"w") + body
        artefact = open_artefact(written(tmp_path, "m.onnx", onnx_model(tensor)))
        assert artefact.format == "onnx"
        assert {k: a.tolist() for k, a in artefact.tensors.items()} == {"w": [1.5, -2]}
    half = b"\x08\x01\x10\x0a" + message(8, b"h") + b"\x28\x80\xf0\x02"  # int32_data: bits 0x7800 / 2
    array = open_artefact(written(tmp_path, "m.onnx", onnx_model(half))).tensors["h"]
    assert array.dtype == np.float16
    assert array.view(np.uint16).tolist() == [0xB800 & 0xFFFF]


def test_onnx_is_told_by_its_first_bytes(tmp_path):
    tensor = b"\x08\x01\x10\x01" + message(8, b"w") + message(9, bytes(4))
    assert open_artefact(written(tmp_path, "no-ending", onnx_model(tensor))).format == "onnx"


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x10\x01", "no array can have the shape"),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\x01", "no array can have the shape"),
        (b"\x08\x80\x80\x80\x80\x04\x10\x01" + message(9, bytes(8)), "bytes, expected"),
        (b"\x08\x02\x10\x01" + message(4, bytes(4)), "1 elements for the shape"),
        (b"\x08\x02\x10\x08" + message(9, bytes(8)), "ONNX type 8"),
        (b"\x08\x01\x10\x03\x28\x80\x02", "does not fit int8"),
        (b"\x08\x01" * 40 + b"\x10\x01", "dimensions"),
    ],
    ids=["2^63", "negative", "2^30 of 8 bytes", "too few", "strings", "too large", "40 dimensions"],
)
def test_onnx_tensors(tmp_path, tensor, match):
    refused(written(tmp_path, "m.onnx", onnx_model(tensor + message(8, b"w"))), match)


@pytest.mark.parametrize(
    "location",
    ["../w.bin", "/etc/passwd", "a/../../w.bin", "..\\w.bin", "C:\\w.bin", "", ".", "a//b", "w\0", "inside/link"],
)
def test_onnx_external_data_stays_in_the_folder(tmp_path, location):
    folder = tmp_path / "model"
    (folder / "inside").mkdir(parents=True)
    (tmp_path / "w.bin").write_bytes(bytes(8))
    (folder / "inside" / "link").symlink_to(tmp_path / "w.bin")
    entry = message(1, b"location") + message(2, location.encode())
    tensor = b"\x08\x02\x10\x01\x70\x01" + message(8, b"w") + message(13, entry)
    refused(written(folder, "m.onnx", onnx_model(tensor)), "beside the model|leads out of")


@pytest.mark.parametrize(("offset", "length"), [("8", "8"), ("-1", "8"), ("0", "9"), ("x", "8"), ("9" * 5000, "8")])
def test_onnx_external_data_within_its_file(tmp_path, offset, length):
    (tmp_path / "w.bin").write_bytes(bytes(12))
    entries = {"location": "w.bin", "offset": offset, "length": length}
    tensor = b"\x08\x02\x10\x01\x70\x01" + message(8, b"w")
    for key, value in entries.items():
        tensor += message(13, message(1, key.encode()) + message(2, value.encode()))
    refused(written(tmp_path, "m.onnx", onnx_model(tensor)), "damaged")


def test_onnx_field_numbers_are_onnx_own():
    onnx = pytest.importorskip("onnx")
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                onnx.helper.make_node(
                    "LSTM", ["x"], ["y"], name="n", hidden_size=3, activations=["Tanh"], direction="reverse"
                )
            ],
            "g",
            [onnx.helper.make_tensor_value_info("x", 1, ["b", 2])],
            [onnx.helper.make_tensor_value_info("y", 1, None)],
            [onnx.numpy_helper.from_array(np.array([[1, 2]], "f4"), "w")],
        )
    )
    ours = proto.parse("OnnxModel", model.SerializeToString(), "m")
    node, tensor = ours.graph.node[0], ours.graph.initializer[0]
    assert (node.op_type, node.name, list(node.input), list(node.output)) == (b"LSTM", b"n", [b"x"], [b"y"])
    assert {a.name: (a.i, list(a.strings), a.s) for a in node.attribute}[b"hidden_size"][0] == 3
    assert (list(tensor.dims), tensor.data_type, tensor.name) == ([1, 2], 1, b"w")
    shape = ours.graph.input[0].type.tensor_type.shape
    assert [d.dim_value for d in shape.dim] == [0, 2]


# PyTorch.


def archive(tmp_path, data, storages=(), name="m.pt", compression=zipfile.ZIP_STORED, more=()):
    path = tmp_path / name
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", data)
        for key, content in storages:
            file.writestr(f"archive/data/{key}", content)
        for key, content in more:
            file.writestr(key, content)
    return path


def tensor_pickle(shape, strides, offset=0, count=6, kind="FloatStorage"):
    """What torch.save writes of {"w": tensor}, protocol 2."""

    def integers(values):
        return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"

    storage = (
        b"(X\x07\0\0\0storagectorch\n" + kind.encode() + b"\nX\x01\0\0\x000X\x03\0\0\0cpuJ" + struct.pack("<i", count)
    )
    body = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"tQJ" + struct.pack("<i", offset)
    body += integers(shape) + integers(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}X\x01\0\0\0w" + body + b"s."


def test_torch_bytes(tmp_path):
    six = np.arange(6, dtype="<f4").tobytes()
    artefact = open_artefact(archive(tmp_path, tensor_pickle((2, 3), (3, 1)), [("0", six)]))
    assert artefact.format == "pytorch"
    assert artefact.tensors["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    turned = open_artefact(archive(tmp_path, tensor_pickle((3, 2), (1, 3)), [("0", six)])).tensors["w"]
    assert turned.tolist() == [[0, 3], [1, 4], [2, 5]]
    part = open_artefact(archive(tmp_path, tensor_pickle((2,), (2,), offset=1), [("0", six)])).tensors["w"]
    assert part.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "count"),
    [
        ((2, 3), (3, 1), 1, 6),
        ((2, 3), (3, 1), -1, 6),
        ((2, 3), (-3, 1), 3, 6),
        ((2, 3), (3,), 0, 6),
        ((2, 3), (3, 1), 0, 7),
        ((2, 3), (3, 1), 0, -6),
        ((1 << 30, 1 << 30), (0, 0), 0, 6),
        ((7,), (0,), 0, 6),
        ((-2, 3), (3, 1), 0, 6),
        ((1,), ((1 << 31) - 1,), (1 << 31) - 1, 6),
    ],
)
def test_torch_views_stay_in_their_storage(tmp_path, shape, strides, offset, count):
    path = archive(tmp_path, tensor_pickle(shape, strides, offset, count), [("0", bytes(24))])
    refused(path, "damaged")


class Harmful:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_are_not_executed(tmp_path, protocol):
    with pytest.raises(FormatError, match=r"an object of class (__builtin__|builtins)\.exec"):
        open_artefact(archive(tmp_path, pickle.dumps(Harmful(), protocol)))
    inside = interpret(pickle.dumps({"a": Harmful(), "b": 1}, protocol), "m")
    assert isinstance(inside["a"], Opaque)
    assert inside["b"] == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80\x02",
        b"(" * 1000 + b".",
        b"t.",
        b"R.",
        b"h\x05.",  # nothing was put there
        b"\x8c\x05ab",
        b"\x8d" + b"\xff" * 8 + b"a.",  # text of 2^64 bytes
        b"\x8a\xff" + b"\xff" * 10,
        b"\x8b" + struct.pack("<i", 1 << 30) + b"\x01.",  # an integer of 2^30 bytes
        b"I" + b"9" * 100_000 + b"\n.",
        b"cos\nsystem\n(X\x04\0\0\0truetR.",
        b"\x80\x02]q\0h\0a.",  # a list in itself
        b"\x80\x02}q\0X\x01\0\0\0ah\0s.",  # a dictionary in itself
        b"i\nos\nsystem\n.",
        b"\x95" + b"\xff" * 8 + b".",
        b"\x82\x01.",
    ],
)
def test_pickles_that_torch_does_not_write(tmp_path, data):
    try:
        artefact = open_artefact(archive(tmp_path, data))
    except FormatError as error:
        assert len(str(error)) < 600
    else:
        assert dict(artefact.tensors) == {}


def test_deep_and_wide_pickles(tmp_path):
    for data in (
        b"\x80\x02" + b"(" * 200_000 + b"t" * 200_000 + b".",
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    ):
        assert dict(open_artefact(archive(tmp_path, data)).tensors) == {}
    doubled = b"\x80\x02}q\0" + b"".join(  # each dictionary holds the one before twice: 2^60 places
        b"}q" + bytes([k + 1]) + b"(X\x01\0\0\0ah" + bytes([k]) + b"X\x01\0\0\0bh" + bytes([k]) + b"u"
        for k in range(60)
    )
    refused(archive(tmp_path, doubled + b"."), "too many or too deep")


def test_torch_zips(tmp_path):
    data = tensor_pickle((2, 3), (3, 1))
    refused(archive(tmp_path, data), "missing or too short")
    refused(archive(tmp_path, data, [("0", bytes(20))]), "missing or too short")
    bomb = archive(tmp_path, data, [("0", bytes(1 << 22))], compression=zipfile.ZIP_DEFLATED)
    refused(bomb, "is compressed")
    script = archive(tmp_path, data, [("0", bytes(24))], more=[("archive/code/net.py", b"")])
    refused(script, "TorchScript")
    legacy = written(tmp_path, "old.pt", bytes.fromhex("80028a0a6cfc9c46f9206aa850192e") + b"\x80\x02M\xe9\x03.")
    refused(legacy, r"before PyTorch 1\.6")


def test_torch_zip_entries_that_overlap(tmp_path):
    """Two names for one place: the directory's sizes add up to more than the file."""
    path = archive(tmp_path, tensor_pickle((2, 3), (3, 1)), [("0", bytes(4000)), ("1", b"")])
    raw = bytearray(path.read_bytes())
    first, second = (raw.rindex(b"archive/data/" + key) - 46 for key in (b"0", b"1"))
    raw[second + 16 : second + 28], raw[second + 42 : second + 46] = (
        raw[first + 16 : first + 28],
        raw[first + 42 : first + 46],
    )
    refused(written(tmp_path, "m.pt", bytes(raw)), "overlap")


def test_torch_reads_what_torch_writes(tmp_path):
    torch = pytest.importorskip("torch")
    state = {"a.weight": torch.arange(6.0).reshape(2, 3).T, "n": torch.tensor(5), "h": torch.ones(3).to(torch.bfloat16)}
    torch.save({"epoch": 3, "model": state}, tmp_path / "m.pt")
    tensors = dict(open_artefact(tmp_path / "m.pt").tensors)
    assert tensors["model/a.weight"].tolist() == state["a.weight"].tolist()
    assert tensors["model/n"].tolist() == 5
    assert tensors["model/h"].tolist() == [1, 1, 1]


def test_a_pickle_by_pickle():
    """Every protocol's way to write dictionaries, lists, numbers and text."""
    value = {"a": [1, 2.5, (3, 4, 5, 6)], "b": {"c": "text", 7: None}, "d": (True, False, 1 << 40)}
    for protocol in (2, 3, 4, 5):
        assert interpret(pickle.dumps(value, protocol), "m") == value
    assert isinstance(interpret(tensor_pickle((2,), (1,)), "m")["w"], TensorView)


# JSON.


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "not JSON"),
        ('{"a": ' * 100_000, "not JSON"),
        ('{"weights": ' + "[" * 100_000, "not JSON"),
        ('{"architecture": "LSTM", "weights": [NaN]}', "NaN is no number"),
        ('{"architecture": "LSTM", "weights": [-Infinity]}', "Infinity is no number"),
        ('{"architecture": "LSTM", "weights": [' + "9" * 4000 + "]}", "4000 digits"),
        ('{"architecture": "LSTM", "weights": ["1"]}', "not a list of numbers"),
        ('{"architecture": "LSTM", "weights": [[1], [2, 3]]}', "not a list of numbers"),
        ('{"architecture": "LSTM", "weights": [null]}', "not a list of numbers"),
        ('{"architecture": "LSTM", "weights": ' + "[" * 200 + "]" * 200 + "}", "not a list of numbers"),
        ('{"in_shape": [], "layers": [5]}', "layer 0 has no list of weights"),
        ('{"something": "else"}', "expected RTNeural's"),
        ("{}", "nothing in it"),
    ],
)
def test_json(tmp_path, text, match):
    refused(written(tmp_path, "m.json", text.encode()), match)


def test_json_bytes(tmp_path):
    model = {"model_data": {"unit_type": "LSTM"}, "state_dict": {"rec.weight_ih_l0": [[0.1], [1e400 if False else 2]]}}
    path = written(tmp_path, "m.json", b"\xef\xbb\xbf " + json.dumps(model).encode())
    artefact = open_artefact(path)
    assert artefact.format == "guitarml"
    assert artefact.tensors["rec.weight_ih_l0"].tolist() == [[np.float32(0.1)], [2]]
    assert artefact.description == {"model_data": {"unit_type": "LSTM"}}


def test_every_length(tmp_path, fixture_file):
    """Cut anywhere, a file is refused; never another exception."""
    for name in ("tflite/basic_kernel/model.tflite", "onnx/gru_reset_after/model.onnx", "nam/lstm/model.nam"):
        data = fixture_file(name).read_bytes()
        for length in range(0, len(data) - 1, 23):
            with pytest.raises(FormatError):
                dict(open_artefact(written(tmp_path, name.rpartition("/")[2], data[:length])).tensors)
