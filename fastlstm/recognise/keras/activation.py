"""How Keras writes an activation down, and which function it means in which version."""

from __future__ import annotations

from typing import Any

from fastlstm.errors import RecognitionError


def activation_text(value: Any, where: str) -> str:
    """The name of an activation that is written as a name or as {"class_name": "function", "config": name}.

    where  what the error calls the place
    Raises RecognitionError for a layer object, a lambda, or anything else that is no name.
    """
    if value is None:
        return "linear"
    if isinstance(value, str):
        return value
    kind = value.get("class_name") if isinstance(value, dict) else type(value).__name__
    if kind == "function" and isinstance(value["config"], str):
        return value["config"]
    raise RecognitionError(
        f"{where} is a {kind} object, which fastlstm does not run as an activation; expected the name of a function, "
        f"such as 'relu'. Save the model with the name instead of the object, where Keras has one"
    )


def activation_of_layer(kind: str, config: dict[str, Any], where: str) -> str:
    """The name of the activation that a layer in ACTIVATIONS stands for.  Raises RecognitionError."""
    if kind == "Activation":
        return activation_text(config.get("activation"), f"{where}: activation")
    if kind == "Softmax":
        if config.get("axis", -1) in (-1, 2):
            return "softmax"
        raise RecognitionError(f"{where} is a Softmax over axis {config['axis']}; expected the last axis, -1")
    if kind == "LeakyReLU":
        slope = config.get("negative_slope", config.get("alpha", 0.3))  # Keras 3, Keras 2, the default of both
        if isinstance(slope, float) and abs(slope - 0.2) < 1e-6:
            return "leaky_relu"
        raise RecognitionError(f"{where} is a LeakyReLU with a slope of {slope}; expected 0.2")
    if kind == "ELU":
        if config.get("alpha", 1) == 1:
            return "elu"
        raise RecognitionError(f"{where} is an ELU with alpha={config['alpha']}; expected 1")
    most, slope, threshold = (config.get(key) for key in ("max_value", "negative_slope", "threshold"))
    if not slope and not threshold and most in (None, 6):
        return "relu" if most is None else "relu6"
    raise RecognitionError(
        f"{where} is a ReLU with max_value={most}, negative_slope={slope}, threshold={threshold}; expected a plain "
        f"one, or one with max_value=6"
    )


def in_this_version(name: str, version: str) -> str:
    """`name` as fastlstm calls the function that Keras `version` means by it: hard_sigmoid changed in Keras 3."""
    return "hard_sigmoid_keras3" if name == "hard_sigmoid" and version.startswith("3") else name
