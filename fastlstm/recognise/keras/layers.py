"""A Keras chain -> layers: every setting is checked against the weights and noted in the book."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from fastlstm.errors import ArgumentError, RecognitionError
from fastlstm.layers import Bidirectional, Dense, Embedding, Layer, Masking, OneHot, Reverse
from fastlstm.recognise.findings import Recognised
from fastlstm.recognise.keras.chain import Link, leaves
from fastlstm.recognise.keras.kinds import EXPECTED, RECURRENT, refusal
from fastlstm.recognise.keras.reader import Reader, version_numbers
from fastlstm.recognise.keras.recurrent import recurrent_layer
from fastlstm.recognise.overrides import Book

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

_LAST_ONLY = "run gives every step's output; the original model gave only the last one, which is ys[:, -1]"


class Builder:
    """Turns links into layers, one after the other, and keeps the book."""

    def __init__(self, artefact: Artefact, book: Book) -> None:
        self.reader, self.source, self.book = Reader(artefact, book), str(artefact.path), book

    def build(self, links: Sequence[Link]) -> Recognised:
        layers: list[Layer] = []
        self.reader.gru_without_bias = any(leaf.kind == "GRU" and len(leaf.weights) == 2 for leaf in leaves(links))
        last_recurrent, last_dense = (
            max((k for k, link in enumerate(links) if link.kind in kinds), default=-1)
            for kinds in (RECURRENT, {"Dense"})
        )
        last_only = masked = turned = ""
        depth = 0  # how many models stand around the layer that masks
        for k, link in enumerate(links):
            width = layers[-1].output_size if layers else None
            for leaf in leaves([link]):
                self.reader.dtype(leaf)
            if last_only and link.kind in {*RECURRENT, "Reverse", "Masking"}:
                raise RecognitionError(
                    f"{self.source}: {link.kind} {link.name!r} comes after {last_only!r}, which gives its last "
                    f"output only (return_sequences=False); expected return_sequences=True there. {EXPECTED}"
                )
            if link.kind == "Embedding":
                if layers:
                    raise refusal(self.source, link.name, "Embedding after other layers", "it can only come first")
                layers.append(self._embedding(link))
                masked = link.name if layers[0].mask_zero else ""
                depth = len(link.place.folders)
            elif link.kind == "Dense":
                if masked and link.config.get("activation_kind") == "Softmax":
                    what = f"Softmax after {masked!r}, which masks steps"
                    raise refusal(self.source, link.name, what, "Keras gives such a layer the mask of the steps")
                head = last_recurrent < k == last_dense
                layers.append(self._dense(link, width, "head_activation" if head else "dense_activation"))
            elif link.kind in {"Masking", "Reverse"}:
                layers.append(self._without_weights(link, width, links[k:]))
                if link.kind == "Masking":
                    masked, depth = link.name, len(link.place.folders)
                turned = link.name if link.kind == "Reverse" and masked else turned if masked else ""
            else:
                if masked and turned and turned != link.name:
                    raise refusal(
                        self.source, link.name, f"{link.kind} after {turned!r}, which goes backwards over masked steps",
                        "Keras turns the steps round there, but not the mask that it hands on",
                    )  # fmt: skip
                if masked:
                    self._refuse_misplaced_zeros(link, turned=turned == link.name)
                    if len(link.place.folders) > depth and self._loses_masks():
                        raise refusal(
                            self.source, link.name, f"{link.kind} of a model within the model, after {masked!r}, which "
                            "masks steps", "TensorFlow 1's Keras does not hand every mask on to an inner model; build "
                            "the model without the inner one and with its weights, and save that",
                        )  # fmt: skip
                layers.append(self._recurrent(link, width, links[k + 1 :]))
                last_only = "" if self._gives_sequences(link) else link.name
        if last_only:
            self.reader.tell(_LAST_ONLY)
        self._one_hot(layers)
        return Recognised(layers, self.book.findings, self.reader.notes)

    def _gives_sequences(self, link: Link) -> bool:
        last = link.parts[0][-1] if link.parts else link
        return bool(last.config.get("return_sequences", self.reader.bare))

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
        rows, columns = self.reader.spec(link, 0, (None, None), "(V, D)")
        self.reader.size(link, "input_dim", rows)
        self.reader.size(link, "output_dim", columns)
        mask_zero = self.reader.flag(link, "mask_zero", False, told="mask_zero" in link.config or self.reader.bare)
        return Embedding(self.reader.array(link, 0), mask_zero=mask_zero, name=link.name)

    def _dense(self, link: Link, width: int | None, what: str) -> Dense:
        reader = self.reader
        _, units = reader.spec(link, 0, (width, None), "(D, V)")
        reader.size(link, "units", units)
        if len(link.weights) > 1:
            reader.spec(link, 1, (units,), "(V,)")
        where = link.config.get("activation_layer")
        activation = reader.activation(link, "activation", "linear", what, where and f"layer {where!r} after it")
        if reader.bare and not self.book.given(what):
            change = "; pass head_activation if it is another" if what == "head_activation" else ""
            reader.tell(f"{link.name}: a file of weights does not hold the activation: linear was assumed{change}")
        bias = reader.array(link, 1) if len(link.weights) > 1 else None
        return Dense(reader.array(link, 0), bias, activation, name=link.name)

    def _without_weights(self, link: Link, width: int | None, rest: Sequence[Link]) -> Masking | Reverse:
        """Masking or Reverse; how wide the input is, the layers before it say, or the next one with weights."""
        if width is None:
            width = next((size for size in map(self.reader.input_width, rest) if size is not None), None)
        if width is None:
            raise RecognitionError(f"{self.source}: layer {link.name!r}: no layer says how wide its input is")
        if link.kind == "Reverse":
            self.book.note(link.name, "go_backwards", True, "read", f"config key 'go_backwards' of layer {link.name!r}")
            self.reader.tell(f"{link.name} goes backwards: from it on, outputs are in reversed time, as in Keras")
            return Reverse(width, name=link.name)
        value: Any = link.config.get("mask_value", 0.0)
        if isinstance(value, dict):  # Keras 3: a NumPy or tensor value, serialised
            value = value.get("config", {}).get("value")
        if not isinstance(value, Real):
            raise refusal(self.source, link.name, f"Masking with mask_value={value!r}", "expected a number")
        how = "read" if "mask_value" in link.config else "assumed"
        source = f"config key 'mask_value' of layer {link.name!r}" if how == "read" else "Keras' default"
        return Masking(width, self.book.note(link.name, "mask_value", float(value), how, source), name=link.name)

    def _recurrent(self, link: Link, width: int | None, rest: Sequence[Link]) -> Layer:
        if not link.parts:
            return recurrent_layer(link, width, self.reader)
        sequences = self._gives_sequences(link)
        zero = sequences and self._zeroes_masked_halves()
        halves = []
        for part in link.parts:
            layers: list[Any] = []
            for each in part:
                size = layers[-1].output_size if layers else width
                layers.append(recurrent_layer(each, size, self.reader, zero_output=zero))
            halves.append(layers)
        sizes = tuple(half[-1].output_size for half in halves)
        merge_mode = self._merge_mode(link, sizes, rest)
        return Bidirectional(*halves, merge_mode, return_sequences=sequences, name=link.name)

    def _refuse_misplaced_zeros(self, link: Link, *, turned: bool) -> None:
        """Refuse zeros at masked steps of an unrolled layer that goes backwards.  Source: keras' backend rnn, unroll"""
        backward = link.parts[1] if link.parts else (link,) if turned else ()
        zero = self._zeroes_masked_halves() if link.parts else link.config.get("zero_output_for_mask")
        if zero and self._gives_sequences(link) and any(each.config.get("unroll") for each in backward):
            raise refusal(
                self.source, link.name, f"{link.kind} with unroll=True that goes backwards over masked steps",
                "Keras then puts zeros where the steps are masked in forward time, though its outputs are in reversed "
                "time; build the model with unroll=False and its weights, and save that",
            )  # fmt: skip

    def _loses_masks(self) -> bool:
        """Whether an inner model may not be given its masks, as a Sequential without an input in TensorFlow 1.15."""
        return "-tf" in self.reader.version and version_numbers(self.reader.version) < (2, 4)

    def _zeroes_masked_halves(self) -> bool:
        """Whether Keras' Bidirectional gives zeros at masked steps: since TensorFlow 1.14 and in Keras 3."""
        version = self.reader.version
        return "-tf" in version or version_numbers(version) >= (2, 4)

    def _merge_mode(self, link: Link, sizes: tuple[int, ...], rest: Sequence[Link]) -> str | None:
        """How a Bidirectional's halves become one; a file of weights says no more than how wide the next layer is."""
        key, name = "merge_mode", link.name
        if key in link.config:
            mode = self.book.note(name, key, link.config[key], "read", f"config key {key!r} of layer {name!r}")
            if mode is None:
                self.reader.tell(f"{name} gave two outputs in Keras; run gives them side by side, as 'concat' does")
            return mode
        following = next((size for size in map(self.reader.input_width, rest) if size is not None), None)
        if following is not None and following != sum(sizes):
            if following == sizes[0] == sizes[1] and not self.book.given(key):
                raise RecognitionError(
                    f"{self.source}: layer {name!r}: how a Bidirectional joins its halves is unknown "
                    f"({self.reader.unsaid}), and the next layer takes {following} elements, as many as each half "
                    f"has. Pass merge_mode='sum', 'mul' or 'ave'"
                )
            return self.book.note(name, key, "unknown", "assumed", self.reader.unsaid)
        if following is not None:
            return self.book.note(name, key, "concat", "inferred", f"the next layer takes {following} elements")
        return self.book.note(name, key, "concat", "assumed", f"Keras' default; {self.reader.unsaid}")
