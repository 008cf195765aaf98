"""The commonest layers of one row, in as few instructions as they can be: what counts below 64 units.

For 8 units a step of all that `cpu_cells.py` can do is 1,000 instructions, of which the sums and the cell are 200. What
is computed, and in which order, is the same.
"""

from __future__ import annotations

from fastlstm.backends import plan as p
from fastlstm.backends.cpu_products import add_product
from fastlstm.backends.cpu_vectors import LINEAR, activate
from fastlstm.backends.jit import inner
from fastlstm.backends.memory import at
from fastlstm.backends.narrow import FULL
from fastlstm.backends.narrow_products import narrow_product
from fastlstm.backends.units import plain_cells


@inner
def plain_lstm(op, weights, row, token):
    """An LSTM with tanh and sigmoid, and neither projection nor masks."""
    width, inputs, h, z = op[p.WIDTH], op[p.IN], at(row, op[p.H]), at(row, op[p.GATES])
    begin = op[p.BIAS] if op[p.TABLE] == p.NONE else op[p.TABLE] + token * width
    kernel = at(weights, op[p.KERNEL])
    if op[p.STORAGE] == FULL:
        add_product(z, at(weights, begin), width, at(h, -inputs), inputs + op[p.OUT], kernel, op[p.BACK])
    else:
        narrow_product(op, row, op[p.GATES], at(weights, begin), width, op[p.H], inputs, op[p.OUT], kernel)
    plain_cells(z, width >> 2, at(row, op[p.C]), h)


@inner
def plain_dense(op, weights, row):
    y, width, bias, kernel = at(row, op[p.TARGET]), op[p.WIDTH], at(weights, op[p.BIAS]), at(weights, op[p.KERNEL])
    if op[p.STORAGE] == FULL:
        add_product(y, bias, width, at(row, op[p.SOURCE]), op[p.IN], kernel, op[p.BACK])
    else:
        narrow_product(op, row, op[p.TARGET], bias, width, op[p.SOURCE], 0, op[p.IN], kernel)
    if op[p.ACTIVATION] != LINEAR:
        activate(op[p.ACTIVATION], y, op[p.OUT])
