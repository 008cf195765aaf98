"""Other ways to run the same model, each made of its layers: what a user would run instead of fastlstm.

A peer is a module with `build(model, threads) -> Step`, imported when it is asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from fastlstm.bench.peers.common import Step
from fastlstm.errors import ArgumentError

if TYPE_CHECKING:
    from fastlstm.model import Model


class Peer(NamedTuple):
    """title   in the tables
    module  of this folder
    needs   packages
    install what pip would be told
    """

    title: str
    module: str
    needs: tuple[str, ...]
    install: str


PEERS = {
    "numpy": Peer("NumPy (device='numpy')", "plain_numpy", (), ""),
    "tensorflow": Peer("TensorFlow, tf.function", "tensorflow", ("tensorflow",), "tensorflow"),
    "litert": Peer("LiteRT", "litert", ("tensorflow", "ai_edge_litert"), "tensorflow ai-edge-litert"),
    "onnxruntime": Peer("ONNX Runtime", "onnxruntime", ("onnxruntime",), "onnxruntime"),
    "torch": Peer("PyTorch, LSTMCell and GRUCell", "torch", ("torch",), "torch"),
}


def missing(name: str) -> bool:
    """Whether a package that the peer needs is not installed."""
    return any(find_spec(package) is None for package in PEERS[name].needs)


def chosen(text: str) -> list[str]:
    """The peers of --against: "all", "none", or names with commas, all of them installed.  Raises ArgumentError."""
    if text == "all":
        return list(PEERS)
    names = [] if text == "none" else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in PEERS:
            raise ArgumentError(
                f"--against: {name!r} is no peer; expected all, none, or some of {', '.join(PEERS)} with commas"
            )
        if missing(name):
            raise ArgumentError(f"--against: {name} is not installed here; pip install {PEERS[name].install}")
    return list(dict.fromkeys(names))


def build(name: str, model: Model, threads: int) -> Step:
    """The peer's way to run the model.  Raises CannotExpress, and whatever the peer's library raises."""
    with _without_stderr():
        return import_module(f"{__name__}.{PEERS[name].module}").build(model, threads)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Nothing is written to the process's stderr: TensorFlow says there what machine it sees, whatever it is told."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed already
        yield
        return
    with open(os.devnull, "w") as nothing:
        sys.stderr.flush()
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


__all__ = ["PEERS", "Peer", "Step", "build", "chosen", "missing"]
