"""The parts of a comparison: each is a series of columns, one a size."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import peers
from benchmarks.bounds import arithmetic, streaming
from benchmarks.columns import Column, column, known, looped, prepare, spelled, stepped
from benchmarks.latency import latencies
from benchmarks.peers import Peer
from benchmarks.problem import SIZES, Characters, Problem

Size = tuple[int, int]

BATCHED, BATCHES, BATCH_STEPS = (128, 256), (16, 64), 100
SEQUENCES, SEQUENCE_STEPS = [(64, 128), (128, 128), (256, 512), (512, 512)], 1000
LATENCY, LATENCY_STEPS = [(1, 32), (128, 256)], 100_000
LATENCY_PEERS = ("fastlstm Stream.step", "LiteRT", "ONNX Runtime, IOBinding")
UNITS = [2**k for k in range(3, 13)]
LITERT_UNITS = 2048  # the converter takes most of a minute at 4096
UNITS_STEPPED = (*LATENCY_PEERS, "NumPy, tuned")
UNITS_LOOPED = ("fastlstm generate", "JAX lax.scan")
LARGE = [(256, 512), (512, 1024)]
SYMBOLS = 100


@dataclass(frozen=True)
class Options:
    """sizes   (input, hidden), of the parts `steps` and `loops`
    rounds  turns that each peer takes
    only    of the peers fastlstm, and those with this in their names
    """

    sizes: tuple[Size, ...] = tuple(SIZES)
    rounds: int = 15
    only: str = ""

    def choose(self, some: dict[str, Peer], size: Size | None = None) -> dict[str, Peer]:
        """Those of the peers that are wanted, at this size."""
        wanted = {name: peer for name, peer in some.items() if name.startswith("fastlstm") or self.only in name}
        return {name: peer for name, peer in wanted.items() if size is None or not peer.sizes or size in peer.sizes}


def steps(options: Options) -> Iterator[Column]:
    """One step driven from Python."""
    for size in options.sizes:
        yield _sized(size, options.choose(peers.STEPS, size), options, head=False)


def loops(options: Options) -> Iterator[Column]:
    """A step of the autoregressive loop, with the head."""
    for size in options.sizes:
        yield _sized(size, options.choose(peers.LOOPS, size), options, head=True)


def _sized(size: Size, some: dict[str, Peer], options: Options, *, head: bool, label: str = "") -> Column:
    """Steps of one size; with the head those of the loop."""
    problem = Problem(*size)
    entries = looped(problem, some) if head else stepped(problem, some)
    bound = streaming(problem.weight_bytes(head=head))
    return column(label or _label(size), entries, bound, options.rounds, size=list(size))


def characters(options: Options) -> Iterator[Column]:
    """A symbol of the character model."""
    problem = Characters()
    entries = spelled(problem, options.choose(peers.CHARACTERS), SYMBOLS)
    yield column("2 x 512, 65 symbols", entries, streaming(problem.weight_bytes()), options.rounds)


def batches(options: Options) -> Iterator[Column]:
    """A step of many sequences at once: driven from Python, then of known sequences."""
    for batch in BATCHES:
        label, more = f"{batch} x ({_label(BATCHED)})", {"size": list(BATCHED), "batch": batch}
        problem = Problem(*BATCHED, batch=batch)
        bound = arithmetic(problem.operations())
        entries = stepped(problem, options.choose(peers.BATCHES))
        yield column(f"{label}, a step", entries, bound, options.rounds, **more)
        entries = known(Problem(*BATCHED, batch=batch, steps=BATCH_STEPS), options.choose(peers.SEQUENCES))
        yield column(f"{label}, one of {BATCH_STEPS}", entries, bound, options.rounds, **more)


def sequences(options: Options) -> Iterator[Column]:
    """A step of a known sequence: the recurrent weights have to be read, the inputs' product is one for all steps."""
    for size in SEQUENCES:
        problem = Problem(*size, steps=SEQUENCE_STEPS)
        recurrent = 4 * problem.hidden**2
        bound = streaming(4 * recurrent) + arithmetic(problem.operations() - 2 * recurrent)
        entries = known(problem, options.choose(peers.SEQUENCES))
        yield column(_label(size), entries, bound, options.rounds, size=list(size))


def latency(options: Options) -> Iterator[Column]:
    """Every single step of many, driven from Python."""
    for size in LATENCY:
        some = {name: peer for name, peer in options.choose(peers.STEPS).items() if name in LATENCY_PEERS}
        ready, refused = prepare(_label(size), stepped(Problem(*size), some))
        measured = latencies({name: (one.call, one.argument) for name, one in ready.items()}, steps=LATENCY_STEPS)
        print(f"latency at {_label(size)} done", file=sys.stderr)
        yield {"label": _label(size), "size": list(size), "refused": refused, **measured}


def sizes(options: Options) -> Iterator[Column]:
    """Cost against the number of units, one number in: driven from Python, and in a loop with a head to one number."""
    for hidden in UNITS:
        problem = Problem(1, hidden, steps=64 if hidden < 1024 else 8)
        some = options.choose({**peers.STEPS, **peers.LOOPS})
        if hidden > LITERT_UNITS:
            some.pop("LiteRT", None)
        entries = {
            **stepped(problem, {name: peer for name, peer in some.items() if name in UNITS_STEPPED}),
            **looped(problem, {name: peer for name, peer in some.items() if name in UNITS_LOOPED}),
        }
        bound = streaming(problem.weight_bytes(head=False))
        yield column(_label((1, hidden)), entries, bound, min(9, options.rounds), size=[1, hidden])


def threads(options: Options) -> Iterator[Column]:
    """One thread and two: driven from Python, and in a loop. The bound is that of one thread."""
    for size in LARGE:
        yield _sized(size, options.choose(peers.THREADS), options, head=False, label=f"{_label(size)}, step")
        yield _sized(size, options.choose(peers.THREADS_LOOP), options, head=True, label=f"{_label(size)}, loop")


def narrow(options: Options) -> Iterator[Column]:
    """Weights of fewer bytes, driven from Python. A peer's bound is that of its own weights."""
    for size in LARGE:
        problem = Problem(*size)
        full = problem.weight_bytes(head=False)
        narrower = {kind: streaming(full // parts, kind) for kind, parts in (("bfloat16", 2), ("int8", 4))}
        entries = stepped(problem, options.choose(peers.NARROW))
        yield column(_label(size), entries, streaming(full), options.rounds, narrow=narrower, size=list(size))


def _label(size: Size) -> str:
    return "{}, {}".format(*size)


PARTS = {
    part.__name__: part for part in (steps, loops, characters, batches, sequences, latency, sizes, threads, narrow)
}
