"""What fewer bytes cost in accuracy: `python -m benchmarks.accuracy [--real FOLDER] [-o benchmarks/results/NAME]`.

Everything against the same weights in float64. One step begins from states that float64 comes to. The character models
read a text that the float32 model wrote (temperature 1, so its perplexity is what the model itself expects), and a step
of it far on has an error of its own and of the state that was carried; the sine is fed its own output. FOLDER holds
other people's checkpoints; a model that is not there is left out. Prints Markdown; -o writes NAME.md and NAME.json.
"""

import argparse
from datetime import date
from pathlib import Path

import numpy as np

import fastlstm
from benchmarks import report
from fastlstm.bench import machine

DEMO = Path(fastlstm.__file__).parent / "demo" / "data"
STORAGES = ("float32", "bfloat16", "int8")
ROWS, STEPS = 8, 10_000
FAR = (1_000, 10_000)


def variants(path: Path) -> dict[str, fastlstm.Model]:
    """The model in float64, and in float32 with each storage of its weights."""
    layers = fastlstm.load(path, dtype="float32").layers
    found = {"float64": fastlstm.Model(layers, dtype="float64")}
    return found | {name: fastlstm.Model(layers, dtype="float32", weights=name) for name in STORAGES}


def text_of(model: fastlstm.Model) -> np.ndarray:
    """(ROWS, STEPS + 1) ids that the model writes."""
    prime = np.arange(ROWS)[:, None] * 7 % model.vocabulary_size
    return model.generate(STEPS + 1, prime=prime, sample=fastlstm.Sampler(1.0), seed=1)[0]


def perplexity(logits: np.ndarray, text: np.ndarray) -> float:
    logits = logits - logits.max(axis=-1, keepdims=True)
    chances = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return float(np.exp(-np.take_along_axis(chances, text[:, 1:, None], -1).mean()))


def one_step(models: dict[str, fastlstm.Model], xs: np.ndarray) -> dict[str, dict[str, float]]:
    """xs (B, T): the last step's outputs, from float64's state before it: largest and RMS error, RMS of the outputs."""
    exact = models["float64"]
    state = exact.run(xs[:, :-1])[1]
    expected = exact.step(xs[:, -1], state)[0]
    errors = {name: models[name].step(xs[:, -1], state)[0] - expected for name in STORAGES}
    return {name: {"largest": float(np.abs(e).max()), "rms": rms(e), "of": rms(expected)} for name, e in errors.items()}


def rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))


def characters(path: Path) -> dict[str, object]:
    models = variants(path)
    text = text_of(models["float32"])
    logits = {name: model.run(text[:, :-1])[0].astype(np.float64) for name, model in models.items()}
    exact = logits.pop("float64")
    found = {name: perplexity(values, text) for name, values in logits.items()}
    return {
        "one step": one_step(models, np.concatenate([text[:, k : k + 60] for k in range(0, 2000, 100)])),
        "after steps": {
            name: {n: rms((values - exact)[:, n - 50 : n]) for n in FAR} for name, values in logits.items()
        },
        "perplexity": found,
        "perplexity change": {name: value / perplexity(exact, text) - 1 for name, value in found.items()},
    }


def sine(path: Path) -> dict[str, object]:
    models = variants(path)
    wave = 0.8 * np.sin(2 * np.pi * (np.arange(60) + np.arange(40)[:, None]) / 40)[..., None]
    free = {name: model.generate(STEPS, prime=wave[0])[0].astype(np.float64) for name, model in models.items()}
    exact = free.pop("float64")
    return {
        "one step": one_step(models, wave),
        "after steps": {name: {n: rms((ys - exact)[n - 50 : n]) for n in FAR} for name, ys in free.items()},
    }


def markdown(result: dict) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines = [
        f"# Accuracy of narrow weights, {result['processor']}, {result['date']}",
        "",
        f"{versions}. Against the same weights in float64. One step: from float64's own states, largest and RMS error "
        f"of the outputs, and the latter as a part of their RMS. After 1,000 and 10,000 steps: RMS error of the last "
        f"50 outputs; a character model reads a text of {ROWS} x {STEPS:,} characters that its float32 twin wrote, the "
        f"sine is fed its own output. The perplexity is of that text, its change that against float64.",
    ]
    for name, found in result["models"].items():
        lines += [
            "",
            f"## {name}",
            "",
            "| weights | one step, largest | RMS | of the outputs | after 1,000 | after 10,000 | perplexity | change |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for storage in STORAGES:
            one, far = found["one step"][storage], found["after steps"][storage]
            words = [storage, *(f"{one[k]:.2g}" for k in ("largest", "rms")), f"{one['rms'] / one['of']:.2g}"]
            words += [f"{far[n]:.2g}" for n in FAR]
            if "perplexity" in found:
                words += [f"{found['perplexity'][storage]:.4f}", f"{found['perplexity change'][storage]:+.3%}"]
            lines.append(f"| {' | '.join(words + [''] * (8 - len(words)))} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="write this name with .md and .json at its end")
    beside = Path(__file__).parents[2] / "shared" / "real"
    parser.add_argument("--real", type=Path, default=beside, help="folder of other people's checkpoints")
    args = parser.parse_args()
    found = {
        "Sine of the demo: LSTM(32), one number fed back": sine(DEMO / "sine"),
        "Characters of the demo: 2 x LSTM(224), 63 characters": characters(DEMO / "characters"),
    }
    names = args.real / "companynames_tf14"
    if names.is_dir():
        found["Company names: 2 x LSTM(128), 78 characters, somebody else's"] = characters(names)
    result = {
        "date": date.today().isoformat(),
        "processor": machine.processor(),
        "versions": machine.versions(),
        "models": found,
    }
    report.publish(markdown(result), result, args.output)


if __name__ == "__main__":
    main()
