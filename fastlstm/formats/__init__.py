"""Bytes -> named arrays, and the graph or the configuration that came with them, as plain data.

Nothing here knows what an LSTM is.  `open_artefact` is the entry; `FORMATS` is the table of what it can open.
"""

from fastlstm.formats.artefact import Artefact, KerasConfig
from fastlstm.formats.detect import FORMATS, Format, open_artefact, read_variables
from fastlstm.formats.graph import Graph, Node, Output, Use
from fastlstm.formats.tensors import Tensors, TensorSpec

__all__ = [
    "FORMATS",
    "Artefact",
    "Format",
    "Graph",
    "KerasConfig",
    "Node",
    "Output",
    "TensorSpec",
    "Tensors",
    "Use",
    "open_artefact",
    "read_variables",
]
