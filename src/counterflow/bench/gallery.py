"""A gallery: a row of edits for each kind, not chosen, beside their true pictures."""

from __future__ import annotations

from PIL import Image

from counterflow.bench.measure import measure_one
from counterflow.edit.editor import Editor
from counterflow.edit.run import Progress
from counterflow.edit.settings import EditSettings, InvertSettings
from counterflow.sheet import Cell, sheet
from counterflow.toybox.edits import CATEGORIES, draw_edit
from counterflow.toybox.judge import Judge
from counterflow.toybox.scene import sample

COLUMNS = 3


def draw_gallery(
    editor: Editor,
    judge: Judge,
    seed: int,
    columns: int = COLUMNS,
    width: int = 150,
    progress: Progress | None = None,
) -> tuple[Image.Image, int, int]:
    """The gallery, how many of its edits the judge calls a success, and how many there are.

    Each row is a kind of edit; each of its `columns` cases is source, edit and truth.
    """
    cells, good = [], 0
    for row, (number, name) in enumerate(CATEGORIES.items()):
        for column in range(columns):
            place = seed + row * columns + column
            case = draw_edit(sample(place), number, place)
            made = measure_one(editor, judge, case, InvertSettings(), EditSettings())
            before, after = case.prompts
            title = name if made.success else f"{name}, failed"
            good += made.success
            cells += [
                Cell(made.source, before, title="source"),
                Cell(made.result, after, made.changed, title),
                Cell(made.truth, "", title="truth"),
            ]
            if progress is not None:
                progress("editing", len(cells) // 3, len(CATEGORIES) * columns)
    return sheet(cells, 3 * columns, width), good, len(cells) // 3
