"""Text <-> ids: the vocabulary of a token model, from a JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastlstm.errors import ArgumentError, FormatError, MissingFileError

_EXPECTED = 'expected a list of tokens, the id being the position (["a", "b"]), or {token: id}, or {id: token}'
_SHOWN = 400


class Vocabulary:
    """Tokens and their ids.

    path       JSON: a list of tokens, {token: id}, or {id: token}
    separator  what stands between the tokens of a text; "" where tokens are characters
    Raises FormatError.
    """

    def __init__(self, path: str, separator: str = "") -> None:
        self.path, self.separator = path, separator
        self.tokens = _tokens(_json(path), path)
        self._ids = {token: k for k, token in self.tokens.items()}
        if len(self._ids) < len(self.tokens):
            twice = next(token for k, token in self.tokens.items() if self._ids[token] != k)
            raise FormatError(f"{path}: the token {twice!r} is there twice; every id needs a token of its own")

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return max(self.tokens) + 1

    def ids(self, text: str, name: str) -> list[int]:
        """The ids of a text's tokens.  Raises ArgumentError, which calls the text `name`."""
        parts = text.split(self.separator) if self.separator else list(text)
        for part in parts:
            if part not in self._ids:
                raise ArgumentError(
                    f"{name}: {part!r} is not in the vocabulary of {self.path}, which has {len(self.tokens)} tokens: "
                    f"{self._shown()}{self._hint(text)}"
                )
        return [self._ids[part] for part in parts]

    def token(self, k: int) -> str:
        """The token of an id; U+FFFD where the file has none."""
        return self.tokens.get(k, "\ufffd")

    def _shown(self) -> str:
        whole = all(len(token) == 1 for token in self._ids)
        text = repr("".join(sorted(self._ids))) if whole else ", ".join(map(repr, self._ids))
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."

    def _hint(self, text: str) -> str:
        words = not self.separator and all(word in self._ids for word in text.split())
        return "; its tokens are words: add --separator ' '" if words and text.split() else ""


def _json(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text("utf-8-sig"))
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file; {_EXPECTED}, as JSON") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
        raise FormatError(f"{path}: not JSON: {error}; {_EXPECTED}") from error


def _tokens(data: Any, path: str) -> dict[int, str]:
    """{id: token}.  Raises FormatError."""
    if isinstance(data, list) and data and all(isinstance(token, str) for token in data):
        return dict(enumerate(data))
    if isinstance(data, dict) and data:
        if all(type(k) is int for k in data.values()):
            found = {k: token for token, k in data.items()}
            if len(found) < len(data):
                raise FormatError(
                    f"{path}: {len(data)} tokens have {len(found)} ids; every token needs an id of its own"
                )
            if min(found) >= 0:
                return found
        elif all(isinstance(token, str) for token in data.values()) and all(k.isdecimal() for k in data):
            return {int(k): token for k, token in data.items()}
    raise FormatError(f"{path}: not a vocabulary; {_EXPECTED}")
