"""The command as a whole: help, version, errors, exit statuses, pipes."""

import os
import subprocess
import sys

import pytest

import fastlstm
from fastlstm import cli
from fastlstm.cli import inspect


def test_version(run):
    assert run("--version").out == f"fastlstm {fastlstm.__version__}\n"


def test_help_lists_the_commands_that_there_are(run):
    text = run("-h").out
    assert all(f"\n    {name} " in text for name in ("inspect", "extract", "generate", "verify", "bench", "demo"))
    assert "examples:" in text


@pytest.mark.parametrize("command", ["inspect", "extract", "generate", "verify", "bench", "demo"])
def test_help_of_each_command(run, command):
    asked = run(command, "-h")
    assert asked.status == 0 and asked.out.startswith(f"usage: fastlstm {command}")


def test_no_command_is_a_usage_error(run):
    assert run().status == 2


def test_an_error_of_the_library_is_a_sentence(run, tmp_path):
    failed = run("inspect", tmp_path / "nothing")
    assert failed.status == 1 and failed.out == ""
    assert failed.err.startswith("fastlstm: error: ") and "nothing" in failed.err
    assert failed.err.count("\n") == 1


def test_another_exception_keeps_its_traceback(monkeypatch, text_model):
    monkeypatch.setattr(fastlstm, "inspect", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["inspect", str(text_model)])


def test_ctrl_c(monkeypatch, run, text_model):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect, "run", interrupted)
    assert run("inspect", text_model).status == 130


def test_a_reader_that_goes_away_is_no_error(process, text_model, vocab):
    arguments = ["generate", text_model, "--vocab", vocab, "--prime", "a", "-n", 50_000, "--device", "numpy"]
    program = (
        "import subprocess, sys\n"
        "made = subprocess.Popen([sys.executable, '-m', 'fastlstm', *sys.argv[1:]], stdout=subprocess.PIPE, "
        "stderr=subprocess.PIPE)\n"
        "made.stdout.read(5); made.stdout.close()\n"
        "print(made.wait(), made.stderr.read())"
    )
    assert process(*arguments, program=("-c", program)).stdout == b"141 b''\n"


COMMANDS = {
    "inspect": ["inspect", "MODEL"],
    "extract": ["extract", "MODEL", "-o", "w.npz"],
    "generate": ["generate", "MODEL", "--vocab", "VOCAB", "--prime", "a", "--device", "numpy"],
    "demo": ["demo"],
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("redirected", "said"), [(">/dev/full", "No space left"), (">&-", "Bad file descriptor")])
def test_a_stdout_that_takes_nothing(process, text_model, vocab, tmp_path, command, redirected, said):
    arguments = [{"MODEL": text_model, "VOCAB": vocab}.get(part, part) for part in COMMANDS[command]]
    shell = f'exec "$0" -m fastlstm "$@" {redirected}'
    program = f"import os, sys; os.execvp('sh', ['sh', '-c', {shell!r}, sys.executable, *sys.argv[1:]])"
    failed = process(*arguments, program=("-c", program), cwd=tmp_path)
    assert failed.returncode == 1 and b"Traceback" not in failed.stderr and b"Exception" not in failed.stderr
    last = failed.stderr.decode().splitlines()[-1]
    assert last.startswith(f"fastlstm: error: standard output: cannot be written: {said}")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a shell")
def test_a_closed_stderr_is_not_stdout(process, text_model, vocab, tmp_path):
    program = "import os, sys; os.close(2); os.execv(sys.executable, [sys.executable, '-m', 'fastlstm', *sys.argv[1:]])"
    arguments = ["generate", text_model, "--vocab", vocab, "--prime", "a", "-n", 3, "--device", "numpy"]
    made = process(*arguments, program=("-c", program), cwd=tmp_path)
    assert made.returncode == 0 and len(made.stdout.decode()) == 4


def test_another_system_error_keeps_its_traceback(monkeypatch, text_model):
    monkeypatch.setattr(fastlstm, "inspect", lambda *_, **__: os.listdir("/nowhere/at/all"))
    with pytest.raises(FileNotFoundError):
        cli.main(["inspect", str(text_model)])


def test_the_module_is_the_command(process, text_model):
    shown = process("inspect", text_model)
    assert shown.returncode == 0 and b"LSTM(4, 6)" in shown.stdout and shown.stderr == b""


def test_a_terminal_that_cannot_show_a_character_gets_its_code(process, folder, text_model):
    odd = folder / "odd.json"
    odd.write_text('["\u03b1", "\u03b2", "\u03b3", "d", "e", "f", "g", "h", "i", "j", "k"]', "utf-8")
    arguments = ["generate", text_model, "--vocab", odd, "--prime", "\u03b1", "-n", 3, "--device", "numpy"]
    made = process(*arguments, variables={"PYTHONIOENCODING": "ascii"})
    assert made.returncode == 0 and made.stdout.startswith(rb"\u03b1")


def test_start_up_imports_nothing_slow():
    program = (
        "import sys, fastlstm.cli; print([m for m in ('numba', 'tqdm', 'h5py', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"[]\n"
