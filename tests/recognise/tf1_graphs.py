"""TensorFlow 1 graphs by hand, node by node, as rnn_cell_impl and rnn.dynamic_rnn build them; no TensorFlow needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastlstm.formats.artefact import Artefact
from fastlstm.formats.graph import Graph, Node, Output
from fastlstm.formats.tensors import Tensors, TensorSpec
from fastlstm.recognise import Book
from fastlstm.recognise.tensorflow1 import recognise_tensorflow1


def artefact(shapes, graph=None, dtypes=None):
    """A checkpoint of random variables."""
    specs = {name: TensorSpec(tuple(shape), (dtypes or {}).get(name, "float32")) for name, shape in shapes.items()}

    def fetch(name):
        rng = np.random.default_rng(list(name.encode()))
        return rng.normal(0, 0.4, specs[name].shape).astype(np.float32)

    return Artefact(Path("folder/model"), "checkpoint", Tensors(specs, fetch), graph)


def recognise(what, scope=None, **overrides):
    return recognise_tensorflow1(what, scope=scope, book=Book(overrides))


def found(recognised, what, layer=None):
    """The one finding about `what`, of `layer` where one is named."""
    (finding,) = [f for f in recognised.findings if f.what == what and layer in (None, f.layer)]
    return finding


class Builder:
    """Adds nodes; every method gives the name of what it adds, "name:1" being a second output."""

    def __init__(self):
        self.nodes: dict[str, Node] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def add(self, op, name, *inputs, **attrs):
        while name in self.nodes:
            name += "_"
        outputs = tuple(Output(n.partition(":")[0], int(n.partition(":")[2] or 0)) for n in inputs)
        self.nodes[name] = Node(name, op, outputs, lambda: attrs)
        return name

    def const(self, value, name="Const"):
        return self.add("Const", name, value=np.asarray(value))

    def variable(self, name, *shape):
        if name not in self.shapes:
            self.shapes[name] = shape
            self.add("VariableV2", name)
            self.add("Identity", f"{name}/read", name)
        return f"{name}/read"

    def placeholder(self, name="x"):
        return self.add("Placeholder", name)

    def cell(self, scope, x, h, c, sizes, *, order="ijfo", forget_bias=1.0, phi="Tanh", sigma="Sigmoid",
             before=(), swapped=False, at="", **attrs):  # fmt: skip
        """BasicLSTMCell.call: (h', c').  sizes: (D, H)"""
        d, units = sizes
        at = at or f"run/{scope}"
        kernel, bias = self.variable(f"{scope}/kernel", d + units, 4 * units), self.variable(f"{scope}/bias", 4 * units)
        parts = (h, x) if swapped else (x, h)
        joined = self.add("ConcatV2", f"{at}/concat", *parts, self.const(1))
        product = self.add("MatMul", f"{at}/MatMul", joined, kernel)
        split = self.add("Split", f"{at}/split", self.const(1), self.add("BiasAdd", f"{at}/BiasAdd", product, bias))
        gate = {letter: f"{split}:{k}" for k, letter in enumerate(order)}
        for letter, number in before:
            gate[letter] = self.add("Add", f"{at}/more", gate[letter], self.const(number))
        remembered = self.add("Add", f"{at}/Add", gate["f"], self.const(np.float32(forget_bias), f"{at}/Const_2"))
        kept = self.add("Mul", f"{at}/Mul", c, self.add(sigma, f"{at}/Sigmoid", remembered))
        written = self.add(
            "Mul",
            f"{at}/Mul_1",
            self.add(sigma, f"{at}/Sigmoid_1", gate["i"]),
            self.add(phi, f"{at}/Phi", gate["j"], **attrs),
        )
        new_c = self.add("Add", f"{at}/Add_1", kept, written)
        shown = self.add(phi, f"{at}/Phi_1", new_c, **attrs)
        return self.add("Mul", f"{at}/Mul_2", shown, self.add(sigma, f"{at}/Sigmoid_2", gate["o"])), new_c

    def gru(self, scope, x, h, sizes, candidate=False):
        """GRUCell.call: h', or without the candidate u * h."""
        d, units = sizes
        kernel = self.variable(f"{scope}/gates/kernel", d + units, 2 * units)
        bias = self.variable(f"{scope}/gates/bias", 2 * units)
        self.variable(f"{scope}/candidate/kernel", d + units, units)
        joined = self.add("ConcatV2", "gru/concat", x, h, self.const(1))
        added = self.add("BiasAdd", "gru/BiasAdd", self.add("MatMul", "gru/MatMul", joined, kernel), bias)
        split = self.add("Split", "gru/split", self.const(1), self.add("Sigmoid", "gru/Sigmoid", added))
        kept = self.add("Mul", "gru/Mul", f"{split}:1", h)
        if not candidate:
            return kept
        kernel, bias = f"{scope}/candidate/kernel/read", self.variable(f"{scope}/candidate/bias", units)
        joined = self.add("ConcatV2", "gru/concat_1", x, self.add("Mul", "gru/Mul_r", split, h), self.const(1))
        added = self.add("BiasAdd", "gru/BiasAdd_1", self.add("MatMul", "gru/MatMul_1", joined, kernel), bias)
        rest = self.add("Sub", "gru/sub", self.const(np.float32(1)), f"{split}:1")
        written = self.add("Mul", "gru/Mul_2", rest, self.add("Tanh", "gru/Tanh", added))
        return self.add("AddV2", "gru/add", kept, written)

    def dynamic_rnn(self, scope, x, sizes, *, name="", spoil=None, state="Fill", **options):
        """One cell in a while loop: (outputs, final h).  spoil: (h, c) -> (h, c) handed to the next step."""
        name = name or f"loop/{scope}"
        scattered = self.add("TensorArrayScatterV3", f"{name}/scatter", self.const(0), self.const(0), x, self.const(0))
        array = self.add("Enter", f"{name}/array", scattered)
        merges = {}
        for role in "hc":
            start = self.add("Enter", f"{name}/enter_{role}", self.add(state, f"{name}/zeros_{role}"))
            merges[role] = self.add("Merge", f"{name}/merge_{role}", start, f"{name}/next_{role}")
        switches = {role: self.add("Switch", f"{name}/switch_{role}", merges[role]) for role in "hc"}
        old = {role: self.add("Identity", f"{name}/old_{role}", f"{switches[role]}:1") for role in "hc"}
        step = self.add("TensorArrayReadV3", f"{name}/read", self.const(0), self.const(0), array)
        h, c = self.cell(scope, step, old["h"], old["c"], sizes, at=f"{name}/{scope}", **options)
        onward = spoil(h, c) if spoil else (h, c)
        for role, value in zip("hc", onward, strict=True):
            self.add("NextIteration", f"{name}/next_{role}", value)
        written = self.add("TensorArrayWriteV3", f"{name}/write", self.const(0), self.const(0), h, self.const(0))
        left = self.add("Exit", f"{name}/exit", written)
        gathered = self.add("TensorArrayGatherV3", f"{name}/gather", self.const(0), self.const(0), left)
        return self.add("Transpose", f"{name}/transpose", gathered, self.const([1, 0, 2])), f"{switches['h']}"

    def dense(self, scope, x, sizes, activation=None, names=("kernel", "bias")):
        kernel, bias = self.variable(f"{scope}/{names[0]}", *sizes), self.variable(f"{scope}/{names[1]}", sizes[1])
        out = self.add("BiasAdd", f"{scope}/BiasAdd", self.add("MatMul", f"{scope}/MatMul", x, kernel), bias)
        return self.add(activation, f"{scope}/{activation}", out) if activation else out

    def graph(self):
        return Graph(self.nodes, tuple(self.shapes), "1.15.5", "model.meta")

    def artefact(self, **more):
        return artefact(self.shapes | more, self.graph())
