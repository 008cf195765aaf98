"""LiteRT (TensorFlow Lite): TensorFlow's step, converted; the states go in and come out as tensors of the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastlstm.bench.peers import tensorflow
from fastlstm.bench.peers.common import CannotExpress, Step, zero_states

if TYPE_CHECKING:
    from fastlstm.model import Model


def build(model: Model, threads: int) -> Step:
    if model.dtype != np.float32:
        raise CannotExpress(f"its kernels compute in float32, and the model in {model.dtype}")
    tf = tensorflow.imported(threads)
    from ai_edge_litert.interpreter import Interpreter

    shape, states = (1,) if model.takes_ids else (1, model.input_size), zero_states(model.layers, model.dtype)
    interpreter = Interpreter(model_content=_converted(tf, model, shape, states), num_threads=threads)
    interpreter.allocate_tensors()
    signature = interpreter.get_signature_runner()
    given, *before = _indices(signature.get_input_details())
    y, *after = _indices(signature.get_output_details())
    put, get, invoke = interpreter.set_tensor, interpreter.get_tensor, interpreter.invoke
    for index, value in zip(before, states, strict=True):
        put(index, value)

    def call(x: Any) -> Any:
        put(given, x)
        invoke()
        for source, target in zip(after, before, strict=True):
            put(target, get(source))
        return get(y)

    return Step(call, shape)


def _converted(tf: Any, model: Model, shape: tuple[int, ...], states: list[Any]) -> bytes:
    """The flatbuffer. Its signature has names, the one order that outlives the converter: t000 is x and y."""
    advance = tensorflow.equations(tf, model)
    kind = tf.int64 if model.takes_ids else model.dtype
    specs = [(shape, kind), *((a.shape, a.dtype) for a in states)]
    signature = [tf.TensorSpec(*spec, name=f"t{k:03}") for k, spec in enumerate(specs)]

    @tf.function(input_signature=signature)
    def step(x: Any, *before: Any) -> dict[str, Any]:
        y, after = advance(x, list(before))
        return {f"t{k:03}": tf.identity(a) for k, a in enumerate([y, *after])}

    module = tf.Module()
    module.step = step
    return tf.lite.TFLiteConverter.from_concrete_functions([step.get_concrete_function()], module).convert()


def _indices(details: dict[str, dict[str, Any]]) -> list[int]:
    return [details[name]["index"] for name in sorted(details)]
