"""The house's rules: imports point down, each room keeps to its own, and importing fastlstm brings in NumPy alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fastlstm"

# From the ground up. A file may import from its own floor and from those below.
FLOORS = [
    ["errors"],
    ["layers", "sampling"],
    ["formats", "backends"],
    ["recognise"],
    ["arguments", "devices", "state"],
    ["device_calls", "generation", "model", "stream"],
    ["inspection", "known_answer", "loading", "terminal"],
    ["verification"],
    ["__init__"],
    ["bench", "demo"],
    ["cli"],
    ["__main__"],
]
OUTSIDE = {
    "errors": set(),
    "layers": {"numpy"},
    "sampling": set(),
    "formats": {"numpy", "google", "google_crc32c", "h5py", "safetensors"},
    "backends": {"numpy", "numba", "llvmlite", "cuda", "cupy"},
    "bench": {"numpy", "matplotlib", "tensorflow", "ai_edge_litert", "onnxruntime", "torch"},
    "recognise": {"numpy"},
    "verification": {"numpy", "tensorflow", "verify_common", "verify_graph", "verify_keras", "verify_signature"},
}
OTHERS_OUTSIDE = {"numpy", "matplotlib", "tensorflow", "tqdm"}

FILES = sorted(PACKAGE.rglob("*.py"))


def room(path):
    """ "backends" for backends/plan.py, "model" for model.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name):
    found = [level for level, rooms in enumerate(FLOORS) if name in rooms]
    assert found, f"{name} stands on no floor of the house: add it to FLOORS"
    return found[0]


def imports(path, top_level=False):
    """Dotted names that a file imports, those for type checking alone left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in tree.body if top_level else ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "fastlstm":
                yield from (f"fastlstm.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    here = room(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "fastlstm":
            there = parts[1] if len(parts) > 1 and floor_exists(parts[1]) else "__init__"
            assert there == here or floor(there) <= floor(here), f"{path.name} imports {name}, which stands above it"
        elif parts[0] not in sys.stdlib_module_names:
            assert parts[0] in OUTSIDE.get(here, OTHERS_OUTSIDE), f"{path.name} imports {name}"


def floor_exists(name):
    return any(name in rooms for rooms in FLOORS)


def test_rooms_keep_to_their_own():
    for path in FILES:
        here, names = room(path), set(imports(path))
        if here in ("formats", "layers"):
            assert not {n for n in names if n.startswith(("fastlstm.layers", "fastlstm.formats")) and here not in n}, (
                path
            )
        if here == "backends":
            assert not {n for n in names if n.startswith(("fastlstm.formats", "fastlstm.recognise"))}, path
            reaching = {n for n in names if n.startswith(("numba.cuda", "cuda."))}
            assert path.parent.name == "cuda" or not reaching, path
        if here == "recognise":
            plain = {"fastlstm.formats.artefact", "fastlstm.formats.graph", "fastlstm.formats.tensors"}
            assert not {n for n in names if n.startswith("fastlstm.formats")} - plain, path
            assert not names & {"os", "io", "pathlib", "zipfile"}, f"{path}: file access"


def test_what_is_heavy_is_imported_where_it_is_needed():
    """h5py, protobuf and the like inside functions; Numba at the top of a backend's files alone."""
    compiler = {"numba", "llvmlite"}
    for path in FILES:
        outside = {n.split(".")[0] for n in imports(path, top_level=True)} - set(sys.stdlib_module_names) - {"fastlstm"}
        outside -= {"verify_common", "verify_keras"}  # beside each other in verification/runner, run by itself
        assert outside <= ({"numpy"} | compiler if room(path) == "backends" else {"numpy"}), f"{path}: {outside}"


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import fastlstm", set()),
        (
            "import fastlstm, numpy\n"
            "m = fastlstm.Model([fastlstm.LSTM(numpy.ones((1, 8)), numpy.ones((2, 8)))], device='numpy')\n"
            "m.stream().step([1.0])",
            set(),
        ),
        ("import fastlstm; fastlstm.load('tests/data/tf1.15/basic')", {"google", "google_crc32c"}),
        ("import fastlstm; fastlstm.load('tests/data/keras3/sequential/model.keras')", {"h5py"}),
    ],
)
def test_only_what_is_needed_is_loaded(code, allowed):
    heavy = {"numba", "llvmlite", "tensorflow", "keras", "h5py", "google", "google_crc32c", "safetensors", "matplotlib"}
    check = f"{code}\nimport sys; print(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
    loaded = {name for name in done.stdout.split() if name in heavy}
    if "google" in loaded and not loaded & {"google_crc32c"}:
        loaded.discard("google")  # a namespace package that other packages' .pth files open
    assert loaded <= allowed


def test_files_fit_the_eye():
    lengths = {str(p.relative_to(PACKAGE)): len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
    assert {name: n for name, n in lengths.items() if n > 420} == {}
