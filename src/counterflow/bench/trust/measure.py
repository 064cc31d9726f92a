"""What a model's figures of trust are for many trials, and how its edits of them come out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from counterflow.bench.trust.population import RIGHT, Trial
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


def measure(
    editor: Editor,
    judge: Judge,
    trials: Iterable[Trial],
    expected: int,
    progress: Progress | None = None,
) -> list[Row]:
    """Each trial's figures, the outcome of its edit by `METHOD`, and for some its noise."""
    method, rows = registry.method(METHOD), []
    for trial in trials:
        inversion = editor.invert(trial.picture, trial.source, method)
        (found,) = figures(editor, inversion, [trial.target]).targets
        success = preserved = False
        if trial.edit is not None:
            edit = editor.edit(inversion, trial.target)
            success, preserved = trial.outcome(next(judge.read([edit.image])))
        noise = {}
        if trial.kind == RIGHT:
            noise = inverted_noise(editor, trial.picture, trial.source)
        rows.append(Row(trial.kind, found, noise, success, preserved, trial.wrong))
        if progress is not None:
            progress("measuring", len(rows), expected)
    return rows
