"""Let a model run on its own output: text as it is made, or a line of numbers a step.

A model of tokens needs --vocab and --prime; the text is the prime and what follows it.  A model of vectors begins with
--prime, or with one vector of zeros, and writes what follows; it must give as many numbers as it takes.

examples:
  fastlstm generate model.ckpt-4199 --vocab vocab.json --prime "Once" -n 500 --temperature 0.8 --seed 1
  fastlstm generate words.keras --vocab words.json --separator " " --prime "the king" --stop .
  fastlstm generate onehot.h5 --set one_hot=True --vocab vocab.json --prime $'\\n' -o text.txt
  fastlstm generate sine.ckpt --prime=-0.1,0.05,0.2 -n 100
  fastlstm generate sine.ckpt --prime past.csv -n 100 -o future.csv
"""

from __future__ import annotations

import argparse
import secrets
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fastlstm.cli import common, numbers, writing
from fastlstm.cli.vocabulary import Vocabulary
from fastlstm.errors import ArgumentError

if TYPE_CHECKING:
    from fastlstm.model import Model

#: The options that say something of tokens.
_TEXT_ONLY = ("vocab", "separator", "temperature", "top_k", "top_p", "seed", "stop", "no_echo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_path(parser)
    add = parser.add_argument
    add("-n", type=int, default=500, metavar="N", help="how many characters, tokens or vectors (default: %(default)s)")
    add(
        "--prime",
        metavar="TEXT",
        help="what to begin with: text; for vectors 0.1,0.2,... or a .npy or .csv file, a row a step",
    )
    add("-o", "--output", metavar="FILE", help="write there, text as UTF-8, and not to the terminal")
    common.add_running(parser)
    common.add_overrides(parser)
    text = parser.add_argument_group("models of tokens")
    add = text.add_argument
    add(
        "--vocab",
        metavar="FILE",
        help="JSON: a list of tokens, the id being the position, or {token: id}, or {id: token}",
    )
    add("--separator", metavar="TEXT", help="what stands between tokens, ' ' where they are words (default: nothing)")
    add("--temperature", type=float, metavar="T", help="above 1 is wilder, 0 always takes the likeliest (default: 1)")
    add("--top-k", type=int, metavar="K", help="draw among the K likeliest tokens only")
    add("--top-p", type=float, metavar="P", help="draw among the fewest tokens that together have this probability")
    add("--seed", type=int, metavar="S", help="the same seed gives the same text (default: a new one, which is told)")
    add("--stop", metavar="TEXT", help="end when this text has been written; a new line is $'\\n' in bash")
    add("--no-echo", action="store_const", const=True, help="leave the prime out")


def run(args: argparse.Namespace) -> int:
    model = common.load(args)
    (_text if model.takes_ids else _vectors)(args, model)
    return 0


def _text(args: argparse.Namespace, model: Model) -> None:
    from fastlstm.sampling import Sampler

    vocabulary, prime = _tokens(args, model)
    sampler = Sampler(1.0 if args.temperature is None else args.temperature, args.top_k, args.top_p)
    seed = secrets.randbits(32) if args.seed is None else args.seed
    begin = "" if args.no_echo else args.prime

    def pieces(ids: Iterator[int]) -> Iterator[str]:
        return _pieces(ids, vocabulary, begin, args.stop)

    unit = "tokens" if vocabulary.separator else "characters"
    writing.produce(model, args.n, pieces, args.output, unit, prime=prime, sample=sampler, seed=seed)
    if sampler.temperature > 0:
        print(f"seed {seed}", file=sys.stderr)


def _pieces(ids: Iterator[int], vocabulary: Vocabulary, begin: str, stop: str | None) -> Iterator[str]:
    """`begin`, then the text of each id, up to the one that completes `stop`."""
    yield begin
    between, tail = vocabulary.separator if begin else "", ""
    for k in ids:
        piece = between + vocabulary.token(k)
        yield piece
        between = vocabulary.separator
        if stop is not None:
            tail = (tail + piece)[-(len(stop) + len(piece)) :]
            if stop in tail:
                return


def _tokens(args: argparse.Namespace, model: Model) -> tuple[Vocabulary, list[int]]:
    """The vocabulary, and the prime's ids."""
    size = model.vocabulary_size
    if args.vocab is None:
        raise ArgumentError(
            f"--vocab is missing: {args.path} takes ids from 0 to {size - 1}; pass --vocab FILE, the {size} tokens "
            f"of its training as a JSON list in the order of their ids, or {{token: id}}, or {{id: token}}"
        )
    vocabulary = Vocabulary(args.vocab, args.separator or "")
    if vocabulary.size != size:
        raise ArgumentError(
            f"--vocab: {args.vocab} has ids up to {vocabulary.size - 1}, but {args.path} takes ids up to {size - 1}; "
            f"pass the vocabulary that it was trained with"
        )
    if not args.prime:
        raise ArgumentError(
            f"--prime is missing: {args.path} goes on from a text and needs at least one token of it, "
            f"e.g. --prime {_suggestion(vocabulary)}"
        )
    if args.stop is not None and not args.stop:
        raise ArgumentError("--stop is empty; expected the text to end at")
    if args.stop and not vocabulary.separator:
        vocabulary.ids(args.stop, "--stop")
    return vocabulary, vocabulary.ids(args.prime, "--prime")


def _suggestion(vocabulary: Vocabulary) -> str:
    """A token, as a shell takes it: one that begins with a capital, or else with a letter, if there is one."""
    tokens = sorted(vocabulary.tokens.values(), key=lambda token: (not token[:1].isupper(), not token[:1].isalpha()))
    return shlex.quote(tokens[0])


def _vectors(args: argparse.Namespace, model: Model) -> None:
    given = [name for name in _TEXT_ONLY if getattr(args, name) is not None]
    if given:
        option = "--" + given[0].replace("_", "-")
        raise ArgumentError(
            f"{option} is for models of tokens, and {args.path} takes vectors of {model.input_size}; "
            + ("if these are one-hot tokens, add --set one_hot=True" if model.input_size > 1 else "leave it out")
        )
    prime = None if args.prime is None else numbers.read(args.prime, model.input_size)

    writing.produce(model, args.n, _lines, args.output, "vectors", prime=prime)


def _lines(ys: Iterator[Any]) -> Iterator[str]:
    return (",".join(map(str, y)) + "\n" for y in ys)
