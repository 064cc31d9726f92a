"""What benchmarks are made of: one picture, inverted once, edited and measured several times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from counterflow.bench.cases import Case
from counterflow.bench.judged import judge_edit
from counterflow.edit.editor import Edit, Editor, Inversion
from counterflow.edit.settings import EditSettings, InvertSettings
from counterflow.errors import CounterflowError
from counterflow.metrics import mse, psnr
from counterflow.metrics.networks import Networks
from counterflow.metrics.table import NOTHING, measure
from counterflow.toybox.judge import Judge

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Task:
    """Cases that share a picture and its prompt, and what is to be made of them."""

    cases: tuple[Case, ...]
    invert: InvertSettings
    edits: tuple[EditSettings, ...] = ()
    reconstructions: tuple[bool, ...] = ()
    """Whether compensated, of each reconstruction to be made."""
    sharing: int = 1
    """Cases in all, others' included, that the cost of the inversion is shared by."""


@dataclass(frozen=True)
class Outcome:
    """One edit or reconstruction, measured; or the error that stopped it."""

    case: str
    invert: InvertSettings
    edit: EditSettings | None
    """None for a reconstruction."""
    compensated: bool | None = None
    """Of a reconstruction."""
    figures: Figures = field(default_factory=dict)
    picture: Image.Image | None = None
    error: str | None = None


@dataclass
class Engine:
    """A loaded model with what measures its pictures."""

    editor: Editor
    judge: Judge | None = None
    networks: Networks = NOTHING
    profile: str = "corrected"

    def run(self, task: Task) -> Iterator[Outcome]:
        """Every outcome of a task, reconstructions first; an error stops what hangs on it alone."""
        first = task.cases[0]
        try:
            inversion = self.editor.invert(first.picture(), first.source, task.invert)
        except (CounterflowError, RuntimeError) as error:
            asked: list[tuple[Case, EditSettings | None, bool | None]] = [
                (first, None, each) for each in task.reconstructions
            ]
            asked += [(case, each, None) for case in task.cases for each in task.edits]
            for case, edit, compensated in asked:
                said = _one_line(error)
                yield Outcome(case.name, task.invert, edit, compensated, error=said)
            return
        for compensated in task.reconstructions:
            yield self._reconstruct(first, inversion, compensated)
        for case in task.cases:
            for settings in task.edits:
                yield self._edit(case, inversion, settings, task.sharing)

    def _reconstruct(self, case: Case, inversion: Inversion, compensated: bool) -> Outcome:
        """Figures: `latent`, the relative error of the image latent; `largest`, its largest
        absolute error; `PSNR` against the autoencoder's round trip; mean `residual`.
        """
        try:
            made = inversion.reconstruct(compensated)
        except (CounterflowError, RuntimeError) as error:
            said = _one_line(error)
            return Outcome(case.name, inversion.settings, None, compensated, error=said)
        stored = inversion.trajectory[-1]
        figures: Figures = {
            "latent": float((made.latent - stored).norm() / stored.norm()),
            "largest": made.latent_error,
            "PSNR": psnr(np.asarray(made.image), np.asarray(inversion.round_trip)),
            "residual": inversion.residual,
            "forwards": float(inversion.forwards),
        }
        settings = inversion.settings
        return Outcome(case.name, settings, None, compensated, figures, made.image)

    def _edit(
        self, case: Case, inversion: Inversion, settings: EditSettings, sharing: int
    ) -> Outcome:
        _reset_memory()
        try:
            made = inversion.edit(case.target, settings)
            figures = self.figures(case, inversion.picture, made)
        except (CounterflowError, RuntimeError) as error:
            return Outcome(case.name, inversion.settings, settings, error=_one_line(error))
        figures["forwards"] = inversion.forwards / sharing + made.forwards
        figures["seconds"] = inversion.seconds / sharing + made.seconds
        figures["memory"] = _memory()
        return Outcome(case.name, inversion.settings, settings, None, figures, made.image)

    def figures(self, case: Case, source: Image.Image, made: Edit) -> Figures:
        """Everything that is measured on an edited picture."""
        before, after = np.asarray(source), np.asarray(made.image)
        mask, truth = case.mask, case.truth()
        everything = np.ones(before.shape[:2], bool)
        shown = everything if mask is None else mask
        found = measure(before, after, shown, self.profile, case.target, self.networks)
        if mask is None:
            found["CLIP edited"] = None
        if case.edit is not None and self.judge is not None:
            success, kept = judge_edit(case.edit, next(self.judge.read([made.image])))
            found |= {"success": float(success), "kept": kept}
        if truth is not None and truth.size == source.size:
            goal = np.asarray(truth)
            left, whole = mse(after, goal, shown), mse(before, goal, shown)
            found["distance"] = left / whole if left is not None and whole else None
        return found


def _reset_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _memory() -> float | None:
    """Most accelerator memory since the reset, MB; None without one."""
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None


def _one_line(error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return reason if isinstance(error, CounterflowError) else f"{type(error).__name__}: {reason}"


@dataclass(frozen=True)
class Setup:
    """What an engine is loaded from."""

    model: str = "toybox"
    device: str | None = None
    dtype: str | None = None
    judged: bool = True
    profile: str = "corrected"


def engine(setup: Setup) -> Engine:
    """Load a model, and the judge and the metrics' networks if they are at hand."""
    from counterflow.metrics.networks import at_hand
    from counterflow.toybox import judge

    editor = Editor.load(setup.model, setup.device, setup.dtype)
    networks = at_hand(editor.backbone.device)
    return Engine(editor, judge.load() if setup.judged else None, networks, setup.profile)
