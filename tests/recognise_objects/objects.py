"""Object checkpoints by hand: nested dictionaries of shapes, without TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fastlstm.formats.artefact import Artefact
from fastlstm.formats.objects import ObjectGraph, ObjectNode
from fastlstm.formats.tensors import Tensors, TensorSpec
from fastlstm.recognise import recognise

VALUE, CONFIG = "VARIABLE_VALUE", "OBJECT_CONFIG_JSON"


def lstm(inputs, units, **more):
    weights = {"kernel": (inputs, 4 * units), "recurrent_kernel": (units, 4 * units), "bias": (4 * units,)}
    return {"cell": weights, **more}


def dense(inputs, units, kernel="kernel"):
    return {kernel: (inputs, units), "bias": (units,)}


def artefact(tree, *, recent=True, names=None):
    """The checkpoint of `tree`: a dictionary is an object, a tuple a variable's shape, a string an object's JSON.

    names  path of a variable -> its full name
    """
    nodes, specs, texts = [], {}, {}
    known = {}  # an object that is met again is the same node

    def add(value, path):
        if id(value) in known and isinstance(value, dict):
            return known[id(value)]
        number = len(nodes)
        nodes.append(None)
        if isinstance(value, tuple):
            key = f"{path}/.ATTRIBUTES/{VALUE}"
            specs[key] = TensorSpec(value, "float32" if value else "int64")
            nodes[number] = ObjectNode({}, {VALUE: key}, (names or {}).get(path, path))
            return number
        known[id(value)] = number
        attributes = {}
        if CONFIG in value:
            attributes[CONFIG] = f"{path}/.ATTRIBUTES/{CONFIG}"
            specs[attributes[CONFIG]] = TensorSpec((), "string")
            texts[attributes[CONFIG]] = json.dumps(value[CONFIG]) if isinstance(value[CONFIG], dict) else value[CONFIG]
        children = {e: add(child, f"{path}/{e}".lstrip("/")) for e, child in value.items() if e != CONFIG}
        nodes[number] = ObjectNode(children, attributes)
        return number

    add(tree, "")

    def fetch(key):
        if key in texts:
            return np.array(texts[key].encode(), object)
        return np.random.default_rng(list(key.encode())).normal(0, 0.4, specs[key].shape).astype(np.float32)

    return Artefact(Path("folder/w"), "checkpoint", Tensors(specs, fetch), objects=ObjectGraph(tuple(nodes), recent))


def recognised(tree, scope=None, recent=True, names=None, **overrides):
    return recognise(artefact(tree, recent=recent, names=names), scope=scope, overrides=overrides)


def layers(found):
    return [(type(layer).__name__, layer.name, layer.input_size, layer.output_size) for layer in found.layers]
