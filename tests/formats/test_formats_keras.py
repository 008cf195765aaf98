"""Keras' files: genuine ones, ones made here with h5py, and ones that must be refused."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest

from fastlstm.errors import FormatError
from fastlstm.formats import open_artefact

CONFIG = {"class_name": "Sequential", "config": {"layers": []}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.h5"


def legacy(path, version="2.2.4", whole=True, as_text=False, layers=("lstm_1", "flat", "dense_1")):
    """What Keras 2 or 3 writes; returns the arrays by tensor name."""
    random = np.random.default_rng(3)
    arrays = {}
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if whole else file
        if whole:
            file.attrs["model_config"] = json.dumps(CONFIG) if as_text else json.dumps(CONFIG).encode()
        for holder in (file, group):
            if version:
                holder.attrs["keras_version"] = version if as_text else version.encode()
        group.attrs["layer_names"] = list(layers) if as_text else [name.encode() for name in layers]
        for layer in layers:
            names = [] if layer == "flat" else [f"{layer}/kernel:0", f"{layer}/bias:0"]
            each = group.create_group(layer)
            each.attrs["weight_names"] = names
            for name in names:
                arrays[f"{layer}/{name}"] = random.normal(size=(3, 4) if "kernel" in name else 4).astype("f4")
                each[name] = arrays[f"{layer}/{name}"]
        group.create_group("top_level_model_weights").attrs["weight_names"] = []
    return arrays


def tree(target):
    """What Keras 3 writes for weights; returns the arrays by tensor name."""
    random = np.random.default_rng(4)
    arrays = {
        f"layers/lstm/cell/vars/{number}": random.normal(size=(number + 1, 8)).astype("f4") for number in range(12)
    }
    arrays["layers/dense/vars/0"] = np.arange(3, dtype="f2")
    with h5py.File(target, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file["layers/lstm/cell/vars"].attrs["name"] = "lstm_cell"
        file.create_group("vars").attrs["name"] = "sequential"
    return arrays


def zipped(path, members=None, **options):
    weights = io.BytesIO()
    arrays = tree(weights)
    contents = {
        "metadata.json": json.dumps({"keras_version": "3.4.1"}),
        "config.json": json.dumps(CONFIG),
        "model.weights.h5": weights.getvalue(),
        **(members or {}),
    }
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in contents.items():
            if content is not None:
                archive.writestr(name, content)
    return arrays


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("version", ["3.15.1", "2.2.4-tf", None])
def test_legacy(path, same, version, whole, as_text):
    arrays = legacy(path, version, whole, as_text)
    artefact = open_artefact(path)
    assert artefact.format == "keras-h5"
    assert same(artefact.tensors, arrays)
    assert list(artefact.tensors) == list(arrays)
    assert artefact.keras.version == (version or "1")
    assert artefact.keras.model == (CONFIG if whole else None)
    assert artefact.keras.layer_weights == {
        "lstm_1": ("lstm_1/lstm_1/kernel:0", "lstm_1/lstm_1/bias:0"),
        "flat": (),
        "dense_1": ("dense_1/dense_1/kernel:0", "dense_1/dense_1/bias:0"),
    }


def test_attributes_in_chunks(path, same):
    arrays = legacy(path, layers=[f"layer{number}" for number in range(30)])
    with h5py.File(path, "a") as file:
        group = file["model_weights"]
        names = list(group.attrs["layer_names"])
        del group.attrs["layer_names"]
        for chunk in range(3):
            group.attrs[f"layer_names{chunk}"] = names[10 * chunk : 10 * chunk + 10]
    assert same(open_artefact(path).tensors, arrays)


def test_compressed_and_foreign_byte_order(path, same):
    arrays = legacy(path)
    with h5py.File(path, "a") as file:
        for name, array in arrays.items():
            del file[f"model_weights/{name}"]
            if array.ndim == 2:
                file["model_weights"].create_dataset(name, data=array, compression="gzip", chunks=(1, 4))
            else:
                file["model_weights"].create_dataset(name, data=array.astype(">f4"))
    assert same(open_artefact(path).tensors, arrays)


def test_weights_tree(tmp_path, same):
    path = tmp_path / "model.weights.h5"
    arrays = tree(path)
    artefact = open_artefact(path)
    assert same(artefact.tensors, arrays)
    assert list(artefact.tensors)[1:] == [f"layers/lstm/cell/vars/{number}" for number in range(12)]
    assert artefact.keras.model is None


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip(tmp_path, same, compression):
    path = tmp_path / "model.keras"
    arrays = zipped(path, compression=compression)
    artefact = open_artefact(path)
    assert same(artefact.tensors, arrays)
    assert (artefact.format, artefact.keras.version, artefact.keras.model) == ("keras", "3.4.1", CONFIG)


def test_bfloat16(path):
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.array([b"\x80\x3f", b"\0\xc0"], "V2")
    tensors = open_artefact(path).tensors
    assert tensors.specs["layers/dense/vars/0"].dtype == "bfloat16"
    assert tensors["layers/dense/vars/0"].tolist() == [1.0, -2.0]


def test_genuine(fixture_file):
    for era, names in (
        ("keras2", ["model.h5"]),
        ("tf_keras", ["model.h5", "model.keras"]),
        ("keras3", ["model.h5", "model.keras"]),
    ):
        sizes = set()
        for name in names:
            artefact = open_artefact(
                fixture_file(f"{era}/hard_sigmoid/{name}" if era != "keras2" else f"keras2/last_step/{name}")
            )
            assert artefact.keras.model["class_name"] == "Sequential"
            assert artefact.keras.version[0] == ("3" if era == "keras3" else "2")
            sizes.add(sum(array.size for array in dict(artefact.tensors).values()))
        assert len(sizes) == 1


def test_real(real_file):
    artefact = open_artefact(real_file("shakespeare_keras2/shakespeare.h5"))
    assert artefact.keras.version == "2.2.4"
    assert artefact.tensors["lstm_1/lstm_1/kernel:0"].shape == (60, 480)
    artefact = open_artefact(real_file("weather_keras3/model_50_sens.keras"))
    assert artefact.keras.version == "3.4.1"
    assert artefact.tensors["layers/lstm_1/cell/vars/1"].shape == (50, 200)


def change(path, alter):
    legacy(path)
    with h5py.File(path, "a") as file:
        group = file["model_weights/lstm_1/lstm_1"]
        del group["kernel:0"]
        alter(file, group)


@pytest.mark.parametrize(
    ("alter", "match"),
    [
        (lambda file, group: None, "no 'lstm_1/lstm_1/kernel:0' in"),
        (lambda file, group: group.create_group("kernel:0"), "not a dataset"),
        (lambda file, group: group.__setitem__("kernel:0", h5py.SoftLink("/model_weights/x")), "no '|is a link"),
        (
            lambda file, group: group.__setitem__("kernel:0", h5py.SoftLink("/model_weights/dense_1/dense_1/bias:0")),
            "is a link",
        ),
        (lambda file, group: group.__setitem__("kernel:0", h5py.ExternalLink("model.h5", "/x")), "no '|is a link"),
        (lambda file, group: group.__setitem__("kernel:0", "text"), "expected numbers"),
        (lambda file, group: group.create_dataset("kernel:0", dtype="f4"), "expected numbers"),
        (lambda file, group: group.create_dataset("kernel:0", (2**40,), "f4"), "0 bytes, expected 4398046511104"),
        (lambda file, group: group.create_dataset("kernel:0", (2**40,), "f4", chunks=(2**20,)), "does not fit a file"),
        (
            lambda file, group: group.create_dataset("kernel:0", (9,), "f4", chunks=(2**28,), maxshape=(None,)),
            "does not fit",
        ),
        (
            lambda file, group: group.create_dataset("kernel:0", (2,), "f4", external=[("/etc/passwd", 0, 8)]),
            "another file",
        ),
        (
            lambda file, group: file["model_weights/lstm_1"].attrs.__delitem__("weight_names"),
            "no attribute 'weight_names'",
        ),
        (lambda file, group: file["model_weights/lstm_1"].attrs.__setitem__("weight_names", [1, 2]), "expected text"),
        (
            lambda file, group: file["model_weights"].attrs.__setitem__("layer_names", ["flat", "flat"]),
            "'flat' is there twice",
        ),
        (
            lambda file, group: file["model_weights"].attrs.__delitem__("layer_names"),
            "without an attribute 'layer_names'",
        ),
        (lambda file, group: file.attrs.__setitem__("model_config", "{"), "not JSON"),
        (lambda file, group: file.attrs.__setitem__("model_config", "[]"), "expected an object"),
        (lambda file, group: file.attrs.__setitem__("model_config", "[" * 50000), "not JSON"),
        (lambda file, group: file.attrs.__setitem__("model_config", ["{}", "{}"]), "2 strings, expected one"),
    ],
)
def test_refused(path, alter, match):
    def complete(file, group):
        alter(file, group)
        if (
            "kernel:0" not in group
            and "no 'lstm" not in match
            and group.get("kernel:0", getlink=True, default=None) is None
        ):
            group["kernel:0"] = np.zeros(1, "f4")

    change(path, complete)
    with pytest.raises(FormatError, match=match):
        dict(open_artefact(path).tensors)


def test_virtual_dataset_refused(path):
    def alter(file, group):
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
        group.create_virtual_dataset("kernel:0", layout)

    change(path, alter)
    with pytest.raises(FormatError, match="another file"):
        open_artefact(path)


def test_groups_in_a_circle(tmp_path):
    path = tmp_path / "circle.weights.h5"
    arrays = tree(path)
    with h5py.File(path, "a") as file:
        file["layers/lstm/again"] = file["layers"]
    assert set(open_artefact(path).tensors) == set(arrays)


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ({"config.json": None}, "a zip without config.json"),
        ({"model.weights.h5": None}, "a zip without model.weights.h5"),
        ({"config.json": "{"}, "config.json: not JSON"),
        ({"config.json": b"\xff\xff"}, "config.json: not JSON"),
        ({"metadata.json": "{}"}, "keras_version None"),
        ({"model.weights.h5": b"text"}, "HDF5 cannot read it"),
        ({"model.weights.h5": b""}, "HDF5 cannot read it"),
    ],
)
def test_zip_refused(tmp_path, members, match):
    path = tmp_path / "model.keras"
    zipped(path, members)
    with pytest.raises(FormatError, match=match):
        open_artefact(path)


def unzipped(folder):
    folder.mkdir()
    arrays = tree(folder / "model.weights.h5")
    (folder / "metadata.json").write_text(json.dumps({"keras_version": "3.4.1"}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return arrays


def test_folder(tmp_path, same):
    arrays = unzipped(tmp_path / "model")
    artefact = open_artefact(tmp_path / "model")
    assert same(artefact.tensors, arrays)
    assert (artefact.format, artefact.keras.version, artefact.keras.model) == ("keras-folder", "3.4.1", CONFIG)
    (tmp_path / "model" / "metadata.json").write_text("{}")
    with pytest.raises(FormatError, match="keras_version None"):
        open_artefact(tmp_path / "model")


def sharded(folder, **changed):
    """A layer in one file, a layer in two; the map with `changed` entries. Returns the arrays by tensor name."""
    random = np.random.default_rng(6)
    homes = {"layers/lstm/cell": [0, 0, 1], "layers/dense": [1, 1]}
    arrays, where = {}, {}
    with h5py.File(folder / "m_00000.weights.h5", "w") as one, h5py.File(folder / "m_00001.weights.h5", "w") as two:
        for layer, files in homes.items():
            for number, k in enumerate(files):
                name = f"{layer}/vars/{number}"
                arrays[name] = (one, two)[k][name] = random.normal(size=(2, 3)).astype("f4")
            listed = [f"m_{k:05}.weights.h5" for k in sorted(set(files))]
            where[f"/{layer}/vars"] = listed if len(listed) > 1 else listed[0]
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
    where |= {f"/{key}/vars": value for key, value in changed.items()}
    (folder / "m.weights.json").write_text(json.dumps({"metadata": {"total_size": 120}, "weight_map": where}))
    return arrays


def test_shards(tmp_path, same):
    arrays = sharded(tmp_path)
    artefact = open_artefact(tmp_path / "m.weights.json")
    assert same(artefact.tensors, arrays)
    assert (artefact.format, artefact.keras.version, artefact.keras.model) == ("keras-shards", "3", None)


@pytest.mark.parametrize(
    ("where", "match"),
    [
        ("m_00002.weights.h5", "no shard m_00002.weights.h5 beside it"),
        ("../m_00000.weights.h5", "expected names of files beside it"),
        ("/etc/passwd", "expected names of files beside it"),
        ("a\\b.h5", "expected names of files beside it"),
        ("m.weights.json", "expected names of files beside it"),
        ([], "expected names of files beside it"),
        ([3], "expected names of files beside it"),
        (None, "expected names of files beside it"),
        ("m_00000.weights.h5", "no 'layers/dense/vars' in m_00000.weights.h5"),
        (["m_00001.weights.h5", "m_00000.weights.h5"], "no 'layers/dense/vars' in m_00000.weights.h5"),
    ],
)
def test_shards_refused(tmp_path, where, match):
    sharded(tmp_path, **{"layers/dense": where})
    with pytest.raises(FormatError, match=match):
        open_artefact(tmp_path / "m.weights.json")


def test_shards_that_hold_the_same(tmp_path):
    sharded(tmp_path)
    with h5py.File(tmp_path / "m_00001.weights.h5", "a") as file:
        file["layers/lstm/cell/vars/0"] = np.zeros((2, 3), "f4")
    with pytest.raises(FormatError, match="'layers/lstm/cell/vars/0' is there twice"):
        open_artefact(tmp_path / "m.weights.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_shards_without_a_map(tmp_path, text):
    (tmp_path / "m.weights.json").write_text(text)
    with pytest.raises(FormatError, match=r"m\.weights\.json: "):
        open_artefact(tmp_path / "m.weights.json")


def test_zip_bomb(tmp_path):
    path = tmp_path / "model.keras"
    zipped(path, {"config.json": bytes(100 << 20)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(FormatError, match=r"members of 1048\d{5} bytes.*expected at most"):
        open_artefact(path)


def test_zip_compression_that_is_not_followed(tmp_path):
    path = tmp_path / "model.keras"
    zipped(path, compression=zipfile.ZIP_LZMA)
    with pytest.raises(FormatError, match="compression method 14"):
        open_artefact(path)


def test_a_heap_that_hangs_libhdf5(path):
    """One damaged size in a heap of strings: libhdf5 would loop for ever."""
    legacy(path, as_text=True)
    data = bytearray(path.read_bytes())
    at = data.find(b"GCOL")
    assert at > 0
    data[at + 24] ^= 0x80  # size of the first object
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"heap|free space"):
        open_artefact(path)
