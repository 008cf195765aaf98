"""Which parts of a graph are the two directions over one sequence, and where they are put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from fastlstm.formats.graph import Output
from fastlstm.recognise.tensorflow1.bidirectional import is_time, joined
from fastlstm.recognise.tensorflow1.cell_use import CellUse
from fastlstm.recognise.tensorflow1.graph import Walker
from fastlstm.recognise.tensorflow1.graph_ops import PAIRS, is_upkeep
from fastlstm.recognise.tensorflow1.landmarks import Landmarks
from fastlstm.recognise.tensorflow1.marks import FromCell, FromPair, FromTurned, Mark, Place
from fastlstm.recognise.tensorflow1.parts import Chain, Turn


class Wiring(Protocol):
    """What is asked of a topology, whose methods of these names say what they give."""

    walker: Walker
    uses: list[CellUse]
    landmarks: Landmarks

    def chain_of(self, mark: Mark, reader: CellUse | None, size: int) -> Chain: ...
    def is_feedback(self, mark: Mark, reader: CellUse) -> bool: ...
    def state_sources(self, use: CellUse) -> frozenset[CellUse]: ...
    def place(self, use: CellUse) -> Place: ...


class Directions:
    """Of the cells in `topology`."""

    def __init__(self, topology: Wiring) -> None:
        self.topology = topology
        self._back: dict[str, bool] = {}

    def pair_chain(self, output: Output) -> Chain:
        """The chain that ends where `output` puts two directions together; () where it does not."""
        marks = self.topology.landmarks.marks(output)
        pairs = [m for m in marks if isinstance(m, FromPair)]
        chains = {self.joined(m, None) for m in pairs}
        return chains.pop() if len(chains) == 1 and len(pairs) == len(marks) else ()

    def joined(self, pair: FromPair, reader: CellUse | None) -> Chain:
        """The chain of both directions; () where the two are anything else, or not put together step by step.

        reader  whose input it is; see `Topology.chain`
        """
        ways = []
        for output in (pair.one, pair.other):
            marks = [
                m
                for m in self.topology.landmarks.marks(output)
                if reader is None or not self.topology.is_feedback(m, reader)
            ]
            chains = set()
            for mark in marks:
                turned = isinstance(mark, FromTurned)
                if turned and not is_time(self.topology.walker, mark):
                    return ()
                cells = self.topology.landmarks.marks(mark.below) if isinstance(mark, FromTurned) else [mark]
                chains |= {self.topology.chain_of(cell, reader, 0) for cell in cells}
            if len(chains) != 1 or not marks:
                return ()
            ways.append((chains.pop(), marks))
        (forward, ones), (backward, others) = ways
        steps = [m for m in (*ones, *others) if isinstance(m, FromCell)]
        if len(steps) == len(ones) + len(others) and len({self._first_place(m.use) for m in steps}) != 1:
            return ()
        return joined(forward, backward, pair.mode)

    def _first_place(self, use: CellUse) -> Place:
        """Which step of what the lowest layer reads."""
        place = self.topology.place(use)
        while place.cell is not None:
            place = self.topology.place(place.cell)
        return place

    def runs_back(self, use: CellUse) -> bool:
        """Whether the unrolled loop of `use` begins at the last step of what it reads (static_bidirectional_rnn)."""
        scope = use.cell.scope
        if scope not in self._back:
            self._back[scope] = False
            pairs = [
                (self.topology.place(before), self.topology.place(u))
                for u in self.topology.uses
                if u.cell.scope == scope
                for before in self.topology.state_sources(u) - {u}
            ]
            known = [(p.step, q.step) for p, q in pairs if p.source == q.source and None not in (p.step, q.step)]
            self._back[scope] = bool(known) and all(p == q + 1 for p, q in known)  # type: ignore[operator]
        return self._back[scope]


def pairs_of(topology: Wiring, directions: Directions, layers: Iterable[Chain]) -> dict[Chain, list[Output]]:
    """Every chain that ends in two directions put together, with where the graph does so."""
    found: dict[Chain, list[Output]] = {}
    if not any(isinstance(part, Turn) for chain in layers for part in chain):
        return found
    for node in topology.walker.graph.nodes.values():
        if node.op in PAIRS and not is_upkeep(node):
            chain = directions.pair_chain(Output(node.name, 0))
            if chain:
                found.setdefault(chain, []).append(Output(node.name, 0))
    return found
