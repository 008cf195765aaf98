"""Named tensors, as every reader gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class TensorSpec:
    """What is known of a tensor before its bytes are read.

    dtype  as the file names it: "float32", "bfloat16", "string" ...
    """

    shape: tuple[int, ...]
    dtype: str


class Tensors(Mapping[str, NDArray[Any]]):
    """Named tensors, each read and checked when it is asked for.

    specs  name -> TensorSpec, in the file's order
    fetch  name -> array, read from the file at each call.  Raises FormatError.
    """

    def __init__(self, specs: Mapping[str, TensorSpec], fetch: Callable[[str], NDArray[Any]]) -> None:
        self.specs = dict(specs)
        self._fetch = fetch

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.specs:
            raise KeyError(name)
        return self._fetch(name)

    def __contains__(self, name: object) -> bool:
        return name in self.specs

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)
