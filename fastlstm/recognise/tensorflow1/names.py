"""TensorFlow 1 variables by name and shape: which of them form LSTM cells, and which are left aside.

Names, from TensorFlow's own sources (rnn_cell_impl.py, core_rnn_cell_impl.py, rnn_cell.py, lstm_ops.py):

    1.2 to 1.15    <scope>/{kernel, bias, w_i_diag, w_f_diag, w_o_diag, projection/kernel}
    1.0 and 1.1    <scope>/{weights, biases, w_?_diag, projection/weights}
    up to 0.12     <scope>/Linear/{Matrix, Bias} (BasicLSTMCell), <scope>/{W_0, B, W_?_diag, W_P_0} (LSTMCell),
                   <scope>/{W, b, wci, wcf, wco} (LSTMBlockCell)

Those of the other cells stand where each is read, in `kinds`.
A kernel is (D + P, 4H), its rows [input; hidden]: D is what is left of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from fastlstm.formats.tensors import TensorSpec

_KERNEL_AND_BIAS = {
    "kernel": "bias",
    "weights": "biases",
    "Linear/Matrix": "Linear/Bias",
    "linear/weights": "linear/b",  # LayerNormBasicLSTMCell without layer_norm
    "W_0": "B",
    "W": "b",
}
_PROJECTIONS = ("projection/kernel", "projection/weights", "W_P_0")
_PEEPHOLES: Sequence[tuple[str, ...]] = (
    ("w_i_diag", "w_f_diag", "w_o_diag"),
    ("W_I_diag", "W_F_diag", "W_O_diag"),
    ("wci", "wcf", "wco"),
)

_SLOT = re.compile(  # tf.train optimizers' slot names, and the moving averages' one
    r"/(Adam|AdamW|Adamax|AMSGrad|RMSProp|Momentum|Adagrad|AdagradDA|Adadelta|Ftrl|ProximalAdagrad|"
    r"GradientDescent|LazyAdam|Nadam|LAMB|ExponentialMovingAverage)(_\d+)?$"
)
_COUNTER = re.compile(r"(^|/)(beta\d?_power(_\d+)?|global_step|learning_rate|OptimizeLoss/.*)$")

_NO_CELL = re.compile(  # the last part of a scope that holds a dense layer or a part of some other cell
    r"(dense|fully_connected|fc|linear|logits?|outputs?|softmax\w*|hidden|projection|input_projection_wrapper|"
    r"output_projection_wrapper|gates|candidate|mask_gates|new_input|output_gate|\w*attention\w*|memory_layer|"
    r"query_layer|head|classifier)(_?\d+)?$",
    re.IGNORECASE,
)
_CELL_NUMBER = re.compile(r"[cC]ell_?(\d+)$")


@dataclass(frozen=True)
class CellVariables:
    """The variables of one recurrent cell, by name.

    scope        what the variables' names begin with; it names the layer
    kernel       (D + P, 4H); a cell of another kind may have other columns
    bias         None where the cell adds none
    input_size   D
    hidden_size  H
    output_size  P, the projection's columns; H without a projection
    peepholes    names of (w_i, w_f, w_o), each (H,); of (w_f, w_o) where the gates i and f are coupled
    named        whether the names alone say that this is a cell, and not a dense layer of a fitting shape
    extras       other variables below the scope, which the cell has no use for
    kind         which of `kinds.KINDS` it is
    more         the variables that only this kind has, by what they are
    """

    scope: str
    kernel: str
    bias: str | None
    input_size: int
    hidden_size: int
    output_size: int
    projection: str | None
    peepholes: tuple[str, ...] | None
    named: bool
    extras: tuple[str, ...]
    kind: str = "LSTM"
    more: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def names(self) -> tuple[str, ...]:
        """All of its variables."""
        optional = (self.bias, *(self.peepholes or ()), self.projection, *self.more.values())
        return (self.kernel, *(name for name in optional if name))

    @property
    def sizes(self) -> str:
        projected = f", projected to {self.output_size}" if self.projection else ""
        return f"{self.input_size} -> {self.hidden_size}{projected}"


@dataclass(frozen=True)
class Candidates:
    """cells     by scope, in natural order of the scopes (cell_2 before cell_10)
    rejected  scope of something that nearly is one -> why it is not
    """

    cells: dict[str, CellVariables]
    rejected: dict[str, str]


def trained(specs: Mapping[str, TensorSpec]) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The variables that a network may be made of, with their shapes, and the names of those left aside.

    Aside are optimizer slots and moving averages (`<variable>/Adam`, whatever the optimizer calls them: one more part
    after a variable's whole name, and its shape), counters, scalars, and what is no floating-point number.
    """
    kept: dict[str, tuple[int, ...]] = {}
    aside: list[str] = []
    for name, spec in specs.items():
        of_variable = specs.get(name.rpartition("/")[0])
        slot = _SLOT.search(name) or (of_variable is not None and of_variable.shape == spec.shape)
        if slot or not spec.shape or _COUNTER.search(name) or "float" not in spec.dtype:
            aside.append(name)
        else:
            kept[name] = spec.shape
    return kept, aside


def find_lstms(shapes: Mapping[str, tuple[int, ...]], taken: Set[str] = frozenset()) -> Candidates:
    """Every scope whose variables have an LSTM cell's names and shapes.

    taken  variables that belong to a cell of another kind
    """
    cells: dict[str, CellVariables] = {}
    rejected: dict[str, str] = {}
    for kernel in sorted(shapes, key=natural):
        for leaf, bias_leaf in _KERNEL_AND_BIAS.items():
            scope = above(kernel, leaf)
            if scope is None or kernel in taken:
                continue
            found = _cell(scope, kernel, join(scope, bias_leaf), shapes)
            if isinstance(found, CellVariables):
                cells[scope] = found
            elif found:
                rejected[scope] = found
    return Candidates(cells, rejected)


def _cell(scope: str, kernel: str, bias: str, shapes: Mapping[str, tuple[int, ...]]) -> CellVariables | str | None:
    """The cell below `scope`, or why it is none; None where nothing looks like one."""
    shape = shapes[kernel]
    recurrent = shapes.get(join(scope, "recurrent_kernel"))
    if recurrent is not None:
        layer = "GRU" if recurrent[1:] == (3 * recurrent[0],) else "LSTM"
        return (
            f"{scope!r} holds a Keras {layer}'s weights; what else it takes is in the model's .h5 or .keras file only"
        )
    likely = _names_a_cell(scope)
    if len(shape) != 2 or shape[1] % 4:
        return f"{kernel!r} has shape {shape}; an LSTM's is (D + H, 4 H)" if likely else None
    hidden = shape[1] // 4
    if bias not in shapes:
        return f"{kernel!r} {shape} has four times {hidden} columns, but there is no bias {bias!r}" if likely else None
    if shapes[bias] != (4 * hidden,):
        return f"{bias!r} has shape {shapes[bias]}; with {kernel!r} {shape} it would be ({4 * hidden},)"
    return cell_below(scope, kernel, bias, hidden, shapes, named=likely)


def cell_below(
    scope: str,
    kernel: str,
    bias: str | None,
    hidden: int,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    named: bool = True,
    kind: str = "LSTM",
    more: Mapping[str, str] | None = None,
    diagonals: Sequence[tuple[str, ...]] = _PEEPHOLES,
) -> CellVariables | str | None:
    """The cell of `hidden` units with this kernel, with whatever else an LSTM cell may have below `scope`.

    ->  why it is none, or None, where the rest does not fit
    """
    shape, more = shapes[kernel], more or {}
    if kernel.endswith("W_0") and join(scope, "W_1") in shapes:
        return (
            f"{kernel!r}, W_1 ... are no row of shards (num_unit_shards), which has as many rows in each and joins them"
        )
    below = {name for name in shapes if name.startswith(scope + "/")} if scope else set()
    projection = next((p for p in (join(scope, leaf) for leaf in _PROJECTIONS) if p in shapes), None)
    peepholes = next(
        (p for p in (tuple(join(scope, leaf) for leaf in row) for row in diagonals) if p[0] in shapes), None
    )
    output = hidden
    if projection is not None:
        if len(shapes[projection]) != 2 or shapes[projection][0] != hidden:
            return f"{projection!r} has shape {shapes[projection]}; expected ({hidden}, P)"
        output = shapes[projection][1]
    if peepholes is not None and any(shapes.get(name) != (hidden,) for name in peepholes):
        return f"of the peepholes {', '.join(peepholes)} not all are there with shape ({hidden},)"
    if shape[0] <= output:
        return (
            f"{kernel!r} has {shape[0]} rows, of which h takes {output}: none are left for an input" if named else None
        )
    known = {kernel, bias, projection, *(peepholes or ()), *more.values()}
    return CellVariables(
        scope=scope,
        kernel=kernel,
        bias=bias,
        input_size=shape[0] - output,
        hidden_size=hidden,
        output_size=output,
        projection=projection,
        peepholes=peepholes,
        named=named,
        extras=tuple(sorted(below - known)),
        kind=kind,
        more=more,
    )


def _names_a_cell(scope: str) -> bool:
    """Whether a scope's name says that it is a cell's: it has "lstm" in its last part, or stands in an RNN's scope."""
    *above, last = scope.split("/")
    if _NO_CELL.match(last):
        return False
    return "lstm" in last.lower() or any(
        part.lower() in ("rnn", "multi_rnn_cell") or _CELL_NUMBER.match(part) for part in above
    )


def stack_of(scope: str) -> str:
    """The scope of the stack that a cell belongs to: "rnn/multi_rnn_cell/cell_0/lstm_cell" -> "rnn".

    Source: MultiRNNCell.call opens `cell_%d` below `multi_rnn_cell` (`MultiRNNCell/Cell%d` up to TF 0.12).
    """
    parts = scope.split("/")
    for k, part in enumerate(parts):
        if part.lower().replace("_", "") == "multirnncell" or (k and _CELL_NUMBER.match(part)):
            return "/".join(parts[:k])
    return scope


def within(name: str, scope: str | None) -> bool:
    """Whether `name` is `scope` or lies below it, by whole parts: "enc/rnn" is within "enc", "encoder" is not."""
    scope = (scope or "").strip("/")
    return not scope or name == scope or name.startswith(scope + "/")


def above(name: str, leaf: str) -> str | None:
    """The scope that `leaf` ends: "rnn/lstm_cell" for "rnn/lstm_cell/kernel" and "kernel"; None where it does not."""
    if name != leaf and not name.endswith("/" + leaf):
        return None
    return name[: -len(leaf)].rstrip("/")


def join(scope: str, leaf: str) -> str:
    return f"{scope}/{leaf}" if scope else leaf


def natural(name: str) -> list[tuple[int, str]]:
    """Sorting key by which cell_10 comes after cell_2."""
    return [(int(text), "") if text.isdigit() else (-1, text) for text in re.split(r"(\d+)", name)]
