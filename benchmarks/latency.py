"""How long each single step takes: what someone with a deadline asks for."""

from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any

import numpy as np

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999, "max": 1.0}
#: Shares of the steps at which the curve of a picture has points: 1 - 10^-k.
CURVE = 1 - 10.0 ** -np.linspace(0.3, 5, 48)
NOTHING = "(a call that does nothing)"


def latencies(
    calls: Mapping[str, tuple[Callable[[Any], Any], Any]], *, steps: int = 100_000, turns: int = 20
) -> dict[str, Any]:
    """Percentiles of `steps` single calls of each, in microseconds, the clock's own cost included.

    The calls take turns, `turns` of them; Python collects garbage when it likes, as it does where a program runs.
    """
    calls = {**calls, NOTHING: (lambda x: None, None)}
    taken = {name: np.zeros((turns, steps // turns), np.int64) for name in calls}
    for call, x in calls.values():
        _record(call, x, np.zeros(1000, np.int64))
    for turn in range(turns):
        for name, (call, x) in calls.items():
            _record(call, x, taken[name][turn])
    return {
        "steps": steps,
        "percentiles_us": {name: _quantiles(all_, SHARES.values(), SHARES) for name, all_ in taken.items()},
        "curve_us": {name: list(_quantiles(all_, CURVE, CURVE).values()) for name, all_ in taken.items()},
    }


def _record(call, x, into):
    clock = perf_counter_ns
    for n in range(len(into)):
        start = clock()
        call(x)
        into[n] = clock() - start


def _quantiles(taken, shares, names):
    values = np.quantile(taken, list(shares), method="higher") / 1000
    return {name: float(value) for name, value in zip(names, values, strict=True)}
