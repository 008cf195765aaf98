"""Cells of TensorFlow 1 that fastlstm does not run, by the scopes that they give their variables.

Their kernels can have an LSTM's shape: a BasicRNNCell of 4 u units looks like an LSTM of u, a NASCell of u like one of
2 u.  Source: rnn_cell_impl.py, contrib/rnn/python/ops/rnn_cell.py, contrib/seq2seq/python/ops/attention_wrapper.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: A part of a scope, its class, and what it computes in place of an LSTM.
_CLASSES = (
    ("phased_lstm_cell", "PhasedLSTMCell", "opens and shuts its gates by a clock, a time that is fed beside the input"),
    ("nas_cell", "NASCell", "has eight gates"),
    ("ugrnn_cell", "UGRNNCell", "has one gate and no cell state"),
    ("intersection_rnn_cell", "IntersectionRNNCell", "gates its output apart from its state"),
    ("indy_lstm_cell", "IndyLSTMCell", "has a recurrent weight for each unit, not for each pair"),
    ("indy_gru_cell", "IndyGRUCell", "has a recurrent weight for each unit, not for each pair"),
    ("ind_rnn_cell", "IndRNNCell", "has a recurrent weight for each unit, and no gates"),
    ("glstm_cell", "GLSTMCell", "splits its units into groups with kernels of their own"),
    ("wn_lstm_cell", "WeightNormLSTMCell", "normalises its kernels at run time"),
    ("(conv_lstm_cell|conv_[123]d_lstm_cell|conv[123]d_?lstm_cell)", "ConvLSTMCell", "convolves images"),
    ("time_freq_lstm_cell|timefreqlstmcell", "TimeFreqLSTMCell", "runs over frequencies inside each step"),
    ("(bidirectional_)?grid_lstm_cell|gridlstmcell", "GridLSTMCell", "runs over frequencies inside each step"),
    ("sru_cell", "SRUCell", "has no recurrent matrix"),
    ("basic_rnn_cell|basicrnncell", "BasicRNNCell", "has no gates"),
    ("attention_cell_wrapper|attentioncellwrapper", "AttentionCellWrapper", "reads its own earlier states beside x"),
    ("attention_wrapper", "AttentionWrapper", "reads what it attends to, beside x"),
    ("cudnn_compatible_gru_cell", "CudnnCompatibleGRUCell", "resets h after its product, with kernels of its own"),
)  # fmt: skip
_PATTERNS = [(re.compile(rf"(^|/)(?:{scope})(_\d+)?$", re.IGNORECASE), name, why) for scope, name, why in _CLASSES]
#: Variables that give a cell away where its scope does not.
_TELLING = re.compile(r"(?:(.*)/)?mask_gates/kernel$")


def stranger(scope: str) -> str | None:
    """What a scope, or one around it, says that its variables are, where that is a cell that is not run."""
    parts = scope.split("/")
    for k in range(len(parts), 0, -1):
        for pattern, name, why in _PATTERNS:
            if pattern.search("/".join(parts[:k])):
                return f"{'/'.join(parts[:k])!r} is a {name}, which {why}"
    return None


def strangers_among(names: Iterable[str]) -> list[str]:
    """A line for each such cell."""
    found: dict[str, None] = {}
    for name in names:
        phased = _TELLING.match(name)
        why = stranger(name.rpartition("/")[0])
        if phased and not why:
            why = f"{phased[1] or 'mask_gates'!r} is a {_CLASSES[0][1]}, which {_CLASSES[0][2]}"
        if why:
            found[why] = None
    return list(found)
