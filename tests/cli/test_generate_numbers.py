"""generate, with models of vectors."""

import numpy as np
import pytest

import fastlstm

PRIME = np.array([[0.1, -0.2], [0.3, 0.4], [0.5, 0.6]])


@pytest.fixture
def generate(run, pair_model):
    return lambda *arguments: run("generate", pair_model, "--device", "numpy", *arguments)


@pytest.fixture(scope="module")
def expected(pair_model):
    return fastlstm.load(pair_model, device="numpy").generate(6, prime=PRIME)[0]


def _numbers(text):
    return np.array([line.split(",") for line in text.splitlines()], np.float32)


def test_from_numbers(generate, expected):
    made = generate("--prime=0.1,-0.2,0.3,0.4,0.5,0.6", "-n", 6)
    assert made.status == 0 and "6 vectors on numpy" in made.err
    assert np.array_equal(_numbers(made.out), expected)  # to the last bit: every digit that float32 needs is there


@pytest.mark.parametrize("name", ["prime.npy", "prime.csv"])
def test_from_a_file(generate, expected, tmp_path, name):
    path = tmp_path / name
    np.save(path, PRIME) if name.endswith("npy") else np.savetxt(path, PRIME, delimiter=",")
    assert np.array_equal(_numbers(generate("--prime", path, "-n", 6).out), expected)


def test_what_is_written_can_be_gone_on_from(generate, tmp_path):
    out = tmp_path / "past.csv"
    assert generate("-n", 4, "-o", out).status == 0
    assert _numbers(generate("--prime", out, "-n", 2).out).shape == (2, 2)


def test_without_a_prime_from_zero(generate, pair_model):
    ys, _ = fastlstm.load(pair_model, device="numpy").generate(3)
    assert np.array_equal(_numbers(generate("-n", 3).out), ys)


def test_options_of_tokens_are_refused(generate):
    failed = generate("--vocab", "v.json")
    assert failed.status == 1 and "--vocab is for models of tokens" in failed.err and "one_hot=True" in failed.err
    assert "--top-k is for models of tokens" in generate("--top-k", 3).err


@pytest.mark.parametrize(
    ("prime", "said"),
    [
        ("hello", "expected numbers, e.g. --prime 0.1,0.25"),
        ("1,2,3", "3 numbers; expected 2 for each step"),
        ("nothing.csv", "no such file"),
        ("words.csv", "cannot be read as numbers"),
        ("empty.csv", "expected (T, 2)"),
        ("wide.csv", "of shape (1, 3); expected (T, 2)"),
        ("objects.npy", "cannot be read as numbers"),
        ("damaged.npy", "cannot be read as numbers"),
        ("text.npy", "expected (T, 2)"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_primes_that_cannot_be(generate, tmp_path, monkeypatch, prime, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.csv").write_text("a,b\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "wide.csv").write_text("1,2,3\n")
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY\x01")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "text.npy", np.array([["a", "b"]]))
    failed = generate("--prime", prime)
    assert failed.status == 1 and said in failed.err


def test_how_the_model_runs(run, pair_model, monkeypatch):
    monkeypatch.setattr(fastlstm.devices, "_cores", lambda: 2)  # also where there is one
    arguments = ("generate", pair_model, "--prime=0.1,-0.2,0.3,0.4,0.5,0.6", "-n", 6)
    model = fastlstm.load(pair_model, weights="bfloat16", threads=2)
    made = run(*arguments, "--weights", "bfloat16", "--threads", 2)
    assert np.array_equal(_numbers(made.out), model.generate(6, prime=PRIME)[0])
    made = run(*arguments, "--dtype", "float64")
    double = np.array([line.split(",") for line in made.out.splitlines()], np.float64)
    assert np.array_equal(double, fastlstm.load(pair_model, dtype="float64").generate(6, prime=PRIME)[0])
    assert "threads is 0" in run(*arguments, "--threads", 0).err
    assert "weights is 'int7'" in run(*arguments, "--weights", "int7").err
