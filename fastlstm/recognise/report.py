"""The report: every hyper-parameter of a model, its value, how it is known and where from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import FormatError
from fastlstm.recognise.findings import Finding, How

_TITLES = ("layer", "hyper-parameter", "value", "how", "source")


class Report:
    """What recognising a file found, for people to read and for code to look up.

    findings  in the order of the layers
    notes     sentences that a user should know, e.g. which variables were left aside
    initial_state
              (c (H,), h (P,)) of each LSTM and GRU, where the file has a state to start from, else None; `run`, `step`
              and `generate` take it as their state
    `str(report)` is an aligned table; iterating gives the findings; `report["forget_bias"]` the findings of that name.
    """

    def __init__(
        self,
        findings: Sequence[Finding] = (),
        notes: Sequence[str] = (),
        initial_state: Sequence[tuple[NDArray[Any], NDArray[Any]]] | None = None,
    ) -> None:
        self.findings = tuple(findings)
        self.notes = tuple(notes)
        self.initial_state = None if initial_state is None else tuple(initial_state)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __getitem__(self, what: str) -> list[Finding]:
        """The findings about `what`, one a layer.  Raises KeyError, with the names that there are."""
        found = [finding for finding in self.findings if finding.what == what]
        if not found:
            known = ", ".join(dict.fromkeys(finding.what for finding in self.findings)) or "nothing"
            raise KeyError(f"the report says nothing of {what!r}; it speaks of: {known}")
        return found

    def __str__(self) -> str:
        rows = [(f.layer, f.what, _shown(f.value), f.how, f.source) for f in self.findings]
        lines = table(_TITLES, rows) if rows else ["nothing is known of the hyper-parameters"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return f"Report({len(self.findings)} findings, {len(self.notes)} notes)"

    def to_json(self) -> dict[str, Any]:
        """Plain data that JSON can hold; `from_json` gives an equal report, tuples having become lists."""
        findings = [
            {"layer": f.layer, "what": f.what, "value": _plain(f.value), "how": f.how, "source": f.source}
            for f in self.findings
        ]
        result: dict[str, Any] = {"findings": findings, "notes": list(self.notes)}
        if self.initial_state is not None:
            result["initial_state"] = [[c.tolist(), h.tolist()] for c, h in self.initial_state]
        return result

    @classmethod
    def from_json(cls, data: Any, *, where: str = "report") -> Report:
        """The inverse of `to_json`.

        where  what the errors call the place that `data` was read from
        Raises FormatError.
        """
        try:
            findings = [Finding(**{key: f[key] for key in Finding.__dataclass_fields__}) for f in data["findings"]]
            notes = [str(note) for note in data["notes"]]
            states = data.get("initial_state")
            if states is not None:
                states = [(np.array(c, np.float32), np.array(h, np.float32)) for c, h in states]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FormatError(
                f"{where}: the report is not what fastlstm.save writes ({error!r}); save the model again"
            ) from error
        for finding in findings:
            if finding.how not in get_args(How):
                raise FormatError(f"{where}: a finding is {finding.how!r}; expected one of {', '.join(get_args(How))}")
            if not all(isinstance(part, str) for part in (finding.layer, finding.what, finding.source)):
                raise FormatError(f"{where}: {finding} has a part that is no text; save the model again")
        return cls(findings, notes, states)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text with aligned columns; the last column is as long as it likes."""
    widths = [max(len(row[k]) for row in [titles, *rows]) for k in range(len(titles) - 1)]
    return ["  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in [titles, *rows]]


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
