"""The functions of a SavedModel as a graph whose variables have names, for the recogniser of TensorFlow 1 graphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from fastlstm.formats.artefact import Artefact
from fastlstm.recognise.findings import Recognised
from fastlstm.recognise.objects.bare import layers_of, renamed
from fastlstm.recognise.objects.tree import ORDER, VALUE, Group, Layer
from fastlstm.recognise.tensorflow1 import recognise_tensorflow1

if TYPE_CHECKING:
    from fastlstm.formats.objects import ObjectGraph
    from fastlstm.recognise.overrides import Book


def from_program(artefact: Artefact, item: Layer | Group, scope: str | None, book: Book) -> Recognised | None:
    """What the first of the functions computes that multiplies with matrices; None where there is no such function.

    item  the whole file's objects
    """
    if artefact.program is None or artefact.objects is None:
        return None
    nodes = artefact.objects.nodes
    paths = {weight.key: weight.path for layer in layers_of(item) for weight in layer.weights}
    names = variable_names(artefact.objects, paths)
    keys = {names[number]: nodes[number].attributes[VALUE] for number in names}
    for function in artefact.program.signatures.values():
        graph = artefact.program.graph(function, names)
        used = [number for number in names if names[number] in graph.nodes]
        if not any(node.op in ("MatMul", "LSTMBlockCell", "BlockLSTM") for node in graph.nodes.values()) or not used:
            continue
        mine = {name: key for name, key in keys.items() if name in graph.nodes}
        if scope and not any(name == scope or name.startswith(f"{scope.strip('/')}/") for name in mine):
            continue
        tensors = renamed(artefact.tensors, mine)
        plain = replace(artefact, tensors=tensors, graph=graph, objects=None, program=None)
        return recognise_tensorflow1(plain, scope=scope, book=book)
    return None


def from_names(artefact: Artefact, item: Layer | Group, scope: str | None, book: Book) -> Recognised:
    """Cells of TensorFlow 1 kept as objects: variables by their names and shapes."""
    assert artefact.objects is not None
    layers = layers_of(item)
    keys = {weight.path: weight.key for layer in layers for weight in layer.weights}
    full = {node.attributes[VALUE]: node.full_name for node in artefact.objects.nodes if VALUE in node.attributes}
    often = Counter(full[key] for key in keys.values())
    named = {
        path if often[full[key]] > 1 or _says_more(path, full[key]) else full[key]: key for path, key in keys.items()
    }
    plain = replace(artefact, tensors=renamed(artefact.tensors, named), objects=None, program=None)
    return recognise_tensorflow1(plain, scope=scope, book=book)


def _says_more(path: str, full_name: str) -> bool:
    """Whether a variable's attribute tells what it is, and the name that its maker gave it does not."""
    attribute, name = path.rpartition("/")[2], full_name.rpartition("/")[2]
    return not name or (attribute in ORDER and name.rstrip("_0123456789") not in ORDER)


def variable_names(objects: ObjectGraph, paths: Mapping[str, str]) -> dict[int, str]:
    """Number of a variable's object -> a name that no other has.

    paths  key of a variable -> its path along attributes, where there is one
    A variable's own name where that is unique, else its path. Keras 3 gives those of all layers of a subclassed model
    the same name and exports them without paths: then those that follow each other belong to one layer, until a name
    comes again.
    """
    variables = {k: node for k, node in enumerate(objects.nodes) if VALUE in node.attributes and node.full_name}
    met: Counter[str] = Counter()
    groups: Counter[str] = Counter()
    result: dict[int, str] = {}
    inside: dict[str, set[str]] = {}
    often = Counter(node.full_name for node in variables.values())
    for number in _in_order(objects, variables):
        path = paths.get(variables[number].attributes[VALUE])
        if path is not None and (
            often[variables[number].full_name] > 1 or _says_more(path, variables[number].full_name)
        ):
            result[number] = path
            met[path] += 1
            continue
        scope, _, leaf = variables[number].full_name.rpartition("/")
        if leaf in inside.setdefault(scope, set()):
            groups[scope] += 1
            inside[scope] = set()
        inside[scope].add(leaf)
        name = f"{scope}_{groups[scope]}" if groups[scope] else scope
        name = f"{name}/{leaf}" if name else leaf
        met[name] += 1
        result[number] = name if met[name] == 1 else f"{name}:{number}"
    return result


def _in_order(objects: ObjectGraph, variables: Mapping[int, object]) -> list[int]:
    """Variables as the root's list of them has them, and then the others."""
    listed = objects.nodes[0].children.get("variables")
    children = objects.nodes[listed].children if listed is not None else {}
    first = [children[edge] for edge in sorted(filter(str.isdecimal, children), key=int)]
    return [number for number in dict.fromkeys((*first, *variables)) if number in variables]
