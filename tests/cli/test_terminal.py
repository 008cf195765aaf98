"""What the user is told while a command works."""

import subprocess
import sys
import time

import pytest

from fastlstm import terminal


def test_compiling_is_told_only_when_it_takes_long(capsys):
    with terminal.compiling(after=0.01):
        time.sleep(0.3)
    assert capsys.readouterr().err == "compiling (first run only) ...\n"
    with terminal.compiling(after=60):
        pass
    assert capsys.readouterr().err == ""


def test_meter_counts_and_times_the_making_alone():
    def slow():
        for k in range(3):
            time.sleep(0.01)
            yield k

    meter = terminal.Meter(slow())
    for _ in meter:
        time.sleep(0.05)
    assert meter.count == 3 and 0.03 <= meter.seconds < 0.12


def test_speed():
    assert terminal.speed(1.0, 763_123) == "1.31 us a step, 763,000 steps a second"
    assert terminal.speed(0.5, 2) == "250,000 us a step, 4 steps a second"


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("to_file", [True, False])
def test_a_bar_where_the_output_is_a_file(process, text_model, vocab, tmp_path, to_file):
    """stderr is a terminal here, and stdout is one as well where the text does not go to a file."""
    out = tmp_path / "text.txt"
    arguments = ["generate", text_model, "--vocab", vocab, "--prime", "a", "-n", 3000, "--device", "numpy", "--seed", 1]
    in_terminal = ["sh", "-c", 'stty cols 80 rows 24; exec "$0" -m fastlstm "$@"', sys.executable]
    program = f"import pty, sys; sys.exit(pty.spawn([*{in_terminal}, *sys.argv[1:]]) >> 8)"
    shown = process(*arguments, *(["-o", out] if to_file else []), program=("-c", program), stdin=subprocess.DEVNULL)
    assert shown.returncode == 0
    assert (b"/3000 [" in shown.stdout) == to_file
    if not to_file:
        assert b"\r\n3000 characters on numpy: " in shown.stdout  # on a line of its own
