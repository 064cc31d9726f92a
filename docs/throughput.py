"""Edits per second of one worker here, of two processes and of two workers of Ray, side by side.

    python docs/throughput.py [--edits 100] [--rounds 3] [--json]

Real edits of the bundled model, one thread a worker, each round in another order and in fresh
folders. Every worker notes when it begins and ends an item. Counted is the time in which all
workers are at it: what starts them (processes, Ray, the models) is told apart, and the end, where
one has nothing left, is not counted. A worker's time for an item, from one beginning to the next,
is compared with inline's: `beyond inline` is all that an engine costs, with what workers take
from each other on one machine; `between items` is the part in which a worker waits for the next.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from counterflow.backbones.loading import Loading
from counterflow.batch import run
from counterflow.batch.executors.base import Executor, Place
from counterflow.batch.executors.inline import Inline
from counterflow.batch.executors.processes import Processes
from counterflow.batch.executors.ray import RayData
from counterflow.batch.index import Receipt
from counterflow.batch.items import Item, Recipe
from counterflow.batch.publish import Folder
from counterflow.batch.work import Edits, Task
from counterflow.bench.sets import toypie
from counterflow.methods import registry
from counterflow.toybox.render import render

WORKERS = {"inline": 1, "processes": 2, "ray": 2}
MAKERS: dict[str, Callable[[], Executor]] = {
    "inline": lambda: Inline(Place(0, 1)),
    "processes": lambda: Processes(2, 1),
    "ray": lambda: RayData(2, 1),
}


def items(folder: Path, count: int) -> list[Item]:
    """So many edits, each of a picture of its own."""
    made = []
    for edit in toypie.scene_edits(count, 930_000):
        path = folder / f"{toypie.case_id(edit)}.png"
        render(edit.source).save(path)
        made.append(Item(path, *edit.prompts))
    return made


@dataclass(frozen=True)
class Timed(Edits):
    """Workers that note the times of their items in a file of their own."""

    notes: Path = Path()

    def __call__(self, place: Place) -> Any:
        work = super().__call__(place)
        file = self.notes / str(os.getpid())

        def timed(task: Task) -> list[Receipt]:
            begun = time.time()
            told = work(task)
            with file.open("a") as notes:
                notes.write(f"{begun} {time.time()}\n")
            return told

        return timed


@dataclass(frozen=True)
class Round:
    """What was measured of one run."""

    rate: float
    """Edits per second."""
    seconds: float
    """Of a worker, from the beginning of an item to the next."""
    between: float
    """Of these, those between two items."""
    start: float
    """Seconds until all workers are at work."""


def measure(engine: str, wanted: list[Item], recipe: Recipe) -> Round:
    """A run in a fresh folder."""
    with tempfile.TemporaryDirectory() as folder:
        home, notes = Path(folder) / "out", Path(folder) / "notes"
        notes.mkdir()
        make, asked = Timed(recipe, Folder(home), notes), time.time()
        run.run(home, wanted, recipe, MAKERS[engine](), make=make)
        files = [path.read_text().splitlines() for path in notes.iterdir()]
    workers = [[tuple(map(float, line.split())) for line in lines] for lines in files]
    if len(workers) < WORKERS[engine]:
        raise SystemExit(f"{engine}: a worker had nothing to do; take more --edits")
    start, end = max(each[0][0] for each in workers), min(each[-1][1] for each in workers)
    spans = [[one for one in each if one[0] >= start and one[1] <= end] for each in workers]
    if min(map(len, spans)) < 2:
        raise SystemExit(f"{engine}: too few items for each worker; take more --edits")
    periods = [(each[-1][0] - each[0][0]) / (len(each) - 1) for each in spans]
    gaps = [late[0] - early[1] for each in spans for early, late in pairwise(each)]
    return Round(
        sum(1 / each for each in periods),
        statistics.mean(periods),
        statistics.mean(gaps),
        start - asked,
    )


def middle(rounds: list[Round], name: str) -> float:
    """The median of the rounds."""
    return statistics.median(getattr(each, name) for each in rounds)


def main() -> None:
    """Measure, and print."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--edits", type=int, default=100)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    recipe = Recipe(registry.method(registry.DEFAULT), Loading(), check=False, threads=1).resolved()
    runs: dict[str, list[Round]] = {engine: [] for engine in MAKERS}
    with tempfile.TemporaryDirectory() as folder:
        wanted = items(Path(folder), asked.edits)
        for n in range(asked.rounds):
            engines = list(MAKERS)
            for engine in engines[n % 3 :] + engines[: n % 3]:
                runs[engine].append(measure(engine, wanted, recipe))
    alone = {name: middle(runs["inline"], name) for name in ("rate", "seconds")}
    rows = [
        {
            "engine": engine,
            "workers": WORKERS[engine],
            "edits_per_second": middle(each, "rate"),
            "of_inline": middle(each, "rate") / alone["rate"],
            "seconds_per_edit": middle(each, "seconds"),
            "beyond_inline": middle(each, "seconds") / alone["seconds"] - 1,
            "between_items": middle(each, "between") / alone["seconds"],
            "start_seconds": middle(each, "start"),
            "rounds": [one.rate for one in each],
        }
        for engine, each in runs.items()
    ]
    if asked.json:
        print(json.dumps({"edits": asked.edits, "method": recipe.method.name, "engines": rows}))
        return
    print(
        "| engine, workers | edits/s | of inline | s an edit and worker | beyond inline "
        "| between items | start, s |\n|---|---|---|---|---|---|---|"
    )
    for row in rows:
        print(
            f"| {row['engine']}, {row['workers']} | {row['edits_per_second']:.2f} "
            f"| {row['of_inline']:.2f} | {row['seconds_per_edit']:.3f} "
            f"| {row['beyond_inline']:+.1%} | {row['between_items']:.1%} "
            f"| {row['start_seconds']:.1f} |"
        )
    print(f"\n{asked.edits} edits, medians of {asked.rounds} rounds; {recipe.method.name}")


if __name__ == "__main__":
    main()
