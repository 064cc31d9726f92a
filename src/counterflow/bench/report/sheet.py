"""One sheet of a results folder's pictures: source, edits and truth of every case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from counterflow.bench.results import MethodResults, Result
from counterflow.controls.align import changed_words
from counterflow.errors import InputError
from counterflow.images import load
from counterflow.sheet import Cell, sheet

WIDTH = 180


def draw_sheet(
    folder: Path, methods: Sequence[MethodResults], cases: Sequence[str], width: int = WIDTH
) -> Image.Image:
    """Each case's source, every method's edit, and the truth where there is one.

    A row is a case, or with one method two cases. The number over an edit is its distance to the
    truth. Raises InputError where no picture of these cases is there.
    """
    results = [{result.case: result for result in method.results} for method in methods]
    truths = any((folder / "truths" / f"{case}.png").is_file() for case in cases)
    cells: list[Cell] = []
    for case in cases:
        source = folder / "sources" / f"{case}.png"
        pairs = [(m, r[case]) for m, r in zip(methods, results, strict=True) if case in r]
        if not source.is_file() or len(pairs) < len(methods):
            continue
        picture, first = load(source), pairs[0][1]
        cells.append(Cell(picture, first.source, title="source"))
        cells += [
            _edit(folder, method, result, picture, len(pairs) > 1) for method, result in pairs
        ]
        if truths:
            path = folder / "truths" / f"{case}.png"
            truth = load(path) if path.is_file() else _blank(picture)
            cells.append(Cell(truth, "", title="truth"))
    if not cells:
        raise InputError(f"{folder} holds no pictures of these cases to draw")
    columns = 1 + len(methods) + truths
    return sheet(cells, columns * (2 if len(methods) == 1 else 1), width)


def _edit(
    folder: Path, method: MethodResults, result: Result, source: Image.Image, many: bool
) -> Cell:
    """An edit under its kind, its distance, and whether it failed; blank after an error."""
    words = [method.title if many else result.category]
    distance, success = result.figure("distance"), result.figure("success")
    if distance is not None:
        words.append(f"{distance:.2f}")
    failed = result.error is not None or success == 0
    title = f"{' '.join(filter(None, words))}{', failed' if failed else ''}"
    path = folder / method.name / f"{result.case}.png"
    if result.image is None or not path.is_file():
        return Cell(_blank(source), result.error or "", title=title)
    marked = changed_words(result.source, result.target)
    return Cell(load(path), result.target, marked, title)


def _blank(picture: Image.Image) -> Image.Image:
    return Image.new("RGB", picture.size, "white")
