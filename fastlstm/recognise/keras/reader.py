"""What a link's weights and settings are: each is checked against the others and noted in the book."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fastlstm.errors import ArgumentError, RecognitionError
from fastlstm.layers import activation_named
from fastlstm.recognise.findings import How
from fastlstm.recognise.keras.activation import activation_text, in_this_version
from fastlstm.recognise.keras.chain import Link
from fastlstm.recognise.keras.kinds import CUDNN, GRUS, refusal
from fastlstm.recognise.overrides import Book

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

#: From this version on, Keras' default recurrent_activation is sigmoid; it was hard_sigmoid before.
_SIGMOID_SINCE = (2, 3)

#: Settings that are in the configuration and change nothing when a trained model runs, and why.
_WITHOUT_EFFECT = {
    "unit_forget_bias": "the bias it began with",
    "implementation": "changes no number",
    "unroll": "changes no number",
}


class Reader:
    """The weights and settings of an artefact's links.

    notes  what a user should know, as it is found
    bare   whether the file holds weights only
    gru_without_bias  whether there is one, whose reset_after the caller may have to say
    """

    def __init__(self, artefact: Artefact, book: Book) -> None:
        self.artefact, self.source, self.book = artefact, str(artefact.path), book
        self.notes: list[str] = []
        self.version = artefact.keras.version
        self.bare = artefact.keras.model is None
        self.gru_without_bias = False
        self.unsaid = "the file holds weights only" if self.bare else "the configuration does not say"

    def tell(self, note: str) -> None:
        """Add a note, once."""
        if note not in self.notes:
            self.notes.append(note)

    # Weights.

    def spec(self, link: Link, k: int, expected: tuple[int | None, ...], layout: str) -> tuple[int, ...]:
        """The shape of the link's weight number `k`, which has to be `expected`, None being any size."""
        shape = self.artefact.tensors.specs[link.weights[k]].shape
        if len(shape) != len(expected) or any(
            want not in (None, got) for got, want in zip(shape, expected, strict=True)
        ):
            want = tuple("any" if n is None else n for n in expected)
            raise RecognitionError(
                f"{self.source}: layer {link.name!r} ({link.kind}): weight {link.weights[k]!r} has shape {shape}; "
                f"expected {layout} = ({', '.join(map(str, want))}). The layers before it, the configuration and the "
                f"weights do not fit each other"
            )
        return shape

    def array(self, link: Link, k: int) -> NDArray[Any]:
        return self.artefact.tensors[link.weights[k]]

    def input_width(self, link: Link) -> int | None:
        """How many elements the layer takes, from the shape of its kernel; None for one without."""
        for leaf in link.parts[0] if link.parts else (link,):
            if leaf.weights and leaf.kind != "Embedding":
                return self.artefact.tensors.specs[leaf.weights[0]].shape[0]
        return None

    def size(self, link: Link, key: str, size: int) -> None:
        """Note a size that the weights have and the configuration should say."""
        said = link.config.get(key)
        if said is not None and said != size:
            raise RecognitionError(
                f"{self.source}: layer {link.name!r}: the weights {link.weights[0]!r} ... are for {key} = {size}; the "
                f"configuration says {said}. They do not belong together: save the model again"
            )
        how: tuple[How, str] = ("inferred", "shape of the weights")
        if said is not None:
            how = ("read", f"config key {key!r} of layer {link.name!r}")
        self.book.note(link.name, key, size, *how)

    # Settings.

    def flag(self, link: Link, key: str, default: bool, *, told: bool = True) -> bool:
        """A setting that is true or false; `told` notes it in the book."""
        value = bool(link.config.get(key, default))
        if told:
            how: How = "read" if key in link.config else "assumed"
            source = f"config key {key!r} of layer {link.name!r}" if how == "read" else "Keras' default"
            self.book.note(link.name, key, value, how, source)
        return value

    def recurrent_activation(self, link: Link) -> str:
        key = "recurrent_activation"
        if link.kind in CUDNN:
            what = "GRU" if link.kind in GRUS else "LSTM"
            return self.book.note(link.name, key, "sigmoid", "inferred", f"cuDNN's {what} has no other")
        if key in link.config:
            return self.activation(link, key, "sigmoid", key)
        if self.book.given(key):
            return self.book.note(link.name, key, "unknown", "assumed", self.unsaid)
        if self.artefact.keras.recent or (not self.bare and version_numbers(self.version) >= _SIGMOID_SINCE):
            return self.activation(link, key, "sigmoid", key)
        raise RecognitionError(
            f"{self.source}: layer {link.name!r}: the recurrent_activation of the gates is unknown ({self.unsaid}), "
            f"and it changes the numbers: Keras' default was hard_sigmoid until Keras 2.2 and TensorFlow 1.15, sigmoid "
            f"since. Pass recurrent_activation='sigmoid' or 'hard_sigmoid' ('hard_sigmoid_keras3' for Keras 3's own)"
        )

    def activation(self, link: Link, key: str, default: str, what: str, source: str | None = None) -> str:
        """The activation under `key`; noted in the book as `what`."""
        where = f"{self.source}: layer {link.name!r}: {key}"
        how: How = "read"
        if key in link.config:
            value = in_this_version(activation_text(link.config[key], where), self.version)
            source = source or f"config key {key!r} of layer {link.name!r}"
        else:
            value, how, source = default, "assumed", f"Keras' default; {self.unsaid}"
        value = self.book.note(link.name, what, value, how, source)
        try:
            return activation_named(value, where=where).label
        except ArgumentError as error:
            if self.book.given(what):
                raise
            raise RecognitionError(str(error)) from None

    def use_bias(self, link: Link) -> None:
        source = f"config key 'use_bias' of layer {link.name!r}" if "use_bias" in link.config else "Keras' default"
        has = len(link.weights) > 2
        self.book.note(link.name, "use_bias", has, *(("inferred", "its weights") if self.bare else ("read", source)))

    def run_settings(self, link: Link) -> None:
        """Settings that change what Keras returns, or nothing at all, but not what the layer computes."""
        config, name = link.config, link.name
        if "return_sequences" in config or not self.bare:
            self.flag(link, "return_sequences", False)
        for key, why in _WITHOUT_EFFECT.items():
            if key in config:
                self.book.note(name, key, config[key], "read", f"config key {key!r} of layer {name!r}: {why}")
        if config.get("stateful"):
            self.book.note(name, "stateful", True, "read", f"config key 'stateful' of layer {name!r}")
            self.tell(f"{name} is stateful: Keras carried its state from call to call; pass the state that run returns")
        if config.get("time_major"):
            self.tell(f"{name} is time-major in Keras; run takes and gives (B, T, ...) all the same")

    def dtype(self, link: Link) -> None:
        """Tell of a layer that ran in 16 bits.  Raises RecognitionError for a quantised one."""
        policy, mode = link.config.get("dtype"), None
        if isinstance(policy, dict):
            mode, policy = (policy.get("config", {}).get(key) for key in ("mode", "name"))
        if isinstance(policy, str) and "_from_" in policy:  # "int8_from_float32"
            mode = policy
        if mode or link.config.get("quantization_config"):
            what = f"{link.kind} quantised to {mode or 'integers'}"
            raise refusal(self.source, link.name, what, "load the model before quantising")
        if isinstance(policy, str) and policy.removeprefix("mixed_") in {"float16", "bfloat16"}:
            self.tell(f"Keras ran it in {policy}; fastlstm runs it in float32, so the numbers agree only to 16 bits")


def version_numbers(text: str) -> tuple[int, int]:
    """(2, 2) for "2.2.4-tf"; (1, 0) where there is nothing to read."""
    parts = [int(part) if part.isdigit() else 0 for part in text.split("-", maxsplit=1)[0].split(".")[:2]]
    return (parts[0], parts[1] if len(parts) > 1 else 0) if parts and parts[0] else (1, 0)
