"""The graph of objects in a checkpoint: its bytes one by one, and what damaged ones give."""

import random
from pathlib import Path

import numpy as np
import pytest

from fastlstm.errors import FormatError
from fastlstm.formats import open_artefact
from fastlstm.formats.objects import KEY, ObjectGraph, ObjectNode, object_graph_of, read_object_graph, with_keys
from fastlstm.formats.tensors import Tensors, TensorSpec

DATA = Path(__file__).parents[1] / "data"
VALUE = "VARIABLE_VALUE"

# Two nodes: the root has child "k", node 1, which is a variable and has the root as its child "up": a cycle.
ROOT = bytes.fromhex("0a070a05080112016b")
VARIABLE = bytes.fromhex("0a200a060800120275701216") + b"\x0a\x0eVARIABLE_VALUE\x12\x01n\x1a\x01k"


def graph(data, keys=("k",)):
    return read_object_graph(data, keys, "w.index")


def reference(number, name=b"k"):
    inside = bytes([8, number, 0x12, len(name)]) + name
    return bytes([0x0A, len(inside)]) + inside


def node(*parts):
    inside = b"".join(parts)
    return bytes([0x0A, len(inside)]) + inside


def test_literal_bytes():
    found = graph(ROOT + VARIABLE)
    assert found == ObjectGraph((ObjectNode({"k": 1}), ObjectNode({"up": 0}, {VALUE: "k"}, "n")), recent=False)


def test_what_tensorflow_2_8_adds_tells_its_age():
    assert graph(node(bytes.fromhex("2a020801"))).recent
    assert not open_artefact(DATA / "keras2" / "objects" / "weights").objects.recent
    assert open_artefact(DATA / "tf2.15" / "objects" / "weights").objects.recent


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no objects, expected a root"),
        (node(reference(1)), "child 'k' is node 1, expected one of 1"),
        (node(b"\x0a\x10\x08" + b"\xff" * 9 + b"\x01\x12\x03odd"), "child 'odd' is node -1, expected one of 1"),
        (node(reference(0), reference(0)), "child 'k' is there twice"),
        (node(reference(0, b"\xff\xfe")), r"b'\\xff\\xfe' is not UTF-8"),
        (ROOT + VARIABLE.replace(b"\x1a\x01k", b"\x1a\x01z"), "is said to be tensor 'z', which is not there"),
        (ROOT + VARIABLE[:-1], "are not a TrackableObjectGraph"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "are not a TrackableObjectGraph"),
    ],
)
def test_damaged(data, match):
    with pytest.raises(FormatError, match=match):
        graph(data)


def test_an_attribute_that_is_there_twice():
    attribute = b"\x12\x16\x0a\x0eVARIABLE_VALUE\x12\x01n\x1a\x01k"
    with pytest.raises(FormatError, match="attribute 'VARIABLE_VALUE' is there twice"):
        graph(node(attribute, attribute))


def test_names_are_as_long_as_attributes_are():
    inside = b"\x08\x00\x12\x81\x08" + b"a" * 1025
    reference = b"\x0a" + bytes([len(inside) % 128 | 128, len(inside) // 128]) + inside
    with pytest.raises(FormatError, match="1025 characters in its name"):
        graph(b"\x0a" + bytes([len(reference) % 128 | 128, len(reference) // 128]) + reference)


@pytest.mark.parametrize(
    ("value", "shape", "dtype"), [([b"", b""], (2,), "string"), (1.0, (), "float32"), ([], (0,), "string")]
)
def test_the_graph_is_one_string(value, shape, dtype):
    tensors = Tensors({KEY: TensorSpec(shape, dtype)}, lambda _: np.array(value, object))
    with pytest.raises(FormatError, match="expected one string"):
        object_graph_of(tensors, "w.index")


def test_every_truncation_and_many_flips():
    artefact = open_artefact(DATA / "tf2.15" / "stacked" / "weights")
    data, keys = artefact.tensors[KEY].item(), artefact.tensors.specs.keys()
    assert read_object_graph(data, keys, "w") == artefact.objects
    good = bad = 0
    damaged = [data[:n] for n in range(len(data))]
    rng = random.Random(5)
    for _ in range(2000):
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        damaged.append(bytes(flipped))
    for piece in damaged:
        try:
            found = read_object_graph(piece, keys, "w")
        except FormatError:
            bad += 1
        else:
            good += 1
            assert all(0 <= child < len(found.nodes) for each in found.nodes for child in each.children.values())
            assert {key for each in found.nodes for key in each.attributes.values()} <= set(keys)
    assert good > 100 and bad > 1000


def test_objects_that_stand_alike_are_paired_around_a_cycle():
    saved = ObjectGraph((ObjectNode({"a": 1, "b": 2}), ObjectNode({"root": 0}), ObjectNode({}, full_name="v")), False)
    stored = ObjectGraph((ObjectNode({"b": 1}), ObjectNode({}, {VALUE: "b/.ATTRIBUTES/VARIABLE_VALUE"})), True)
    found = with_keys(saved, stored)
    assert found.recent
    assert found.nodes[2] == ObjectNode({}, {VALUE: "b/.ATTRIBUTES/VARIABLE_VALUE"}, "v")
    assert not found.nodes[1].attributes
