"""What an entry of a Keras configuration says of a layer: its name, its settings, which layers it reads."""

from __future__ import annotations

from typing import Any


def settings_of(layer: dict[str, Any]) -> dict[str, Any]:
    """A layer's configuration; empty for the list that is a Sequential's until Keras 2.2."""
    config = layer.get("config")
    return config if isinstance(config, dict) else {}


def layer_name(layer: dict[str, Any]) -> str:
    return str(settings_of(layer).get("name") or layer.get("name") or layer.get("class_name"))


def histories(entry: Any) -> list[tuple[str, int]]:
    """Every (layer, output number) that an entry of the configuration names.

    Keras 2 writes ["lstm", node, output, {keyword arguments}], Keras 3 {"class_name": "__keras_tensor__", "config":
    {"keras_history": ["lstm", node, output]}}; both inside lists and dictionaries of any depth.
    """
    if isinstance(entry, dict):
        if entry.get("class_name") == "__keras_tensor__":
            return histories(entry.get("config", {}).get("keras_history"))
        return [found for value in entry.values() for found in histories(value)]
    if not isinstance(entry, (list, tuple)):
        return []
    if len(entry) >= 3 and isinstance(entry[0], str) and all(type(number) is int for number in entry[1:3]):
        return [(entry[0], entry[2]), *histories(list(entry[3:]))]
    return [found for value in entry for found in histories(value)]
