"""Run two LSTMs that TensorFlow 1.15 trained, check them against TensorFlow's own answers, and time them.

A sine wave that runs on by itself, and text in the manner of the King James Bible.  The exit status is 1 if an answer
is not TensorFlow's.  Where TensorFlow is installed, its speed is measured as well (some seconds).
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plot", metavar="FILE.png", help="draw the wave in a file as well (needs matplotlib)")
    parser.add_argument("--steps", type=int, default=1000, metavar="N", help="of the sine wave (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="of the text's random draws (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    from fastlstm.demo import demonstrate

    return 0 if demonstrate(steps=args.steps, seed=args.seed, plot=args.plot) else 1
