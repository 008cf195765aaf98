"""A use of an LSTM cell in one fused operation, whose attributes say it all.

Sources: ops/lstm_ops.cc (LSTMBlockCell, BlockLSTM); in Python lstm_ops.LSTMBlockCell, LSTMBlockFusedCell. In TF 1.0 and
1.1 these pass no cell_clip, so that the operation's default, 3, ends up in the node; later ones pass -1 for none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastlstm.formats.graph import Node, Output
from fastlstm.recognise.tensorflow1.cell_use import CellUse, NotThisCell
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.names import CellVariables
from fastlstm.recognise.tensorflow1.parts import Fact


class _BlockOp(NamedTuple):
    """Where a fused operation has its inputs, in which order its gates, and what an absent attribute means."""

    kernel: int  # the kernel's position; x, c, h stand before it and wci, wcf, wco, b after
    order: str
    forget_bias: float
    cell_clip: float


#: Source: ops/lstm_ops.cc (REGISTER_OP). Attributes at their defaults may have been stripped from the file.
BLOCK_OPS = {
    "LSTMBlockCell": _BlockOp(3, "ijfo", 1.0, 3.0),
    "BlockLSTM": _BlockOp(4, "ijfo", 1.0, 3.0),
    "BlockLSTMV2": _BlockOp(4, "ifjo", 0.0, 0.0),
}


def block_use(cell: CellVariables, node: Node, walker: Walker) -> CellUse:
    """A use in one fused operation: its attributes say it all. Its outputs are i, cs, f, o, ci, co, h."""
    kind, attrs = BLOCK_OPS[node.op], node.attrs
    x, c_before, h_before = node.inputs[kind.kernel - 3 : kind.kernel]
    wired = [read and read.name for read in map(walker.variable, node.inputs[kind.kernel + 1 :])]
    source = walker.source(node)
    peepholes = bool(attrs.get("use_peephole", False))
    if wired[-1] != cell.bias or (peepholes and tuple(wired[:3]) != cell.peepholes):
        raise NotThisCell(f"{cell.scope!r}: {source} reads {wired}, expected peepholes and {cell.bias!r}", near=True)

    def attribute(name: str, default: Any) -> tuple[float, str]:
        if isinstance(attrs.get(name), float):
            return attrs[name], f"attribute {name} of {source}"
        return default, f"{node.op}'s own default, {source} does not say otherwise"

    forget_bias, forget_source = attribute("forget_bias", kind.forget_bias)
    clip, clip_source = attribute("cell_clip", kind.cell_clip)
    facts = {
        "forget_bias": Fact(float(forget_bias), "read", forget_source),
        "activation": Fact("tanh", "read", f"{node.op} has no other ({source})"),
        "recurrent_activation": Fact("sigmoid", "read", f"{node.op} has no other ({source})"),
        "cell_clip": Fact(float(clip) if clip > 0 else None, "read", clip_source),
        "proj_clip": Fact(None, "read", "no projection"),
        "use_peepholes": Fact(peepholes, "read", f"attribute use_peephole of {source}"),
        "gate_order": Fact(kind.order, "read", f"{node.op} stores its gates so ({source})"),
    }
    return CellUse(cell, x, h_before, c_before, Output(node.name, 6), Output(node.name, 1), facts)
