"""Logits -> an id, compiled: greedy, by temperature, from the top k or the top p. Its twin is `numpy_draw.py`."""

from __future__ import annotations

import numpy as np

from fastlstm.backends.jit import inner


@inner
def largest(y, n):
    """Index of the largest of y (n,), the first of equals."""
    best = 0
    for j in range(n):
        if y[j] > y[best]:
            best = j
    return best


@inner
def draw(y, n, probabilities, temperature, top_k, top_p, chance, order, mass):
    """An index of y (n,), by probability ~ exp(y / temperature), or y^(1 / temperature) of probabilities.

    Only the top_k largest count, and of these the fewest that hold top_p of the whole; in float64 throughout.
    """
    largest = -np.inf
    for j in range(n):
        mass[j] = np.log(np.float64(y[j])) if probabilities else np.float64(y[j])
        largest = max(largest, mass[j])
    total = 0.0
    for j in range(n):
        mass[j] = np.exp((mass[j] - largest) / temperature)
        total += mass[j]
    kept = n
    if top_k < n or top_p < 1.0:
        kept, total = _keep_top(mass, total, top_k, top_p, order)
    else:
        for j in range(n):
            order[j] = j
    level, reached = chance * total, 0.0
    for j in range(kept):
        reached += mass[order[j]]
        if reached > level:
            return order[j]
    return order[kept - 1]  # rounding: the level was the whole


@inner
def _keep_top(mass, total, top_k, top_p, order):
    """order[:kept] = the indices of the largest masses, the largest first -> (kept, their sum). By a heap."""
    n = mass.size
    for j in range(n):
        order[j] = j
    for j in range(n // 2 - 1, -1, -1):
        _sift(mass, order, j, n)
    kept, reached = 0, 0.0
    while kept < top_k and kept < n:
        last = n - 1 - kept
        order[0], order[last] = order[last], order[0]
        reached += mass[order[last]]
        kept += 1
        if reached >= top_p * total:
            break
        _sift(mass, order, 0, last)
    for j in range(n // 2):  # the taken ones stand at the end, backwards
        order[j], order[n - 1 - j] = order[n - 1 - j], order[j]
    return kept, reached


@inner
def _sift(mass, order, at, size):
    """Let order[at] sink in the heap order[:size]; of equal masses the lower index comes first."""
    while True:
        best = at
        for child in range(2 * at + 1, min(2 * at + 3, size)):
            a, b = order[child], order[best]
            if mass[a] > mass[b] or (mass[a] == mass[b] and a < b):
                best = child
        if best == at:
            return
        order[at], order[best] = order[best], order[at]
        at = best
