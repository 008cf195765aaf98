"""How an id is chosen from a token model's outputs."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from numbers import Integral

from fastlstm.errors import ArgumentError


@dataclass(frozen=True)
class Sampler:
    """Draw ids at random: an id's probability is softmax(logits / temperature), among the most probable ones.

    temperature  above 1 is wilder, below 1 more cautious; 0 always takes the most probable id
    top_k        only the k most probable ids; None for all
    top_p        only the fewest ids that together have this probability (Holtzman et al. 2020); None for all
    Raises ArgumentError.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        temperature, top_p = _number(self.temperature), 1.0 if self.top_p is None else _number(self.top_p)
        if not (math.isfinite(temperature) and temperature >= 0):
            raise ArgumentError(f"temperature is {self.temperature!r}; expected a finite number of at least 0")
        if not 0 < top_p <= 1:
            raise ArgumentError(
                f"top_p is {self.top_p!r}; expected a number above 0 and at most 1, or None for all ids"
            )
        if self.top_k is not None:
            if isinstance(self.top_k, bool) or not isinstance(self.top_k, Integral) or self.top_k < 1:
                raise ArgumentError(f"top_k is {self.top_k!r}; expected an integer of at least 1, or None for all ids")
            object.__setattr__(self, "top_k", int(self.top_k))
        # A temperature that is not normal is 0 to code that flushes denormals. NumPy's numbers become Python's.
        object.__setattr__(self, "temperature", temperature if temperature >= sys.float_info.min else 0.0)
        object.__setattr__(self, "top_p", None if self.top_p is None else top_p)


def _number(value: object) -> float:
    """`value` as a float; NaN, which every check refuses, where it is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


#: Always the most probable id; of equals, the lowest.
GREEDY = Sampler(temperature=0.0)


def sampler_of(sample: Sampler | str | None) -> Sampler:
    """What the `sample` argument of `Model.generate` means; None is greedy.  Raises ArgumentError."""
    if sample is None or sample == "greedy":
        return GREEDY
    if isinstance(sample, Sampler):
        return sample
    raise ArgumentError(f"sample is {sample!r}; expected 'greedy' or a fastlstm.Sampler(temperature, top_k, top_p)")
