"""The demonstration: two trained models that come with the package, run and checked against TensorFlow's own answers.

data/sine and data/characters are checkpoints that TensorFlow 1.15 wrote: see tools/train_sine.py and
tools/train_characters.py.
"""

from __future__ import annotations

from pathlib import Path

import fastlstm
from fastlstm import arguments
from fastlstm.demo import characters, sine, timing
from fastlstm.terminal import compiling

DATA = Path(__file__).parent / "data"


def demonstrate(*, steps: int = 1000, seed: int = 1, plot: str | None = None) -> bool:
    """Run it all, on stdout.

    steps  of the sine wave
    seed   of the text's random draws
    plot   a .png file to draw the wave in; None for none
    ->     whether every answer was TensorFlow's
    Raises ArgumentError, and WriteError where `plot` cannot be written.
    """
    arguments.count(steps, name="--steps")
    arguments.count(seed, name="--seed", least=0)
    if plot is not None:
        sine.check_plot(plot)
    wave, text = fastlstm.load(DATA / "sine"), fastlstm.load(DATA / "characters")
    with compiling():
        wave.stream()
        wave.generate(1)
        text.generate(1, prime=[0])
    print(f"A sine wave, fed its own output\n\n{loaded(wave, DATA / 'sine')}")
    same = sine.show(wave, DATA / "sine", steps, plot)
    print(f"\nText, a character at a time\n\n{loaded(text, DATA / 'characters')}")
    same = characters.show(text, DATA / "characters", seed) and same
    print(f"\n{timing.report(wave, DATA / 'sine')}")
    return same


def loaded(model: fastlstm.Model, path: Path) -> str:
    """What was loaded, in a few lines."""
    found, *others = model.report["forget_bias"]
    alike = others and all((other.value, other.how) == (found.value, found.how) for other in others)
    return (
        f"loaded {path}, written by TensorFlow 1.15\n"
        f"  {model.dtype}: {', '.join(map(repr, model.layers))}\n"
        f"  forget_bias {found.value}, {found.how}: {found.source}" + (", the same in every layer" if alike else "")
    )
