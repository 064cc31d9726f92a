"""A gallery: a row of edits for each kind, not chosen, beside their true pictures."""

from __future__ import annotations

from PIL import Image

from counterflow.bench.engine import Attempt, Condition, Engine, Outcome
from counterflow.bench.sets.cases import rendered
from counterflow.controls.align import changed_words
from counterflow.progress import Progress
from counterflow.sheet import Cell, sheet
from counterflow.toybox.edits import CATEGORIES, draw_edit
from counterflow.toybox.scene import sample

COLUMNS = 3


def draw_gallery(
    engine: Engine,
    condition: Condition,
    seed: int,
    columns: int = COLUMNS,
    width: int = 150,
    progress: Progress | None = None,
) -> tuple[Image.Image, int, int]:
    """The gallery, how many of its edits the judge calls a success, and how many there are.

    Each row is a kind of edit; each of its `columns` cases is source, edit and truth.
    """
    categories = [category for category in CATEGORIES for _ in range(columns)]
    cells, successes = [], 0
    for i, category in enumerate(categories):
        case = rendered(draw_edit(sample(seed + i), category, seed + i))
        (outcome,) = engine.run((Attempt(case, condition),))
        successes += outcome.figures.get("success") == 1
        cells += _cells(outcome)
        if progress is not None:
            progress("editing", i + 1, len(categories))
    return sheet(cells, 3 * columns, width), successes, len(categories)


def _cells(outcome: Outcome) -> list[Cell]:
    """Source, edit and truth; in place of an edit that stopped with an error the source."""
    case = outcome.attempt.case
    source, truth = case.picture(), case.truth()
    failed = "" if outcome.figures.get("success") == 1 else ", failed"
    marked = changed_words(case.source, case.target)
    return [
        Cell(source, case.source, title="source"),
        Cell(outcome.picture or source, case.target, marked, f"{case.category}{failed}"),
        Cell(truth or source, "", title="truth"),
    ]
