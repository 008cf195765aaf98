"""Hyper-parameters of a cell without its graph: what its class has by default, reported as assumed."""

from __future__ import annotations

import re

from fastlstm.recognise.tensorflow1.layer_norm_cell import layer_norm_defaults
from fastlstm.recognise.tensorflow1.names import CellVariables
from fastlstm.recognise.tensorflow1.parts import Fact

#: TF 1.0 and 1.1 gave LSTMCell's names to LSTMBlockCell too, whose cell is clipped at 3.
_MAYBE_CLIPPED = re.compile(r"(^|/)lstm_cell(_\d+)?/weights$")


def may_be_clipped(cell: CellVariables) -> bool:
    """Whether the names are those of both LSTMCell and LSTMBlockCell, of which one clips; a projection decides it."""
    return bool(_MAYBE_CLIPPED.search(cell.kernel)) and cell.projection is None


def lstm_defaults(cell: CellVariables) -> dict[str, Fact]:
    """As the cell's constructor has them."""
    last = cell.scope.rpartition("/")[2].lower()
    kind = "LSTMCell" if cell.peepholes or cell.projection else "BasicLSTMCell and LSTMCell"
    forget_bias = Fact(1.0, "assumed", f"the default of {kind}; no graph (.meta) says otherwise")
    cell_clip = Fact(None, "assumed", f"the default of {kind}")
    if "cudnn_compatible" in last:
        forget_bias = Fact(0.0, "assumed", "CudnnCompatibleLSTMCell and CudnnLSTM add none")
    if cell.kernel.endswith("/W") or last.startswith(("lstm_block_wrapper", "lstmblockfusedcell")):
        cell_clip = Fact(3.0, "assumed", "the default of LSTMBlockCell up to TF 1.1")
    return {
        "forget_bias": forget_bias,
        "activation": Fact("tanh", "assumed", f"the default of {kind}"),
        "recurrent_activation": Fact("sigmoid", "inferred", "TensorFlow 1 cells have no other"),
        "cell_clip": cell_clip,
        "proj_clip": Fact(None, "assumed", "the default of LSTMCell"),
        "use_peepholes": Fact(
            cell.peepholes is not None,
            "inferred",
            "variables " + ", ".join(cell.peepholes or ("w_i_diag ... are not there",)),
        ),
        "gate_order": Fact("ijfo", "inferred", "TensorFlow 1 cells have no other"),
    }


def layer_norm_lstm_defaults(cell: CellVariables) -> dict[str, Fact]:
    return lstm_defaults(cell) | layer_norm_defaults(f"variables {cell.more['f/gamma']} ...")


def coupled_defaults(cell: CellVariables) -> dict[str, Fact]:
    class_ = "CoupledInputForgetGateLSTMCell"
    changed = {
        "cell_clip": Fact(None, "inferred", f"{class_} has none"),
        "gate_order": Fact("jfo", "inferred", f"{class_} has no other"),
        "coupled_gates": Fact(True, "inferred", f"three gates: {class_}"),
    }
    norms = layer_norm_defaults(f"variables {cell.more['f/gamma']} ...") if "f/gamma" in cell.more else {}
    return lstm_defaults(cell) | changed | norms
