"""Every kind of cell: how it is found by names, read in a graph, what it assumes without one, and its layer.

A further kind is one file with these functions and one row of KINDS; a kind that has variables of names of its own
stands before those that would take them for their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import NamedTuple

from fastlstm.layers import GRU, LSTM
from fastlstm.recognise.tensorflow1.cell_defaults import coupled_defaults, layer_norm_lstm_defaults, lstm_defaults
from fastlstm.recognise.tensorflow1.cell_graph import uses_of_cell
from fastlstm.recognise.tensorflow1.cell_layers import (
    Reading,
    coupled_layer,
    gru_layer,
    keras_gru_layer,
    lstm_layer,
)
from fastlstm.recognise.tensorflow1.cell_use import CellUse
from fastlstm.recognise.tensorflow1.coupled_cell import find_coupled, uses_of_coupled
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.gru_cell import find_gru, gru_defaults, uses_of_gru
from fastlstm.recognise.tensorflow1.keras_cell import KIND as KERAS
from fastlstm.recognise.tensorflow1.keras_cell import find_keras, uses_of_keras
from fastlstm.recognise.tensorflow1.keras_gru_cell import KIND as KERAS_GRU
from fastlstm.recognise.tensorflow1.keras_gru_cell import find_keras_gru, uses_of_keras_gru
from fastlstm.recognise.tensorflow1.layer_norm_cell import LayerNormMatcher, find_layer_norm
from fastlstm.recognise.tensorflow1.names import Candidates, CellVariables, find_lstms, natural
from fastlstm.recognise.tensorflow1.parts import Fact

Shapes = Mapping[str, tuple[int, ...]]


class Kind(NamedTuple):
    """find      shapes, variables that are taken already -> cells by scope, and near misses
    uses      a cell's places in a graph; raises NotThisCell
    defaults  what is assumed without one: the same facts as a use has; None where too much would be
    layer     the layer
    """

    find: Callable[[Shapes, Set[str]], Candidates]
    uses: Callable[[CellVariables, Walker], list[CellUse]]
    defaults: Callable[[CellVariables], dict[str, Fact]] | None
    layer: Callable[[CellVariables, Reading], LSTM | GRU]


#: By `CellVariables.kind`, in the order in which they take their variables.
KINDS = {
    "LayerNorm": Kind(
        find_layer_norm, partial(uses_of_cell, kind=LayerNormMatcher), layer_norm_lstm_defaults, lstm_layer
    ),
    "Coupled": Kind(find_coupled, uses_of_coupled, coupled_defaults, coupled_layer),
    "GRU": Kind(find_gru, uses_of_gru, gru_defaults, gru_layer),
    KERAS_GRU: Kind(find_keras_gru, uses_of_keras_gru, None, keras_gru_layer),
    KERAS: Kind(find_keras, uses_of_keras, None, lstm_layer),
    "LSTM": Kind(find_lstms, uses_of_cell, lstm_defaults, lstm_layer),
}


def find_cells(shapes: Shapes, *, with_graph: bool) -> Candidates:
    """The cells of every kind; without a graph only of those whose names say enough."""
    cells: dict[str, CellVariables] = {}
    rejected: dict[str, str] = {}
    for kind in (kind for kind in KINDS.values() if with_graph or kind.defaults is not None):
        found = kind.find(shapes, {name for cell in cells.values() for name in cell.names})
        cells |= {scope: cell for scope, cell in found.cells.items() if scope not in cells}
        rejected |= {scope: why for scope, why in found.rejected.items() if scope not in cells}
    return Candidates({scope: cells[scope] for scope in sorted(cells, key=natural)}, rejected)
