"""What is supported, told by the fixtures that `test_golden.py` runs: the README's table, and every entry's test.

    python -m tests.support_table            # the README's table
    python -m tests.support_table --tests    # cell, era, format, test id: one line each

`test_readme.py` compares the README with the first.
"""

import json
import sys

from fastlstm.formats import open_artefact
from tests.test_golden import cases

#: Folders of tests/data, in the order of the table's columns, and who wrote the files.
ERAS = {
    "tf0.12": "TF 0.12",
    "tf1.0": "TF 1.0",
    "tf1.15": "TF 1.15",
    "keras1.2": "Keras 1.2",
    "keras2.1": "Keras 2.1",
    "keras2": "tf.keras 1.15",
    "keras2.13": "tf.keras 2.13",
    "tf2.15": "TF 2.15",
    "tf_keras": "tf_keras 2.21",
    "keras3": "Keras 3.15",
}


def entries():
    """(cell, era, format, test id) of everything that is run."""
    for case in cases():
        folder, file = case.values
        expect = json.loads((folder / "expect.json").read_text())
        test = f"tests/test_golden.py::test_outputs_and_states_are_tensorflows[{case.id}-cpu]"
        for cell in expect.get("cells", ()):
            yield cell, ERAS.get(folder.parent.name, folder.parent.name), format_of(folder / file), test


def format_of(path):
    return open_artefact(path).format


def table():
    """Lines of Markdown: a row a cell, a column an era, in it the formats."""
    found = {}
    for cell, era, kind, _ in entries():
        found.setdefault(cell, {}).setdefault(era, {})[kind] = True
    eras = [era for era in dict.fromkeys([*ERAS.values(), *(e for row in found.values() for e in row)])]
    eras = [era for era in eras if any(era in row for row in found.values())]
    yield f"| cell or topology | {' | '.join(eras)} |"
    yield f"|---|{'---|' * len(eras)}"
    for cell in sorted(found):
        yield f"| {cell} | {' | '.join(', '.join(found[cell].get(era, ())) for era in eras)} |"


if __name__ == "__main__":
    lines = ["  ".join(entry) for entry in sorted(entries())] if "--tests" in sys.argv else table()
    print(*lines, sep="\n")
