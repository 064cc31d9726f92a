"""The demo: one grid of edits over many kinds, from scenes the training never saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from counterflow.edit.editor import Editor
from counterflow.metrics import psnr
from counterflow.progress import Progress
from counterflow.sheet import Cell, sheet
from counterflow.toybox.captions import caption
from counterflow.toybox.edits import CATEGORIES, SceneEdit
from counterflow.toybox.render import render
from counterflow.toybox.scene import Scene, sample

PLAN: tuple[tuple[dict[str, Any], tuple[tuple[int, dict[str, Any]], ...]], ...] = (
    (
        {
            **{"kind": "cat", "color": "orange", "expression": "happy", "letter": "none"},
            **{"thing": "apple", "count": 1, "thing_color": "red", "style": "flat"},
        },
        (
            (1, {"kind": "dog"}),
            (4, {"expression": "surprised"}),
            (6, {"color": "blue"}),
            (0, {"count": 3}),
            (3, {"thing": "none"}),
        ),
    ),
    (
        {
            **{"kind": "bear", "arms": "down", "hat": "none", "thing": "none"},
            **{"material": "plain", "background": "grass", "style": "flat"},
        },
        (
            (2, {"hat": "red"}),
            (5, {"arms": "up"}),
            (8, {"background": "night"}),
            (7, {"material": "wooden"}),
            (9, {"style": "chalk"}),
        ),
    ),
)
"""For each picture, the fields that are set on a seed's scene, and its edits."""


@dataclass(frozen=True)
class Demo:
    """The grid, and a row of figures for each edit."""

    sheet: Image.Image
    rows: list[dict[str, Any]]


def run(editor: Editor, seed: int, progress: Progress | None = None) -> Demo:
    """Invert each picture once, edit it several times."""
    cells, rows = [], []
    for i, (fields, changes) in enumerate(PLAN):
        before = scene(seed + i, fields)
        picture, words = render(before, 128), caption(before)
        inversion = editor.invert(picture, words, progress=progress)
        reconstruction = editor.reconstruct(inversion, progress=progress)
        cells.append(Cell(picture, words, title="source"))
        error = f"reconstruction, latent error {reconstruction.latent_error:.0e}"
        cells.append(Cell(reconstruction.image, words, title=error))
        rows.append(_row("inversion", "", inversion.forwards, inversion.seconds, None))
        rows.append(
            _row("reconstruction", "", reconstruction.forwards, reconstruction.seconds, None)
        )
        for category, change in changes:
            case = SceneEdit(before, before.but(**change), category)
            edit = editor.edit(inversion, caption(case.target), progress=progress)
            cells.append(Cell(edit.image, edit.target, edit.changed, CATEGORIES[category]))
            changes_text = ", ".join(f"{k} {a} → {b}" for k, (a, b) in case.changed.items())
            background = psnr(np.asarray(picture), np.asarray(edit.image), ~case.mask())
            rows.append(
                _row(CATEGORIES[category], changes_text, edit.forwards, edit.seconds, background)
            )
    return Demo(sheet(cells, columns=7, width=200), rows)


def _row(
    edit: str, change: str, forwards: int, seconds: float, background: float | None
) -> dict[str, Any]:
    return {
        "edit": edit,
        "change": change,
        "forwards": forwards,
        "seconds": seconds,
        "background PSNR": background,
    }


def scene(seed: int, fields: dict[str, Any]) -> Scene:
    """The scene of a seed with some fields set."""
    return sample(seed).but(thing="none").but(**fields)
