"""Keras' recurrent cells by the names and shapes of their variables."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Set

from fastlstm.recognise.tensorflow1.names import Candidates, CellVariables

LSTM_KIND, GRU_KIND = "Keras", "Keras GRU"
RECURRENT = "recurrent_kernel"

_LAYERS = {LSTM_KIND: ("a Keras LSTM", 4), GRU_KIND: ("a Keras GRU", 3)}  # and its number of gates
_READ = re.compile(r"(/(resource|while|split|(ReadVariableOp|Read|Cast|MatMul)(_\d+)?))+$")  # after what a read is for
_KERNEL = re.compile(r"(.*?)/?kernel(_\d+)?")


def find_pairs(shapes: Mapping[str, tuple[int, ...]], taken: Set[str], kind: str) -> Candidates:
    """Every kernel (D, GH) with a recurrent_kernel (H, GH) beside it, and a bias (GH,) if it has one; of a GRU with
    reset_after it is (2, GH)."""
    layer, gates = _LAYERS[kind]
    cells: dict[str, CellVariables] = {}
    rejected: dict[str, str] = {}
    for kernel, shape in shapes.items():
        match = _KERNEL.fullmatch(kernel)
        if not match or kernel in taken or kernel.endswith(RECURRENT):
            continue
        number = match[2] or ""
        recurrent, bias = (f"{match[1]}/{leaf}{number}".lstrip("/") for leaf in (RECURRENT, "bias"))
        if recurrent not in shapes:
            continue
        scope = f"{match[1]}/{number[1:]}" if number else match[1]
        hidden = shapes[recurrent][0] if len(shapes[recurrent]) == 2 else 0
        columns = gates * hidden
        wanted = {kernel: (shape[0], columns), recurrent: (hidden, columns), bias: (columns,)}
        if kind == GRU_KIND and shapes.get(bias) == (2, columns):
            wanted[bias] = (2, columns)
        wrong = [name for name, want in wanted.items() if shapes.get(name, want) != want]
        if wrong or not hidden:
            rejected[scope] = f"{wrong[0]!r} has shape {shapes[wrong[0]]}; {layer}'s would be {wanted[wrong[0]]}"
            continue
        cells[scope] = CellVariables(
            scope, kernel, bias if bias in shapes else None, shape[0], hidden, hidden, None, None, True, (), kind,
            {RECURRENT: recurrent},
        )  # fmt: skip
    return Candidates(cells, rejected)


def scope_of_reads(variable: str, known: Container[str]) -> str:
    """What to call the cell of a constant that is called after what reads it, other than those `known`."""
    scope = _READ.sub("", variable)
    while scope in known:
        scope += "_"
    return scope
