"""SavedModels: a folder with graphs and objects in `saved_model.pb`, and a checkpoint of the variables.

TensorFlow 1 writes a graph whose variables have names; TensorFlow 2 writes functions and a graph of objects, which say
to what variables the functions are bound.
Sources: tensorflow/core/protobuf/{saved_model,meta_graph,saved_object_graph}.proto, keras/saving/legacy/saved_model.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fastlstm.errors import FormatError, MissingFileError
from fastlstm.formats import proto
from fastlstm.formats.artefact import Artefact
from fastlstm.formats.bundle import read_bundle
from fastlstm.formats.graph import Output
from fastlstm.formats.graphdef import meta_graph
from fastlstm.formats.nodedef import output_of
from fastlstm.formats.objects import ObjectGraph, ObjectNode, children_of, object_graph_of, with_keys
from fastlstm.formats.program import Program
from fastlstm.formats.source import is_file, is_folder, read_whole
from fastlstm.formats.tensors import Tensors

MODEL, TEXT_MODEL, VARIABLES, METADATA = "saved_model.pb", "saved_model.pbtxt", "variables", "keras_metadata.pb"
LARGEST = (1 << 31) - 1  # bytes, protobuf's limit
SERVE, SERVING = b"serve", "serving_default"  # the tag and the signature of what is meant to be run


def detect(path: Path) -> bool:
    """The folder, its saved_model.pb, its subfolder `variables`, or a file in that."""
    return _folder_of(path) is not None


def _folder_of(path: Path) -> Path | None:
    for folder in (path, path.parent, path.parent.parent):
        below = path.relative_to(folder).parts
        if is_file(folder / MODEL) or is_file(folder / TEXT_MODEL):
            return folder if not below or below[0] in (MODEL, TEXT_MODEL, VARIABLES) else None
    return None


def read(path: Path) -> Artefact:
    """The variables, and the graph (TensorFlow 1) or the objects and functions (TensorFlow 2) that use them.

    Raises FormatError, MissingFileError if the variables are not there.
    """
    folder = _folder_of(path)
    assert folder is not None
    meta, name = _meta_graph(folder)
    tensors = _variables(folder)
    if not meta.object_graph_def.nodes:
        return Artefact(folder, "saved-model", tensors, graph=meta_graph(meta, name, _outputs(meta, name)))
    objects = _objects(meta.object_graph_def, f"{name}: object graph")
    stored = object_graph_of(tensors, f"{VARIABLES}.index")
    if stored is not None:
        objects = with_keys(objects, stored)
    if is_file(folder / METADATA):
        objects = _with_metadata(objects, folder / METADATA)
    return Artefact(folder, "saved-model", tensors, objects=objects, program=_program(meta, objects, name))


def _meta_graph(folder: Path) -> tuple[Any, str]:
    """The MetaGraphDef that is meant to be run, and the file's name."""
    if is_file(folder / MODEL):
        model = proto.parse("SavedModel", read_whole(folder / MODEL, LARGEST), MODEL)
        name = MODEL
    else:
        raise FormatError(
            f"{folder / TEXT_MODEL}: a SavedModel as text, which fastlstm does not read; load it with TensorFlow and "
            "save it again, as tf.saved_model.save does"
        )
    if not model.meta_graphs:
        raise FormatError(f"{name}: a SavedModel without graphs; the file is damaged, truncated, or of another kind")
    serving = [meta for meta in model.meta_graphs if SERVE in meta.meta_info_def.tags]
    return (serving or model.meta_graphs)[0], name


def _variables(folder: Path) -> Tensors:
    prefix = folder / VARIABLES / VARIABLES
    if not is_file(prefix.with_name(f"{VARIABLES}.index")):
        if is_folder(folder / VARIABLES) and any((folder / VARIABLES).iterdir()):
            raise MissingFileError(
                f"{prefix}.index: no such file; put all files of the SavedModel's folder {VARIABLES!r} together"
            )
        return Tensors({}, {}.__getitem__)
    return read_bundle(prefix)


def _signatures(meta: Any, name: str) -> dict[str, Any]:
    """SignatureDefs, the one to run first."""
    found = {proto.text(entry.key, f"{name}: signature"): entry.value for entry in meta.signature_def}
    return dict(sorted(found.items(), key=lambda item: (item[0] != SERVING, item[0])))


def _outputs(meta: Any, name: str) -> tuple[Output, ...]:
    """What the signature to run gives."""
    for signature in _signatures(meta, name).values():
        outputs = tuple(output_of(proto.text(entry.value.name, name)) for entry in signature.outputs)
        if outputs and signature.inputs:
            return outputs
    return ()


def _objects(graph: Any, where: str) -> ObjectGraph:
    nodes = []
    for number, node in enumerate(graph.nodes):
        here = f"{where}: node {number}"
        functions = [*node.function.concrete_functions]
        if node.HasField("bare_concrete_function"):
            functions.append(node.bare_concrete_function.concrete_function_name)
        nodes.append(
            ObjectNode(
                children_of(node.children, len(graph.nodes), here),
                full_name=proto.text(node.variable.name, here),
                identifier=proto.text(node.user_object.identifier, here),
                metadata=proto.text(node.user_object.metadata, here),
                functions=tuple(proto.text(function, here) for function in functions),
            )
        )
    return ObjectGraph(tuple(nodes), recent=False)


def _with_metadata(objects: ObjectGraph, path: Path) -> ObjectGraph:
    """`objects` with what Keras says of them since TensorFlow 2.5, in a file of its own."""
    nodes = list(objects.nodes)
    for entry in proto.parse("KerasMetadata", read_whole(path, LARGEST), path.name).nodes:
        if not 0 <= entry.node_id < len(nodes):
            raise FormatError(
                f"{path.name}: speaks of node {entry.node_id}, expected one of {len(nodes)}; the file is damaged"
            )
        nodes[entry.node_id] = replace(nodes[entry.node_id], metadata=proto.text(entry.metadata, path.name))
    return replace(objects, nodes=tuple(nodes))


def _program(meta: Any, objects: ObjectGraph, name: str) -> Program:
    bound = {
        proto.text(entry.key, name): tuple(entry.value.bound_inputs)
        for entry in meta.object_graph_def.concrete_functions
    }
    version = proto.text(meta.meta_info_def.tensorflow_version, f"{name}: TensorFlow's version")
    return Program(_callable(objects), bound, version, name, meta.graph_def)


def _callable(objects: ObjectGraph) -> dict[str, str]:
    """Signatures and the root's own functions -> what they run; the signature for serving first."""
    found: dict[str, str] = {}
    root = objects.nodes[0].children
    for within in ("signatures", None):
        children = root if within is None else objects.nodes[root[within]].children if within in root else {}
        for edge in sorted(children, key=lambda edge: (edge != SERVING, edge)):
            for function in objects.nodes[children[edge]].functions[:1]:
                found.setdefault(edge, function)
    return found
