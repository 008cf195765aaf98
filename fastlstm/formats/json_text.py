"""JSON objects from files that may be damaged."""

from __future__ import annotations

import json
from typing import Any

from fastlstm.errors import FormatError


def parse_object(text: str | bytes, where: str) -> dict[str, Any]:
    """A JSON object.  Raises FormatError, which calls the text `where`."""
    try:
        result = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: not JSON: {error}; the file is damaged") from error
    if not isinstance(result, dict):
        raise FormatError(f"{where}: JSON of type {type(result).__name__}, expected an object; the file is damaged")
    return result
