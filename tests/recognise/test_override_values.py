"""Overrides of the wrong kind: refused before the file is looked at, with what would be right."""

import pytest

import fastlstm
from fastlstm.recognise import Book, recognise

BAD = [
    *[("forget_bias", v) for v in ("x", None, 10**400, 1 + 2j, [1], True, float("nan"))],
    *[("cell_clip", v) for v in ("x", [1], True, 0, -1.0)],
    ("proj_clip", "1"),
    ("activation", 5),
    ("recurrent_activation", ["tanh"]),
    ("residual", 5),
    ("residual", "False"),
    ("embedding", ["a"]),
    ("one_hot", "yes"),
    ("head_activation", 1),
]


@pytest.mark.parametrize(("what", "value"), BAD)
def test_says_what_is_expected(what, value):
    with pytest.raises(fastlstm.ArgumentError, match=rf"load\({what}=.*\): expected"):
        Book({what: value})


@pytest.mark.parametrize("scope", [5, ["a"], b"a"])
def test_scope(scope):
    with pytest.raises(fastlstm.ArgumentError, match=r"scope is .*; expected a variable scope"):
        recognise(None, scope=scope)
