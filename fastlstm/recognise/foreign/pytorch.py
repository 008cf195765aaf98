"""PyTorch state_dicts -> layers: names and shapes tell the modules; a state_dict holds no order and no activations.

Source: torch.nn.LSTM, GRU, LSTMCell, GRUCell, Linear, Embedding: their parameters' names, shapes and gate orders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, permutations
from typing import TYPE_CHECKING, Any

from fastlstm.errors import ArgumentError, RecognitionError
from fastlstm.recognise.findings import Recognised
from fastlstm.recognise.foreign.parts import EXPECTED, Part, Setting, build, dense, gru, is_recurrent, lstm
from fastlstm.recognise.overrides import Book

if TYPE_CHECKING:
    from fastlstm.formats.artefact import Artefact

_RECURRENT = re.compile(r"(weight|bias)_(ih|hh|hr)(?:_l(\d+)(_reverse)?)?")
_GATES = {4: ("LSTM", lstm), 3: ("GRU", gru)}
_MAXIMUM = 7  # modules that are tried in every order
_UNSAID: Setting = ("linear", "assumed", "a state_dict does not hold it")


@dataclass
class Module:
    """The tensors of one module, by their last name, in the file's order."""

    name: str
    tensors: dict[str, str] = field(default_factory=dict)


def recognise_pytorch(artefact: Artefact, *, scope: str | None, book: Book) -> Recognised:
    """The chain of layers whose parameters a state_dict holds.  Raises RecognitionError, ArgumentError."""
    return StateDict(artefact, scope, book).recognise()


class StateDict:
    def __init__(self, artefact: Artefact, scope: str | None, book: Book) -> None:
        self.artefact, self.source, self.book = artefact, str(artefact.path), book
        self.shapes = {name: spec.shape for name, spec in artefact.tensors.specs.items()}
        self.notes: list[str] = []
        self.scope = scope

    def recognise(self) -> Recognised:
        modules = self._modules()
        kept, around = self._head_and_embedding(modules)
        stacks = [list(self._parts(module)) for module in kept]
        stacks = self._ordered([stack for stack in stacks if stack])
        parts = [part for stack in stacks for part in stack]
        parts = [*around.get("embedding", []), *parts, *around.get("head", [])]
        if not any(is_recurrent(part) for part in parts):
            self._no_recurrent()
        for part in parts:
            if part.kind == "Dense" and not (self.book.given("head_activation") and part is parts[-1]):
                self.notes.append(
                    f"{part.name}: a state_dict does not hold the activation after it: linear was assumed"
                    + ("; pass head_activation if it is another" if part is parts[-1] else "")
                )
        return build(parts, self.artefact, self.book, self.notes)

    def _modules(self) -> list[Module]:
        """The modules within the scope, in the file's order."""
        found: dict[str, Module] = {}
        prefixes = sorted({name.rpartition("/")[0] for name in self.shapes})
        inside = [name for name in self.shapes if self._in_scope(name)]
        if self.scope is not None and not inside:
            known = ", ".join(sorted({name.rpartition(".")[0] for name in self.shapes})[:20])
            raise ArgumentError(
                f"{self.source}: scope is {self.scope!r}, and no tensor is under it; there are: {known}"
            )
        if self.scope is None and len(prefixes) > 1:
            inside = self._of_one_dictionary(prefixes)
        for name in inside:
            module, _, last = name.rpartition(".")
            found.setdefault(module, Module(module)).tensors[last] = name
        return list(found.values())

    def _in_scope(self, name: str) -> bool:
        return self.scope is None or name.startswith((f"{self.scope}.", f"{self.scope}/")) or name == self.scope

    def _of_one_dictionary(self, prefixes: Sequence[str]) -> list[str]:
        """Of a file with several dictionaries: the only one that holds an LSTM or a GRU."""
        names = {p: [n for n in self.shapes if n.rpartition("/")[0] == p] for p in prefixes}
        having = [p for p in prefixes if any("weight_ih" in n for n in names[p]) and "optim" not in p]
        if len(having) != 1:
            listed = ", ".join(having) or "none"
            raise RecognitionError(
                f"{self.source}: {len(having)} dictionaries hold an LSTM or a GRU ({listed}); pass one as scope"
            )
        self.book.note("", "scope", having[0], "inferred", "the only dictionary in the file with an LSTM or a GRU")
        return names[having[0]]

    def _head_and_embedding(self, modules: list[Module]) -> tuple[list[Module], dict[str, list[Part]]]:
        """The modules that no override speaks of, and the parts that overrides name."""
        around: dict[str, list[Part]] = {}
        used: set[str] = set()
        for what in ("embedding", "head"):
            given = self.book.value(what) if self.book.given(what) else None
            if given is None:
                continue
            names = [given] if isinstance(given, str) else list(given)
            missing = [name for name in names if name not in self.shapes]
            if missing or not names or len(names) > 2:
                raise ArgumentError(
                    f"load({what}={given!r}): {self.source} has no tensors {', '.join(map(repr, missing))}; expected "
                    f"names of one or two of: {', '.join(list(self.shapes)[:30])}"
                )
            used.update(names)
            part = self._embedding(names[0]) if what == "embedding" else self._linear(names)
            around[what] = [part]
        kept = [module for module in modules if not used & {*module.tensors.values()}]
        if "head" in around:  # whatever else looks like a dense layer is not
            kept = [module for module in kept if any(_RECURRENT.fullmatch(last) for last in module.tensors) or
                    self._looks_like_embedding(module)]  # fmt: skip
        return kept, around

    def _parts(self, module: Module) -> Iterator[Part]:
        """The layers of a module; none for what holds no weights that matter at run time."""
        names = {*module.tensors}
        if any(_RECURRENT.fullmatch(last) for last in names):
            yield from self._recurrent(module)
        elif names <= {"weight", "bias"} and "weight" in names and len(self.shapes[module.tensors["weight"]]) == 2:
            tensors = [module.tensors[last] for last in ("weight", "bias") if last in names]
            yield self._embedding(tensors[0]) if self._looks_like_embedding(module) else self._linear(tensors)
        elif names & {"weight", "bias", "running_mean"}:
            listed = ", ".join(f"{name} {self.shapes[name]}" for name in module.tensors.values())
            raise RecognitionError(
                f"{self.source}: {module.name!r} ({listed}) is neither LSTM, GRU, Linear nor Embedding. {EXPECTED}. If "
                f"the model does not run it beside the LSTM, name the LSTM's module as scope, and head=(weight, bias)"
            )
        elif module.tensors:
            self.notes.append(f"left aside: {', '.join(list(module.tensors.values())[:8])}")

    def _looks_like_embedding(self, module: Module) -> bool:
        return {*module.tensors} == {"weight"} and bool(re.search(r"emb|wte|lookup|encoder$", module.name.lower()))

    def _embedding(self, name: str) -> Part:
        if len(self.shapes[name]) != 2:
            raise RecognitionError(f"{self.source}: {name!r} has shape {self.shapes[name]}; an embedding has (V, D)")
        module = name.rpartition(".")[0]
        return Part("Embedding", module or name, {"table": self.artefact.tensors[name]}, tensors=(name,))

    def _linear(self, names: Sequence[str]) -> Part:
        shapes = [self.shapes[name] for name in names]
        if len(shapes[0]) != 2 or (len(shapes) > 1 and shapes[1] != shapes[0][:1]):
            raise RecognitionError(f"{self.source}: {', '.join(names)}: shapes {shapes}; a Linear has (V, D) and (V,)")
        bias = self.artefact.tensors[names[1]] if len(names) > 1 else None
        module = names[0].rpartition(".")[0]
        return dense(module or names[0], self.artefact.tensors[names[0]].T, bias, _UNSAID, tuple(names))

    def _recurrent(self, module: Module) -> Iterator[Part]:
        """nn.LSTM, nn.GRU: one layer a number, two directions; nn.LSTMCell, nn.GRUCell: one layer."""
        found: dict[tuple[int, bool], dict[str, str]] = {}
        for last, name in module.tensors.items():
            match = _RECURRENT.fullmatch(last)
            if match is None:
                raise RecognitionError(f"{self.source}: {name!r} stands among the weights of an LSTM; {EXPECTED}")
            key = (int(match[3] or 0), match[4] is not None)
            found.setdefault(key, {})[f"{match[1]}_{match[2]}"] = name
        both = any(backward for _, backward in found)
        for number in range(1 + max(number for number, _ in found)):
            label = module.name if len(found) == 1 else f"{module.name}/{number}"
            sides = [
                self._cell(f"{label}/reverse" if b else label, found.get((number, b), {}))
                for b in (False, True)[: 1 + both]
            ]
            if both:
                setting: Setting = ("concat", "inferred", "weights called _reverse; torch sets the two side by side")
                yield Part("Bidirectional", label, {}, {"merge_mode": setting}, (sides[0],), (sides[1],))
            else:
                yield sides[0]

    def _cell(self, label: str, names: dict[str, str]) -> Part:
        shapes = {key: self.shapes[name] for key, name in names.items()}
        ih, hh, hr = (shapes.get(key, ()) for key in ("weight_ih", "weight_hh", "weight_hr"))
        fits = len(ih) == len(hh) == 2 and ih[0] == hh[0] and min(*ih, *hh) > 0 and len(hr) in (0, 2)
        hidden = (hr[1] if hr else hh[1]) if fits else 0
        count = ih[0] // hidden if hidden else 0
        if not fits or hidden == 0 or ih[0] != count * hidden or (hr and (hr[0] != hh[1] or count != 4)):
            raise RecognitionError(
                f"{self.source}: {label!r}: weights of shapes {shapes} are not those of an LSTM or GRU"
            )
        if count not in _GATES:
            raise RecognitionError(
                f"{self.source}: {label!r} has {count} gates of {hidden} units: neither an LSTM (4) nor a GRU (3). "
                f"{EXPECTED}"
            )
        biases = [key for key in ("bias_ih", "bias_hh") if key in names]
        if len(biases) == 1 or any(shapes[key] != (count * hidden,) for key in biases):
            raise RecognitionError(
                f"{self.source}: {label!r}: biases {shapes}; expected two of ({count * hidden},), or none"
            )
        kind, make = _GATES[count]
        array = self.artefact.tensors
        arguments: dict[str, Any] = {
            "kernel": array[names["weight_ih"]].T,
            "recurrent_kernel": array[names["weight_hh"]].T,
            "gate_order": "pytorch",
        }
        if biases:
            first, second = (array[names[key]] for key in biases)
            both = {"bias": first, "recurrent_bias": second}
            arguments |= both if kind == "GRU" else {"bias": first + second}  # the sum is rounded once
        if kind == "GRU":
            arguments["reset_after"] = True
        if hr:
            arguments["projection"] = array[names["weight_hr"]].T
        settings: dict[str, Setting] = {"use_bias": (bool(biases), "inferred", "its weights")}
        self.book.note(label, "use_bias", *settings.pop("use_bias"))
        return make(label, arguments, settings, tensors=tuple(names.values()))

    def _ordered(self, stacks: list[list[Part]]) -> list[list[Part]]:
        """The modules in the file's order if they fit so, else in the only order in which they do.

        safetensors has its names in alphabetical order: there an LSTM comes before a dense layer where both fit.
        """
        stacks = sorted(stacks, key=lambda stack: stack[0].kind != "Embedding")
        source = "the order of the names in the file; the shapes fit"
        if self.artefact.format == "safetensors":
            ranks = {"Embedding": 0, "Dense": 2}
            ranked = sorted(stacks, key=lambda stack: ranks.get(stack[0].kind, 1))
            if ranked != stacks and _fits(stacks) and _fits(ranked):
                stacks, source = ranked, "the shapes fit in other orders too; an LSTM comes before a dense layer"
        order = " -> ".join(stack[0].name for stack in stacks)
        if _fits(stacks):
            self.book.note("", "order", order, "assumed", source)
            return stacks
        fitting = [list(p) for p in permutations(stacks) if _fits(p)] if len(stacks) <= _MAXIMUM else []
        if len(fitting) != 1:
            sizes = ", ".join(f"{s[0].name} {_ends(s)}" for s in stacks)
            raise RecognitionError(
                f"{self.source}: {len(fitting) or 'no'} orders of its modules ({sizes}: features in, out) fit each "
                f"one's output to the next one's input. Name what belongs to the model: scope, embedding, "
                f"head=(weight, bias)"
            )
        order = " -> ".join(stack[0].name for stack in fitting[0])
        self.book.note("", "order", order, "inferred", "the only order in which the shapes fit")
        return fitting[0]

    def _no_recurrent(self) -> None:
        near = [
            f"{name} {shape}" for name, shape in self.shapes.items() if len(shape) == 2 and shape[0] == 4 * shape[1]
        ]
        hint = f" These have the shape of an LSTM's recurrent weights: {', '.join(near[:5])}." if near else ""
        raise RecognitionError(
            f"{self.source}: no weight_ih_l0, weight_hh_l0 of an LSTM or GRU among its {len(self.shapes)} tensors "
            f"({', '.join(list(self.shapes)[:12])}).{hint} Names have to be those that PyTorch gives"
        )


def _ends(stack: Sequence[Part]) -> tuple[int, int]:
    """How many features go in and come out; any number goes into an embedding."""
    return _size(stack[0], 0), _size(stack[-1], 1)


def _size(part: Part, end: int) -> int:
    if part.kind == "Bidirectional":
        return _size(part.forward[0], 0) if end == 0 else _size(part.forward[0], 1) + _size(part.backward[0], 1)
    if part.kind == "Embedding":
        return part.arguments["table"].shape[1] if end else -1
    return part.arguments["recurrent_kernel" if end and is_recurrent(part) else "kernel"].shape[
        0 if is_recurrent(part) else end
    ]


def _fits(stacks: Sequence[Sequence[Part]]) -> bool:
    first = all(stack[0].kind != "Embedding" for stack in stacks[1:])
    return first and all(_ends(a)[1] == _ends(b)[0] for a, b in pairwise(stacks))
