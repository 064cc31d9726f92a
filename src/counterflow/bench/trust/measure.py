"""What a model's figures of trust are for many trials, and how its edits of them come out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from counterflow.bench.trust.pictures import FOREIGN, SPOILT, photographs
from counterflow.bench.trust.population import (
    HELD_OUT,
    KINDS,
    PHOTOGRAPH,
    RIGHT,
    SHARE,
    WRONG,
    Trial,
    spoilt,
    trials,
)
from counterflow.edit.editor import Editor
from counterflow.methods import registry
from counterflow.progress import Progress
from counterflow.toybox.judge import Judge
from counterflow.trust.report import figures, inverted_noise

METHOD = "paired"


@dataclass(frozen=True)
class Row:
    """A trial, measured."""

    kind: str
    figures: dict[str, float]
    noise: dict[str, float]
    """Statistics of the inverted noise; only of a picture with the right sentence."""
    success: bool
    preserved: bool
    wrong: str = ""
    size: tuple[int, int] = (0, 0)
    """Width and height at which the model worked on it."""


def scenes(seed: int, count: int, evaluated: bool) -> tuple[Iterator[Trial], int]:
    """Trials of the bundled world and how many they are; all kinds only to be `evaluated`."""
    kinds = [kind for kind in KINDS if evaluated or kind not in HELD_OUT]
    if not photographs():
        kinds = [kind for kind in kinds if kind != PHOTOGRAPH]
    return trials(seed, count, kinds), (len(kinds) - 1 + SHARE) * count


def drawn(
    editor: Editor, prompts: Sequence[str], seed: int, evaluated: bool
) -> tuple[Iterator[Trial], int]:
    """Trials of pictures that the model itself draws, each of another noise; nothing is edited."""
    kinds = [RIGHT, WRONG[0], *SPOILT, *FOREIGN]
    kinds = [kind for kind in kinds if evaluated or kind not in HELD_OUT]

    def made() -> Iterator[Trial]:
        for n, prompt in enumerate(prompts):
            picture, _ = editor.generate(prompt, seed=seed + n)
            plain = Trial(RIGHT, picture, prompt, prompt, None)
            for kind in kinds:
                other = prompts[n - 1] if kind == WRONG[0] else prompt
                yield replace(spoilt(plain, kind, seed + n), source=other, target=other)

    return made(), len(kinds) * len(prompts)


def measure(
    editor: Editor,
    judge: Judge,
    some: Iterable[Trial],
    expected: int,
    progress: Progress | None = None,
) -> list[Row]:
    """Each trial's figures, the outcome of its edit by `METHOD`, and for some its noise."""
    method, rows = registry.method(METHOD), []
    for trial in some:
        inversion = editor.invert(trial.picture, trial.source, method)
        (found,) = figures(editor, inversion, [trial.target], judge).targets
        success = preserved = False
        if trial.edit is not None:
            edit = editor.edit(inversion, trial.target)
            success, preserved = trial.outcome(next(judge.read([edit.image])))
        noise = {}
        if trial.kind == RIGHT:
            noise = inverted_noise(editor, trial.picture, trial.source)
        outcome = success, preserved, trial.wrong, inversion.size
        rows.append(Row(trial.kind, found, noise, *outcome))
        if progress is not None:
            progress("measuring", len(rows), expected)
    return rows
