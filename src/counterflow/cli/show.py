"""What commands print: progress on a terminal, tables, JSON."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from counterflow.errors import plain
from counterflow.progress import Progress

PAUSE = 30.0
"""Seconds between lines of progress."""
UNFINISHED = 5
"""Exit code: what was asked is done, but something in it failed or differs."""


def line(text: object = "") -> None:
    """Print a text of one or more lines, each as `plain` gives it."""
    print("\n".join(map(plain, str(text).split("\n"))), flush=True)


def brief(text: str, length: int = 60) -> str:
    """The beginning of a text, for a table or a line of a terminal."""
    return text if len(text) <= length else f"{text[: length - 2].rstrip()} …"


@contextmanager
def progress(logged: bool = False) -> Iterator[Progress]:
    """Show a bar with the rate and the time left on stderr if that is a terminal.

    Elsewhere show nothing or, if it is to be `logged`, a line from time to time.
    """
    if not sys.stderr.isatty():
        yield Lines() if logged else lambda label, done, expected: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Rate(ProgressColumn):
        """How many a second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.2g} a second,")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
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


class Lines:
    """Progress as lines: how much is done, how fast, and the time left."""

    def __init__(self) -> None:
        self.label, self.begun, self.first, self.told = "", 0.0, 0, 0.0

    def __call__(self, label: str, done: int, expected: int) -> None:
        """A line on stderr where the last one is a while ago."""
        now = time.monotonic()
        if label != self.label:
            self.label, self.begun, self.first, self.told = label, now, done, now
        if now - self.told < PAUSE:
            return
        self.told = now
        rate = (done - self.first) / (now - self.begun)
        left = (expected - done) / rate / 60 if rate else math.inf
        print(
            f"{label}: {done} of {expected}, {rate:.2g} a second, {left:.0f} min left",
            file=sys.stderr,
        )


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
    return "n/a" if cell is None else plain(str(cell))
