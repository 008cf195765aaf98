"""V1 checkpoints against the reader of an installed TensorFlow: both read the same and refuse the same."""

from pathlib import Path

import numpy as np
import pytest
from bundle_writer import message
from v1_writer import V1Writer, data, meta, values

from fastlstm.errors import FormatError
from fastlstm.formats.v1 import read_v1

tf = pytest.importorskip("tensorflow")
DATA = Path(__file__).parents[1] / "data"
WHOLE = [DATA / "tf1.0/multi_v1/model", DATA / "tf1.15/multi_v1/model", DATA / "tf1.15/dtypes/model_v1"]
SHARDED = sorted({path.parent for path in DATA.glob("*/*/model-00000-of-0000?")})
ALL = [(0, -1), (0, -1)]
W = np.arange(24, dtype="f4").reshape(4, 6)


def assert_same(paths, pattern):
    reader = tf.train.load_checkpoint(str(pattern))
    tensors = read_v1(paths)
    assert {name: list(spec.shape) for name, spec in tensors.specs.items()} == reader.get_variable_to_shape_map()
    for name in tensors:
        expected = np.asarray(restored(pattern, name, tensors.specs[name].dtype))
        got = tensors[name]
        assert got.shape == expected.shape, name
        assert got.tolist() == expected.tolist() if got.dtype == object else got.tobytes() == expected.tobytes(), name


def restored(pattern, name, dtype):
    """By the operation that a Saver restores with."""
    return tf.raw_ops.Restore(file_pattern=str(pattern), tensor_name=name, dt=tf.as_dtype(dtype)).numpy()


@pytest.mark.parametrize("path", WHOLE, ids=lambda p: "/".join(p.parts[-3:-1]))
def test_whole(path):
    assert_same([path], path)


@pytest.mark.parametrize("folder", SHARDED, ids=lambda p: "/".join(p.parts[-2:]))
def test_sharded(folder):
    paths = sorted(folder.glob("model-?????-of-?????"))
    assert_same(paths, folder / f"model-?????-of-{len(paths):05d}")


def test_crafted(tmp_path):
    """Our writer's files, slices and packing that no TensorFlow writes among them, are files to TensorFlow too."""
    writer = V1Writer()
    writer.add(b"rows", W, [[(0, 1), (0, -1)], [(1, 3), (0, -1)]])
    writer.add(b"blocks", W, [[(0, 2), (0, 2)], [(0, 2), (2, 4)], [(2, 2), (0, 6)]])
    writer.add(b"numbers", np.array([-(2**31), 2**31 - 1, -1, 0, 300], "i4"))
    writer.add(b"none", np.zeros((0, 4), "f4"))
    raw = W.tobytes()
    for name, tensor in (
        (b"cut", message(5, raw[:8]) + message(5, raw[8:])),
        (b"one by one", b"".join(b"\x2d" + raw[k : k + 4] for k in range(0, 96, 4))),
        (b"both", b"\x2d" + raw[:4] + message(5, raw[4:])),
    ):
        writer.metas += meta(name, W.shape, 1, [ALL])
        writer.rows.update([data(name, ALL, tensor)])
    for compress in (False, True):
        writer.write(tmp_path / "m", per_block=3, compress=compress)
        assert_same([tmp_path / "m"], tmp_path / "m")


@pytest.mark.parametrize(
    ("slices", "tensor"),
    [
        ([[(0, 1), (0, -1)], [(2, 2), (0, -1)]], None),  # a hole
        ([[(0, 3), (0, -1)], [(1, 3), (0, -1)]], None),  # an overlap
        ([[(0, 2), (0, 3)], [(0, 2), (2, 3)], [(2, 2), (0, -1)]], None),  # both
        ([ALL, ALL], None),
        ([ALL], message(5, W.tobytes()[:-4])),
        ([ALL], message(5, W.tobytes()[:4])),
        ([ALL], b""),
        ([ALL], message(5, W.tobytes() + b"1234")),
    ],
)
def test_refused_by_both(tmp_path, slices, tensor):
    writer = V1Writer()
    writer.metas = meta(b"w", W.shape, 1, slices)
    for extents in slices:
        region = tuple(slice(start, None if n < 0 else start + n) for start, n in extents)
        part = values(np.ascontiguousarray(W[region]))
        writer.rows.update([data(b"w", extents, part if tensor is None else tensor)])
    writer.write(tmp_path / "m")
    with pytest.raises((tf.errors.OpError, RuntimeError)):
        restored(tmp_path / "m", "w", "float32")
    with pytest.raises(FormatError):
        read_v1([tmp_path / "m"])["w"]
