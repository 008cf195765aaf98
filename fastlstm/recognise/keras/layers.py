"""A Keras chain -> layers: every setting is checked against the weights and noted in the book."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.errors import ArgumentError, RecognitionError
from fastlstm.layers import LSTM, Dense, Embedding, Layer, OneHot, activation_named
from fastlstm.recognise.findings import How, Recognised
from fastlstm.recognise.keras.activation import activation_text, in_this_version
from fastlstm.recognise.keras.chain import EXPECTED, LSTMS, Link, refusal
from fastlstm.recognise.keras.weights import KERAS1_GATES, WEIGHT_NAMES, from_cudnn
from fastlstm.recognise.overrides import Book

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

#: From this version on, Keras' default recurrent_activation is sigmoid; it was hard_sigmoid before.
_SIGMOID_SINCE = (2, 3)


class Builder:
    """Turns links into layers, one after the other, and keeps the book."""

    def __init__(self, artefact: Artefact, book: Book) -> None:
        self.artefact, self.source, self.book = artefact, str(artefact.path), book
        self.notes: list[str] = []
        self.version = artefact.keras.version
        self.bare = artefact.keras.model is None
        self.unsaid = "the file holds weights only" if self.bare else "the configuration does not say"

    def build(self, links: Sequence[Link]) -> Recognised:
        layers: list[Layer] = []
        last_lstm, last_dense = (
            max((k for k, link in enumerate(links) if link.kind in kinds), default=-1) for kinds in (LSTMS, {"Dense"})
        )
        last_only = ""
        for k, link in enumerate(links):
            width = layers[-1].output_size if layers else None
            self._note_dtype(link)
            if link.kind == "Embedding":
                if layers:
                    raise refusal(self.source, link.name, "Embedding after other layers", "it can only come first")
                layers.append(self._embedding(link))
            elif link.kind == "Dense":
                head = last_lstm < k == last_dense
                layers.append(self._dense(link, width, "head_activation" if head else "dense_activation"))
            else:
                if last_only:
                    raise RecognitionError(
                        f"{self.source}: LSTM {link.name!r} comes after LSTM {last_only!r}, which gives its last "
                        f"output only (return_sequences=False); expected return_sequences=True there. {EXPECTED}"
                    )
                layers.append(self._lstm(link, width))
                last_only = "" if link.config.get("return_sequences", self.bare) else link.name
        if last_only:
            self.notes.append(
                "run gives every step's output; the original model gave only the last one, which is ys[:, -1]"
            )
        self._one_hot(layers)
        return Recognised(layers, self.book.findings, self.notes)

    def _one_hot(self, layers: list[Layer]) -> None:
        if not self.book.given("one_hot"):
            return
        starts_with_ids = isinstance(layers[0], Embedding)
        one_hot = self.book.note(
            "", "one_hot", False, "read", "the model takes " + ("ids" if starts_with_ids else "vectors")
        )
        if one_hot and starts_with_ids:
            raise ArgumentError(
                f"load(one_hot=True): {self.source} has an embedding; pass embedding=None to replace it"
            )
        if one_hot:
            layers.insert(0, OneHot(layers[0].input_size))

    def _embedding(self, link: Link) -> Embedding:
        if link.config.get("mask_zero"):
            raise refusal(
                self.source, link.name, "Embedding with mask_zero=True", "save the model again with mask_zero=False "
                "(the weights stay the same) and pass lengths to run() instead",
            )  # fmt: skip
        rows, columns = self._spec(link, 0, (None, None), "(V, D)")
        self._size(link, "input_dim", rows)
        self._size(link, "output_dim", columns)
        return Embedding(self._array(link, 0), name=link.name)

    def _dense(self, link: Link, width: int | None, what: str) -> Dense:
        _, units = self._spec(link, 0, (width, None), "(D, V)")
        self._size(link, "units", units)
        if len(link.weights) > 1:
            self._spec(link, 1, (units,), "(V,)")
        where = link.config.get("activation_layer")
        activation = self._activation(link, "activation", "linear", what, where and f"layer {where!r} after it")
        if self.bare and not self.book.given(what):
            change = "; pass head_activation if it is another" if what == "head_activation" else ""
            self.notes.append(
                f"{link.name}: a file of weights does not hold the activation: linear was assumed{change}"
            )
        bias = self._array(link, 1) if len(link.weights) > 1 else None
        return Dense(self._array(link, 0), bias, activation, name=link.name)

    def _lstm(self, link: Link, width: int | None) -> LSTM:
        config, name = link.config, link.name
        if config.get("go_backwards"):
            raise refusal(
                self.source, name, f"{link.kind} with go_backwards=True",
                "it reads the sequence from its end, so it cannot run one step at a time",
            )  # fmt: skip
        kernel, recurrent, bias, gates = self._lstm_arrays(link, width)
        self._note_use_bias(link)
        activation = self._activation(link, "activation", "tanh", "activation")
        recurrent_activation = self._recurrent_activation(link)
        forget_bias = self.book.note(name, "forget_bias", 0.0, "inferred", "Keras adds none: it is in the bias already")
        options = {"cell_clip": None, "proj_clip": None, "residual": False}
        for what, none in options.items():
            if self.book.given(what):
                options[what] = self.book.note(name, what, none, "inferred", "Keras' LSTM has no such thing")
        self._note_run_settings(link)
        return LSTM(
            kernel, recurrent, bias, gate_order=gates, forget_bias=forget_bias, activation=activation,
            recurrent_activation=recurrent_activation, name=name, **options,
        )  # fmt: skip

    def _lstm_arrays(
        self, link: Link, width: int | None
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, str]:
        """Kernel (D, 4H), recurrent kernel (H, 4H), bias (4H,) or None, and the order of their gates."""
        if len(link.weights) == KERAS1_GATES * len(WEIGHT_NAMES["LSTM"]):
            units = self._spec(link, 1, (None, None), "(H, H)")[0]
            for k in range(len(link.weights)):
                self._spec(
                    link, k, ((width, units), (units, units), (units,))[k % 3], "(D, H), (H, H) or (H,) of one gate"
                )
            self._size(link, "units", units)
            arrays = [self._array(link, k) for k in range(len(link.weights))]
            kernel, recurrent, bias = (np.concatenate(arrays[k::3], axis=-1) for k in range(3))
            return kernel, recurrent, bias, "keras1"
        units = self._spec(link, 1, (None, None), "(H, 4H)")[0]
        biases = 8 if link.kind == "CuDNNLSTM" else 4
        shapes = ((width, 4 * units), (units, 4 * units), (biases * units,))
        for k, layout in enumerate(("(D, 4H)", "(H, 4H)", f"({biases}H,)")[: len(link.weights)]):
            self._spec(link, k, shapes[k], layout)
        self._size(link, "units", units)
        kernel, recurrent, *rest = (self._array(link, k) for k in range(len(link.weights)))
        if link.kind == "CuDNNLSTM":
            return *from_cudnn(kernel, recurrent, rest[0]), "keras"
        return kernel, recurrent, rest[0] if rest else None, "keras"

    def _recurrent_activation(self, link: Link) -> str:
        key = "recurrent_activation"
        if link.kind == "CuDNNLSTM":
            return self.book.note(link.name, key, "sigmoid", "inferred", "cuDNN's LSTM has no other")
        if key in link.config:
            return self._activation(link, key, "sigmoid", key)
        if self.book.given(key):
            return self.book.note(link.name, key, "unknown", "assumed", self.unsaid)
        if self.artefact.keras.recent or (not self.bare and _version(self.version) >= _SIGMOID_SINCE):
            return self._activation(link, key, "sigmoid", key)
        raise RecognitionError(
            f"{self.source}: layer {link.name!r}: the recurrent_activation of the gates is unknown ({self.unsaid}), "
            f"and it changes the numbers: Keras' default was hard_sigmoid until Keras 2.2 and TensorFlow 1.15, sigmoid "
            f"since. Pass recurrent_activation='sigmoid' or 'hard_sigmoid' ('hard_sigmoid_keras3' for Keras 3's own)"
        )

    def _activation(self, link: Link, key: str, default: str, what: str, source: str | None = None) -> str:
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
            return activation_named(value, where=where, softmax=link.kind == "Dense").label
        except ArgumentError as error:
            if self.book.given(what):
                raise
            raise RecognitionError(str(error)) from None

    def _note_use_bias(self, link: Link) -> None:
        source = f"config key 'use_bias' of layer {link.name!r}" if "use_bias" in link.config else "Keras' default"
        has = len(link.weights) > 2
        self.book.note(link.name, "use_bias", has, *(("inferred", "its weights") if self.bare else ("read", source)))

    def _note_run_settings(self, link: Link) -> None:
        """Settings that change what Keras returns, not what the layer computes."""
        config, name = link.config, link.name
        if "return_sequences" in config or not self.bare:
            how: How = "read" if "return_sequences" in config else "assumed"
            source = f"config key 'return_sequences' of layer {name!r}" if how == "read" else "Keras' default"
            self.book.note(name, "return_sequences", bool(config.get("return_sequences", False)), how, source)
        if config.get("stateful"):
            self.book.note(name, "stateful", True, "read", f"config key 'stateful' of layer {name!r}")
            self.notes.append(
                f"{name} is stateful: Keras carried its state from call to call; pass the state that run returns"
            )
        if config.get("time_major"):
            self.notes.append(f"{name} is time-major in Keras; run takes and gives (B, T, ...) all the same")

    def _note_dtype(self, link: Link) -> None:
        policy = link.config.get("dtype")
        if isinstance(policy, dict):
            policy = policy.get("config", {}).get("name")
        if not isinstance(policy, str):
            return
        if "_from_" in policy:  # "int8_from_float32"
            raise refusal(
                self.source, link.name, f"{link.kind} quantised to {policy}", "load the model before quantising"
            )
        text = f"Keras ran it in {policy}; fastlstm runs it in float32, so the numbers agree only to 16 bits"
        if policy.removeprefix("mixed_") in {"float16", "bfloat16"} and text not in self.notes:
            self.notes.append(text)

    def _size(self, link: Link, key: str, size: int) -> None:
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

    def _spec(self, link: Link, k: int, expected: tuple[int | None, ...], layout: str) -> tuple[int, ...]:
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

    def _array(self, link: Link, k: int) -> NDArray[Any]:
        return self.artefact.tensors[link.weights[k]]


def _version(text: str) -> tuple[int, int]:
    """(2, 2) for "2.2.4-tf"; (1, 0) where there is nothing to read."""
    parts = [int(part) if part.isdigit() else 0 for part in text.split("-", maxsplit=1)[0].split(".")[:2]]
    return (parts[0], parts[1] if len(parts) > 1 else 0) if parts and parts[0] else (1, 0)
