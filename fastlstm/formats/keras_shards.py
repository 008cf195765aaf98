"""The weights of Keras 3 in shards: a JSON file that says in which HDF5 files beside it each layer's variables are.

Source: ShardedH5IOStore of keras/src/saving/saving_lib.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastlstm.errors import FormatError, MissingFileError
from fastlstm.formats.artefact import Artefact, KerasConfig
from fastlstm.formats.hdf5 import Hdf5
from fastlstm.formats.json_text import parse_object
from fastlstm.formats.keras_h5 import KERAS_3
from fastlstm.formats.keras_tree import read_tree
from fastlstm.formats.source import is_file, read_whole
from fastlstm.formats.tensors import Tensors, TensorSpec

ENDING = ".weights.json"
MAP = "weight_map"
LARGEST = 4 << 20  # of the JSON file, in bytes


def detect(path: Path) -> bool:
    """A file called *.weights.json."""
    return path.name.endswith(ENDING) and is_file(path)


def read(path: Path) -> Artefact:
    """The weights by their path in the model, as those of one file would be.

    Raises FormatError, MissingFileError for a shard that is not there.
    """
    places = _places(path)
    shards: dict[str, Tensors] = {}
    found: dict[tuple[str, str], dict[str, TensorSpec]] = {}  # by shard and folder
    for name in dict.fromkeys(name for names in places.values() for name in names):
        shard = path.with_name(name)
        if not is_file(shard):
            raise MissingFileError(f"{path.name}: no shard {name} beside it; copy all of the model's files")
        shards[name] = read_tree(Hdf5.of_path(shard))
        for key, spec in shards[name].specs.items():
            found.setdefault((name, key.rpartition("/")[0]), {})[key] = spec
    specs: dict[str, TensorSpec] = {}
    homes: dict[str, Tensors] = {}
    for folder, names in places.items():
        for name in names:
            here = found.get((name, folder), {})
            again = next((key for key in here if key in specs), None)
            if again is not None or not here:
                problem = f"{again!r} is there twice" if again else f"no {folder!r} in {name}"
                raise FormatError(f"{path.name}: {problem}; its files are damaged or do not belong together")
            specs |= here
            homes |= dict.fromkeys(here, shards[name])
    return Artefact(path, "keras-shards", Tensors(specs, lambda key: homes[key][key]), keras=KerasConfig(None, KERAS_3))


def _places(path: Path) -> dict[str, list[str]]:
    """The files that hold each folder's variables: {"layers/lstm/cell/vars": ["model_00000.weights.h5"]}."""
    listed: Any = parse_object(read_whole(path, LARGEST), path.name).get(MAP)
    if not isinstance(listed, dict) or not listed:
        raise FormatError(f"{path.name}: no {MAP!r} in it; expected what Keras 3's save_weights writes with shards")
    places = {}
    for folder, names in listed.items():
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not names or not all(map(_is_plain, names)):
            raise FormatError(
                f"{path.name}: {folder!r} is in {names!r}; expected names of files beside it, ending in .h5"
            )
        places[folder.strip("/")] = list(dict.fromkeys(names))
    return places


def _is_plain(name: Any) -> bool:
    """Whether it names a file in the same folder: no path leads elsewhere."""
    return isinstance(name, str) and name == Path(name).name and "\\" not in name and name.endswith(".h5")
