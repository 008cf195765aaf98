"""Threads that help with a product: one thread leads, the others are asked for a share when they are there.

The leader never depends on a helper. It gives a share to those that stand ready, does its own, and then does theirs
too, tile by tile from the other end, until it meets what they have done. For that a helper writes to memory of its own,
and the leader takes over what is there. So a helper that the system has put aside costs a tile, not a time slice, and
nothing can lock up. (Tried: a barrier that all meet at, with yields: with two other busy processes on two cores 4 to 20
times slower than one thread. Waiting for a helper's whole share, and a rest for the helper that was late: a virtual
machine's host may put a thread aside 200 times a second for 50 us, and two threads were 1.1 to 1.4 times as fast as
one where they are 1.6 to 1.9.)

A helper is a Python thread in one compiled call that never ends. Without work it spins for `SPIN`, gives its core
away for `LINGER`, then sleeps in a read of a pipe, from which a leader wakes it who has been at work for a while:
a wake-up takes 15 us here, and as much of the leader's time. A share handed over and back takes 0.1 us.

A team is words in memory, found by its address. It has one leader at a time; who finds it taken works alone.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.backends.objects import Code, code

# Places of the words, in bytes. A line is what two caches pass to and fro; nothing in it is of use to a third.
_LINE = 128
OWNED = 0
SIZE, MICROSECOND, WORK, YIELD, READ, WRITE, BYTE = range(_LINE, _LINE + 56, 8)  # written once
SINCE, LAST, NOBODY, LEADER, SPAN = range(2 * _LINE, 2 * _LINE + 40, 8)  # the leader's
JOB = 3 * _LINE  # the leader's own job, as WORK wants it
HELPERS = 4 * _LINE
BLOCK = 5 * _LINE  # a helper's; the rest count from its block
WORDS = 15  # of a helper's job, which comes first
TICKET = WORDS * 8  # the number of the job, in the same line
DONE, COUNT = _LINE, _LINE + 8  # the number of the last one that is done, and how many tiles of this one are
SLEEP = 2 * _LINE
TAKEN, WOKEN, PART = range(3 * _LINE, 3 * _LINE + 24, 8)  # the leader's
READ_FROM, WRITE_TO = 4 * _LINE, 4 * _LINE + 8  # written once

# What a part must have to do at least, in multiply-adds of whole vectors: below, handing it over is not worth it.
LEAST = 2048

STOP, ABSENT = -1, -2
AWAKE, ASLEEP, WAKING = 0, 1, 2

# Microseconds.
SPIN, LINGER = 50, 1000
WORTH_WAKING, WAKE_AGAIN = 200, 2000
LOOK_AGAIN = 20


def _per_microsecond(work: Code) -> int:
    """What the clock counts in a microsecond; 0 on a machine whose clock is not known."""
    start, ticks = time.perf_counter_ns(), work.call(0, 0)
    while time.perf_counter_ns() - start < 1_000_000:
        pass
    return (work.call(0, 0) - ticks) * 1000 // (time.perf_counter_ns() - start)


def _system_functions() -> tuple[int, int, int]:
    """Addresses of what gives the core away, reads and writes."""
    if sys.platform == "win32":
        library, kernel = ctypes.CDLL("ucrtbase"), ctypes.CDLL("kernel32")
        functions = kernel.SwitchToThread, library._read, library._write
    else:
        library = ctypes.CDLL(None)
        functions = library.sched_yield, library.read, library.write
    return tuple(ctypes.cast(function, ctypes.c_void_p).value for function in functions)


class _Crew:
    """What a team's threads hold on to: the words, the pipes, and what a late helper may still be reading."""

    def __init__(self, helpers: int, work: Code) -> None:
        self.work = work
        self.blocks = [HELPERS + k * BLOCK for k in range(helpers)]
        size = (HELPERS + helpers * BLOCK) // 8
        room = np.zeros(size + _LINE // 8, np.int64)
        start = -room.ctypes.data % _LINE // 8
        self.words = room[start : start + size]
        self.address = self.words.ctypes.data
        self._byte = np.zeros(1, np.uint8)
        functions = work.address, *_system_functions()
        self.set(SIZE, helpers, _per_microsecond(work), *functions, self._byte.ctypes.data)
        self.begin()

    def begin(self) -> None:
        """Without threads: they are not there yet, or are those of the process that this one was forked from."""
        self.threads: list[threading.Thread] = []
        self.pipes: list[tuple[int, int]] = []
        self.buried: list[Any] = []
        self.lock = threading.RLock()  # a garbage collection inside may end what `bury`s
        self.set(OWNED, 0)
        self.set(LEADER, 0)
        for block in self.blocks:
            self.set(block + TICKET, 0)
            self.set(block + DONE, ABSENT)
            self.set(block + SLEEP, AWAKE)

    def start(self) -> None:
        for block in self.blocks:
            pipe = os.pipe()
            self.set(block + READ_FROM, *pipe)
            thread = threading.Thread(target=self._serve, args=(block, pipe[0]), name="fastlstm helper", daemon=True)
            self.threads.append(thread)  # before it starts: were that interrupted, it would be started a second time
            self.pipes.append(pipe)
            try:
                thread.start()
            except RuntimeError:  # no more threads: the team is as large as it is
                self.threads.pop()
                _close(self.pipes.pop())
                break

    def _serve(self, block: int, pipe: int) -> None:
        if sys.platform == "linux":  # where a thread's is its own: a helper takes no time from its leader, or others
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        self.work.call(self.address, self.address + block)
        os.close(pipe)

    def stop(self) -> list[threading.Thread]:
        """Let the threads end -> the threads."""
        threads, self.threads = self.threads, []
        for block, (_, end) in zip(self.blocks, self.pipes, strict=False):
            self.set(block + TICKET, STOP)
            self.set(block + WRITE_TO, -1)  # a leader that is still there wakes nobody by another file's number
            os.close(end)  # which ends a helper's sleep
        self.pipes = []
        return threads

    def idle(self) -> bool:
        """Whether no helper is at work."""
        return all(self.get(block + DONE) in (ABSENT, self.get(block + TICKET)) for block in self.blocks)

    def get(self, place: int) -> int:
        return int(self.words[place // 8])

    def set(self, place: int, *values: int) -> None:
        self.words[place // 8 : place // 8 + len(values)] = values


def _close(pipe: tuple[int, int]) -> None:
    for end in pipe:
        os.close(end)


_crews: weakref.WeakSet[_Crew] = weakref.WeakSet()


class Team:
    """A leader's helpers, started when first needed and ended when nobody has the team any more.

    size   of the leader and its helpers
    dtype  of the arenas that they work in
    """

    def __init__(self, size: int, dtype: np.dtype) -> None:
        self.size = size
        self._lead = code("lead")
        self._crew = _Crew(size - 1, code(f"work_{dtype.name}"))
        _crews.add(self._crew)
        weakref.finalize(self, self._crew.stop).atexit = False

    @property
    def address(self) -> int:
        """Where the words are."""
        self.start()
        return self._crew.address

    def start(self) -> None:
        """The helpers, where they are not there: at first, and in a process that was forked."""
        crew = self._crew
        if not crew.threads:
            with crew.lock:
                if not crew.threads:
                    crew.start()

    @contextlib.contextmanager
    def led_from(self, arena: NDArray[np.floating]) -> Iterator[None]:
        """With the caller's thread as its leader, if it has none: see `meeting.enter`."""
        address, leader = self.address, arena.ctypes.data
        try:
            self._lead.call(address, leader, arena.size)
            yield
        finally:  # by the arena: an interrupt may come before anybody knows whether it leads
            self._lead.call(address, -leader, 0)

    def bury(self, *objects: Any) -> None:
        """Keep what a call has worked with until no helper can be reading it, late."""
        crew = self._crew
        with crew.lock:
            crew.buried.extend(objects)
            if crew.idle():
                crew.buried.clear()


_teams: weakref.WeakValueDictionary[tuple[int, str], Team] = weakref.WeakValueDictionary()


def team_of(size: int, dtype: np.dtype) -> Team:
    """The team that models with so many threads have in common."""
    team = _teams.get((size, dtype.name))
    if team is None:  # two threads at once would make one each, which is no harm
        team = _teams[size, dtype.name] = Team(size, dtype)
    return team


def _after_fork() -> None:
    """The child has the words, the pipes' ends and no threads."""
    for crew in list(_crews):
        for pipe in crew.pipes:
            _close(pipe)
        crew.begin()


def _at_exit() -> None:
    """No thread is left in compiled code while the interpreter goes down around it."""
    for crew in list(_crews):
        for thread in crew.stop():
            if thread.ident is not None:  # its start was interrupted
                thread.join(0.1)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
