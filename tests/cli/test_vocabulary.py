"""Vocabulary files."""

import json

import pytest

from fastlstm.cli.vocabulary import Vocabulary
from fastlstm.errors import ArgumentError, FormatError, MissingFileError


@pytest.fixture
def vocabulary(tmp_path):
    def vocabulary(data, separator=""):
        path = tmp_path / "v.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data), "utf-8")
        return Vocabulary(str(path), separator)

    return vocabulary


@pytest.mark.parametrize("data", [["a", "b", "c"], {"c": 2, "a": 0, "b": 1}, {"1": "b", "0": "a", "2": "c"}])
def test_the_three_forms(vocabulary, data):
    v = vocabulary(data)
    assert v.size == 3 and v.ids("cab", "--prime") == [2, 0, 1] and v.token(1) == "b"


def test_digits_are_tokens_too(vocabulary):
    assert vocabulary({"0": 1, "1": 0}).ids("01", "") == [1, 0]
    assert vocabulary({"0": "1", "1": "0"}).ids("01", "") == [1, 0]


def test_ids_without_a_token(vocabulary):
    v = vocabulary({"a": 1, "b": 3})
    assert v.size == 4 and v.token(0) == v.token(2) == "\ufffd"


def test_words(vocabulary):
    words = ["the", "king", "of"]
    assert vocabulary(words, " ").ids("king of the", "--prime") == [1, 2, 0]
    with pytest.raises(ArgumentError, match=r"'queen' is not in .* 3 tokens: 'the', 'king', 'of'$"):
        vocabulary(words, " ").ids("the queen", "--prime")
    with pytest.raises(ArgumentError, match="add --separator ' '"):
        vocabulary(words).ids("the king", "--prime")


def test_a_long_vocabulary_is_shown_in_part(vocabulary):
    with pytest.raises(ArgumentError) as caught:
        vocabulary([chr(0x4E00 + k) for k in range(5000)]).ids("x", "--prime")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a vocabulary"),
        ("{}", "not a vocabulary"),
        ("3", "not a vocabulary"),
        ([1, 2], "not a vocabulary"),
        ({"a": True}, "not a vocabulary"),
        ({"a": -1}, "not a vocabulary"),
        ({"a": "b"}, "not a vocabulary"),
        ({"a": 0, "b": 0}, "2 tokens have 1 ids"),
        (["a", "b", "a"], "'a' is there twice"),
    ],
)
def test_files_that_are_none(vocabulary, data, said):
    with pytest.raises(FormatError, match=said):
        vocabulary(data)


def test_no_file(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        Vocabulary(str(tmp_path / "nothing.json"))
    with pytest.raises(FormatError, match="cannot be read"):
        Vocabulary(str(tmp_path))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="not JSON"):
        Vocabulary(str(tmp_path / "bytes"))


def test_sizes_must_agree(run, text_model, tmp_path):
    path = tmp_path / "v.json"
    path.write_text('["a", "b"]')
    failed = run("generate", text_model, "--vocab", path, "--prime", "a", "--device", "numpy")
    assert failed.status == 1 and "has ids up to 1, but " in failed.err and "takes ids up to 10" in failed.err


def test_words_are_written_with_their_separator(run, text_model, tmp_path):
    path, words = tmp_path / "v.json", [f"w{k}" for k in range(11)]
    path.write_text(json.dumps(words))
    arguments = [
        "generate",
        text_model,
        "--vocab",
        path,
        "--separator",
        " ",
        "-n",
        5,
        "--device",
        "numpy",
        "--prime",
        "w1 w2",
    ]
    made = run(*arguments)
    assert made.out.startswith("w1 w2 w") and len(made.out.split(" ")) == 7 and "5 tokens" in made.err
    assert len(run(*arguments, "--no-echo").out.split(" ")) == 5
