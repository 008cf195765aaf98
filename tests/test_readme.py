"""The README's Python snippets run, in order, as written; its tolerances are the tests' own."""

import re
from pathlib import Path

from tests import support_table
from tests.tolerances import TOLERANCES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_snippets(monkeypatch, capsys):
    monkeypatch.chdir(Path(__file__).parents[1])
    snippets = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(snippets) >= 5
    names = {}
    for number, snippet in enumerate(snippets):
        exec(compile(snippet, f"README.md, snippet {number}", "exec"), names)
    assert "forget_bias" in capsys.readouterr().out


def test_tolerances():
    quotes = {
        "float32, random": "float32",
        "float64, the same": "float64",
        "float32 with layer norm": "layer norm",
        "sine wave, 1000": "sine loop",
    }
    for line, name in quotes.items():
        (quoted,) = re.findall(rf"^\| {line}.*\| (\S+) \|$", README, re.MULTILINE)
        assert float(quoted) == TOLERANCES[name]


def test_what_is_supported_is_what_is_tested():
    assert support_table.quoted(README).splitlines() == list(support_table.tables())
