"""A run's figures as Markdown tables, for documents: by method, and success by kind of edit."""

from __future__ import annotations

from collections.abc import Sequence

from counterflow.bench.report.page import Cell, Column, cell_text
from counterflow.bench.report.summary import categories, estimate
from counterflow.bench.report.tables import averages, measured
from counterflow.bench.results import Bench

NAMES = ("success", "kept", "PSNR", "distance", "mask IoU", "CLIP edited", "forwards")
DIGITS = {"success": 3, "kept": 3}


def markdown(bench: Bench) -> str:
    """The methods from the cheapest on, with 95 % intervals; then how each kind of edit succeeds.

    A figure that no edit has gets no column.
    """
    names = measured(bench, NAMES)
    methods = sorted(bench.methods, key=lambda m: (estimate(m.results, "forwards") or 0, m.name))
    columns = [Column.of(name, digits=DIGITS.get(name)) for name in names]
    whole = [["method", "edits", *(column.name for column in columns)]]
    for method in methods:
        cells = zip(averages(method.results, names), columns, strict=True)
        whole.append([_name(method.name), str(len(method.results)), *(_text(*c) for c in cells)])
    kinds = categories([result for method in methods for result in method.results])
    if "success" not in names or len(kinds) < 2:
        return _table(whole)
    by_kind = [["success", *kinds]]
    for method in methods:
        parts = [[r for r in method.results if r.category == kind] for kind in kinds]
        cell = [_text(estimate(part, "success"), Column.of("success")) for part in parts]
        by_kind.append([_name(method.name), *cell])
    return f"{_table(whole)}\n\n{_table(by_kind)}"


def _name(name: str) -> str:
    """A method and, each in a code span of its own, the settings that were changed."""
    method, *settings = name.split(",")
    return " ".join([f"`{method}`", *(f"`{each}`" for each in settings)])


def _text(cell: Cell, column: Column) -> str:
    made = cell_text(cell, column)
    return f"{made.main} {made.bounds}".strip()


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
