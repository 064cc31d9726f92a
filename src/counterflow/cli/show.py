"""What commands print: progress on a terminal, tables, JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from counterflow.progress import Progress


@contextmanager
def progress() -> Iterator[Progress]:
    """Show a bar with the time left on stderr if that is a terminal; else show nothing."""
    if not sys.stderr.isatty():
        yield lambda label, done, expected: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task, running = bar.add_task(""), ""

        def report(label: str, done: int, expected: int) -> None:
            nonlocal running, task
            if label != running or done <= 1:
                bar.remove_task(task)
                task, running = bar.add_task(label, total=expected), label
            bar.update(task, completed=done, total=expected)

        yield report


def as_json(data: Any) -> None:
    """Print one JSON document on stdout; a number that is not finite becomes null."""
    print(json.dumps(_finite(data), indent=2, allow_nan=False))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print aligned columns; numbers are right-aligned and rounded to two decimals."""
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    for n, row in enumerate([list(header), *cells]):
        right = [n > 0 and isinstance(rows[n - 1][i], int | float) for i in range(len(row))]
        print(
            "  ".join(
                c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)
            ).rstrip()
        )


def judged(accuracy: Mapping[str, float]) -> str:
    """A line with the judge's accuracy by field, for tables that use the judge."""
    worst = min(accuracy, key=lambda name: accuracy[name])
    each = ", ".join(f"{name} {value:.3f}" for name, value in accuracy.items())
    return f"judge on held-out round trips: {each}; worst {worst}"


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.2f}"
    return "n/a" if cell is None else str(cell)
