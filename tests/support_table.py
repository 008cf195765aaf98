"""What is supported, told by the fixtures that `test_golden.py` runs: the README's tables, and every entry's tests.

    python -m tests.support_table            # the README's tables
    python -m tests.support_table --write    # put them there
    python -m tests.support_table --tests    # cell | era | format | test id: one line each

`test_readme.py` compares the README with the first.
"""

import json
import re
import sys
from pathlib import Path

from fastlstm.formats import open_artefact
from tests.test_golden import cases

README = Path(__file__).parents[1] / "README.md"

#: Who wrote the files, in the order of the columns, and the folders of tests/data that hold them.
ERAS = {
    "TF 0.12": ("tf0.12", "cells_tf0.12"),
    "TF 1.0": ("tf1.0", "cells_tf1.0"),
    "TF 1.15": ("tf1.15", "cells_tf1.15", "keras2"),
    "Keras 1.2": ("keras1.2",),
    "Keras 2.1": ("keras2.1",),
    "TF 2.13": ("keras2.13",),
    "TF 2.15": ("tf2.15", "keras2.15"),
    "TF 2.21, tf_keras": ("tf_keras",),
    "Keras 3.15": ("keras3",),
}
FOREIGN = {
    "TFLite": ("tflite",),
    "ONNX": ("onnx",),
    "PyTorch": ("pytorch",),
    "RTNeural": ("rtneural",),
    "NeuralAmpModeler": ("nam",),
    "GuitarML": ("guitarml",),
}

#: What the tables call a format, by its name in `formats.detect`.
FORMATS = {
    "checkpoint": "V2",
    "checkpoint-v1": "V1",
    "objects": "objects",
    "saved-model": "SavedModel",
    "frozen-graph": "frozen",
    "keras-h5": ".h5",
    "keras": ".keras",
    "keras-folder": "folder",
    "keras-shards": "shards",
    "tflite": ".tflite",
    "onnx": ".onnx",
    "pytorch": ".pt",
    "safetensors": ".safetensors",
    "rtneural": ".json",
    "guitarml": ".json",
    "nam": ".nam",
}
BEGIN, END = "<!-- made by `python -m tests.support_table --write` -->", "<!-- end -->"


def entries():
    """(cell, folder of the era, format, test id) of everything that is run."""
    for case in cases():
        folder, file = case.values
        expect = json.loads((folder / "expect.json").read_text())
        test = f"tests/test_golden.py::test_outputs_and_states_are_tensorflows[{case.id}-cpu]"
        for cell in expect.get("cells", ()):
            yield cell, folder.parent.name, format_of(folder / file), test


def format_of(path):
    artefact = open_artefact(path)
    if path.name.endswith(".weights.h5"):
        return ".weights.h5"
    objects = artefact.format == "checkpoint" and artefact.objects is not None
    return FORMATS["objects" if objects else artefact.format]


def tables():
    """Lines of Markdown: a row a cell, a column an era, in it the formats."""
    found = list(entries())
    for title, columns in (("cell or topology", ERAS), ("by the file's own framework", FOREIGN)):
        rows = {}
        for cell, folder, kind, _ in found:
            for label, folders in columns.items():
                if folder in folders:
                    rows.setdefault(cell, {}).setdefault(label, set()).add(kind)
        yield f"| {title} | {' | '.join(columns)} |"
        yield f"|---|{'---|' * len(columns)}"
        for cell in sorted(rows, key=str.lower):
            row = (" ".join(k for k in ORDER if k in rows[cell].get(label, ())) for label in columns)
            yield f"| {cell} | {' | '.join(row)} |"
        yield ""


ORDER = tuple(dict.fromkeys([*FORMATS.values(), ".weights.h5"]))


PLACE = re.compile(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", re.DOTALL)


def quoted(readme):
    """The tables as the README has them."""
    return PLACE.search(readme)[0]


if __name__ == "__main__":
    if "--tests" in sys.argv:
        print(*sorted(" | ".join(entry) for entry in entries()), sep="\n")
    elif "--write" in sys.argv:
        made = "\n".join(tables()) + "\n"
        README.write_text(PLACE.sub(lambda _: made, README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(*tables(), sep="\n")
