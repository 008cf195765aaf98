"""Write an LSTM's kernels and biases as NumPy arrays.

FILE.npz holds lstm_0/kernel (D, 4H), lstm_0/recurrent_kernel (P, 4H), lstm_0/bias (4H,), dense_0/kernel ..., for
numpy.load; P is the projection's size, or H where there is none.  FILE.safetensors is what fastlstm.load reads back to
the last bit, without TensorFlow.
Gates are in the order i f g o (input, forget, candidate, output), and the forget bias is in the bias.
"""

from __future__ import annotations

import argparse

from fastlstm.cli import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_path(parser)
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="FILE.npz or FILE.safetensors")
    parser.add_argument(
        "--known-answer", action="store_true",
        help="store an input and the model's answer too (FILE.safetensors); fastlstm.load replays it",
    )  # fmt: skip
    common.add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    import fastlstm
    from fastlstm.recognise.report import table

    arrays = fastlstm.extract(
        args.path, args.output, scope=args.scope, known_answer=args.known_answer, **common.overrides(args)
    )
    rows = [(name, str(a.shape), str(a.dtype)) for name, a in arrays.items()]
    print("\n".join([*table(("array", "shape", "dtype"), rows), "", f"{len(arrays)} arrays written to {args.output}"]))
    return 0
