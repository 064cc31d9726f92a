"""Edits of fresh toybox scenes against their true edited pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from counterflow.bench.judged import judge_edit
from counterflow.edit.editor import Editor
from counterflow.edit.run import Progress
from counterflow.edit.settings import EditSettings, InvertSettings
from counterflow.metrics import mse, psnr
from counterflow.sheet import Cell, sheet
from counterflow.toybox.edits import CATEGORIES, SceneEdit, draw_edit
from counterflow.toybox.judge import Judge
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample


@dataclass(frozen=True)
class Measured:
    """One edit, the pictures around it, and what was measured on them."""

    edit: SceneEdit
    source: Image.Image
    truth: Image.Image
    result: Image.Image
    changed: tuple[tuple[int, int], ...]
    background_psnr: float | None
    """Edit against source outside the true mask, dB; None if the mask is everything."""
    round_trip_psnr: float | None
    """Autoencoder's round trip against source outside the mask: what no edit can exceed much."""
    remaining: float
    """Squared distance to the true edited picture inside the mask, as a share of the source's."""
    moved: bool
    """Whether, inside the mask, the picture is nearer to the true edited one than to the source."""
    success: bool
    """Whether the judge reads every changed field as its target value."""
    kept: float
    """Share of the unchanged fields that the judge reads as they are."""
    forwards: int
    seconds: float


def cases(count: int, seed: int) -> list[SceneEdit]:
    """`count` edits of the scenes `seed`, `seed + 1`, …, the categories in turn."""
    order = list(CATEGORIES)
    return [draw_edit(sample(seed + i), order[i % len(order)], seed + i) for i in range(count)]


def measure_edits(
    editor: Editor,
    judge: Judge,
    count: int,
    seed: int,
    invert: InvertSettings,
    settings: EditSettings,
    progress: Progress | None = None,
) -> list[Measured]:
    """Invert and edit each case. `progress` counts cases."""
    measured = []
    for i, case in enumerate(cases(count, seed)):
        measured.append(measure_one(editor, judge, case, invert, settings))
        if progress is not None:
            progress("measuring", i + 1, count)
    return measured


def measure_one(
    editor: Editor, judge: Judge, case: SceneEdit, invert: InvertSettings, settings: EditSettings
) -> Measured:
    """Invert the source picture, edit it to the target's caption, compare."""
    source, truth = render(case.source), render(case.target)
    before, after = case.prompts
    inversion = editor.invert(source, before, invert)
    made = inversion.edit(after, settings)
    mask = case.mask(source.width)
    round_trip = editor.picture(inversion.trajectory[-1], source.size)
    a, b, c, d = (np.asarray(p) for p in (source, made.image, truth, round_trip))
    whole, rest, left = (mse(p, q, mask) for p, q in ((a, c), (b, c), (b, a)))
    if not whole or rest is None or left is None:
        raise ValueError("the edit changes no pixel")
    success, kept = judge_edit(case, next(judge.read([made.image])))
    return Measured(
        case,
        source,
        truth,
        made.image,
        made.changed,
        psnr(a, b, ~mask),
        psnr(a, d, ~mask),
        rest / whole,
        rest < left,
        success,
        kept,
        inversion.forwards + made.forwards,
        inversion.seconds + made.seconds,
    )


def summarise(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """A row for each category and one for all."""
    groups = {
        name: [m for m in measured if m.edit.category == number]
        for number, name in CATEGORIES.items()
    }
    return [_row(name, group) for name, group in groups.items() if group] + [_row("all", measured)]


def _row(name: str, group: Sequence[Measured]) -> dict[str, Any]:
    def mean(values: Sequence[float | None]) -> float | None:
        known = [v for v in values if v is not None]
        return float(np.mean(known)) if known else None

    return {
        "category": name,
        "cases": len(group),
        "success": mean([float(m.success) for m in group]),
        "kept": mean([m.kept for m in group]),
        "moved": mean([float(m.moved) for m in group]),
        "remaining": float(np.median([m.remaining for m in group])),
        "background PSNR": mean([m.background_psnr for m in group]),
        "round trip PSNR": mean([m.round_trip_psnr for m in group]),
        "n/a": sum(m.background_psnr is None for m in group),
        "forwards": mean([m.forwards for m in group]),
        "seconds": mean([m.seconds for m in group]),
    }


def draw_cases(measured: Sequence[Measured], width: int = 180) -> Image.Image:
    """Rows of source, edit and truth, two cases to a row; the number is `remaining`."""
    cells = []
    for m in measured:
        before, after = m.edit.prompts
        still = "" if m.success else ", failed"
        title = f"{CATEGORIES[m.edit.category]} {m.remaining:.2f}{still}"
        cells += [Cell(m.source, before, title="source"), Cell(m.result, after, m.changed, title)]
        cells.append(replace(cells[-1], picture=m.truth, text="", marked=(), title="truth"))
    return sheet(cells, columns=6, width=width)
