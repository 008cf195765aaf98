"""What a comparison found: the answer of `fastlstm.verify`, as an object, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastlstm.recognise.report import table

#: The comparisons, in the order they are shown, and what they are.
COMPARISONS = {
    "whole": "the file's model as it stands, over {known} steps of random input",
    "known": "layer by layer over {known} steps of random input, each side with its own state",
    "loop": "layer by layer at {compared} of {loop}, one step from the same state",
    "free": "{loop}, each side left to itself",
    "long": "the file's model as it stands, in one call over {long}",
}
_DECIDE = ("whole", "known", "loop", "long")


@dataclass(frozen=True)
class Difference:
    """How one value differs in one comparison.

    comparison  "whole", "known", "loop", "free" or "long"
    layer       its name; "" where the whole model is compared
    value       "c", "h", "output" or "ids"
    largest     the largest absolute difference; of ids, how many differ
    at          the step of it, from 0
    allowed     what the difference may be there
    begins      the first step at which it is more; None where it never is
    """

    comparison: str
    layer: str
    value: str
    largest: float
    at: int
    allowed: float
    begins: int | None


@dataclass(frozen=True)
class Verification:
    """A model compared with its original.  `str()` of it is text for a terminal; it is true where they are equal.

    path          the file
    runner        what ran the original, with its version
    device        what ran the model
    dtype         what the model ran in
    tolerance     what values of size 1 and less may differ by; larger ones, and what is computed of them, in proportion
    differences   one a comparison, layer and value
    not_compared  what could not be compared, and why
    feedback      "output" or "ids", what is fed back in the loop; None where known inputs went on
    steps         of the known input, of the loop, of the loop how many were compared, and of the long sequence
    run_only      the model needs the whole sequence at once, so there is no loop
    """

    path: Path
    runner: str
    device: str
    dtype: str
    tolerance: float
    differences: Sequence[Difference]
    not_compared: Sequence[str]
    feedback: str | None
    steps: tuple[int, int, int, int]
    run_only: bool = False

    @property
    def equal(self) -> bool:
        """Whether every difference that decides is within the tolerance.

        Left to itself, a loop that feeds back its own output may amplify the last bit without end; so what decides is
        a known input, each single step of the loop from the same state, and the loop's inputs as a known sequence.
        """
        return all(d.begins is None for d in self.differences if _decides(d))

    def __bool__(self) -> bool:
        return self.equal

    def to_json(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return asdict(self) | {
            "path": str(self.path),
            "equal": self.equal,
            "steps": dict(zip(("known", "loop", "compared", "long"), self.steps, strict=True)),
            "differences": [asdict(d) for d in self.differences],
            "not_compared": list(self.not_compared),
        }

    def __str__(self) -> str:
        lines = [f"{self.path}: fastlstm on {self.device} in {self.dtype}, the original in {self.runner}"]
        for comparison, title in COMPARISONS.items():
            found = [d for d in self.differences if d.comparison == comparison]
            if found:
                lines += ["", title.format(**self._numbers()) + ":", *table(_TITLES, [_row(d) for d in found])]
        lines += ["", *(f"not compared: {text}" for text in self.not_compared), self._tolerance()]
        return "\n".join([*lines, self._verdict()])

    def _numbers(self) -> dict[str, str]:
        known, loop, compared, long = self.steps
        how = {"ids": "the likeliest token fed back", "output": "the output fed back", None: "with random input"}
        return {
            "known": f"{known:,}",
            "loop": f"{loop:,} steps, {how[self.feedback]}",
            "compared": f"{compared:,}",
            "long": f"{long:,} steps of random input"
            if self.feedback is None
            else f"{known:,} steps of random input and {long - known:,} of what fastlstm's own loop fed back",
        }

    def _tolerance(self) -> str:
        text = f"tolerance: {self.tolerance:.3g} for values up to 1, which is what rounding leaves of {self.dtype}"
        if any(d.allowed > self.tolerance for d in self.differences):
            text += (
                "; more where a layer's values, or those below it, are larger: in proportion, and half a unit in the "
                "last place for every step that hands them on"
            )
        return text

    def _verdict(self) -> str:
        if not self.equal:
            worst = next(d for d in self.differences if d.begins is not None and _decides(d))
            where = f" of {worst.layer!r}" if worst.layer else ""
            return f"DIFFERENT: {worst.value}{where} from step {worst.begins} on, beyond {worst.allowed:.3g}"
        text = f"EQUAL within {self.tolerance:.3g} of the values' size"
        free = [d for d in self.differences if d.comparison == "free"]
        if any(d.value == "ids" and d.begins is None for d in free):
            return f"{text}; all {self.steps[1]:,} tokens of the loop are the same"
        parted = [d.begins for d in free if d.begins is not None]
        if parted:
            text += (
                f"; left to themselves they part at step {min(parted)}: every single step agrees, and the loop "
                f"amplifies what rounding leaves"
            )
        return text


def _decides(d: Difference) -> bool:
    return d.comparison in _DECIDE and d.value != "ids"


_TITLES = ("  layer", "value", "largest difference", "at step", "beyond the tolerance")


def _row(d: Difference) -> tuple[str, ...]:
    begins = "never" if d.begins is None else f"from step {d.begins}"
    largest = f"{d.largest:.0f} differ" if d.value == "ids" else f"{d.largest:.3g} (allowed {d.allowed:.3g})"
    return (f"  {d.layer or '(model)'}", d.value, largest, str(d.at), begins)
