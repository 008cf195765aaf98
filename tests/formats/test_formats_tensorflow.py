"""Bit by bit against a TensorFlow that is installed."""

from pathlib import Path

import numpy as np
import pytest

from fastlstm.errors import FastLSTMError
from fastlstm.formats import open_artefact
from fastlstm.formats.bundle import read_bundle

tf = pytest.importorskip("tensorflow")
DATA = Path(__file__).parents[1] / "data"
CASES = sorted([*DATA.rglob("*.index"), *DATA.glob("*/*_v1/model"), *DATA.glob("fuzz/*-v1/model")])


def assert_same(prefix, names=None):
    """Each tensor is, bit by bit, what TensorFlow's own reader of checkpoints gives, V1 or V2."""
    reader = tf.train.load_checkpoint(str(prefix))
    tensors = open_artefact(prefix).tensors if prefix.is_file() else read_bundle(prefix)
    if names is None:
        names = reader.get_variable_to_shape_map()
        assert set(names) == set(tensors)
    for name in names:
        expected = reader.get_tensor(name)
        expected = np.array(expected, object) if isinstance(expected, bytes) else np.asarray(expected)
        got = tensors[name]
        assert got.shape == expected.shape, name
        if expected.dtype.name == "bfloat16":
            expected = expected.astype(np.float32)
        if got.dtype == object:
            assert got.tolist() == expected.tolist(), name
        else:
            assert got.tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("index", CASES, ids=lambda path: str(path.relative_to(DATA)))
def test_fixture(index):
    assert_same(index.with_suffix(""))


@pytest.mark.parametrize("path", sorted(DATA.rglob("*.h5")), ids=lambda path: str(path.relative_to(DATA)))
def test_hdf5_fixture(path):
    """Each dataset of numbers is what h5py gives, and no weight is left out."""
    import h5py

    try:
        tensors = dict(open_artefact(path).tensors)
    except FastLSTMError as error:
        assert "optimizer" in path.name, error
        return
    stored = {}
    with h5py.File(path) as file:
        root = file.get("model_weights", file)
        root.visititems(lambda name, item: stored.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    missing = {name for name in set(stored) - set(tensors) if "optimizer" not in name and "seed" not in name}
    assert not missing
    for name, array in tensors.items():
        assert array.dtype == stored[name].dtype and array.shape == stored[name].shape
        assert array.tobytes() == stored[name].tobytes(), name


def test_real(real_file):
    for name in ("artclasses_tf012/model.ckpt-46499", "companynames_tf14/model.ckpt-4199"):
        real_file(f"{name}.index")
        assert_same(real_file(f"{name}.index").with_suffix(""))


DTYPES = "float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64 complex128"


def test_every_dtype(tmp_path):
    values = np.random.default_rng(1).integers(0, 100, (3, 5))
    tensors = {name: tf.cast(tf.constant(values), name) for name in DTYPES.split()}
    tensors["int4"] = tf.cast(tf.constant([-8, -1, 0, 7], tf.int32), "int4")
    tensors["uint4"] = tf.cast(tf.constant([0, 1, 8, 15], tf.int32), "uint4")
    tensors |= {"texts": tf.constant([b"", b"a\0", b"x" * 1000]), "no texts": tf.constant([], tf.string)}
    tensors |= {"none": tf.zeros([0, 4]), "text": tf.constant(b"\xff"), "f8": tf.cast([1.0], "float8_e5m2")}
    names = list(tensors)
    save(tmp_path / "m", tensors)
    got = read_bundle(tmp_path / "m")
    assert {name: got.specs[name].dtype for name in DTYPES.split()} == {name: name for name in DTYPES.split()}
    assert got["int4"].tolist() == [-8, -1, 0, 7]
    assert got["uint4"].tolist() == [0, 1, 8, 15]
    assert got.specs["f8"].dtype == "float8_e5m2"
    assert_same(tmp_path / "m", [name for name in names if name not in ("int4", "uint4", "f8")])


def save(prefix, tensors, slices=None):
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=slices or [""] * len(tensors),
        tensors=list(tensors.values()),
    )


def test_many_long_names(tmp_path):
    """An index of several blocks."""
    save(tmp_path / "m", {f"{'scope/' * 40}{number}": tf.constant(number) for number in range(3000)})
    assert_same(tmp_path / "m")


def test_slices_and_merged_shards(tmp_path):
    whole = tf.random.normal([250, 308])
    for part, (start, size) in enumerate([(0, 64), (64, 100), (164, 86)]):
        save(
            tmp_path / f"part{part}",
            {"net/w": whole[start : start + size], f"own{part}": tf.constant(part)},
            [f"250 308 {start},{size}:-", ""],
        )
    parts = [str(tmp_path / f"part{part}") for part in range(3)]
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(tmp_path / "m"))
    assert len(list(tmp_path.glob("m.data-*-of-00003"))) == 3
    assert read_bundle(tmp_path / "m")["net/w"].tobytes() == whole.numpy().tobytes()
    assert_same(tmp_path / "m")


def test_object_based_checkpoint(tmp_path):
    """The folder of tf.train.Checkpoint, with its state file, strings and counter."""
    checkpoint = tf.train.Checkpoint(
        w=tf.Variable(tf.random.normal([3, 4])), nested=tf.train.Checkpoint(b=tf.Variable(1.0))
    )
    path = checkpoint.save(str(tmp_path / "ckpt"))
    assert_same(Path(path))
    tensors = open_artefact(tmp_path).tensors
    assert tensors["w/.ATTRIBUTES/VARIABLE_VALUE"].tobytes() == checkpoint.w.numpy().tobytes()
    assert isinstance(tensors["_CHECKPOINTABLE_OBJECT_GRAPH"].item(), bytes)
