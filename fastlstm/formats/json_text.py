"""JSON objects from files that may be damaged."""

from __future__ import annotations

import json
from typing import Any

from fastlstm.errors import FormatError

# Bytes that Python takes at most for what begins, or ends, with each of these
COSTS = {"{": 240, "[": 90, ",": 40, '"': 60}
EXPANSION, SLACK = 3, 48 << 20  # what was parsed may be that many times the text, and this many bytes


def parse_object(text: str | bytes, where: str) -> dict[str, Any]:
    """A JSON object.  Raises FormatError, which calls the text `where`."""
    marks = ((mark.encode() if isinstance(text, bytes) else mark, cost) for mark, cost in COSTS.items())
    size = sum(text.count(mark) * cost for mark, cost in marks)  # type: ignore[arg-type]
    if size > EXPANSION * len(text) + SLACK:
        raise FormatError(f"{where}: JSON of {len(text)} bytes would take {size} in memory; the file is damaged")
    try:
        result = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: not JSON: {error}; the file is damaged") from error
    if not isinstance(result, dict):
        raise FormatError(f"{where}: JSON of type {type(result).__name__}, expected an object; the file is damaged")
    return result
