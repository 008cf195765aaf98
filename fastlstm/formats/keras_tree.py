"""The weights of Keras 3: an HDF5 tree that mirrors the model's attributes, with ".../vars/0", ".../vars/1" ... in it.

Source: keras/src/saving/saving_lib.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastlstm.errors import FormatError
from fastlstm.formats.hdf5 import Hdf5
from fastlstm.formats.tensors import Tensors, TensorSpec

VARIABLES = "vars"


def read_tree(source: Hdf5) -> Tensors:
    """The tensors by path, "layers/lstm/cell/vars/0"; those of one layer in the order of their creation.

    Raises FormatError.
    """
    specs: dict[str, TensorSpec] = {}
    with source.open() as file:
        for path, group in _variable_groups(source, file):
            names = list(group)
            if not all(name.isascii() and name.isdecimal() for name in names):
                raise FormatError(f"{source.name}: {path!r} holds {names}, expected '0', '1' ...; the file is damaged")
            for name in sorted(names, key=int):
                specs[f"{path}/{name}"] = source.spec(source.child(group, name))
    if not specs:
        raise FormatError(
            f"{source.name}: an HDF5 file without an attribute 'layer_names' and without weights in groups 'vars'; "
            "it is not a model that Keras saved, or it is damaged"
        )
    source.check_total(specs.values())
    return Tensors(specs, source.fetch)


def _variable_groups(source: Hdf5, file: Any) -> Iterator[tuple[str, Any]]:
    """("layers/lstm/cell/vars", the group) for each, in the order of paths; one that is reached twice counts once."""
    import h5py

    seen = set()
    pending = [("", file)]
    while pending:
        path, group = pending.pop()
        identity = h5py.h5o.get_info(group.id).addr
        if identity in seen:
            continue
        seen.add(identity)
        if path.rpartition("/")[2] == VARIABLES:
            yield path, group
            continue
        children = [(f"{path}/{name}".lstrip("/"), source.child(group, name)) for name in group]
        pending.extend((name, child) for name, child in reversed(children) if isinstance(child, h5py.Group))
