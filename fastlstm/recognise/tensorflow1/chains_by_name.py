"""Which cells form a stack, and what stands around them, told from the variables' names alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from fastlstm.recognise.tensorflow1 import highway
from fastlstm.recognise.tensorflow1.bidirectional import way_of
from fastlstm.recognise.tensorflow1.names import CellVariables, join, natural, stack_of, within
from fastlstm.recognise.tensorflow1.parts import Affine, Both, Cell, Chain, cells_in

Shapes = Mapping[str, tuple[int, ...]]

#: One of the layers of stack_bidirectional_dynamic_rnn: "stack_bidirectional_rnn/cell_1/bidirectional_rnn".
_LAYER = re.compile(r"(.+)/(?:cell_|Layer)\d+/[^/]+$")
#: tf.contrib.rnn's wrappers: scope, whether it stands before the cell, kernel and bias below it.
_WRAPPER = re.compile(r"(?:(.*)/)?(Input|Output|input_|output_)(?:ProjectionWrapper|projection_wrapper)/(.+)$")
_LEAVES = {"kernel": "bias", "weights": "biases", "Linear/Matrix": "Linear/Bias"}


def stacks_by_name(cells: Mapping[str, CellVariables], shapes: Shapes) -> dict[str, Chain]:
    """Cells by the scope of the stack that their names put them in, bottom layer first."""
    single: dict[str, list[Cell]] = {}
    directed: dict[str, dict[str, list[Cell]]] = {}
    for scope, cell in cells.items():
        way = way_of(scope)
        part = Cell(scope, highway=_highway(cell, shapes))
        if way is None:
            single.setdefault(stack_of(scope), []).append(part)
        else:
            directed.setdefault(way[0], {}).setdefault(way[1], []).append(part)
    stacks: dict[str, Chain] = {scope: tuple(parts) for scope, parts in single.items()}
    for parent in sorted(directed, key=natural):
        ways = directed[parent]
        layer = _LAYER.match(parent)
        key = layer[1] if layer else parent
        both: Chain = (
            (Both(tuple(ways["fw"]), tuple(ways["bw"]), "concat"),)
            if len(ways) == 2
            else tuple(part for parts in ways.values() for part in parts)
        )
        stacks[key] = (*stacks.get(key, ()), *both)
    return {scope: _with_wrappers(chain, cells, shapes) for scope, chain in stacks.items()}


def _highway(cell: CellVariables, shapes: Shapes) -> tuple[str, ...]:
    """The variables of a HighwayWrapper around the cell."""
    parent = cell.scope.rpartition("/")[0]
    names = [join(parent, leaf) for leaf in highway.LEAVES]
    size = cell.input_size
    there = [shapes.get(name) == ((size,) if name.endswith("_b") else (size, size)) for name in names]
    if cell.output_size != size or not all(there[:2]):
        return ()
    return tuple(names if all(there) else names[:2])


def _with_wrappers(chain: Chain, cells: Mapping[str, CellVariables], shapes: Shapes) -> Chain:
    """`chain` with the dense layers of InputProjectionWrapper and OutputProjectionWrapper."""
    parts = list(chain)
    for scope, before, dense in _wrappers(shapes):
        inside = [k for k, part in enumerate(parts) if isinstance(part, Cell) and within(part.scope, scope)]
        if not inside:
            continue
        place = inside[0] if before else inside[-1]
        (cell,) = cells_in((parts[place],))
        rows, columns = shapes[dense.kernel]
        if before and columns == cells[cell.scope].input_size:
            parts.insert(place, dense)
        elif not before and rows == cells[cell.scope].output_size:
            parts.insert(place + 1, dense)
    return tuple(parts)


def _wrappers(shapes: Shapes) -> Iterator[tuple[str, bool, Affine]]:
    """The scope that each wrapper stands in, whether its dense layer comes before the cell, and that layer."""
    for name in sorted(shapes, key=natural):
        found = _WRAPPER.match(name)
        if found is None or found[3] not in _LEAVES or len(shapes[name]) != 2:
            continue
        bias = name[: -len(found[3])] + _LEAVES[found[3]]
        yield found[1] or "", found[2].lower().startswith("input"), Affine(name, bias if bias in shapes else None)


def variables_of(chain: Sequence[object]) -> set[str]:
    """What the parts between the cells are made of."""
    return {name for part in chain if isinstance(part, Affine) for name in (part.kernel, part.bias) if name}
