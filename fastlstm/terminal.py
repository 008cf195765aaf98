"""What commands tell the user while they work, on stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


@contextmanager
def compiling(after: float = 2.0) -> Iterator[None]:
    """Around the first call of compiled code: says that it compiles if it has not ended after so many seconds.

    Numba does not tell whether it will find the code in its disk cache; that takes well under a second.
    """
    notice = threading.Timer(after, print, ["compiling (first run only) ..."], {"file": sys.stderr, "flush": True})
    notice.daemon = True
    notice.start()
    try:
        yield
    finally:
        notice.cancel()


class Meter(Generic[T]):
    """Passes items on, and counts them and the seconds that they took to make."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self.count, self.seconds = 0, 0.0

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        begin = time.perf_counter()
        try:
            item = next(self._items)
        finally:
            self.seconds += time.perf_counter() - begin
        self.count += 1
        return item


def speed(seconds: float, steps: int) -> str:
    """ "1.31 us a step, 763,000 steps a second"."""
    rate = steps / max(seconds, 1e-9)
    return f"{microseconds(seconds / steps)} a step, {float(f'{rate:.3g}'):,.0f} steps a second"


def microseconds(seconds: float) -> str:
    return f"{float(f'{seconds * 1e6:.3g}'):,g} us"
