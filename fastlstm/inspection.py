"""What a file holds: the answer of `fastlstm.inspect`, as an object and as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

from fastlstm.formats.tensors import TensorSpec
from fastlstm.layers import Layer
from fastlstm.recognise.report import Report, table

_LONGEST = 60


@dataclass(frozen=True)
class Inspection:
    """What is known of a file without running it.  `str()` of it is text for a terminal.

    path     what was inspected
    format   what kind of file it is
    files    the files that it consists of
    tensors  name -> TensorSpec(shape, dtype), in the file's order
    layers   the layers that `load` would run; empty where the LSTM was not recognised
    report   their hyper-parameters; empty where the LSTM was not recognised
    problem  why the LSTM was not recognised; None where it was
    notes    what a reader should know, e.g. that a .meta file was not found
    written_by
             "TensorFlow 1.4.0", "Keras 2.2.4" ...; "" where the file does not say
    """

    path: Path
    format: str
    files: Sequence[Path]
    tensors: Mapping[str, TensorSpec]
    layers: Sequence[Layer]
    report: Report
    problem: str | None = None
    notes: Sequence[str] = ()
    written_by: str = ""

    def __str__(self) -> str:
        return "\n\n".join("\n".join(part) for part in (self._file_text(), self._tensor_text(), self._model_text()))

    def _file_text(self) -> list[str]:
        lines = [f"{self.path}: {self.format}{f', written by {self.written_by}' if self.written_by else ''}"]
        lines += [f"  {file.name}  {file.stat().st_size:,} bytes" for file in self.files if file.is_file()]
        return lines + [f"  note: {note}" for note in self.notes if note not in self.report.notes]

    def _tensor_text(self) -> list[str]:
        total = sum(math.prod(spec.shape) for spec in self.tensors.values())
        rows = [(f"  {name}", _shape(spec), spec.dtype) for name, spec in list(self.tensors.items())[:_LONGEST]]
        lines = [f"{len(self.tensors)} tensors, {total:,} elements"]
        lines += table(("  name", "shape", "type"), rows) if rows else []
        left = len(self.tensors) - len(rows)
        return lines + ([f"  ... and {left} more; `tensors` has them all"] if left else [])

    def _model_text(self) -> list[str]:
        if self.problem is not None:
            lines = [line for text in self.problem.splitlines() for line in wrap(text, 110, subsequent_indent="  ")]
            return ["No LSTM that can be run as it is:", *(f"  {line}" for line in lines)]
        rows = [(f"  {k}", repr(layer), layer.name) for k, layer in enumerate(self.layers)]
        return ["The LSTM that load() runs:", *table(("  layer", "kind", "name"), rows), "", str(self.report)]


def _shape(spec: TensorSpec) -> str:
    return f"({', '.join(map(str, spec.shape))}{',' if len(spec.shape) == 1 else ''})"
