"""The engine of every benchmark: a picture is inverted once, edited and measured several times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from counterflow.backbones.loading import Loading
from counterflow.bench.sets.cases import Case
from counterflow.controls.blend import latent_mask
from counterflow.edit.editor import Edit, Editor, Inversion
from counterflow.errors import CounterflowError, one_line
from counterflow.methods import registry
from counterflow.methods.base import Method
from counterflow.metrics import mse, psnr
from counterflow.metrics.networks import Networks
from counterflow.metrics.table import NOTHING, background_psnr, measure
from counterflow.toybox.edits import SceneEdit
from counterflow.toybox.judge import Judge, Reading, right
from counterflow.trust.expecting import Expecting

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Condition:
    """A way to edit cases, or to reconstruct their sources; its results have one folder."""

    name: str
    """Unique in a run, and the folder's name."""
    title: str
    method: Method
    compensated: bool | None = None
    """For a reconstruction, whether with velocity compensation; None for an edit."""


def condition(name: str, compensated: bool | None = None, **settings: Any) -> Condition:
    """A method of the registry with settings; equal settings give an equal name."""
    method = registry.method(name, **settings)
    variant = registry.variant(name, registry.changed(name, method))
    if compensated is None:
        return Condition(variant.name, variant.title, method)
    how = "compensated" if compensated else "uncompensated"
    return Condition(
        f"{variant.name},reconstruction-{how}",
        f"{variant.title}: {how} reconstruction",
        method,
        compensated,
    )


@dataclass(frozen=True)
class Attempt:
    """One case under one condition."""

    case: Case
    condition: Condition
    sharing: int = 1
    """Cases under this condition, finished ones included, that share the inversion's cost."""


Task = tuple[Attempt, ...]
"""Attempts that one inversion serves, those of a condition together."""


@dataclass(frozen=True)
class Outcome:
    """An edit or a reconstruction, measured; or the error that stopped it."""

    attempt: Attempt
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
    check: bool = False
    """Whether the chance that an edit succeeds is told beforehand."""

    def run(self, task: Task) -> Iterator[Outcome]:
        """Every outcome of a task; an error stops only what depends on it."""
        case = task[0].case
        try:
            inversion = self.editor.invert(case.picture(), case.source, task[0].condition.method)
        except (CounterflowError, RuntimeError) as error:
            yield from (Outcome(attempt, error=one_line(error)) for attempt in task)
            return
        for _, attempts in groupby(task, key=lambda attempt: attempt.condition):
            inversion.forget()
            for attempt in attempts:
                try:
                    yield self._outcome(attempt, inversion)
                except (CounterflowError, RuntimeError) as error:
                    yield Outcome(attempt, error=one_line(error))

    def _outcome(self, attempt: Attempt, inversion: Inversion) -> Outcome:
        if attempt.condition.compensated is not None:
            return self._reconstruct(attempt, inversion, attempt.condition.compensated)
        return self._edit(attempt, inversion)

    def _reconstruct(self, attempt: Attempt, inversion: Inversion, compensated: bool) -> Outcome:
        """The source again, guided as it was inverted."""
        reconstruction = self.editor.reconstruct(inversion, compensated)
        round_trip = np.asarray(self.editor.round_trip(inversion))
        figures: Figures = {
            "latent": float(
                (reconstruction.latent - inversion.image).norm() / inversion.image.norm()
            ),
            "largest": reconstruction.latent_error,
            "reconstruction PSNR": psnr(np.asarray(reconstruction.image), round_trip),
            "residual": inversion.residual,
            "worst residual": max(inversion.residuals.values(), default=None),
            "forwards": float(inversion.forwards),
        }
        return Outcome(attempt, figures, reconstruction.image)

    def _edit(self, attempt: Attempt, inversion: Inversion) -> Outcome:
        _reset_memory()
        how = attempt.condition.method
        mask = attempt.case.mask if how.needs_mask else None
        edit = self.editor.edit(inversion, attempt.case.target, how, mask=mask)
        figures = self.figures(attempt.case, inversion, edit)
        if self.check:
            trust = Expecting(self.editor, [attempt.case.target], method=how.name)
            figures["chance"] = trust(inversion, 0).get("success")
        if edit.found is not None and attempt.case.mask is not None:
            figures["mask IoU"] = overlap(edit.found, attempt.case.mask)
        figures["forwards"] = inversion.forwards / attempt.sharing + edit.forwards
        figures["seconds"] = inversion.seconds / attempt.sharing + edit.seconds
        figures["memory"] = _memory()
        return Outcome(attempt, figures, edit.image)

    def figures(self, case: Case, inversion: Inversion, edit: Edit) -> Figures:
        """Everything that is measured on an edited picture."""
        source, truth, mask = inversion.picture, case.truth(), case.mask
        before, after = np.asarray(source), np.asarray(edit.image)
        region = np.ones(before.shape[:2], bool) if mask is None else mask
        figures = measure(before, after, region, self.profile, case.target, self.networks)
        if mask is None:
            figures["CLIP edited"] = None
        round_trip = np.asarray(self.editor.round_trip(inversion))
        figures["round trip"] = background_psnr(before, round_trip, region, self.profile)
        if case.edit is not None and self.judge is not None:
            success, kept = judge_edit(case.edit, next(self.judge.read([edit.image])))
            figures |= {"success": float(success), "kept": kept}
        if truth is not None and truth.size == source.size:
            figures |= _nearness(before, after, np.asarray(truth), region)
        return figures


def overlap(found: Tensor, mask: np.ndarray) -> float:
    """Intersection over union of a mask `[1, 1, h, w]`, in at .5, with the true one's cells."""
    true = latent_mask(torch.from_numpy(mask), *found.shape[2:])[0, 0] > 0
    inside = found[0, 0].cpu() >= 0.5
    return float((inside & true).sum() / (inside | true).sum().clamp_min(1))


def _nearness(
    source: np.ndarray, edited: np.ndarray, truth: np.ndarray, region: np.ndarray
) -> Figures:
    """`distance` to the truth, and whether an edit has `moved` towards it; None if equal."""
    to_truth, to_source = mse(edited, truth, region), mse(edited, source, region)
    whole = mse(source, truth, region)
    if to_truth is None or to_source is None or not whole:
        return {"distance": None, "moved": None}
    return {"distance": to_truth / whole, "moved": float(to_truth < to_source)}


def judge_edit(edit: SceneEdit, reading: Reading) -> tuple[bool, float]:
    """Edit success and `kept` of an edited picture.

    Success: every field that the edit decides and the target has is read as its target value.
    `kept`: the share of the other fields that are read as they are.
    """
    fields = right(edit.target, reading)
    changed = [ok for name, ok in fields.items() if name in edit.decided]
    kept = [ok for name, ok in fields.items() if name not in edit.decided]
    return all(changed), sum(kept) / len(kept)


def _reset_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _memory() -> float | None:
    """Most accelerator memory since the reset, MB; None without one."""
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None


@dataclass(frozen=True)
class Setup:
    """What an engine is loaded from."""

    loading: Loading = field(default_factory=Loading)
    judged: bool = True
    profile: str = "corrected"
    check: bool = False


def engine(setup: Setup) -> Engine:
    """Load a model, and the judge and the metrics' networks if they are at hand."""
    from counterflow.metrics.networks import at_hand
    from counterflow.toybox import judge

    editor = Editor.load(setup.loading)
    networks = at_hand(editor.backbone.device)
    eyes = judge.load() if setup.judged else None
    return Engine(editor, eyes, networks, setup.profile, setup.check)
