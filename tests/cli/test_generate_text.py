"""generate, with models of tokens."""

import errno
import json
import os
import sys

import numpy as np
import pytest

import fastlstm
from fastlstm.cli.vocabulary import Vocabulary
from tests import models
from tests.cli.conftest import LETTERS


@pytest.fixture
def generate(run, text_model, vocab):
    def generate(*arguments, vocab=vocab, prime="ab"):
        given = ["--vocab", vocab] * (vocab is not None) + ["--prime", prime] * (prime is not None)
        return run("generate", text_model, "--device", "numpy", *given, *arguments)

    return generate


def test_greedy_text_is_the_model_s(generate, text_model):
    ids, _ = fastlstm.load(text_model, device="numpy").generate(40, prime=[0, 1])
    made = generate("-n", 40, "--temperature", 0)
    assert made.status == 0 and made.out == "ab" + "".join(LETTERS[k] for k in ids)
    assert "40 characters on numpy: " in made.err and "41 steps" in made.err and "seed" not in made.err


def test_sampled_text_is_the_model_s(generate, text_model):
    sampler = fastlstm.Sampler(0.7, top_k=5, top_p=0.9)
    ids, _ = fastlstm.load(text_model, device="numpy").generate(40, prime=[0, 1], sample=sampler, seed=4)
    made = generate("-n", 40, "--temperature", 0.7, "--top-k", 5, "--top-p", 0.9, "--seed", 4, "--no-echo")
    assert made.out == "".join(LETTERS[k] for k in ids)


def test_the_seed_decides_and_is_told(generate):
    first = generate("-n", 60, "--seed", 1).out
    assert generate("-n", 60, "--seed", 1).out == first != generate("-n", 60, "--seed", 2).out
    unseeded = generate("-n", 60)
    seed = unseeded.err.split("\nseed ")[1].strip()
    assert generate("-n", 60, "--seed", seed).out == unseeded.out


def test_compiled_is_the_default_and_writes_the_same(run, text_model, vocab, generate):
    made = run("generate", text_model, "--vocab", vocab, "--prime", "ab", "-n", 30, "--temperature", 0)
    assert made.out == generate("-n", 30, "--temperature", 0).out and " on cpu: " in made.err


def test_stop_ends_the_text(generate):
    whole = generate("-n", 200, "--seed", 3).out
    for stop in (whole[30], whole[30:33]):
        made = generate("-n", 200, "--seed", 3, "--stop", stop)
        assert made.out == whole[: whole.index(stop, 2) + len(stop)]  # the prime itself does not count
    assert "--stop: '?' is not in the vocabulary" in generate("--stop", "a?").err
    assert "--stop is empty" in generate("--stop", "").err


def test_output_file(generate, tmp_path):
    out = tmp_path / "text.txt"
    made = generate("-n", 50, "--seed", 1, "-o", out)
    assert made.status == 0 and made.out == ""
    assert out.read_bytes().decode() == generate("-n", 50, "--seed", 1).out


def test_line_ends_are_written_as_they_are(run, text_model, tmp_path):
    (tmp_path / "v.json").write_text(json.dumps(["\r\n", "\r", "\n", *"abcdefgh"]))
    arguments = ["--vocab", tmp_path / "v.json", "--prime", "a", "-n", 50, "--seed", 1, "--device", "numpy"]
    run("generate", text_model, *arguments, "-o", tmp_path / "text.txt")
    ids = fastlstm.load(text_model, device="numpy").generate(50, prime=[3], sample=fastlstm.Sampler(), seed=1)[0]
    expected = "a" + "".join(["\r\n", "\r", "\n", *"abcdefgh"][k] for k in ids)
    assert (tmp_path / "text.txt").read_bytes().decode() == expected and "\n" in expected


def test_a_file_that_cannot_be_written_is_told_before_anything_runs(generate, tmp_path, monkeypatch):
    monkeypatch.setattr(fastlstm.Model, "backend", property(lambda self: pytest.fail("it ran")))
    for out in (tmp_path, tmp_path / "nowhere" / "text.txt"):
        failed = generate("-o", out)
        assert failed.status == 1 and f"{out}: cannot be written: " in failed.err


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_an_existing_file_survives_a_failure(generate, tmp_path, monkeypatch, failure):
    out = tmp_path / "text.txt"
    out.write_text("precious")

    def fails(self, k):
        raise failure

    monkeypatch.setattr(Vocabulary, "token", fails)
    failed = generate("-o", out)
    if failure is KeyboardInterrupt:
        assert failed.status == 130
    else:
        assert failed.status == 1 and f"{out}: cannot be written: No space left" in failed.err
    assert out.read_text() == "precious" and os.listdir(tmp_path) == ["text.txt"]


def test_what_is_no_file_is_written_directly(generate):
    assert generate("-o", os.devnull, "-n", 5).status == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full")
def test_a_full_disk_is_told(generate):
    assert "/dev/full: cannot be written: No space left" in generate("-o", "/dev/full", "-n", 20_000).err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"vocab": None}, ["--vocab is missing", "ids from 0 to 10", "JSON list"]),
        ({"prime": None}, ["--prime is missing", "e.g. --prime Z"]),
        ({"prime": ""}, ["--prime is missing"]),
        ({"prime": "abX"}, ["--prime: 'X' is not in the vocabulary of ", r"'\n Zabcdefgh'"]),
    ],
)
def test_what_is_missing_is_told(generate, arguments, said):
    failed = generate(**arguments)
    assert failed.status == 1 and failed.out == ""
    assert all(part in failed.err for part in said), failed.err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("-n", 0, "n is 0"), ("--temperature", -1, "temperature"), ("--top-k", 0, "top_k"), ("--top-p", 2, "top_p")],
)
def test_values_that_cannot_be(generate, option, value, said):
    failed = generate(option, value)
    assert failed.status == 1 and said in failed.err


def test_device_and_overrides_reach_the_library(generate, run, text_model):
    assert "device 'tpu' is not known" in run("generate", text_model, "--device", "tpu").err
    assert "nonsense" in generate("--set", "nonsense=None").err
    assert generate("--set", "activation=relu", "-n", 30, "--seed", 1).out != generate("-n", 30, "--seed", 1).out


def test_one_hot(run, vocab, tmp_path):
    rng = np.random.default_rng(2)
    layers = models.layers_of([models.one_hot(11), models.lstm(rng, 11, 4), models.dense(rng, 4, 11)], "float32")
    fastlstm.save(fastlstm.Model(layers, device="numpy"), tmp_path / "one_hot.safetensors")
    made = run(
        "generate", tmp_path / "one_hot.safetensors", "--vocab", vocab, "--prime", "a", "-n", 5, "--device", "numpy"
    )
    assert made.status == 0 and len(made.out) == 6
