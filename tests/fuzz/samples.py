"""The files that are damaged: for each row of `FORMATS`, some that genuine writers wrote. A new row needs a sample.

`python -m tests.fuzz` and test_fuzz.py take them from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz import rebuild
from tests.fuzz.rebuild_graph import graph_nodes

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Sample:
    """One artefact.

    folder   below tests/data
    opened   what is given to `open_artefact`, in that folder; "" is the folder itself
    damaged  the files to damage, in turn
    others   files that have to be there as well
    checked  of the damaged ones, those that have checksums: no change of theirs may be read as something else
    rebuilds ways to damage what lies behind the checksums or the lengths
    options  for `recognise`
    is_model whether there is a model in it, or tensors alone
    hdf5     whether libhdf5 reads it
    share    of the format's flips, beside its other samples
    """

    folder: str
    opened: str
    damaged: tuple[str, ...]
    others: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()
    rebuilds: tuple[rebuild.Rebuild, ...] = ()
    options: dict[str, object] = field(default_factory=dict)
    is_model: bool = True
    hdf5: bool = False
    share: float = 1.0

    def files(self) -> dict[str, bytes]:
        return {name: (DATA / self.folder / name).read_bytes() for name in (*self.damaged, *self.others)}


def single(folder: str, name: str, *rebuilds: rebuild.Rebuild, checked: bool = False, **more: object) -> Sample:
    """A sample of one file."""
    return Sample(folder, name, (name,), checked=(name,) * checked, rebuilds=rebuilds, **more)  # type: ignore[arg-type]


INDEX, SHARD = "model.index", "model.data-00000-of-00001"
SHARDS = ("model.data-00000-of-00002", "model.data-00001-of-00002")

VARIABLES = "variables/variables"

SAMPLES: dict[str, tuple[Sample, ...]] = {  # by the name of a row of FORMATS, with what kind of such a file it is
    "checkpoint": (
        Sample(
            "fuzz/checkpoint",
            "model",
            (INDEX, SHARD),
            checked=(INDEX, SHARD),
            rebuilds=(
                rebuild.table_bytes(INDEX),
                rebuild.table_entries(INDEX),
                rebuild.table_entries(INDEX),
                rebuild.bundle_data(INDEX, SHARD),
            ),
            options={"overrides": {"activation": "tanh"}},
        ),
        Sample(
            "fuzz/checkpoint-split",
            "model",
            (INDEX, *SHARDS),
            checked=(INDEX, *SHARDS),
            rebuilds=(rebuild.table_bytes(INDEX), rebuild.table_entries(INDEX)),
            is_model=False,
        ),
        Sample(
            "fuzz/checkpoint",
            "",
            ("checkpoint",),
            others=(INDEX, SHARD),
            rebuilds=(rebuild.state_file("checkpoint", "model"),),
            share=0.2,
        ),
    ),
    "checkpoint V1": (
        single(
            "fuzz/checkpoint-v1",
            "model",
            rebuild.table_bytes("model"),
            rebuild.table_entries("model"),
            rebuild.table_entries("model"),
            checked=True,
        ),
    ),
    "checkpoint .meta": (
        Sample(
            "fuzz/checkpoint",
            "model",
            ("model.meta",),
            others=(INDEX, SHARD),
            rebuilds=(rebuild.protobuf("model.meta"), *[graph_nodes("model.meta", 2)] * 2),
        ),
    ),
    "checkpoint objects": (
        Sample(
            "fuzz/checkpoint-objects",
            "model",
            (INDEX, SHARD),
            checked=(INDEX, SHARD),
            rebuilds=(
                rebuild.object_graph(INDEX, SHARD),
                rebuild.object_graph(INDEX, SHARD),
                rebuild.table_entries(INDEX),
            ),
        ),
    ),
    "saved-model": (
        Sample(
            "fuzz/saved-model",
            "",
            ("saved_model.pb",),
            others=(f"{VARIABLES}.index", f"{VARIABLES}.data-00000-of-00001"),
            rebuilds=(
                rebuild.protobuf("saved_model.pb"),
                graph_nodes("saved_model.pb", 2, 2),
                graph_nodes("saved_model.pb", 2, 2),
                rebuild.object_graph(f"{VARIABLES}.index", f"{VARIABLES}.data-00000-of-00001"),
            ),
        ),
        Sample(
            "fuzz/saved-model-tf1",
            "",
            ("saved_model.pb",),
            others=(f"{VARIABLES}.index", f"{VARIABLES}.data-00000-of-00001"),
            rebuilds=(rebuild.protobuf("saved_model.pb"), graph_nodes("saved_model.pb", 2, 2)),
        ),
    ),
    "frozen-graph": (
        single("fuzz/frozen-graph", "model.pb", rebuild.protobuf("model.pb"), *[graph_nodes("model.pb")] * 2),
    ),
    "keras": (single("fuzz/keras", "model.keras", rebuild.zip_members("model.keras"), checked=True, hdf5=True),),
    "keras-h5": (
        single("fuzz/keras-h5", "keras3.h5", rebuild.hdf5_addresses("keras3.h5"), hdf5=True),
        single("fuzz/keras-h5", "tf_keras.h5", rebuild.hdf5_addresses("tf_keras.h5"), hdf5=True),
        single(
            "fuzz/keras-h5",
            "model.weights.h5",
            rebuild.hdf5_addresses("model.weights.h5"),
            options={"overrides": {"recurrent_activation": "sigmoid"}},
            hdf5=True,
        ),
    ),
    "keras-folder": (
        Sample(
            "fuzz/keras-folder",
            "",
            ("config.json", "metadata.json"),
            others=("model.weights.h5",),
            rebuilds=(rebuild.json_file("config.json"), rebuild.json_file("metadata.json")),
            hdf5=True,
        ),
        Sample("fuzz/keras-folder", "", ("model.weights.h5",), ("config.json", "metadata.json"), hdf5=True, share=0.1),
    ),
    "keras-shards": (
        Sample(
            "fuzz/keras-shards",
            "m.weights.json",
            ("m.weights.json",),
            ("m_00000.weights.h5",),
            rebuilds=(rebuild.json_file("m.weights.json"),),
            options={"overrides": {"recurrent_activation": "sigmoid"}},
            hdf5=True,
        ),
        Sample(
            "fuzz/keras-shards",
            "m.weights.json",
            ("m_00000.weights.h5",),
            ("m.weights.json",),
            options={"overrides": {"recurrent_activation": "sigmoid"}},
            hdf5=True,
            share=0.1,
        ),
    ),
    "safetensors": (
        single("fuzz/safetensors", "saved.safetensors", rebuild.safetensors("saved.safetensors"), checked=True),
        single("fuzz/safetensors", "other.safetensors", is_model=False, share=0.3),
        single("pytorch/gru", "model.safetensors", share=0.3),
    ),
    "pytorch": (
        single("pytorch/gru", "model.pt"),
        single("pytorch/embedding", "model.pt", share=0.3),
    ),
    "tflite": (
        single("tflite/peephole_projection_clip", "model.tflite"),
        single("tflite/keras3_last_step", "model.tflite", share=0.5),
        single("tflite/basic_kernel", "model.tflite", share=0.3),
    ),
    "onnx": (
        single("onnx/gru_reset_after", "model.onnx"),
        Sample("onnx/external", "model.onnx", ("model.onnx", "weights.bin"), share=0.3),
    ),
    "json": (
        single("nam/lstm", "model.nam", rebuild.json_file("model.nam")),
        single("guitarml/lstm", "model.json", rebuild.json_file("model.json"), share=0.5),
        single("rtneural/gru", "model.json", rebuild.json_file("model.json"), share=0.5),
    ),
}


def format_of(name: str) -> str:
    """The row of `FORMATS` that a key of `SAMPLES` stands for: "checkpoint V1" for "checkpoint"."""
    return name.split()[0]
