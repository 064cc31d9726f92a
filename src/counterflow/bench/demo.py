"""The demo: one grid of edits over many kinds, from scenes the training never saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from counterflow.edit.editor import Edit, Editor, Inversion, Reconstruction
from counterflow.methods import registry
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


METHODS = (registry.DEFAULT, "ftedit")
"""Ours and the paper's: each makes the same edits."""


def run(editor: Editor, seed: int, progress: Progress | None = None) -> Demo:
    """Invert each picture once for each method, edit it several times."""
    cells, rows = [], []
    for i, (fields, changes) in enumerate(PLAN):
        before = scene(seed + i, fields)
        picture, words = render(before, 128), caption(before)
        for method in METHODS:
            inversion = editor.invert(picture, words, method, progress)
            rows.append(_row(method, "inversion", "", inversion, None))
            cells.append(Cell(picture, words, title=f"source, for {method}"))
            if inversion.trajectory is None:
                made, title = editor.round_trip(inversion), "through the autoencoder alone"
            else:
                back = editor.reconstruct(inversion, progress=progress)
                rows.append(_row(method, "reconstruction", "", back, None))
                made, title = back.image, f"reconstruction, latent error {back.latent_error:.0e}"
            cells.append(Cell(made, words, title=title))
            for category, change in changes:
                case = SceneEdit(before, before.but(**change), category)
                edit = editor.edit(inversion, caption(case.target), progress=progress)
                cells.append(Cell(edit.image, edit.target, edit.changed, CATEGORIES[category]))
                text = ", ".join(f"{k} {a} → {b}" for k, (a, b) in case.changed.items())
                background = psnr(np.asarray(picture), np.asarray(edit.image), ~case.mask())
                rows.append(_row(method, CATEGORIES[category], text, edit, background))
    return Demo(sheet(cells, columns=7, width=200), rows)


def _row(
    method: str,
    edit: str,
    change: str,
    made: Inversion | Reconstruction | Edit,
    background: float | None,
) -> dict[str, Any]:
    return {
        "method": method,
        "edit": edit,
        "change": change,
        "forwards": made.forwards,
        "seconds": made.seconds,
        "background PSNR": background,
    }


def scene(seed: int, fields: dict[str, Any]) -> Scene:
    """The scene of a seed with some fields set."""
    return sample(seed).but(thing="none").but(**fields)
